//! Tokenization: from the text of a prompt to the token ids that a text network reads.

mod clip;
mod code_page;
mod fix;
mod html;
mod mojibake;

pub use clip::{ClipTokenizer, Tokens};
