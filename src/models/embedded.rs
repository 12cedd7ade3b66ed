//! The network inside the binary, so that a first answer needs no download. See `weights/textures.md`.

use crate::error::Result;
use crate::weights::Checkpoint;

/// Name under which messages and records speak of the embedded weights.
pub const NAME: &str = "textures (embedded)";

/// The safetensors file itself, for its hash.
pub static TEXTURES: &[u8] = include_bytes!("../../weights/textures.safetensors");

/// A small WideResNet trained on generated textures.
pub fn textures() -> Result<Checkpoint> {
    Checkpoint::from_static(NAME, TEXTURES)
}
