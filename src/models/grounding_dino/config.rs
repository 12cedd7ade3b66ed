//! Configuration of GroundingDINO: what the tensors do not say, read from a transformers snapshot.

use serde_json::json;

use crate::error::{Code, Error, Result};
use crate::kernels::MAX_LEVELS;
use crate::models::settings::Settings;
use crate::weights::Checkpoint;

/// Configuration file of a transformers snapshot.
pub(super) const CONFIG: &str = "config.json";

/// Largest window: published ones have 7 and 12 cells along a side.
const MAX_WINDOW: usize = 64;

/// Configuration of a snapshot; missing keys have transformers' defaults, which are those of the network with Swin-T.
#[derive(Debug)]
pub(super) struct Config {
    pub swin: SwinConfig,
    pub bert: BertConfig,
    /// Queries that the decoder refines to boxes.
    pub num_queries: usize,
    /// Heads of the encoder's attention to the image; the fusion and the text enhancer have half as many.
    pub encoder_heads: usize,
    pub decoder_heads: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    /// Sampling points of a head on a level.
    pub encoder_points: usize,
    pub decoder_points: usize,
    /// Whether the layers of the decoder share the head that predicts boxes.
    pub shares_box_head: bool,
    /// Levels of the image pyramid.
    pub levels: usize,
    /// Tokens of the longest caption.
    pub max_text_len: usize,
    /// Temperature of the sine positions of the image.
    pub temperature: f32,
    pub layer_norm_eps: f32,
}

/// Configuration of the image backbone.
#[derive(Debug)]
pub(super) struct SwinConfig {
    pub num_heads: Vec<usize>,
    pub depths: Vec<usize>,
    pub window_size: usize,
    pub layer_norm_eps: f32,
    /// The stages that are read, counted from 1.
    pub outputs: Vec<usize>,
}

/// Configuration of the text backbone.
#[derive(Debug)]
pub(super) struct BertConfig {
    pub num_attention_heads: usize,
    pub num_hidden_layers: usize,
    pub layer_norm_eps: f32,
}

impl Config {
    /// Reads the configuration beside the weights.
    ///
    /// Errors: none is there, or it asks for something that is not supported.
    pub fn of(checkpoint: &Checkpoint) -> Result<Config> {
        let Some(settings) = Settings::read(checkpoint, CONFIG)? else {
            let message = format!("there is no `{CONFIG}` beside `{}`", checkpoint.name());
            return Err(Error::new(Code::WeightsMissing, message)
                .hint("fetch it from the repository of the weights: heads and windows are not stored in the tensors"));
        };
        Config::read(settings)
    }

    fn read(mut settings: Settings) -> Result<Config> {
        settings.one_of("model_type", &["grounding-dino"])?;
        let mut swin = settings.section("backbone_config")?;
        let mut bert = settings.section("text_config")?;
        settings.one_of("activation_function", &["relu"])?;
        settings.one_of("position_embedding_type", &["sine"])?;
        settings.on("two_stage")?;
        settings.on("embedding_init_target")?;
        settings.off(&["two_stage_bbox_embed_share", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs", "backbone"])?;
        settings.agrees("query_dim", 4)?;
        // Sizes of tensors, and what training uses.
        settings.ignore(&[
            "d_model",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
            "is_encoder_decoder",
            "activation_dropout",
            "text_enhancer_dropout",
            "fusion_droppath",
            "fusion_dropout",
            "auxiliary_loss",
            "class_cost",
            "bbox_cost",
            "giou_cost",
            "mask_loss_coefficient",
            "dice_loss_coefficient",
            "bbox_loss_coefficient",
            "giou_loss_coefficient",
            "focal_alpha",
            "disable_custom_kernels",
            "init_std",
            "num_hidden_layers",
            "num_attention_heads",
            "hidden_size",
        ]);
        settings.ignore_transformers()?;
        let config = Config {
            swin: SwinConfig::read(&mut swin)?,
            bert: BertConfig::read(&mut bert)?,
            num_queries: settings.take("num_queries")?.unwrap_or(900),
            encoder_heads: settings.take("encoder_attention_heads")?.unwrap_or(8),
            decoder_heads: settings.take("decoder_attention_heads")?.unwrap_or(8),
            encoder_layers: settings.take("encoder_layers")?.unwrap_or(6),
            decoder_layers: settings.take("decoder_layers")?.unwrap_or(6),
            encoder_points: settings.take("encoder_n_points")?.unwrap_or(4),
            decoder_points: settings.take("decoder_n_points")?.unwrap_or(4),
            shares_box_head: settings.take("decoder_bbox_embed_share")?.unwrap_or(true),
            levels: settings.take("num_feature_levels")?.unwrap_or(4),
            max_text_len: settings.take("max_text_len")?.unwrap_or(256),
            temperature: settings.positive("positional_embedding_temperature", 20.0)?,
            layer_norm_eps: settings.positive("layer_norm_eps", 1e-5)?,
        };
        swin.finish()?;
        bert.finish()?;
        settings.finish()?;
        config.check().map(|()| config)
    }
}

impl Config {
    /// Refuses sizes that the network cannot have.
    fn check(&self) -> Result<()> {
        let ordered = self.swin.outputs.is_sorted_by(|a, b| a < b);
        let sizes = [
            ("num_feature_levels", self.levels, (1..=MAX_LEVELS).contains(&self.levels)),
            ("encoder_n_points", self.encoder_points, self.encoder_points > 0),
            ("decoder_n_points", self.decoder_points, self.decoder_points > 0),
            ("decoder_layers", self.decoder_layers, self.decoder_layers > 0),
            ("num_queries", self.num_queries, self.num_queries > 0),
            ("max_text_len", self.max_text_len, self.max_text_len > 0),
            ("backbone_config.window_size", self.swin.window_size, (1..=MAX_WINDOW).contains(&self.swin.window_size)),
            ("backbone_config.out_indices", self.swin.outputs.len(), ordered && !self.swin.outputs.is_empty()),
        ];
        match sizes.into_iter().find(|(.., is_supported)| !is_supported) {
            Some((key, value, _)) => {
                Err(Error::new(Code::WeightsMismatch, format!("`{CONFIG}` sets `{key}` to {value}, which is not supported")))
            }
            None => Ok(()),
        }
    }
}

impl SwinConfig {
    fn read(settings: &mut Settings) -> Result<SwinConfig> {
        settings.one_of("model_type", &["swin"])?;
        settings.one_of("hidden_act", &["gelu"])?;
        settings.off(&["use_absolute_embeddings"])?;
        settings.on("qkv_bias")?;
        settings.agrees("num_channels", 3)?;
        // Sizes of tensors, and what training uses.
        settings.ignore(&[
            "image_size",
            "patch_size",
            "embed_dim",
            "mlp_ratio",
            "hidden_size",
            "num_layers",
            "stage_names",
            "encoder_stride",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "drop_path_rate",
            "path_norm",
        ]);
        settings.ignore_transformers()?;
        Ok(SwinConfig {
            num_heads: settings.take("num_heads")?.unwrap_or_else(|| vec![3, 6, 12, 24]),
            depths: settings.take("depths")?.unwrap_or_else(|| vec![2, 2, 6, 2]),
            window_size: settings.take("window_size")?.unwrap_or(7),
            layer_norm_eps: settings.positive("layer_norm_eps", 1e-5)?,
            outputs: SwinConfig::outputs(settings)?,
        })
    }

    /// The stages that are read, by number (`out_indices`), by name (`out_features`), or both; the stem is stage 0.
    fn outputs(settings: &mut Settings) -> Result<Vec<usize>> {
        let numbers: Option<Vec<usize>> = settings.take("out_indices")?;
        let Some(names) = settings.take::<Vec<String>>("out_features")? else {
            return Ok(numbers.unwrap_or_else(|| vec![2, 3, 4]));
        };
        let number = |name: &String| if name == "stem" { Some(0) } else { name.strip_prefix("stage")?.parse().ok() };
        let named: Option<Vec<usize>> = names.iter().map(number).collect();
        match named.filter(|named| numbers.as_ref().is_none_or(|numbers| numbers == named)) {
            Some(outputs) => Ok(outputs),
            None => Err(settings.refusal("out_features", &json!(names), "names of the stages of `out_indices`")),
        }
    }
}

impl BertConfig {
    fn read(settings: &mut Settings) -> Result<BertConfig> {
        settings.one_of("model_type", &["bert"])?;
        settings.one_of("hidden_act", &["gelu"])?;
        settings.one_of("position_embedding_type", &["absolute"])?;
        // Sizes of tensors, and what training uses.
        settings.ignore(&[
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "max_position_embeddings",
            "type_vocab_size",
            "classifier_dropout",
        ]);
        settings.ignore_transformers()?;
        Ok(BertConfig {
            num_attention_heads: settings.take("num_attention_heads")?.unwrap_or(12),
            num_hidden_layers: settings.take("num_hidden_layers")?.unwrap_or(12),
            layer_norm_eps: settings.positive("layer_norm_eps", 1e-12)?,
        })
    }
}

/// Heads of a width that kernels can split: each a multiple of four numbers.
///
/// Errors where the heads of the configuration do not divide the width so.
pub(super) fn heads_in_fours(heads: usize, width: usize, key: &str) -> Result<usize> {
    if heads > 0 && width.is_multiple_of(4 * heads) {
        return Ok(heads);
    }
    let message = format!("`{CONFIG}` sets `{key}` to {heads}, which does not cut the width {width} of the tensors into multiples of 4");
    Err(Error::new(Code::WeightsMismatch, message))
}

/// Refuses a number of layers that is not that of the tensors.
pub(super) fn check_layers(named: usize, found: usize, key: &str) -> Result<()> {
    if named == found {
        return Ok(());
    }
    Err(Error::new(Code::WeightsMismatch, format!("`{CONFIG}` sets `{key}` to {named}, the tensors have {found} layers")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_keys_are_those_of_swin_t_and_what_is_not_supported_is_refused_by_name() {
        let config = Config::read(Settings::parse(CONFIG, "{}")).unwrap();
        assert_eq!((config.num_queries, config.encoder_heads, config.levels, config.swin.window_size), (900, 8, 4, 7));
        let refused = |text: &str| Config::read(Settings::parse(CONFIG, text)).unwrap_err().message().to_owned();
        assert_eq!(refused(r#"{"two_stage": false}"#), "`config.json` sets `two_stage` to `false`, which is not supported");
        assert!(refused(r#"{"backbone_config": {"model_type": "resnet"}}"#).contains("`backbone_config.model_type`"));
        assert!(
            refused(r#"{"text_config": {"position_embedding_type": "relative_key"}}"#).contains("`text_config.position_embedding_type`")
        );
        assert!(refused(r#"{"num_querys": 3}"#).contains("`num_querys`"));
        assert_eq!(refused(r#"{"num_feature_levels": 6}"#), "`config.json` sets `num_feature_levels` to 6, which is not supported");
        assert!(refused(r#"{"backbone_config": {"window_size": 0}}"#).contains("`backbone_config.window_size`"));
        let outputs = |text: &str| Config::read(Settings::parse(CONFIG, text)).map(|config| config.swin.outputs);
        assert_eq!(outputs(r#"{"backbone_config": {"out_features": ["stage3", "stage4"]}}"#).unwrap(), [3, 4]);
        assert_eq!(outputs(r#"{"backbone_config": {"out_features": ["stage4"], "out_indices": [4]}}"#).unwrap(), [4]);
        for wrong in [r#"["stage3"], "out_indices": [4]"#, r#"["stage4", "top"]"#] {
            assert!(refused(&format!(r#"{{"backbone_config": {{"out_features": {wrong}}}}}"#)).contains("`backbone_config.out_features`"));
        }
        assert!(heads_in_fours(3, 24, "x").is_ok() && heads_in_fours(4, 24, "x").is_err() && heads_in_fours(0, 24, "x").is_err());
    }
}
