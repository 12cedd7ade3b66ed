//! BERT's tokenizer (WordPiece): cleaned text is split at spaces and punctuation, and each word into the longest known pieces (Devlin et al.
//! 2019).

use std::sync::LazyLock;

use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::{Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// The word pieces by id; see `bert_vocabulary.md`.
const VOCABULARY: &str = include_str!("bert_vocabulary.txt");

/// Marks a piece that goes on a word.
pub(super) const CONTINUATION: &str = "##";

/// Longest word that is split, in characters; longer ones are unknown.
const LONGEST_WORD: usize = 100;

/// What is written without the space between pieces (`clean_up_tokenization` of transformers).
const JOINED: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Ids with a meaning of their own.
pub(super) const PADDING: u32 = 0;
pub(super) const UNKNOWN: u32 = 100;
pub(super) const START: u32 = 101;
pub(super) const END: u32 = 102;
pub(super) const FULL_STOP: u32 = 1012;
pub(super) const QUESTION_MARK: u32 = 1029;

/// Turns text into the ids of BERT's uncased vocabulary, as `bert-base-uncased` does.
pub struct BertTokenizer {
    normalizer: BertNormalizer,
    model: WordPiece,
}

impl BertTokenizer {
    /// Number of ids.
    pub const VOCABULARY: usize = 30_522;

    /// The tokenizer; built once.
    pub fn get() -> &'static BertTokenizer {
        static TOKENIZER: LazyLock<BertTokenizer> = LazyLock::new(BertTokenizer::new);
        &TOKENIZER
    }

    fn new() -> BertTokenizer {
        let pieces = VOCABULARY.lines().map(str::to_owned).zip(0..);
        let model = WordPiece::builder()
            .vocab(pieces.collect::<Vocab>())
            .unk_token("[UNK]".to_owned())
            .continuing_subword_prefix(CONTINUATION.to_owned())
            .max_input_chars_per_word(LONGEST_WORD)
            .build()
            .expect("without files a model is built");
        BertTokenizer { normalizer: BertNormalizer::new(true, true, None, true), model }
    }

    /// The ids of a text between those of `[CLS]` and `[SEP]`.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        std::iter::once(START).chain(self.pieces(text)).chain([END]).collect()
    }

    /// The ids of a text alone.
    pub(super) fn pieces(&self, text: &str) -> Vec<u32> {
        let mut normalized = NormalizedString::from(text);
        self.normalizer.normalize(&mut normalized).expect("any text can be cleaned");
        let mut words = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut words).expect("any text can be split");
        let words = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        let of_word = |word: &str| self.model.tokenize(word).expect("the vocabulary has the unknown token");
        words.into_iter().flat_map(|(word, ..)| of_word(word)).map(|token| token.id).collect()
    }

    /// The piece of an id.
    pub fn piece(&self, id: u32) -> &'static str {
        static PIECES: LazyLock<Vec<&str>> = LazyLock::new(|| VOCABULARY.lines().collect());
        PIECES.get(id as usize).copied().unwrap_or("[UNK]")
    }

    /// The text of ids: pieces joined to words, words by spaces, none before punctuation; as `transformers` decodes them.
    pub fn decode(&self, ids: impl IntoIterator<Item = u32>) -> String {
        self.join(&ids.into_iter().map(|id| self.piece(id).to_owned()).collect::<Vec<String>>())
    }

    /// The text of pieces.
    pub(super) fn join(&self, pieces: &[String]) -> String {
        let text = pieces.join(" ").replace(&format!(" {CONTINUATION}"), "");
        JOINED.iter().fold(text, |text, (apart, joined)| text.replace(apart, joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::sha256;

    #[test]
    fn the_vocabulary_is_the_published_one() {
        assert_eq!(sha256(VOCABULARY.as_bytes()), "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3");
        assert_eq!(VOCABULARY.lines().count(), BertTokenizer::VOCABULARY);
        let bert = BertTokenizer::get();
        assert_eq!(
            [PADDING, UNKNOWN, START, END, FULL_STOP, QUESTION_MARK].map(|id| bert.piece(id)),
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?"]
        );
    }

    #[test]
    fn words_are_split_into_pieces_and_joined_again() {
        let bert = BertTokenizer::get();
        assert_eq!(bert.encode("metal nut."), [101, 3384, 17490, 1012, 102]);
        assert_eq!(bert.decode(bert.encode("A HAZELNUT, isn't it?")), "[CLS] a hazelnut, isn't it? [SEP]");
        assert_eq!(bert.pieces(&"x".repeat(101)), [UNKNOWN]);
    }
}
