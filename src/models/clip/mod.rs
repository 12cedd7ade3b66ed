//! CLIP (Radford et al. 2021) as open_clip and transformers publish it: an image and a text tower that embed into one space.

mod config;
mod image;
mod raw;
mod text;
mod transformer;
mod windows;

use crate::error::{Code, Error, Result};
use crate::models::catalog::{Layout, NetworkInfo, Published};
use crate::text::ClipTokenizer;
use crate::weights::{Checkpoint, Scope};

pub use config::{ClipConfig, Naming, TowerConfig};
pub use image::{Embedded, ImageTower};
pub use text::{TextTower, until_end};
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

/// CLIP: both towers and their configuration.
pub struct Clip {
    /// Image tower.
    pub image: ImageTower,
    /// Text tower.
    pub text: TextTower,
    /// Configuration, from the file beside the tensors.
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
            // Both are tried before either is refused, so that misfits of both are listed.
            let (image, text) = (ImageTower::load(weights, &config), TextTower::load(weights, &config));
            let (image, text) = (image?, text?);
            if image.embed() != text.embed() {
                let message = format!("image embeddings have {} elements, text embeddings {}", image.embed(), text.embed());
                return Err(Error::new(Code::WeightsMismatch, message));
            }
            Ok(Clip { image, text, config })
        })
    }

    /// The tokenizer of its texts, which is CLIP's own.
    ///
    /// Errors with [`Code::WeightsMismatch`] where the network was made for another: a configuration that names one, or a vocabulary of
    /// another size. Ids that were made elsewhere run all the same.
    pub fn tokenizer(&self) -> Result<ClipTokenizer> {
        let refused = |message: String| {
            let error = Error::new(Code::WeightsMismatch, message);
            Err(error.hint("only CLIP's own tokenizer is built in; the text tower alone takes token ids that were made elsewhere"))
        };
        if let Some(tokenizer) = &self.config.foreign_tokenizer {
            return refused(format!("these weights need another tokenizer: {tokenizer}"));
        }
        let (found, own) = (self.text.vocabulary(), ClipTokenizer::VOCABULARY);
        if found != own {
            return refused(format!("these weights have a vocabulary of {found}, CLIP's tokenizer one of {own}"));
        }
        Ok(ClipTokenizer::new())
    }
}
