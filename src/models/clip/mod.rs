//! CLIP (Radford et al. 2021) as open_clip and transformers publish it: one space for photos and texts.

mod config;
mod image;
mod raw;
mod text;
mod transformer;
mod windows;

use crate::error::{Code, Error, Result};
use crate::models::catalog::{Layout, NetworkInfo, Published};
use crate::weights::{Checkpoint, Scope};

pub use config::{ClipConfig, Heads, Naming};
pub use image::{Embedded, ImageTower};
pub use text::{TextTower, until_end};
pub(crate) use transformer::separate_projections;
pub use transformer::{Block, Transformer};
pub use windows::{SIDES, windows};

/// Its entry in the table of networks.
pub static NETWORK: NetworkInfo = NetworkInfo {
    name: "clip",
    layouts: &[
        Layout { signature: &["visual.conv1.weight"], configuration: Some(config::OPEN_CLIP_CONFIG) },
        Layout {
            signature: &["vision_model.embeddings.class_embedding"],
            configuration: Some(config::TRANSFORMERS_CONFIG),
        },
    ],
    published: Some(Published {
        repository: "timm/vit_base_patch16_plus_clip_240.laion400m_e31",
        files: &["open_clip_model.safetensors", config::OPEN_CLIP_CONFIG],
    }),
    raw: &[raw::CLIP_IMAGE, raw::CLIP_WINDOWS, raw::CLIP_TEXT],
};

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
