//! Layers that networks share: weights and the arithmetic that uses them. Fields are named as in the checkpoints.

mod attention;
mod conv;
mod conv_transpose;
mod group_norm;
mod heads;
mod layer_norm;
mod linear;
mod mlp;
mod patch_embed;
mod position;

pub use attention::{Attention, Q_K_V_PROJ, QUERY_KEY_VALUE, SelfAttention, joint_projection};
pub use conv::{Conv, ConvConfig, PIXEL_CHANNELS};
pub use conv_transpose::ConvTranspose;
pub use group_norm::GroupNorm;
pub use heads::Heads;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::{Mlp, PredictionHead};
pub use patch_embed::PatchEmbed;
pub use position::{relative_positions, resize_positions};
