//! CLIP (Radford et al. 2021) as open_clip and transformers publish it: one space for photos and texts.

mod config;
mod image;
mod text;
mod transformer;

use crate::error::{Code, Error, Result};
use crate::weights::{Checkpoint, Scope};

pub use config::{ClipConfig, Heads, Naming};
pub use image::{Embedded, ImageTower};
pub use text::{TextTower, until_end};
pub(crate) use transformer::separate_projections;
pub use transformer::{Block, Transformer};

/// Both towers, and what their snapshot says about them.
pub struct Clip {
    /// Photos.
    pub image: ImageTower,
    /// Texts.
    pub text: TextTower,
    /// Beside the tensors.
    pub config: ClipConfig,
}

impl Clip {
    /// Reads both towers from a snapshot with `open_clip_config.json`, or transformers' `config.json`.
    ///
    /// Errors list the first tensors that are missing or ill-shaped.
    pub fn load(checkpoint: &Checkpoint) -> Result<Clip> {
        Clip::load_below(&checkpoint.root(), ClipConfig::read(checkpoint)?)
    }

    /// Reads both towers below a path of a larger network.
    pub fn load_below(weights: &Scope, config: ClipConfig) -> Result<Clip> {
        weights.load(|weights| {
            weights.ignore("logit_scale");
            // The numbers 0, 1, 2, …, which older transformers stored.
            weights.ignore("vision_model.embeddings.position_ids");
            weights.ignore("text_model.embeddings.position_ids");
            let (image, text) = (ImageTower::load(weights, &config)?, TextTower::load(weights, &config)?);
            if image.embed() != text.embed() {
                let message = format!("photos embed into {} numbers, texts into {}", image.embed(), text.embed());
                return Err(Error::new(Code::WeightsMismatch, message));
            }
            Ok(Clip { image, text, config })
        })
    }
}
