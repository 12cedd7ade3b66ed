//! Captions of GroundingDINO: phrases of which each is read by itself, and what the probabilities of their tokens mean.

use std::collections::HashSet;
use std::fmt;

use crate::error::{Code, Error, Result};
use crate::text::bert::{BertTokenizer, CONTINUATION, END, FULL_STOP, PADDING, QUESTION_MARK, START, UNKNOWN};

/// Tokens of the longest caption.
pub const MAX_CAPTION_TOKENS: usize = 256;

/// Characters that end a phrase in a user's list.
const SEPARATORS: &[char] = &['.', ',', ';', '\n', '\r'];

/// Tokens of a caption with what they attend to (`generate_masks_with_special_tokens_and_transfer_map` of the original code).
///
/// A phrase is what stands between two special tokens, `[CLS]`, `[SEP]`, `.` and `?`, with the one at its end; tokens attend to their own
/// phrase, positions count from 0 in each. The first and the last special token attend to themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubSentences {
    /// Ids of the tokens.
    pub ids: Vec<u32>,
    /// Position of each in its phrase.
    pub positions: Vec<u32>,
    /// The first token that each attends to, and the one after the last.
    pub ranges: Vec<[u32; 2]>,
}

impl SubSentences {
    /// Those of these tokens.
    pub fn of(ids: &[u32]) -> SubSentences {
        let last = ids.len().saturating_sub(1);
        let mut positions = vec![0; ids.len()];
        let mut ranges: Vec<[u32; 2]> = (0..ids.len() as u32).map(|at| [at, at + 1]).collect();
        let mut start = 0;
        for (at, _) in ids.iter().enumerate().filter(|(_, id)| [START, END, FULL_STOP, QUESTION_MARK].contains(id)) {
            if at != 0 && at != last {
                for member in start..=at {
                    positions[member] = (member - start) as u32;
                    ranges[member] = [start as u32, at as u32 + 1];
                }
            }
            start = at + 1;
        }
        SubSentences { ids: ids.to_vec(), positions, ranges }
    }
}

/// A caption as GroundingDINO reads it.
#[derive(Clone, Debug)]
pub struct Caption {
    text: String,
    tokens: SubSentences,
    phrases: Vec<String>,
    /// The phrase of each token; `None` for special ones.
    phrase_of: Vec<Option<usize>>,
    warnings: Vec<CaptionWarning>,
}

/// What was not done as asked, and with which phrases. `Display` names the first few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionWarning {
    /// What was not done.
    pub kind: CaptionWarningKind,
    /// The phrases, in their order.
    pub phrases: Vec<String>,
}

/// Kind of a [`CaptionWarning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptionWarningKind {
    /// Phrases that are in the list already.
    Repeated,
    /// Phrases that do not fit into the longest caption.
    LeftOut,
    /// A phrase of which the end does not fit into the longest caption.
    Cut,
    /// Phrases of which no word is known.
    Unknown,
    /// Phrases of which no token is left, such as control characters.
    Blank,
}

/// Most phrases that a warning names.
const MAX_NAMED: usize = 5;

impl fmt::Display for CaptionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            CaptionWarningKind::Repeated => write!(f, "phrases given more than once are read once: ")?,
            CaptionWarningKind::LeftOut => write!(f, "phrases left out, as a caption has at most {MAX_CAPTION_TOKENS} tokens: ")?,
            CaptionWarningKind::Cut => {
                write!(f, "the end of a phrase is left out, as a caption has at most {MAX_CAPTION_TOKENS} tokens: ")?
            }
            CaptionWarningKind::Unknown => write!(f, "phrases without a word of the vocabulary, which is English, are read as unknown: ")?,
            CaptionWarningKind::Blank => write!(f, "phrases that hold nothing to read are left out: ")?,
        }
        let shown = |phrase: &String| match self.kind {
            CaptionWarningKind::Blank => format!("`{}`", phrase.escape_debug()),
            _ => format!("`{phrase}`"),
        };
        let named: Vec<String> = self.phrases.iter().take(MAX_NAMED).map(shown).collect();
        write!(f, "{}", named.join(", "))?;
        let further = self.phrases.len() - named.len();
        if further > 0 { write!(f, " and {further} more") } else { Ok(()) }
    }
}

/// Warnings about a caption, one of each kind.
#[derive(Default)]
struct Warnings(Vec<CaptionWarning>);

impl Warnings {
    fn add(&mut self, kind: CaptionWarningKind, phrase: &str) {
        match self.0.iter_mut().find(|known| known.kind == kind) {
            Some(known) => known.phrases.push(phrase.to_owned()),
            None => self.0.push(CaptionWarning { kind, phrases: vec![phrase.to_owned()] }),
        }
    }
}

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The phrase to which most of the probability of its tokens belongs; `None` where none has any.
    pub phrase: Option<usize>,
    /// The words whose tokens are more probable than a threshold.
    pub tokens: String,
}

/// A phrase of a caption, which may be empty, with the separator at its end.
struct Piece {
    /// The phrase as the user spells it, with single spaces.
    phrase: String,
    /// What is read: the phrase in lower case, and the separator.
    text: String,
    /// Tokens of the phrase.
    ids: Vec<u32>,
    separator: u32,
}

impl Caption {
    /// A caption as the released code reads it: lower-cased, without spaces around, with a full stop at its end.
    ///
    /// Only one that is too long is read otherwise: it loses whole phrases, and keeps the `[SEP]` that the released code cuts off.
    ///
    /// Errors: nothing to read.
    pub fn verbatim(text: &str) -> Result<Caption> {
        const ENDS: [char; 2] = ['.', '?'];
        let mut text = stripped(text).to_owned();
        if !text.ends_with('.') {
            text.push('.');
        }
        // As a whole, since the form of a letter may depend on those around it.
        let lower = text.to_lowercase();
        let pieces = text.split_inclusive(ENDS).zip(lower.split_inclusive(ENDS));
        let pieces = pieces.map(|(spelt, text)| Piece::new(&spelt[..spelt.len() - 1], text.to_owned()));
        Caption::new(pieces, "", Warnings::default())
    }

    /// A caption of phrases, each of which may itself be a list with full stops, commas, semicolons or line ends between phrases.
    ///
    /// A phrase that reads the same as one before it is left out. A question mark ends what the network reads as one, but not a phrase.
    ///
    /// Errors: nothing to read.
    pub fn of_phrases<S: AsRef<str>>(lists: &[S]) -> Result<Caption> {
        let (mut pieces, mut warnings) = (Vec::new(), Warnings::default());
        let (mut known, mut repeated) = (HashSet::new(), HashSet::new());
        for phrase in lists.iter().flat_map(|list| list.as_ref().split(SEPARATORS)) {
            let phrase = single_spaced(phrase);
            let piece = Piece::new(&phrase, phrase.to_lowercase() + ".");
            if piece.phrase.is_empty() {
                continue;
            }
            if piece.words().next().is_none() {
                warnings.add(CaptionWarningKind::Blank, &piece.phrase);
            } else if known.insert(piece.reading()) {
                pieces.push(piece);
            } else if repeated.insert(piece.phrase.clone()) {
                warnings.add(CaptionWarningKind::Repeated, &piece.phrase);
            }
        }
        Caption::new(pieces, " ", warnings)
    }

    fn new(pieces: impl IntoIterator<Item = Piece>, gap: &str, mut warnings: Warnings) -> Result<Caption> {
        let mut ids = vec![START];
        let (mut phrases, mut phrase_of, mut text) = (Vec::new(), vec![None], String::new());
        let mut is_full = false;
        for mut piece in pieces {
            let is_blank = piece.words().next().is_none();
            if is_blank && !piece.phrase.is_empty() {
                warnings.add(CaptionWarningKind::Blank, &piece.phrase);
            }
            // Beside the separator and the end.
            let room = (MAX_CAPTION_TOKENS - 2).saturating_sub(ids.len());
            let is_long = ids.len() + piece.ids.len() + 2 > MAX_CAPTION_TOKENS;
            is_full |= is_long && (room == 0 || !phrases.is_empty());
            if is_full {
                if !is_blank {
                    warnings.add(CaptionWarningKind::LeftOut, &piece.phrase);
                }
                continue;
            }
            if is_long {
                piece.ids.truncate(room);
                warnings.add(CaptionWarningKind::Cut, &piece.phrase);
            }
            if !text.is_empty() {
                text.push_str(gap);
            }
            text.push_str(&piece.text);
            phrase_of.extend(piece.ids.iter().map(|id| is_word(id).then_some(phrases.len())));
            phrase_of.push(None);
            ids.extend(&piece.ids);
            ids.push(piece.separator);
            if !is_blank {
                if piece.words().all(|&id| id == UNKNOWN) {
                    warnings.add(CaptionWarningKind::Unknown, &piece.phrase);
                }
                phrases.push(piece.phrase);
            }
        }
        if phrases.is_empty() {
            let error = Error::new(Code::Prompt, "the caption holds nothing to look for");
            return Err(error.hint("give phrases, such as `crack. hole. broken part.`"));
        }
        ids.push(END);
        phrase_of.push(None);
        Ok(Caption { text, tokens: SubSentences::of(&ids), phrases, phrase_of, warnings: warnings.0 })
    }

    /// The text that is read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its tokens.
    pub fn tokens(&self) -> &SubSentences {
        &self.tokens
    }

    /// Its phrases, as the user spells them but for spaces.
    pub fn phrases(&self) -> &[String] {
        &self.phrases
    }

    /// The phrase of a token; `None` for special ones.
    pub fn phrase_of_token(&self, at: usize) -> Option<usize> {
        self.phrase_of.get(at).copied().flatten()
    }

    /// What was not done as asked, one warning of each kind.
    pub fn warnings(&self) -> &[CaptionWarning] {
        &self.warnings
    }

    /// What a query with these probabilities of the caption's tokens found.
    pub fn label(&self, probabilities: &[f32], text_threshold: f32) -> Label {
        let mut mass = vec![0.0; self.phrases.len()];
        for (phrase, probability) in self.phrase_of.iter().zip(probabilities) {
            if let Some(phrase) = phrase {
                mass[*phrase] += probability;
            }
        }
        // Of equal phrases the first is named.
        let phrase = (0..mass.len())
            .rev()
            .max_by(|&a, &b| mass[a].total_cmp(&mass[b]))
            .filter(|&phrase| mass[phrase] > 0.0);
        let bert = BertTokenizer::get();
        let is_likely = |at: usize| probabilities.get(at).is_some_and(|probability| *probability > text_threshold);
        let words = self
            .tokens
            .ids
            .iter()
            .enumerate()
            .filter(|(at, id)| is_likely(*at) && ![PADDING, START, END, FULL_STOP].contains(id));
        let piece = |(at, id): (usize, &u32)| {
            let piece = bert.piece(*id);
            // Without its beginning, the rest of a word stands alone.
            let goes_on = at > 0 && is_likely(at - 1);
            piece.strip_prefix(CONTINUATION).filter(|_| !goes_on).unwrap_or(piece).to_owned()
        };
        Label { phrase, tokens: bert.join(&words.map(piece).collect::<Vec<String>>()) }
    }

    /// The phrase that the released code of SAA+ makes of a query: the text of all tokens above the threshold, special ones too.
    pub fn released_phrase(&self, probabilities: &[f32], text_threshold: f32) -> String {
        BertTokenizer::get().decode(self.likely(probabilities, text_threshold))
    }

    /// The ids of the tokens above a threshold.
    fn likely(&self, probabilities: &[f32], threshold: f32) -> impl Iterator<Item = u32> {
        self.tokens
            .ids
            .iter()
            .zip(probabilities)
            .filter(move |(_, probability)| **probability > threshold)
            .map(|(id, _)| *id)
    }
}

impl Piece {
    /// Of a phrase, and of what is read of it with the separator at its end.
    fn new(phrase: &str, text: String) -> Piece {
        let separator = if text.ends_with('?') { QUESTION_MARK } else { FULL_STOP };
        let ids = BertTokenizer::get().pieces(&text[..text.len() - 1]);
        Piece { phrase: single_spaced(phrase), text, ids, separator }
    }

    /// Its tokens without separators.
    fn words(&self) -> impl Iterator<Item = &u32> {
        self.ids.iter().filter(|id| is_word(id))
    }

    /// What tells it from others: its tokens, and where some are unknown its text too.
    fn reading(&self) -> (Vec<u32>, String) {
        let text = if self.ids.contains(&UNKNOWN) { self.text.clone() } else { String::new() };
        (self.ids.clone(), text)
    }
}

/// False for tokens that separate phrases.
fn is_word(id: &u32) -> bool {
    ![FULL_STOP, QUESTION_MARK].contains(id)
}

/// One space between words, none around them.
fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without what Python counts as space at both ends: it counts the separators of files, groups, records and units too.
fn stripped(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbatim(text: &str) -> Caption {
        Caption::verbatim(text).unwrap()
    }

    fn warning(kind: CaptionWarningKind, phrases: &[&str]) -> CaptionWarning {
        CaptionWarning { kind, phrases: phrases.iter().map(|phrase| (*phrase).to_owned()).collect() }
    }

    fn phrases(caption: &Caption) -> Vec<i32> {
        (0..caption.tokens.ids.len())
            .map(|at| caption.phrase_of_token(at).map_or(-1, |phrase| phrase as i32))
            .collect()
    }

    #[test]
    fn phrases_are_read_one_by_one() {
        let caption = verbatim(" Crack. hole. broken part");
        assert_eq!(caption.text(), "crack. hole. broken part.");
        assert_eq!(caption.tokens.ids, [101, 8579, 1012, 4920, 1012, 3714, 2112, 1012, 102]);
        assert_eq!(caption.tokens.positions, [0, 0, 1, 0, 1, 0, 1, 2, 0]);
        assert_eq!(phrases(&caption), [-1, 0, -1, 1, -1, 2, 2, -1, -1]);
        let block = [[0, 1], [1, 3], [1, 3], [3, 5], [3, 5], [5, 8], [5, 8], [5, 8], [8, 9]];
        assert_eq!(caption.tokens.ranges, block);
        assert_eq!(caption.tokens, SubSentences::of(&BertTokenizer::get().encode(caption.text())));
        assert_eq!(verbatim("a cat? a dog.").tokens.positions, [0, 0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn without_a_full_stop_words_stand_alone() {
        let tokens = SubSentences::of(&BertTokenizer::get().encode("defect on the candle"));
        assert_eq!(tokens.ids, [101, 21262, 2006, 1996, 13541, 102]);
        assert_eq!(tokens.positions, [0; 6]);
        assert!(tokens.ranges.iter().zip(0..).all(|(range, at)| *range == [at, at + 1]));
    }

    #[test]
    fn a_list_may_have_any_separator_and_names_each_phrase_once() {
        let caption = Caption::of_phrases(&["Crack,hole ;  broken\tpart", "crack", ".", "hole.\u{1}\n"]).unwrap();
        assert_eq!(caption.phrases(), ["Crack", "hole", "broken part"]);
        assert_eq!(caption.text(), "crack. hole. broken part.");
        let [repeated, blank] = caption.warnings() else { panic!("{:?}", caption.warnings()) };
        assert_eq!(repeated, &warning(CaptionWarningKind::Repeated, &["crack", "hole"]));
        assert_eq!(blank, &warning(CaptionWarningKind::Blank, &["\u{1}"]));
        assert_eq!(caption.tokens, verbatim(caption.text()).tokens);
        let question = Caption::of_phrases(&["a cat? a dog", "a bird"]).unwrap();
        assert_eq!(phrases(&question), [-1, 0, 0, -1, 0, 0, -1, 1, 1, -1, -1]);
    }

    #[test]
    fn nothing_to_read_is_refused_and_other_scripts_are_said() {
        for nothing in ["", " . ", "\u{1}\u{2}", "..,;"] {
            assert_eq!(Caption::of_phrases(&[nothing]).unwrap_err().code(), Code::Prompt, "{nothing:?}");
            assert!(nothing.contains(',') || Caption::verbatim(nothing).is_err(), "{nothing:?}");
        }
        let caption = Caption::of_phrases(&["\u{1f4a5}", "трещина"]).unwrap();
        assert_eq!(caption.warnings(), [warning(CaptionWarningKind::Unknown, &["\u{1f4a5}"])]);
    }

    #[test]
    fn long_captions_are_cut_at_a_phrase() {
        let many: Vec<String> = (0..200).map(|at| format!("hole {at}")).collect();
        let caption = Caption::of_phrases(&many).unwrap();
        assert!(caption.tokens.ids.len() <= MAX_CAPTION_TOKENS && caption.tokens.ids.len() > MAX_CAPTION_TOKENS - 5);
        let [CaptionWarning { kind: CaptionWarningKind::LeftOut, phrases: left_out }] = caption.warnings() else {
            panic!("{:?}", caption.warnings());
        };
        assert_eq!(caption.phrases().len() + left_out.len(), 200);
        assert_eq!(left_out.last().unwrap(), "hole 199");
        assert_eq!(caption.tokens.ids.len(), caption.phrase_of.len());
        let one = Caption::of_phrases(&[vec!["hole"; 400].join(" "), "crack".to_owned()]).unwrap();
        assert_eq!((one.tokens.ids.len(), one.phrases().len(), one.warnings().len()), (MAX_CAPTION_TOKENS, 1, 2));
        assert_eq!(one.tokens.ids[MAX_CAPTION_TOKENS - 2..], [FULL_STOP, END]);
    }

    #[test]
    fn a_caption_of_separators_is_no_longer_than_the_longest() {
        for text in ["a".to_owned() + &".".repeat(400), "a ?".repeat(300), ". ".repeat(260) + "a. b"] {
            let Ok(caption) = Caption::verbatim(&text) else { continue };
            assert!(caption.tokens.ids.len() <= MAX_CAPTION_TOKENS, "{} tokens", caption.tokens.ids.len());
            assert_eq!(caption.tokens.ids.len(), caption.phrase_of.len());
            assert!(!caption.phrases().is_empty(), "{text:?}");
        }
        assert_eq!(Caption::verbatim(&(".".repeat(300) + "a")).unwrap_err().code(), Code::Prompt);
    }

    #[test]
    fn question_marks_alone_are_nothing_to_read() {
        assert_eq!(Caption::of_phrases(&["?", " ?? "]).unwrap_err().code(), Code::Prompt);
        let caption = Caption::of_phrases(&["hole", "?"]).unwrap();
        assert_eq!((caption.text(), caption.warnings()), ("hole.", &[warning(CaptionWarningKind::Blank, &["?"])][..]));
        let unknown = Caption::of_phrases(&["\u{1f4a5}?"]).unwrap();
        assert_eq!(unknown.warnings(), [warning(CaptionWarningKind::Unknown, &["\u{1f4a5}?"])]);
    }

    #[test]
    fn a_phrase_that_reads_the_same_is_a_repeat() {
        let caption = Caption::of_phrases(&["hole", "h\u{f6}le", "HOLE\u{1}", "\u{1f4a5}", "\u{1f525}", "\u{1f4a5}"]).unwrap();
        assert_eq!(caption.phrases(), ["hole", "\u{1f4a5}", "\u{1f525}"]);
        assert_eq!(caption.warnings()[0], warning(CaptionWarningKind::Repeated, &["h\u{f6}le", "HOLE\u{1}", "\u{1f4a5}"]));
    }

    #[test]
    fn many_repeats_are_one_line_that_names_each_once() {
        let line = |list: &str| Caption::of_phrases(&[list]).unwrap().warnings()[0].to_string();
        assert_eq!(line("a, b, b, b"), "phrases given more than once are read once: `b`");
        let all = "a, b, c, d, e, f, g, ".repeat(2);
        assert_eq!(line(&all), "phrases given more than once are read once: `a`, `b`, `c`, `d`, `e` and 2 more");
    }

    #[test]
    fn phrases_are_lower_cased_as_a_whole() {
        // A sigma that ends a word has a form of its own.
        let caption = Caption::of_phrases(&["ΟΔΟΣ", "ΣΗΜΑ"]).unwrap();
        assert_eq!(caption.text(), "οδος. σημα.");
        assert_eq!(caption.tokens, verbatim(caption.text()).tokens);
    }

    #[test]
    fn a_verbatim_caption_keeps_its_text_and_the_spelling_of_its_phrases() {
        let caption = verbatim(" A Cat? remote \t Control ..\u{1}. x ");
        assert_eq!(caption.text(), "a cat? remote \t control ..\u{1}. x.");
        assert_eq!(caption.phrases(), ["A Cat", "remote Control", "x"]);
        assert_eq!(caption.warnings(), [warning(CaptionWarningKind::Blank, &["\u{1}"])]);
        assert_eq!(caption.tokens, SubSentences::of(&BertTokenizer::get().encode(caption.text())));
    }

    #[test]
    fn a_query_is_named_by_the_phrase_with_most_of_its_probability() {
        // [CLS] crack . hazel ##nut shell . [SEP]
        let caption = Caption::of_phrases(&["crack", "hazelnut shell"]).unwrap();
        assert_eq!(caption.tokens.ids.len(), 8);
        let probabilities = [0.9, 0.4, 0.0, 0.1, 0.3, 0.2, 0.9, 0.9];
        let label = caption.label(&probabilities, 0.25);
        assert_eq!(label, Label { phrase: Some(1), tokens: "crack nut".to_owned() });
        assert_eq!(caption.label(&probabilities, 0.15).tokens, "crack nut shell");
        assert_eq!(caption.label(&[0.0, 0.0, 0.0, 0.1, 0.3, 0.2], 0.25).tokens, "nut");
        assert_eq!(caption.label(&[0.0; 8], 0.25), Label { phrase: None, tokens: String::new() });
        assert_eq!(caption.released_phrase(&probabilities, 0.25), "[CLS] cracknut. [SEP]");
    }
}
