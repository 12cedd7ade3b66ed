//! Configuration of a CLIP checkpoint, which its tensors do not hold: heads, activations, ε, pixel statistics, tokenizer.

use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::image::Normalization;
use crate::kernels::Activation;
use crate::models::settings::Settings;
use crate::nn::Heads;
use crate::weights::Checkpoint;

/// Configuration file of an open_clip snapshot.
pub(super) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// Configuration file of a transformers snapshot.
pub(super) const TRANSFORMERS_CONFIG: &str = "config.json";

/// Width of a head of the image tower where open_clip's configuration names none.
const OPEN_CLIP_HEAD_WIDTH: usize = 64;

/// Heads of the text tower where open_clip's, or transformers', configuration names none.
const TEXT_HEADS: usize = 8;

/// Heads of the image tower where transformers' configuration names none.
const TRANSFORMERS_IMAGE_HEADS: usize = 12;

/// ε of every layer norm of CLIP, where the configuration names none.
const EPS: f32 = 1e-5;

/// Ids of transformers' vocabulary where the configuration names none.
const VOCABULARY: u64 = 49_408;

/// The `eos_token_id` of older configurations, which stands for "the largest id".
const LARGEST_ID: u64 = 2;

/// Keys of open_clip's towers for what a plain vision transformer does not have; supported only where they are off (`open_clip/model.py`,
/// `CLIPVisionCfg`, `CLIPTextCfg`).
const OPEN_CLIP_OFF: &[&str] =
    &["ls_init_value", "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"];

/// Keys of open_clip's towers that change no result, or whose value follows from the tensors. The norm of a pooled token is its own.
const OPEN_CLIP_HARMLESS: &[&str] = &["width", "mlp_ratio", "final_ln_after_pool", "output_tokens"];

/// Naming of the tensors: the library whose names they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// open_clip's, which are OpenAI's: `visual.transformer.resblocks.0.ln_1.weight`.
    OpenClip,
    /// transformers': `vision_model.encoder.layers.0.layer_norm1.weight`.
    Transformers,
}

impl Naming {
    /// The naming of tensors below a path; `None` for any other.
    fn of(checkpoint: &Checkpoint, below: &str) -> Option<Naming> {
        let holds = |part: &str| checkpoint.names().any(|name| name.strip_prefix(below).is_some_and(|name| name.starts_with(part)));
        match (holds("visual."), holds("vision_model.")) {
            (true, false) => Some(Naming::OpenClip),
            (false, true) => Some(Naming::Transformers),
            (true, true) | (false, false) => None,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Naming::OpenClip => OPEN_CLIP_CONFIG,
            Naming::Transformers => TRANSFORMERS_CONFIG,
        }
    }
}

/// Configuration of a CLIP snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// Naming of the tensors: the library whose names they have.
    pub naming: Naming,
    /// The image tower.
    pub image: TowerConfig,
    /// The text tower.
    pub text: TowerConfig,
    /// Pixels along each side, where the configuration names them: positions for other images would be interpolated.
    pub image_size: Option<usize>,
    /// Statistics of the pixels.
    pub normalization: Normalization,
    /// Name of the tokenizer, where it is not CLIP's own.
    pub foreign_tokenizer: Option<String>,
}

/// Configuration of one tower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TowerConfig {
    /// Heads of its blocks.
    pub heads: Heads,
    /// Activation between the two linear layers of every MLP. Not stored in the weights: the wrong one gives plausible, wrong features.
    pub activation: Activation,
    /// ε of its layer norms, added to the variance.
    pub eps: f32,
    /// Number of blocks, where the configuration names it.
    pub layers: Option<usize>,
}

impl ClipConfig {
    /// Reads the configuration beside the weights: `open_clip_config.json` where the tensors have open_clip's names, transformers'
    /// `config.json` where they have those.
    ///
    /// Errors when the file is missing, or asks for anything but plain vision transformers; the error names the key.
    pub fn read(checkpoint: &Checkpoint) -> Result<ClipConfig> {
        let naming = Naming::of(checkpoint, "").or_else(|| {
            let files = [Naming::OpenClip, Naming::Transformers].into_iter();
            files.into_iter().find(|naming| checkpoint.has_companion(naming.file()))
        });
        let naming = naming.unwrap_or(Naming::OpenClip);
        let Some(settings) = Settings::read(checkpoint, naming.file())? else {
            let message = format!("there is no `{}` beside `{}`", naming.file(), checkpoint.name());
            return Err(Error::new(Code::WeightsMissing, message)
                .hint("fetch it from the repository of the weights: heads and activation are not stored in the tensors"));
        };
        match naming {
            Naming::OpenClip => ClipConfig::from_open_clip(settings),
            Naming::Transformers => {
                let mut settings = settings;
                settings.one_of("model_type", &["clip"])?;
                ClipConfig::from_transformers(settings)
            }
        }
    }

    fn from_open_clip(mut settings: Settings) -> Result<ClipConfig> {
        let mut preprocess = settings.section("preprocess_cfg")?;
        let mut model = settings.section("model_cfg")?;
        settings.finish()?;
        let quick_gelu = model.take("quick_gelu")?.unwrap_or(false);
        let (vision, text) = (model.section("vision_cfg")?, model.section("text_cfg")?);
        model.off(&["multimodal_cfg"])?;
        model.ignore(&[
            "embed_dim",
            "custom_text",
            "init_logit_scale",
            "init_logit_bias",
            "nonscalar_logit_scale",
            "output_dict",
            "cast_dtype",
        ]);
        model.finish()?;
        let (image, image_size) = open_clip_image(vision, quick_gelu)?;
        let (text, foreign_tokenizer) = open_clip_text(text, quick_gelu)?;
        Ok(ClipConfig {
            naming: Naming::OpenClip,
            image,
            text,
            image_size,
            normalization: normalization(&mut preprocess)?,
            foreign_tokenizer,
        })
    }

    /// Reads transformers' configuration, from which the caller has taken `model_type` and keys of its own.
    pub(in crate::models) fn from_transformers(mut settings: Settings) -> Result<ClipConfig> {
        let mut vision = transformers_section(&mut settings, "vision_config")?;
        let mut text = transformers_section(&mut settings, "text_config")?;
        settings.ignore_transformers()?;
        settings.finish()?;

        let image_size = vision.side("image_size")?;
        vision.agrees("num_channels", 3)?;
        vision.ignore(&["patch_size"]);
        let image = transformers_tower(vision, TRANSFORMERS_IMAGE_HEADS)?;

        let vocabulary = text.take("vocab_size")?.unwrap_or(VOCABULARY);
        if let Some(end) = text.take::<Value>("eos_token_id")?
            && ![LARGEST_ID, vocabulary.saturating_sub(1)].iter().any(|known| end == *known)
        {
            return Err(text.refusal("eos_token_id", &end, "the last id of the vocabulary, whose position gives the embedding"));
        }
        text.ignore(&["max_position_embeddings"]);
        let text = transformers_tower(text, TEXT_HEADS)?;
        Ok(ClipConfig {
            naming: Naming::Transformers,
            image,
            text,
            image_size,
            normalization: Normalization::CLIP,
            foreign_tokenizer: None,
        })
    }
}

/// The image tower of open_clip's configuration, and the side of its images.
fn open_clip_image(mut vision: Settings, quick_gelu: bool) -> Result<(TowerConfig, Option<usize>)> {
    vision.off(&["timm_model_name", "attentional_pool", "no_ln_pre"])?;
    vision.one_of("pool_type", &["tok"])?;
    // Both are stored in the tensors.
    vision.one_of("pos_embed_type", &["learnable", "sin_cos_2d"])?;
    vision.ignore(&[
        "patch_size",
        // Acts in training only.
        "patch_dropout",
        // Of the attentional pool, which is refused.
        "attn_pooler_queries",
        "attn_pooler_heads",
        // Of timm's towers, which are refused.
        "timm_model_pretrained",
        "timm_pool",
        "timm_proj",
        "timm_proj_bias",
        "timm_drop",
        "timm_drop_path",
    ]);
    let image_size = vision.side("image_size")?;
    let heads = Heads::OfWidth(vision.take("head_width")?.unwrap_or(OPEN_CLIP_HEAD_WIDTH));
    Ok((open_clip_tower(vision, heads, quick_gelu)?, image_size))
}

/// The text tower of open_clip's configuration, and its tokenizer where it is not CLIP's own.
fn open_clip_text(mut text: Settings, quick_gelu: bool) -> Result<(TowerConfig, Option<String>)> {
    text.off(&["hf_model_name", "embed_cls", "no_causal_mask", "proj_bias"])?;
    text.one_of("pool_type", &["argmax"])?;
    text.one_of("proj_type", &["linear"])?;
    text.ignore(&[
        "context_length",
        "vocab_size",
        // Of a class token, of a mask of padding in both directions, of the pool "eos": all refused.
        "pad_id",
        "correct_cls_mask",
        "use_pad_mask",
        "eos_id",
        // Of the tokenizers and towers of transformers.
        "tokenizer_mode",
        "hf_model_pretrained",
        "hf_proj_type",
        "hf_pooler_type",
    ]);
    let name = text.take::<String>("hf_tokenizer_name")?.filter(|name| !name.is_empty());
    let arguments = text
        .take::<Value>("tokenizer_kwargs")?
        .filter(|arguments| arguments.as_object().is_none_or(|map| !map.is_empty()));
    let foreign = name
        .map(|name| format!("`text_cfg.hf_tokenizer_name` `{name}`"))
        .or_else(|| arguments.map(|arguments| format!("`text_cfg.tokenizer_kwargs` `{arguments}`")));
    let heads = Heads::Count(text.take("heads")?.unwrap_or(TEXT_HEADS));
    Ok((open_clip_tower(text, heads, quick_gelu)?, foreign))
}

/// What both towers of open_clip's configuration have in common.
fn open_clip_tower(mut tower: Settings, heads: Heads, quick_gelu: bool) -> Result<TowerConfig> {
    tower.off(OPEN_CLIP_OFF)?;
    tower.ignore(OPEN_CLIP_HARMLESS);
    tower.one_of("block_type", &["default"])?;
    let mut activation = tower.section("act_kwargs")?;
    activation.one_of("approximate", &["none"])?;
    activation.finish()?;
    let mut norm = tower.section("norm_kwargs")?;
    let eps = norm.positive("eps", EPS)?;
    norm.finish()?;
    let layers = match tower.take::<Value>("layers")? {
        None => None,
        Some(layers) => match layers.as_u64() {
            Some(layers) => Some(layers as usize),
            None => return Err(tower.refusal("layers", &layers, "a number of blocks; residual networks are not")),
        },
    };
    tower.finish()?;
    Ok(TowerConfig { heads, activation: if quick_gelu { Activation::QuickGelu } else { Activation::Gelu }, eps, layers })
}

/// A tower's section of transformers' configuration. Older files have a second one; where it is present it replaces the first as a whole.
fn transformers_section(settings: &mut Settings, name: &str) -> Result<Settings> {
    let usual = settings.section(name)?;
    Ok(settings.optional_section(&format!("{name}_dict"))?.unwrap_or(usual))
}

/// What both towers of transformers' configuration have in common.
fn transformers_tower(mut tower: Settings, heads: usize) -> Result<TowerConfig> {
    tower.ignore_transformers()?;
    tower.ignore(&["model_type", "hidden_size", "intermediate_size"]);
    let activation = match tower.one_of("hidden_act", &["quick_gelu", "gelu"])? {
        "gelu" => Activation::Gelu,
        _ => Activation::QuickGelu,
    };
    let eps = tower.positive("layer_norm_eps", EPS)?;
    let heads = Heads::Count(tower.take("num_attention_heads")?.unwrap_or(heads));
    let layers = tower.take("num_hidden_layers")?;
    tower.finish()?;
    Ok(TowerConfig { heads, activation, eps, layers })
}

/// Pixel statistics of the configuration, else CLIP's. Methods scale images as their papers do; a scaling set here gives a warning.
fn normalization(preprocess: &mut Settings) -> Result<Normalization> {
    let mean = preprocess.take("mean")?.unwrap_or(Normalization::CLIP.mean);
    let std = preprocess.take("std")?.unwrap_or(Normalization::CLIP.std);
    preprocess.one_of("mode", &["RGB"])?;
    for (key, usual) in [("interpolation", "bicubic"), ("resize_mode", "shortest")] {
        if let Some(other) = preprocess.take::<String>(key)?.filter(|value| value != usual) {
            log::warn!("`{OPEN_CLIP_CONFIG}` sets `preprocess_cfg.{key}` to `{other}`; methods scale images as their papers do");
        }
    }
    if mean.iter().all(|mean: &f32| mean.is_finite()) && std.iter().all(|&std: &f32| std.is_finite() && std > 0.0) {
        return Ok(Normalization { mean, std, ..Normalization::CLIP });
    }
    let message = format!("`{OPEN_CLIP_CONFIG}` sets the pixel mean to {mean:?} and the deviation to {std:?}");
    Err(Error::new(Code::WeightsMismatch, message).hint("means must be finite, deviations finite and above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_clip(text: &str) -> Result<ClipConfig> {
        ClipConfig::from_open_clip(Settings::parse(OPEN_CLIP_CONFIG, text))
    }

    fn transformers(text: &str) -> Result<ClipConfig> {
        ClipConfig::from_transformers(Settings::parse(TRANSFORMERS_CONFIG, text))
    }

    #[test]
    fn the_published_configuration_has_14_and_10_heads_and_exact_gelu() {
        let config = open_clip(
            r#"{"model_cfg": {"embed_dim": 640, "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16},
                "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12}}}"#,
        )
        .unwrap();
        assert_eq!((config.image.heads.of(896).unwrap(), config.text.heads.of(640).unwrap()), (14, 10));
        assert_eq!((config.image.activation, config.image.eps, config.image.layers), (Activation::Gelu, 1e-5, Some(12)));
        assert_eq!((config.image_size, config.foreign_tokenizer), (Some(240), None));
        assert_eq!(config.normalization, Normalization::CLIP);
    }

    #[test]
    fn openai_weights_say_quick_gelu_and_statistics_may_differ() {
        let config = open_clip(
            r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"width": 32, "head_width": 8, "norm_kwargs": {"eps": 0.01}}, "text_cfg": {}},
                "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}"#,
        )
        .unwrap();
        assert_eq!((config.image.heads.of(32).unwrap(), config.text.activation), (4, Activation::QuickGelu));
        assert_eq!((config.image.eps, config.text.eps), (0.01, 1e-5));
        assert_eq!(config.text.heads, Heads::Count(8), "open_clip's default, whatever the width");
        assert_eq!(config.normalization.std, [0.25; 3]);
    }

    #[test]
    fn heads_that_do_not_divide_the_width_of_the_tensors_are_refused() {
        for heads in [Heads::Count(0), Heads::Count(5), Heads::OfWidth(0), Heads::OfWidth(5), Heads::OfWidth(64)] {
            assert_eq!(heads.of(24).unwrap_err().code(), Code::WeightsMismatch, "{heads:?}");
        }
        let zero = r#"{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": {"std": [0, 1, 1]}}"#;
        assert_eq!(open_clip(zero).unwrap_err().code(), Code::WeightsMismatch);
    }

    #[test]
    fn every_key_of_open_clip_that_changes_the_function_is_refused_by_name() {
        let vision = [
            r#""timm_model_name": "convnext""#,
            r#""pool_type": "avg""#,
            r#""pool_type": "none""#,
            r#""attentional_pool": true"#,
            r#""no_ln_pre": true"#,
            r#""pos_embed_type": "rope""#,
            r#""ls_init_value": 0.1"#,
            r#""act_kwargs": {"approximate": "tanh"}"#,
            r#""norm_kwargs": {"elementwise_affine": false}"#,
            r#""norm_kwargs": {"eps": 0}"#,
            r#""block_type": "custom""#,
            r#""qk_norm": true"#,
            r#""scale_fc": true"#,
            r#""layers": [3, 4, 6, 3]"#,
            r#""image_size": [224, 336]"#,
            r#""rope_theta": 10000"#,
        ];
        let text = [
            r#""hf_model_name": "xlm-roberta-base""#,
            r#""pool_type": "eos""#,
            r#""pool_type": "last""#,
            r#""no_causal_mask": true"#,
            r#""embed_cls": true"#,
            r#""proj_type": "none""#,
            r#""proj_bias": true"#,
            r#""act_kwargs": {"approximate": "tanh"}"#,
        ];
        let refused = |text: &str, key: &str| {
            let error = open_clip(text).unwrap_err();
            assert_eq!(error.code(), Code::WeightsMismatch, "{text}");
            let name = key.trim_start_matches('"').split('"').next().unwrap();
            assert!(error.message().contains(name), "{error}");
        };
        for key in vision {
            refused(&format!(r#"{{"model_cfg": {{"vision_cfg": {{{key}}}, "text_cfg": {{}}}}}}"#), key);
        }
        for key in text {
            refused(&format!(r#"{{"model_cfg": {{"vision_cfg": {{}}, "text_cfg": {{{key}}}}}}}"#), key);
        }
        refused(r#"{"model_cfg": {"multimodal_cfg": {"width": 8}}}"#, "multimodal_cfg");
        refused(r#"{"model_cfg": {"siglip": true}}"#, "siglip");
    }

    #[test]
    fn what_changes_no_result_is_passed_over() {
        let config = open_clip(
            r#"{"model_cfg": {"custom_text": true, "init_logit_bias": -10, "multimodal_cfg": null,
                "vision_cfg": {"patch_dropout": 0.5, "timm_model_name": null, "ls_init_value": null, "output_tokens": true, "pool_type": "tok",
                               "final_ln_after_pool": true, "attentional_pool": false, "image_size": [32, 32], "act_kwargs": {}},
                "text_cfg": {"pad_id": 1, "correct_cls_mask": true, "no_causal_mask": false, "pool_type": "argmax", "act_kwargs": null}},
                "preprocess_cfg": {"size": 224, "mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}}"#,
        );
        assert_eq!(config.unwrap().image_size, Some(32));
    }

    #[test]
    fn a_foreign_tokenizer_is_remembered() {
        let foreign = |key: &str| open_clip(&format!(r#"{{"model_cfg": {{"text_cfg": {{{key}}}}}}}"#)).unwrap().foreign_tokenizer;
        assert!(foreign(r#""hf_tokenizer_name": "facebook/xlm-v-base""#).unwrap().contains("facebook/xlm-v-base"));
        assert!(foreign(r#""tokenizer_kwargs": {"clean": "canonicalize"}"#).unwrap().contains("canonicalize"));
        assert_eq!(foreign(r#""hf_tokenizer_name": "", "tokenizer_kwargs": {}"#), None);
    }

    #[test]
    fn activations_and_norms_of_transformers_are_heeded_and_others_refused_by_name() {
        let config = transformers(
            r#"{"vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_hidden_layers": 3, "num_attention_heads": 2},
                "text_config": {"bos_token_id": 0, "eos_token_id": 2, "vocab_size": 49408}, "projection_dim": 32}"#,
        )
        .unwrap();
        assert_eq!((config.image.activation, config.image.eps, config.image.layers), (Activation::Gelu, 1e-6, Some(3)));
        assert_eq!((config.text.activation, config.text.eps, config.text.heads), (Activation::QuickGelu, 1e-5, Heads::Count(8)));
        for (key, value) in [
            ("hidden_act", r#""gelu_pytorch_tanh""#),
            ("hidden_act", r#""relu""#),
            ("eos_token_id", "7"),
            ("is_decoder", "true"),
            ("vision_use_head", "true"),
            ("layer_norm_eps", "-1"),
        ] {
            let error = transformers(&format!(r#"{{"text_config": {{"{key}": {value}}}}}"#)).unwrap_err();
            assert!(error.message().contains(&format!("`text_config.{key}`")), "{error}");
        }
        assert!(transformers(r#"{"vision_config": {"num_channels": 4}}"#).is_err());
    }

    #[test]
    fn the_second_section_of_older_files_counts() {
        let config = transformers(
            r#"{"vision_config": {"hidden_act": "gelu"}, "vision_config_dict": {"num_attention_heads": 3}, "text_config_dict": null}"#,
        );
        let config = config.unwrap();
        assert_eq!((config.image.activation, config.image.heads), (Activation::QuickGelu, Heads::Count(3)));
    }
}
