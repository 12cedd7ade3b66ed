//! Layers that networks share: weights and the arithmetic that uses them. Fields are named as in the checkpoints.

mod attention;
mod conv;
mod conv_transpose;
mod layer_norm;
mod linear;
mod position;

pub use attention::SelfAttention;
pub use conv::{Conv, ConvConfig, PIXEL_CHANNELS};
pub use conv_transpose::ConvTranspose;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use position::{relative_positions, resize_positions};
