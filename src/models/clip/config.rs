//! What the tensors of a CLIP checkpoint do not tell: heads, the activation, the statistics of its pixels.

use serde::Deserialize;

use crate::error::{Code, Error, Result};
use crate::image::Normalization;
use crate::kernels::Activation;
use crate::weights::Checkpoint;

/// The file of an open_clip snapshot.
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// The file of a transformers snapshot.
const TRANSFORMERS_CONFIG: &str = "config.json";

/// Width of a head where open_clip's configuration names none.
const OPEN_CLIP_HEAD_WIDTH: usize = 64;

/// Whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// open_clip's, which are OpenAI's: `visual.transformer.resblocks.0.ln_1.weight`.
    OpenClip,
    /// transformers': `vision_model.encoder.layers.0.layer_norm1.weight`.
    Transformers,
}

/// What a CLIP snapshot says beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// Whose names the tensors have.
    pub naming: Naming,
    /// Heads of the image tower.
    pub image_heads: usize,
    /// Heads of the text tower.
    pub text_heads: usize,
    /// Between the two maps of every MLP of the image tower. Not stored in the weights: the wrong one gives plausible, wrong features.
    pub image_activation: Activation,
    /// The same for the text tower.
    pub text_activation: Activation,
    /// Statistics of the pixels.
    pub normalization: Normalization,
}

#[derive(Deserialize)]
struct OpenClip {
    model_cfg: OpenClipModel,
    preprocess_cfg: Option<Statistics>,
}

#[derive(Deserialize)]
struct OpenClipModel {
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: OpenClipTower,
    text_cfg: OpenClipTower,
}

#[derive(Deserialize)]
struct OpenClipTower {
    width: Option<usize>,
    heads: Option<usize>,
    head_width: Option<usize>,
    timm_model_name: Option<String>,
    hf_model_name: Option<String>,
}

#[derive(Deserialize)]
struct Statistics {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

#[derive(Deserialize)]
struct Transformers {
    vision_config: TransformersTower,
    text_config: TransformersTower,
}

#[derive(Deserialize)]
struct TransformersTower {
    num_attention_heads: usize,
    #[serde(default = "quick_gelu")]
    hidden_act: String,
}

/// transformers' default for both towers.
fn quick_gelu() -> String {
    "quick_gelu".to_owned()
}

impl ClipConfig {
    /// Reads `open_clip_config.json`, or transformers' `config.json`, beside the weights.
    ///
    /// Errors when neither is there, or describes towers other than plain vision transformers.
    pub fn read(checkpoint: &Checkpoint) -> Result<ClipConfig> {
        if let Some(config) = checkpoint.json::<OpenClip>(OPEN_CLIP_CONFIG)? {
            return ClipConfig::from_open_clip(config);
        }
        match checkpoint.json::<Transformers>(TRANSFORMERS_CONFIG)? {
            Some(config) => ClipConfig::from_transformers(&config),
            None => {
                let message = format!("there is no `{OPEN_CLIP_CONFIG}` or `{TRANSFORMERS_CONFIG}` beside `{}`", checkpoint.name());
                Err(Error::new(Code::WeightsMissing, message)
                    .hint("fetch it from the repository of the weights: heads and activation are not stored in the tensors"))
            }
        }
    }

    fn from_open_clip(config: OpenClip) -> Result<ClipConfig> {
        let OpenClipModel { quick_gelu, vision_cfg, text_cfg } = config.model_cfg;
        let foreign = [&vision_cfg.timm_model_name, &text_cfg.hf_model_name].into_iter().flatten().next();
        if let Some(name) = foreign {
            return Err(unsupported(format!("`{OPEN_CLIP_CONFIG}` asks for the tower `{name}`")));
        }
        let heads = |tower: &OpenClipTower, by_head_width: bool| {
            let per_width = tower.width.map(|width| width / tower.head_width.unwrap_or(OPEN_CLIP_HEAD_WIDTH));
            let heads = if by_head_width { per_width } else { tower.heads.or(per_width) };
            heads
                .filter(|&heads| heads > 0)
                .ok_or_else(|| unsupported(format!("`{OPEN_CLIP_CONFIG}` gives a tower no width or no heads")))
        };
        let activation = if quick_gelu { Activation::QuickGelu } else { Activation::Gelu };
        let statistics = config.preprocess_cfg.unwrap_or(Statistics { mean: None, std: None });
        Ok(ClipConfig {
            naming: Naming::OpenClip,
            image_heads: heads(&vision_cfg, true)?,
            text_heads: heads(&text_cfg, false)?,
            image_activation: activation,
            text_activation: activation,
            normalization: Normalization {
                mean: statistics.mean.unwrap_or(Normalization::CLIP.mean),
                std: statistics.std.unwrap_or(Normalization::CLIP.std),
                ..Normalization::CLIP
            },
        })
    }

    fn from_transformers(config: &Transformers) -> Result<ClipConfig> {
        let activation = |tower: &TransformersTower| match tower.hidden_act.as_str() {
            "quick_gelu" => Ok(Activation::QuickGelu),
            "gelu" => Ok(Activation::Gelu),
            other => Err(unsupported(format!("`{TRANSFORMERS_CONFIG}` asks for the activation `{other}`"))),
        };
        Ok(ClipConfig {
            naming: Naming::Transformers,
            image_heads: config.vision_config.num_attention_heads,
            text_heads: config.text_config.num_attention_heads,
            image_activation: activation(&config.vision_config)?,
            text_activation: activation(&config.text_config)?,
            normalization: Normalization::CLIP,
        })
    }
}

fn unsupported(message: String) -> Error {
    Error::new(Code::WeightsMismatch, message)
        .hint("CLIP runs with plain vision transformers, such as ViT-B-16-plus-240 or OpenAI's ViT-L-14")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_clip(text: &str) -> Result<ClipConfig> {
        ClipConfig::from_open_clip(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_published_configuration_has_14_and_10_heads_and_exact_gelu() {
        let config = open_clip(
            r#"{"model_cfg": {"embed_dim": 640, "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16},
                "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12}}}"#,
        )
        .unwrap();
        assert_eq!((config.image_heads, config.text_heads), (14, 10));
        assert_eq!(config.image_activation, Activation::Gelu);
        assert_eq!(config.normalization, Normalization::CLIP);
    }

    #[test]
    fn openai_weights_say_quick_gelu_and_statistics_may_differ() {
        let config = open_clip(
            r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"width": 32, "head_width": 8}, "text_cfg": {"width": 16, "heads": 2}},
                "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}"#,
        )
        .unwrap();
        assert_eq!((config.image_heads, config.text_activation), (4, Activation::QuickGelu));
        assert_eq!(config.normalization.std, [0.25; 3]);
    }

    #[test]
    fn other_towers_are_refused_by_name() {
        let error = open_clip(r#"{"model_cfg": {"vision_cfg": {"timm_model_name": "convnext"}, "text_cfg": {"width": 16}}}"#).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::WeightsMismatch, "`open_clip_config.json` asks for the tower `convnext`"));
    }
}
