//! Single-byte encodings in which text is often misread.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use encoding_rs::{Encoding, ISO_8859_2, MACINTOSH, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1257};

/// Bytes 128 to 255 of IBM's first PC.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧\
                     ╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The byte that sloppy pages read as U+FFFD: ftfy's mark for a byte whose value is lost.
const LOST: u8 = 0x1a;

/// The pages that text is most often misread in, the likeliest first: ftfy's `CHARMAP_ENCODINGS`.
pub(super) static PAGES: LazyLock<[CodePage; 10]> = LazyLock::new(|| {
    [
        CodePage::new(Kind::Exact, char::from), // Latin-1
        CodePage::new(Kind::Sloppy, windows_1252),
        CodePage::new(Kind::Sloppy, |byte| character(WINDOWS_1251, byte)),
        CodePage::new(Kind::Sloppy, |byte| character(WINDOWS_1250, byte)),
        CodePage::new(Kind::Sloppy, |byte| character(WINDOWS_1253, byte)),
        CodePage::new(Kind::Sloppy, |byte| character(WINDOWS_1254, byte)),
        CodePage::new(Kind::Sloppy, |byte| character(WINDOWS_1257, byte)),
        CodePage::new(Kind::Exact, |byte| character(ISO_8859_2, byte)),
        CodePage::new(Kind::Macintosh, |byte| character(MACINTOSH, byte)),
        CodePage::new(Kind::Exact, cp437),
    ]
});

/// How a page treats bytes of no character, and whether a space in it may stand for byte 0xa0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every byte has its character.
    Exact,
    /// Bytes without a character are read as Latin-1 has them; [`LOST`] is read as U+FFFD.
    Sloppy,
    /// Exact, but 0xa0 is no space in it.
    Macintosh,
}

/// An encoding of one byte a character that agrees with ASCII.
pub(super) struct CodePage {
    pub kind: Kind,
    characters: [char; 256],
    bytes: HashMap<char, u8>,
}

impl CodePage {
    fn new(kind: Kind, upper: impl Fn(u8) -> char) -> CodePage {
        let mut characters = std::array::from_fn(|byte| char::from(byte as u8));
        (0x80..=0xff).for_each(|byte| characters[usize::from(byte)] = upper(byte));
        if kind == Kind::Sloppy {
            characters[usize::from(LOST)] = '\u{fffd}';
        }
        CodePage { kind, characters, bytes: characters.into_iter().zip(0..=255).collect() }
    }

    /// The characters of a range of bytes.
    pub fn characters(&self, bytes: RangeInclusive<u8>) -> impl Iterator<Item = char> {
        bytes.map(|byte| self.characters[usize::from(byte)])
    }

    /// The bytes that this page reads as `text`; `None` where it has not all characters.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| self.bytes.get(&c).copied()).collect()
    }
}

/// The character of a byte from 128 on in Windows-1252, as web pages read it.
pub(super) fn windows_1252(byte: u8) -> char {
    character(WINDOWS_1252, byte)
}

/// The character of a byte, or that of Latin-1 where the encoding has none.
fn character(encoding: &'static Encoding, byte: u8) -> char {
    let bytes = [byte];
    let (text, has_none) = encoding.decode_without_bom_handling(&bytes);
    text.chars().next().filter(|_| !has_none).unwrap_or(char::from(byte))
}

fn cp437(byte: u8) -> char {
    CP437.chars().nth(usize::from(byte) - 0x80).expect("128 characters, as a test counts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes_are_read_as_their_characters() {
        let read = |byte| PAGES.each_ref().map(|page| page.characters(byte..=byte).next().unwrap());
        assert_eq!(read(0x80), ['\u{80}', '€', 'Ђ', '€', '€', '€', '€', '\u{80}', 'Ä', 'Ç']);
        assert_eq!(read(0xc3), ['Ã', 'Ã', 'Г', 'Ă', 'Γ', 'Ã', 'Ć', 'Ă', '√', '├']);
        assert_eq!(read(b'~'), ['~'; 10]);
    }

    #[test]
    fn a_byte_without_character_is_read_as_in_latin_1() {
        assert_eq!(windows_1252(0x81), '\u{81}');
        assert_eq!(character(WINDOWS_1253, 0xaa), 'ª');
    }

    #[test]
    fn every_page_gives_back_the_bytes_it_reads() {
        assert_eq!(CP437.chars().count(), 128);
        for page in &*PAGES {
            let text: String = page.characters(0..=255).collect();
            assert_eq!(page.encode(&text), Some((0..=255).collect()));
            assert_eq!(page.encode("☃"), None);
        }
    }
}
