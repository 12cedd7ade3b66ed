//! What the tensors of a CLIP checkpoint do not tell: heads, the activation, the statistics of its pixels.

use serde::Deserialize;

use crate::error::{Code, Error, Result};
use crate::image::Normalization;
use crate::kernels::Activation;
use crate::weights::Checkpoint;

/// The file of an open_clip snapshot.
pub(super) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// The file of a transformers snapshot.
pub(super) const TRANSFORMERS_CONFIG: &str = "config.json";

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

/// Heads as a configuration gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// So many.
    Count(usize),
    /// As many as have this width.
    OfWidth(usize),
}

impl Heads {
    /// How many share a width; refused where they do not divide it.
    pub fn of(self, width: usize) -> Result<usize> {
        let (heads, head_width) = match self {
            Heads::Count(heads) => (heads, width.checked_div(heads).unwrap_or(0)),
            Heads::OfWidth(head_width) => (width.checked_div(head_width).unwrap_or(0), head_width),
        };
        if heads > 0 && heads * head_width == width {
            return Ok(heads);
        }
        let what = match self {
            Heads::Count(heads) => format!("{heads} heads"),
            Heads::OfWidth(head_width) => format!("heads of width {head_width}"),
        };
        Err(Error::new(Code::WeightsMismatch, format!("the configuration's {what} do not share the {width} columns of the tensors")))
    }
}

/// What a CLIP snapshot says beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// Whose names the tensors have.
    pub naming: Naming,
    /// Heads of the image tower.
    pub image_heads: Heads,
    /// Heads of the text tower.
    pub text_heads: Heads,
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
        let per_width = |tower: &OpenClipTower| Heads::OfWidth(tower.head_width.unwrap_or(OPEN_CLIP_HEAD_WIDTH));
        let activation = if quick_gelu { Activation::QuickGelu } else { Activation::Gelu };
        let statistics = config.preprocess_cfg.unwrap_or(Statistics { mean: None, std: None });
        Ok(ClipConfig {
            naming: Naming::OpenClip,
            image_heads: per_width(&vision_cfg),
            text_heads: text_cfg.heads.map_or_else(|| per_width(&text_cfg), Heads::Count),
            image_activation: activation,
            text_activation: activation,
            normalization: normalization(&statistics)?,
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
            image_heads: Heads::Count(config.vision_config.num_attention_heads),
            text_heads: Heads::Count(config.text_config.num_attention_heads),
            image_activation: activation(&config.vision_config)?,
            text_activation: activation(&config.text_config)?,
            normalization: Normalization::CLIP,
        })
    }
}

/// CLIP's statistics, or those of the configuration.
fn normalization(statistics: &Statistics) -> Result<Normalization> {
    let mean = statistics.mean.unwrap_or(Normalization::CLIP.mean);
    let std = statistics.std.unwrap_or(Normalization::CLIP.std);
    if mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|&std| std.is_finite() && std > 0.0) {
        return Ok(Normalization { mean, std, ..Normalization::CLIP });
    }
    let message = format!("`{OPEN_CLIP_CONFIG}` gives pixels the mean {mean:?} and the deviation {std:?}");
    Err(Error::new(Code::WeightsMismatch, message).hint("each is finite, and deviations are above 0"))
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
        assert_eq!((config.image_heads.of(896).unwrap(), config.text_heads.of(640).unwrap()), (14, 10));
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
        assert_eq!((config.image_heads.of(32).unwrap(), config.text_activation), (4, Activation::QuickGelu));
        assert_eq!(config.normalization.std, [0.25; 3]);
    }

    #[test]
    fn heads_that_do_not_share_the_width_of_the_tensors_are_refused() {
        for heads in [Heads::Count(0), Heads::Count(5), Heads::OfWidth(0), Heads::OfWidth(5), Heads::OfWidth(64)] {
            assert_eq!(heads.of(24).unwrap_err().code(), Code::WeightsMismatch, "{heads:?}");
        }
        let zero = r#"{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": {"std": [0, 1, 1]}}"#;
        assert_eq!(open_clip(zero).unwrap_err().code(), Code::WeightsMismatch);
    }

    #[test]
    fn other_towers_are_refused_by_name() {
        let error = open_clip(r#"{"model_cfg": {"vision_cfg": {"timm_model_name": "convnext"}, "text_cfg": {"width": 16}}}"#).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::WeightsMismatch, "`open_clip_config.json` asks for the tower `convnext`"));
    }
}
