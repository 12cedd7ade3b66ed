//! The network embedded in the binary, for use without a download. See `weights/textures.md`.

use crate::error::Result;
use crate::weights::Checkpoint;

/// Name of the embedded weights in messages and records.
pub const NAME: &str = "textures (embedded)";

/// The safetensors file itself, for its hash.
pub static TEXTURES: &[u8] = include_bytes!("../../weights/textures.safetensors");

/// A small WideResNet trained on generated textures.
pub fn textures() -> Result<Checkpoint> {
    Checkpoint::from_static(NAME, TEXTURES)
}
