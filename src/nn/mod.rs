//! Layers: weights and the line of arithmetic that uses them. Fields are named as in the checkpoints.

mod attention;
mod conv;
mod layer_norm;
mod linear;

pub use attention::SelfAttention;
pub use conv::{Conv, ConvConfig};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
