//! Repairs text that other programs damaged: the result of `ftfy.fix_text` 6.3.1 with its defaults (Speer 2019).

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::{html, mojibake};

/// Characters repaired at once; ftfy's `max_decode_length`.
const SEGMENT: usize = 1_000_000;

/// Times that a text is repaired at most, where ftfy goes on: `&amp;amp;amp;` needs one for each `amp;`.
const PASSES: usize = 32;

/// Commands to a terminal, such as `ESC [ 31 m` for red.
static TERMINAL_COMMAND: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[[\d;]*[a-zA-Z]").expect("a constant that the tests compile"));

/// Repairs a text line by line.
///
/// HTML entities are decoded up to the first line with a `<`: from there on the text is taken for HTML, which needs them.
pub(super) fn fix_text(text: &str) -> String {
    let mut is_html = false;
    let mut fixed = String::with_capacity(text.len());
    for segment in text.split_inclusive('\n').flat_map(segments) {
        is_html |= segment.contains('<');
        fixed += &fix_segment(segment, is_html);
    }
    fixed
}

/// A line in parts of at most [`SEGMENT`] characters.
fn segments(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some((at, _)) = rest.char_indices().nth(SEGMENT) {
        let (part, after) = rest.split_at(at);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// Applies all repairs until none changes anything, since one may make another possible.
fn fix_segment(segment: &str, is_html: bool) -> String {
    let mut text = segment.to_owned();
    for _ in 0..PASSES {
        let fixed = fix_once(&text, is_html);
        if fixed == text {
            break;
        }
        text = fixed;
    }
    text
}

fn fix_once(text: &str, is_html: bool) -> String {
    let text = if is_html { text.to_owned() } else { html::unescape_closed(text) };
    let text = mojibake::fix_c1(&mojibake::undo(text));
    let text = straight_quotes(&usual_forms(&text));
    let text = unix_lines(&text);
    let text = TERMINAL_COMMAND.replace_all(&text, "");
    remove_controls(&text).nfc().collect()
}

/// Takes Latin ligatures apart and gives half- and full-width forms their usual width.
fn usual_forms(text: &str) -> String {
    let mut usual = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Compatibility normalisation would also turn this long s into an s.
            'ﬅ' => usual.push_str("ſt"),
            'Ĳ' | 'ĳ' | 'ŉ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' | 'ﬀ'..='ﬆ' => usual.extend(c.nfkc()),
            '\u{3000}' | '\u{ff01}'..='\u{ffef}' => usual.extend(c.nfkc()),
            other => usual.push(other),
        }
    }
    usual
}

/// Curly quotation marks as they are on a keyboard.
fn straight_quotes(text: &str) -> String {
    text.replace(['\u{2bc}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}'], "'")
        .replace(['\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}'], "\"")
}

/// Line ends of any system as line feeds.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n")
}

/// Drops invisible characters: control codes that are no white space, withdrawn Arabic controls, annotation marks, the byte order mark.
fn remove_controls(text: &str) -> String {
    let is_code = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}');
    let is_mark = |c: char| matches!(c, '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}');
    text.chars().filter(|&c| !is_code(c) && !is_mark(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        for text in ["", "a photo of a metal_nut.", "Größe 5 µm, 10 °C", "日本語", "👩\u{200d}🔬", "don't <b>&amp;"] {
            assert_eq!(fix_text(text), text);
        }
    }

    #[test]
    fn ligatures_come_apart() {
        assert_eq!(fix_text("ﬂuﬃeﬆ ǅ ĳ"), "fluffiest Dž ij");
        assert_eq!(fix_text("ﬅ"), "ſt");
        assert_eq!(fix_text("œuvre æther"), "œuvre æther"); // letters, not ligatures
    }

    #[test]
    fn letters_get_their_usual_width() {
        assert_eq!(fix_text("ＬＯＵＤ\u{3000}１２"), "LOUD 12");
        assert_eq!(fix_text("ﾀｰﾝ"), "ターン");
    }

    #[test]
    fn quotes_become_straight() {
        assert_eq!(fix_text("“it’s” ‚so’ ŉ"), "\"it's\" 'so' 'n");
    }

    #[test]
    fn lines_end_in_one_way() {
        assert_eq!(unix_lines("a\r\nb\rc\u{2028}d\u{2029}e\u{85}f"), "a\nb\nc\nd\ne\nf");
    }

    #[test]
    fn terminal_commands_and_control_characters_go() {
        assert_eq!(fix_text("\u{1b}[36;44mblue\u{1b}[0m\u{7}"), "blue");
        assert_eq!(fix_text("\u{feff}a\0b\u{206a}c\u{fffc}\td"), "abc\td");
        assert_eq!(fix_text("a\u{200d}b"), "a\u{200d}b"); // joins emoji
    }

    #[test]
    fn a_letter_and_its_accent_become_one_character() {
        assert_eq!(fix_text("e\u{301}"), "é");
    }

    #[test]
    fn entities_are_left_from_the_first_tag_on() {
        assert_eq!(fix_text("&lt;\n&lt;"), "<\n<");
        assert_eq!(fix_text("&lt;\n<\n&lt;"), "<\n<\n&lt;");
    }

    #[test]
    fn entities_in_entities_are_decoded_as_deep_as_passes_go() {
        assert_eq!(fix_text("&amp;amp;amp;lt;"), "<");
        let deep = format!("&{}", "amp;".repeat(PASSES + 2));
        assert_eq!(fix_text(&deep), "&amp;amp;");
    }

    #[test]
    fn a_line_without_end_is_repaired_in_parts() {
        let line = "é".repeat(2 * SEGMENT + 3);
        assert_eq!(segments(&line).iter().map(|part| part.len() / 2).collect::<Vec<_>>(), [SEGMENT, SEGMENT, 3]);
    }
}
