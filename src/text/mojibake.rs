//! Text that was read in the wrong encoding, such as `cafÃ©` for `café`: recognising it and reading it again.
//!
//! The classes of characters and the suspicious sequences are those of `ftfy.badness` 6.3.1 (Robyn Speer, Apache-2.0), on which equality
//! rests.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::{Regex, bytes};

use super::code_page::{CodePage, Kind, PAGES, windows_1252};

/// Kinds of characters that occur in misread text, each as the inside of a character class.
const CLASSES: [(&str, &str); 14] = [
    // Used in many languages.
    ("common", r"\u{a0}\u{ad}´·–-―’…"),
    // Control codes that nobody writes.
    ("c1", r"\u{80}-\u{9f}"),
    // Seldom seen but by mistake.
    ("bad", r"¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊\u{fffd}"),
    ("law", "§¶"),
    ("currency", "¢£¥₧€"),
    ("start", r"¡©«¿΄΅‘‚“„•‹\u{f8ff}"),
    ("end", "®»˝”›™"),
    ("numeric", "±-³µ¹¼-¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥"),
    // Letters used in emoticons.
    ("face", "°Ò-ÖÙ-Üò-öø-üŌŐŪŲ"),
    ("upper_accented", "À-ÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ"),
    ("lower_accented", "ß-ñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґﬁﬂ"),
    ("upper_common", "ÞΆΈ-ΊΌΎΏΑ-ΫЁ-Я"),
    ("lower_common", "ά-ωа-џ"),
    ("box", "│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓"),
];

/// Sequences that hardly occur in text that was read in the right encoding.
///
/// Python's white space has four separators more than Unicode's, and its word characters are letters, numbers and the underscore.
const SUSPICIOUS: &[&str] = &[
    "[{c1}]",
    "[{bad}{lower_accented}{upper_accented}{box}{start}{end}{currency}{numeric}{law}][{bad}]",
    "[a-zA-Z][{lower_common}{upper_common}][{bad}]",
    "[{bad}][{lower_accented}{upper_accented}{box}{start}{end}{currency}{numeric}{law}]",
    "[{lower_accented}{lower_common}{box}{end}{currency}{numeric}][{upper_accented}]",
    "[{box}{end}{currency}{numeric}][{lower_accented}]",
    "[{lower_accented}{box}{end}][{currency}]",
    r"[\s\x1c-\x1f][{upper_accented}][{currency}]",
    "[{upper_accented}{box}][{numeric}{law}]",
    "[{lower_accented}{upper_accented}{box}{currency}{end}][{start}][{numeric}]",
    "[{lower_accented}{upper_accented}{currency}{numeric}{box}{law}][{end}][{start}]",
    "[{currency}{numeric}{box}][{start}]",
    "[a-z][{upper_accented}][{start}{currency}]",
    "[{box}][{face}]",
    "[{lower_accented}{upper_accented}{currency}{numeric}{start}{end}{law}][{box}]",
    "[{box}][{end}]",
    r"[{lower_accented}{upper_accented}][{start}{end}][\p{L}\p{N}_]",
    "[Œœ][^A-Za-z]",
    "[{upper_accented}]°",
    // Two bytes in Windows-1252, where the first is a common lead byte; Arabic needs two such pairs.
    r"[ÂÃÎÐ][€œŠš¢£Ÿž\xa0\xad®©°·»{start}{end}–—´]",
    "×[²³]",
    "(?:[ØÙ][{common}{currency}{bad}{numeric}{start}ŸŠ®°µ»]){2}",
    "à[²µ¹¼½¾]",
    // Macintosh.
    "√[±∂†≠®™´≤≥¥µø]",
    "≈[°¢]",
    "‚Ä[ìîïòôúùû†°¢π]",
    "‚[âó][àä°ê]",
    // Windows-1251.
    "вЂ",
    "[ВГРС][{c1}{bad}{start}{end}{currency}°µ][ВГРС]",
    "ГўВЂВ.[A-Za-z ]",
    // `à`, `á` and the no-break space in Windows-1252.
    r"Ã[\xa0¡]",
    r"[a-z][\s\x1c-\x1f]?[ÃÂ] ",
    "^[ÃÂ] ",
    "[a-z.,?!{end}]Â[ {start}{end}]",
    // Windows-1253 and Windows-1257.
    r"β€[™\xa0Ά\xad®°]",
    "[ΒΓΞΟ][{c1}{bad}{start}{end}{currency}°][ΒΓΞΟ]",
    "ā€",
];

static SUSPICION: LazyLock<Regex> = LazyLock::new(|| {
    let rules = CLASSES
        .iter()
        .fold(SUSPICIOUS.join("|"), |rules, (name, class)| rules.replace(&format!("{{{name}}}"), class));
    Regex::new(&rules).expect("a constant that the tests compile")
});

/// Characters that may stand for later bytes of UTF-8 or for themselves.
const AMBIGUOUS: &str = "–—―‘’‚“”„•…";

/// Characters that stand for later bytes of UTF-8 and hardly for themselves.
static STRICTLY_LATER: LazyLock<BTreeSet<char>> =
    LazyLock::new(|| misread(0x80..=0xbf).into_iter().filter(|c| !AMBIGUOUS.contains(*c)).collect());

/// Characters that would be one character of UTF-8 if they were bytes again, and a row of such.
static SEQUENCE: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    let class = |characters: BTreeSet<char>| characters.into_iter().map(|c| format!(r"\u{{{:x}}}", u32::from(c))).collect::<String>();
    let later = class(misread(0x80..=0xbf)) + " ";
    let [two, three] = [0xc2..=0xdf, 0xe0..=0xef].map(misread).map(class);
    // Other first bytes of four lead to characters that are not assigned.
    let four = class(misread(0xf0..=0xf0)) + &class(misread(0xf3..=0xf3));
    let one = format!("(?:[{two}][{later}]|[{three}][{later}]{{2}}|[{four}][{later}]{{3}})");
    [one.clone(), format!("{one}+")].map(|pattern| Regex::new(&pattern).expect("made of escaped characters"))
});

/// What Latin-1 and the Windows pages read for a range of bytes.
fn misread(bytes: RangeInclusive<u8>) -> BTreeSet<char> {
    PAGES[..7].iter().flat_map(|page| page.characters(bytes.clone())).collect()
}

/// Reads text again in the encoding it was meant in, as often as that helps: ftfy's `fix_encoding`.
pub(super) fn undo(mut text: String) -> String {
    while let Some(fixed) = undo_once(&text).filter(|fixed| *fixed != text) {
        text = fixed;
    }
    text
}

fn undo_once(text: &str) -> Option<String> {
    if !is_suspicious(text) {
        return None;
    }
    let whole = || PAGES.iter().find_map(|page| decode(&restore(page, page.encode(text)?)));
    let inside = || Some(undo_inside(text)).filter(|fixed| fixed != text);
    whole().or_else(inside).or_else(|| Some(fix_c1(text)))
}

fn is_suspicious(text: &str) -> bool {
    !text.is_ascii() && SUSPICION.is_match(text)
}

/// Repairs sequences amid text of another origin, each on its own.
///
/// A sequence that follows a character like its own middle is left, since it may be part of a longer one that cannot be repaired.
fn undo_inside(text: &str) -> String {
    let [one, row] = &*SEQUENCE;
    let mut fixed = String::with_capacity(text.len());
    let (mut copied, mut from) = (0, 0);
    while let Some(at) = one.find_at(text, from).map(|found| found.start()) {
        let (before, after) = text.split_at(at);
        if before.chars().next_back().is_some_and(|c| STRICTLY_LATER.contains(&c)) {
            from = at + after.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let end = row.find_at(text, at).map_or(text.len(), |found| found.end());
        fixed += &text[copied..at];
        // Repairing the whole text in this way would never end.
        let is_fixable = end - at < text.len() && is_suspicious(&text[at..end]);
        fixed += &if is_fixable { undo(text[at..end].to_owned()) } else { text[at..end].to_owned() };
        (copied, from) = (end, end);
    }
    fixed + &text[copied..]
}

/// Control codes 0x80 to 0x9f as the characters that Windows-1252 has there.
pub(super) fn fix_c1(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, '\u{80}'..='\u{9f}') { windows_1252(c as u8) } else { c })
        .collect()
}

/// Restores bytes that later programs destroyed, where the code page shows what they were.
fn restore(page: &CodePage, bytes: Vec<u8>) -> Vec<u8> {
    match page.kind {
        Kind::Exact => restore_a0(&bytes),
        Kind::Sloppy => replace_lost(&restore_a0(&bytes)).into_owned(),
        Kind::Macintosh => bytes,
    }
}

/// Puts byte 0xa0 back where it became a plain space inside a likely UTF-8 sequence.
///
/// `Ã` before a space is an `à` that keeps the space, as in `à la carte`, except in the Portuguese words `às`, `àquele`,
/// `àquela`, `àquilo`.
fn restore_a0(bytes: &[u8]) -> Vec<u8> {
    static A_GRAVE: LazyLock<bytes::Regex> = LazyLock::new(|| pattern(r"\xc3 ( |quel[ea]|quilo|s )?"));
    static SPACED: LazyLock<bytes::Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"[\xc2\xc3\xc5\xce\xd0\xd9] ",
            r"|[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] ",
            r"|\xf0 [\x80-\xbf]{2}|\xf0[\x80-\xbf] [\x80-\xbf]|\xf0[\x80-\xbf]{2} ",
        ))
    });
    let words = A_GRAVE.replace_all(bytes, |found: &bytes::Captures| match found.get(1) {
        Some(_) => found[0].to_vec(),
        None => b"\xc3\xa0 ".to_vec(),
    });
    let unspaced = |found: &bytes::Captures| found[0].iter().map(|&byte| if byte == b' ' { 0xa0 } else { byte }).collect::<Vec<_>>();
    SPACED.replace_all(&words, unspaced).into_owned()
}

/// Turns a sequence in which a byte was lost, seen as 0x1a or one `?`, into U+FFFD.
fn replace_lost(bytes: &[u8]) -> Cow<'_, [u8]> {
    static LOSSY: LazyLock<bytes::Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"[\xc2-\xdf]\x1a|[\xc2\xc3]\?",
            r"|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]",
            r"|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]",
            r"|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf]{2}|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf]{2}[\x1a?]",
            r"|\x1a",
        ))
    });
    LOSSY.replace_all(bytes, "\u{fffd}".as_bytes())
}

/// A pattern over bytes rather than characters.
fn pattern(text: &str) -> bytes::Regex {
    bytes::Regex::new(&format!("(?s-u){text}")).expect("a constant that the tests compile")
}

/// Reads UTF-8, also with characters beyond U+FFFF as two surrogates (CESU-8) and with U+0000 as `c0 80` (Java).
fn decode(bytes: &[u8]) -> Option<String> {
    static VARIANT: LazyLock<bytes::Regex> = LazyLock::new(|| {
        // ftfy's own pattern takes a line feed at the very end for the missing last byte.
        pattern(r"\xc0(?:\x80|\n$)|\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf](?:[\x80-\xbf]|\n$)")
    });
    let standard = VARIANT.replace_all(bytes, |found: &bytes::Captures| match found[0] {
        [_, a, b, _, c, d] => {
            let bits = |byte: u8, mask: u8| u32::from(byte & mask);
            let code = 0x10000 + (bits(a, 0x0f) << 16 | bits(b, 0x3f) << 10 | bits(c, 0x0f) << 6 | bits(d, 0x3f));
            char::from_u32(code).map(String::from).unwrap_or_default().into_bytes()
        }
        _ => vec![0],
    });
    String::from_utf8(standard.into_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The UTF-8 of a text, misread in a page.
    fn misread_in(page: usize, text: &str) -> String {
        text.bytes().flat_map(|byte| PAGES[page].characters(byte..=byte)).collect()
    }

    #[test]
    fn text_that_was_read_rightly_stays() {
        for text in ["café", "IL Y MARQUÉ…", "“quoted”", "Ελληνικά", "Смотри", "10 °C", "(ง'⌣')ง", "Ã", "日本語"]
        {
            assert_eq!(undo(text.to_owned()), text);
        }
    }

    #[test]
    fn text_misread_in_any_page_is_read_again() {
        for (page, text) in ["café", "naïve", "Смотри", "café crème", "Ελληνικά", "naïve", "“a”", "Łódź", "crème", "Größe"]
            .iter()
            .enumerate()
        {
            let misread = misread_in(page, text);
            assert_ne!(misread, *text);
            assert_eq!(undo(misread), *text, "page {page}");
        }
    }

    #[test]
    fn text_misread_twice_is_read_twice() {
        assert_eq!(undo(misread_in(1, &misread_in(1, "schön"))), "schön");
    }

    #[test]
    fn a_misread_word_amid_others_is_repaired_alone() {
        assert_eq!(undo("日本 cafÃ© “x”".to_owned()), "日本 café “x”");
    }

    #[test]
    fn a_sequence_behind_a_character_like_its_middle_is_left() {
        assert_eq!(undo_inside("日Ã©x"), "日éx");
        assert_eq!(undo_inside("日»Ã©x"), "日»Ã©x");
    }

    #[test]
    fn a_lost_no_break_space_is_put_back() {
        assert_eq!(undo("voilÃ  le travail".to_owned()), "voilà le travail");
        assert_eq!(undo("Ã la carte".to_owned()), "à la carte");
        assert_eq!(undo("Ã quele".to_owned()), "àquele");
    }

    #[test]
    fn a_lost_byte_becomes_the_replacement_character() {
        assert_eq!(undo("â€œlikeâ€\u{fffd}".to_owned()), "“like\u{fffd}");
    }

    #[test]
    fn control_codes_are_read_as_windows_has_them() {
        assert_eq!(undo("a \u{96} b".to_owned()), "a – b");
        assert_eq!(fix_c1("\u{85}\u{81}"), "…\u{81}");
    }

    #[test]
    fn surrogates_and_the_long_zero_are_decoded() {
        assert_eq!(decode(b"\xed\xa0\xbd\xed\xb8\x8d").as_deref(), Some("\u{1f60d}"));
        assert_eq!(decode(b"a\xc0\x80b").as_deref(), Some("a\0b"));
        assert_eq!(decode(b"a\xc0\n").as_deref(), Some("a\0"));
        assert_eq!(decode(b"\xed\xa0\xbd"), None);
        assert_eq!(decode(b"\xc3"), None);
    }

    #[test]
    fn first_bytes_are_known_in_every_alphabet() {
        assert!(misread(0xc2..=0xdf).is_superset(&BTreeSet::from(['Ã', 'Γ', 'Г', 'Đ', 'Š'])));
        assert!(STRICTLY_LATER.contains(&'€') && !STRICTLY_LATER.contains(&'…'));
    }
}
