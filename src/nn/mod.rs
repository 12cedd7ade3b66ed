//! Layers: weights and the line of arithmetic that uses them. Fields are named as in the checkpoints.

mod conv;

pub use conv::{Conv, ConvConfig};
