//! Number of heads of an attention.

use crate::error::{Code, Error, Result};

/// Heads as a configuration gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Number of heads.
    Count(usize),
    /// Width of one head; as many heads as fit the model.
    OfWidth(usize),
}

impl Heads {
    /// Number of heads for a model of this width; an error where they do not divide it.
    pub fn of(self, width: usize) -> Result<usize> {
        let (heads, head_width) = match self {
            Heads::Count(heads) => (heads, width.checked_div(heads).unwrap_or(0)),
            Heads::OfWidth(head_width) => (width.checked_div(head_width).unwrap_or(0), head_width),
        };
        if heads > 0 && heads * head_width == width {
            return Ok(heads);
        }
        let what = match self {
            Heads::Count(heads) => format!("{heads} heads"),
            Heads::OfWidth(head_width) => format!("heads of width {head_width}"),
        };
        Err(Error::new(Code::WeightsMismatch, format!("the configuration's {what} do not divide the width {width} of the tensors")))
    }
}
