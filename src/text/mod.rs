//! Tokenization: from the text of a prompt to the token ids that a text network reads.

mod bert;
mod caption;
mod clip;
mod code_page;
mod fix;
mod html;
mod mojibake;

pub use bert::BertTokenizer;
pub use caption::{Caption, CaptionWarning, CaptionWarningKind, Label, MAX_CAPTION_TOKENS, SubSentences};
pub use clip::{ClipTokenizer, Tokens};
