//! HTML entities as characters, by the rules of Python's `html.unescape` and by ftfy's stricter ones.

use std::sync::LazyLock;

use htmlize::ENTITIES;
use regex::{Captures, Regex};

use super::code_page::windows_1252;

/// An entity or number that ends in a semicolon.
static CLOSED: LazyLock<Regex> = LazyLock::new(|| Regex::new("&#?[0-9A-Za-z]{1,24};").expect("a constant that the tests compile"));

/// Decodes every entity once, also without its semicolon where HTML 5 allows that: `&amp;lt` becomes `&lt`.
pub(super) fn unescape(text: &str) -> String {
    let mut parts = text.split('&');
    let before = parts.next().unwrap_or_default().to_owned();
    parts.fold(before, |decoded, part| decoded + &reference(part))
}

/// Decodes a part of text after `&`, up to the next `&`.
fn reference(part: &str) -> String {
    match number(part) {
        Some((code, rest)) => numbered(code).into_iter().chain(rest.chars()).collect(),
        None if part.starts_with('#') => format!("&{part}"),
        None => htmlize::unescape(format!("&{part}")).into_owned(),
    }
}

/// The code of `#233;` or `#xe9;` and the text behind it; codes beyond `u32` saturate.
fn number(part: &str) -> Option<(u32, &str)> {
    let digits = part.strip_prefix('#')?;
    let hexadecimal = digits.strip_prefix(['x', 'X']);
    let (digits, radix) = hexadecimal.map_or((digits, 10), |digits| (digits, 16));
    let (digits, rest) = digits.split_at(digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len()));
    let code = (!digits.is_empty()).then(|| u32::from_str_radix(digits, radix).unwrap_or(u32::MAX))?;
    Some((code, rest.strip_prefix(';').unwrap_or(rest)))
}

/// The character of a numeric reference, by Python's reading of HTML 5: control codes and noncharacters vanish.
fn numbered(code: u32) -> Option<char> {
    match code {
        0 => Some('\u{fffd}'),
        0x80..=0x9f => Some(windows_1252(code as u8)),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        0..=0x10ffff if code & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(code).unwrap_or('\u{fffd}')),
    }
}

/// Decodes entities that end in a semicolon, also those whose name was put in capitals: ftfy's `unescape_html`.
pub(super) fn unescape_closed(text: &str) -> String {
    CLOSED.replace_all(text, |found: &Captures| closed(&found[0])).into_owned()
}

fn closed(entity: &str) -> String {
    if let Some(expansion) = named(entity) {
        return expansion.to_owned();
    }
    let decoded = unescape(entity);
    if entity.starts_with("&#") {
        // A semicolon left over means that only the beginning was understood.
        return if decoded.contains(';') { entity.to_owned() } else { decoded };
    }
    let is_capital = entity == entity.to_ascii_uppercase() && decoded == entity;
    let expansion = is_capital.then(|| named(&entity.to_ascii_lowercase())).flatten();
    expansion.map_or_else(|| entity.to_owned(), str::to_uppercase)
}

/// The expansion of an entity of HTML 5, `&` and `;` included.
fn named(entity: &str) -> Option<&'static str> {
    ENTITIES.get(entity.as_bytes()).and_then(|expansion| str::from_utf8(expansion).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_decodes_once() {
        assert_eq!(unescape("a &amp;lt; b &lt;i&gt; &quot;"), "a &lt; b <i> \"");
        assert_eq!(unescape("&#38;lt;"), "&lt;");
    }

    #[test]
    fn old_names_need_no_semicolon_and_may_begin_a_longer_word() {
        assert_eq!(unescape("&copy 2024 &copycat &notit; &notin;"), "© 2024 ©cat ¬it; ∉");
        assert_eq!(unescape("&hellip &unknown; & &; &&"), "&hellip &unknown; & &; &&");
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(unescape("&#233; &#xE9 &#Xe9; &#233x"), "é é é éx");
        assert_eq!(unescape("&#; &#x; &#xg;"), "&#; &#x; &#xg;");
    }

    #[test]
    fn bytes_of_windows_1252_mean_its_characters() {
        assert_eq!(unescape("&#150;&#x80;&#x81;"), "–€\u{81}");
    }

    #[test]
    fn numbers_of_no_character_vanish_or_become_the_replacement_character() {
        assert_eq!(unescape("a&#1;&#x7f;&#xfdd0;&#x1ffff;b"), "ab");
        assert_eq!(unescape("&#0;&#xd800;&#x110000;&#99999999999999999999;"), "\u{fffd}".repeat(4));
        assert_eq!(unescape("&#13;&#9;"), "\r\t");
    }

    #[test]
    fn the_strict_rules_want_a_semicolon() {
        assert_eq!(unescape_closed("&amp &copy; &notit; &#233 &#233;"), "&amp © &notit; &#233 é");
    }

    #[test]
    fn the_strict_rules_know_names_in_capitals() {
        assert_eq!(unescape_closed("&EACUTE; &SZLIG; &nTILDE; &LT;"), "É SS &nTILDE; <");
        // `&GT` already means `>`, so this is not `&gtdot;` in capitals.
        assert_eq!(unescape_closed("&GTDOT;"), "&GTDOT;");
    }

    #[test]
    fn a_number_that_leaves_a_semicolon_is_not_touched() {
        assert_eq!(unescape_closed("&#12a; &#59;"), "&#12a; &#59;");
    }
}
