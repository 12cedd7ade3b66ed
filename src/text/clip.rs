//! CLIP's tokenizer (byte-pair encoding): cleaned text is split into words, and the bytes of each word are joined pair by pair (Radford et
//! al. 2021).

use regex::Regex;
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

use super::fix::fix_text;
use super::html::unescape;

/// Pairs that merge, one a line, the most frequent first; see `clip_merges.md`.
const MERGES: &str = include_str!("clip_merges.txt");

/// Ends the last symbol of a word.
const WORD_END: &str = "</w>";

/// Token before every text, and the string that stands for it inside one.
const START: (u32, &str) = (49406, "<start_of_text>");

/// Token after every text, and the string that stands for it inside one.
const END: (u32, &str) = (49407, "<end_of_text>");

/// What counts as a word: a special string, an English contraction, letters, one digit, or a run of other symbols.
///
/// U+0345 is skipped: to the original, which ignores case throughout, this mark is no letter, and its capital, a Greek iota, no symbol.
const WORDS: &str = r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u{345}]+";

/// Turns text into the ids of CLIP's vocabulary, as `open_clip.tokenizer.SimpleTokenizer` does.
///
/// Characters that Unicode has assigned since version 14 may differ: Python, its `regex` module and Rust know different ones as letters.
pub struct ClipTokenizer {
    words: Regex,
    /// Symbol of each byte.
    symbols: [char; 256],
    pairs: BPE,
}

/// The ids of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Start token, the text, end token; not padded.
    pub ids: Vec<u32>,
    /// True when the text was too long and its end is missing.
    pub is_truncated: bool,
}

impl ClipTokenizer {
    /// Number of ids: twice 256 symbols, the merged pairs, start and end.
    pub const VOCABULARY: usize = END.0 as usize + 1;

    /// Builds the vocabulary: 256 symbols, the same at the end of a word, the merged pairs in order.
    pub fn new() -> ClipTokenizer {
        let order = byte_symbols();
        let merges = merges();
        let singles = order.iter().map(|(_, symbol)| symbol.to_string());
        let endings = order.iter().map(|(_, symbol)| format!("{symbol}{WORD_END}"));
        let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let vocabulary: Vocab = singles.chain(endings).chain(merged).zip(0..).collect();
        let pairs = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .end_of_word_suffix(WORD_END.to_owned())
            .cache_capacity(0)
            .build()
            .expect("each side of a pair is a byte's symbol or an earlier pair; the tests build this very file");
        let mut symbols = ['\0'; 256];
        order.into_iter().for_each(|(byte, symbol)| symbols[usize::from(byte)] = symbol);
        ClipTokenizer { words: Regex::new(WORDS).expect("a constant that the tests compile"), symbols, pairs }
    }

    /// The ids of a text, at most `context` of them (77 for every published CLIP).
    ///
    /// A longer text is cut and still closes with the end token.
    pub fn encode(&self, text: &str, context: usize) -> Tokens {
        let text = clean(text);
        let mut ids = vec![START.0];
        for word in self.words.find_iter(&text) {
            if ids.len() > context {
                break;
            }
            self.push_word(word.as_str(), &mut ids);
        }
        ids.push(END.0);
        let is_truncated = ids.len() > context;
        ids.truncate(context);
        if is_truncated && let Some(last) = ids.last_mut() {
            *last = END.0;
        }
        Tokens { ids, is_truncated }
    }

    fn push_word(&self, word: &str, ids: &mut Vec<u32>) {
        if let Some((id, _)) = [START, END].into_iter().find(|(_, special)| *special == word) {
            return ids.push(id);
        }
        let symbols: String = word.bytes().map(|byte| self.symbols[usize::from(byte)]).collect();
        let tokens = self
            .pairs
            .tokenize(&symbols)
            .expect("fails only on an unknown token or dropout, and neither is set");
        ids.extend(tokens.into_iter().map(|token| token.id));
    }
}

impl Default for ClipTokenizer {
    fn default() -> ClipTokenizer {
        ClipTokenizer::new()
    }
}

/// The bytes in the order of the vocabulary, each with the printable character that stands for it: itself, or the next from U+0100 on.
///
/// The table of GPT-2 (Radford et al. 2019): a byte that Latin-1 prints comes first, so that the vocabulary file is readable text.
fn byte_symbols() -> Vec<(u8, char)> {
    let is_printed = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let printed = (0..=255).filter(is_printed).map(|byte| (byte, char::from(byte)));
    let hidden = (0..=255).filter(|byte| !is_printed(byte)).zip('\u{100}'..);
    printed.chain(hidden).collect()
}

fn merges() -> Merges {
    let pair = |line: &'static str| line.split_once(' ').expect("the tests read every line of this very file");
    MERGES.lines().map(pair).map(|(left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// Repairs, decodes HTML twice, collapses white space, lower-cases: open_clip's `clean="lower"`.
fn clean(text: &str) -> String {
    let text = fix_text(text);
    let text = unescape(&unescape(&text));
    collapse(&text).to_lowercase()
}

/// One space between words, none around them. White space is Python's: Unicode's and the four separators U+001C to U+001F.
fn collapse(text: &str) -> String {
    let is_space = |c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}');
    text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        Regex::new(WORDS).unwrap().find_iter(text).map(|word| word.as_str()).collect()
    }

    #[test]
    fn the_vocabulary_has_the_published_order() {
        let tokenizer = ClipTokenizer::new();
        let id = |token: &str| tokenizer.pairs.token_to_id(token).unwrap();
        let known = ["!", "~", "¡", "ÿ", "Ā", "Ń", "!</w>", "in", "th", "an", "jekyll</w>"];
        assert_eq!(known.map(id), [0, 93, 94, 187, 188, 255, 256, 512, 513, 514, 49405]);
        assert_eq!(tokenizer.pairs.get_vocab_size(), 49406); // start and end follow
    }

    #[test]
    fn a_byte_that_latin_1_does_not_print_gets_a_letter_from_u0100_on() {
        let symbols = byte_symbols();
        assert_eq!(symbols.len(), 256);
        assert_eq!(symbols[0], (b'!', '!'));
        assert_eq!(symbols[188], (0, 'Ā'));
        assert_eq!(symbols[188 + 32], (b' ', 'Ġ'));
        assert_eq!(symbols[255], (173, 'Ń'));
    }

    #[test]
    fn a_word_is_letters_or_one_digit_or_other_symbols() {
        assert_eq!(words("metal_nut 42!?"), ["metal", "_", "nut", "4", "2", "!?"]);
        assert_eq!(words("it's we'LL 'x"), ["it", "'s", "we", "'LL", "'", "x"]);
        assert_eq!(words("<end_of_text>."), ["<end_of_text>", "."]);
        assert_eq!(words("!<end_of_text>"), ["!<", "end", "_", "of", "_", "text", ">"]);
        assert_eq!(words("a\u{345}b!\u{345}?"), ["a", "b", "!", "?"]);
    }

    #[test]
    fn white_space_of_any_kind_becomes_one_space() {
        assert_eq!(collapse("\u{3000}a\u{a0}\t\u{1c}b\n"), "a b");
        assert_eq!(collapse(" \n "), "");
    }

    #[test]
    fn cleaning_decodes_html_twice_and_lower_cases_last() {
        assert_eq!(clean("  &lt;B&gt;CRÈME&amp;amp; "), "<b>crème&");
        assert_eq!(clean("ΌΔΟΣ"), "όδος"); // a sigma that ends a word
        assert_eq!(clean("ｃａｆÃ©"), "café");
    }

    #[test]
    fn nothing_but_start_and_end_is_left_of_an_empty_text() {
        let tokenizer = ClipTokenizer::new();
        for text in ["", " \n", "\0\u{1}\u{feff}"] {
            assert_eq!(tokenizer.encode(text, 77), Tokens { ids: vec![49406, 49407], is_truncated: false }, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_closed() {
        let tokenizer = ClipTokenizer::new();
        let of = |count: usize, context| tokenizer.encode(&"cat ".repeat(count), context); // `cat` is one token
        assert_eq!((of(75, 77).ids.len(), of(75, 77).is_truncated), (77, false));
        assert_eq!((of(76, 77).ids.len(), of(76, 77).is_truncated), (77, true));
        assert_eq!(of(76, 77).ids, of(75, 77).ids);
        assert_eq!(of(3, 3).ids, [49406, 2368, 49407]);
        assert_eq!(of(3, 1).ids, [49407]);
        assert_eq!(of(3, 0), Tokens { ids: vec![], is_truncated: true });
    }
}
