//! Segment Anything (Kirillov et al. 2023) as transformers publishes it: an image is encoded once, then each box on it gives a mask.

mod image_encoder;
mod mask_decoder;
mod prompt_encoder;
mod raw;
mod two_way;

use crate::error::{Code, Error, Result};
use crate::graph::Tensor;
use crate::models::catalog::{Layout, NetworkInfo, Published};
use crate::models::settings::Settings;
use crate::tensor::Array;
use crate::weights::Checkpoint;

pub use image_encoder::ImageEncoder;
use mask_decoder::MaskDecoder;
use prompt_encoder::PromptEncoder;

/// Configuration file of a transformers snapshot.
const CONFIG: &str = "config.json";

/// ε of norms where the configuration names none.
const DEFAULT_EPS: f32 = 1e-6;

/// Its entry in the table of networks.
pub static NETWORK: NetworkInfo = NetworkInfo {
    name: "sam",
    layouts: &[Layout { signature: &["vision_encoder.pos_embed"], configuration: Some(CONFIG) }],
    published: Some(Published { repository: "facebook/sam-vit-base", files: &["model.safetensors", CONFIG] }),
    raw: &[raw::SAM],
};

/// Boxes decoded in one batch: at 1024 pixels they keep 8 · 8 MiB of features at the masks' size, half of the smallest binding limit.
pub const BATCH: usize = 8;

/// Segment Anything; `facebook/sam-vit-base`, `-large` and `-huge` differ in sizes only.
pub struct Sam {
    /// Image encoder.
    pub image_encoder: ImageEncoder,
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
}

/// Output of the mask decoder.
#[derive(Clone, Copy)]
pub struct Masks<'g> {
    /// Logits of the mask of each box `[n, 4·grid, 4·grid]`, from mask token 0, which is for unambiguous prompts.
    pub logits: Tensor<'g>,
    /// The network's own estimate of the intersection over union of each mask `[n, 1]`, not clamped to 0…1.
    pub iou_scores: Tensor<'g>,
}

/// Configuration, which the tensors do not hold; missing keys have transformers' defaults.
struct Config {
    vision: VisionConfig,
    decoder: MaskDecoderConfig,
}

struct VisionConfig {
    num_attention_heads: usize,
    window_size: usize,
    global_attn_indexes: Vec<usize>,
    layer_norm_eps: f32,
    num_hidden_layers: Option<usize>,
    image_size: Option<usize>,
}

struct MaskDecoderConfig {
    num_attention_heads: usize,
    /// The official code has 1e-5; the published snapshots name transformers' own.
    layer_norm_eps: f32,
    num_hidden_layers: Option<usize>,
}

impl Config {
    fn read(mut settings: Settings) -> Result<Config> {
        settings.one_of("model_type", &["sam"])?;
        let mut vision = settings.section("vision_config")?;
        let mut decoder = settings.section("mask_decoder_config")?;
        // Its keys concern mask prompts, and sizes.
        settings.ignore(&["prompt_encoder_config"]);
        settings.ignore_transformers()?;
        settings.finish()?;
        Ok(Config {
            vision: VisionConfig::read(&mut vision).and_then(|config| vision.finish().map(|()| config))?,
            decoder: MaskDecoderConfig::read(&mut decoder).and_then(|config| decoder.finish().map(|()| config))?,
        })
    }
}

impl VisionConfig {
    fn read(settings: &mut Settings) -> Result<VisionConfig> {
        settings.ignore_transformers()?;
        settings.one_of("hidden_act", &["gelu"])?;
        for key in ["qkv_bias", "use_abs_pos", "use_rel_pos"] {
            settings.on(key)?;
        }
        settings.agrees("num_channels", 3)?;
        // Known from the tensors.
        settings.ignore(&[
            "model_type",
            "hidden_size",
            "intermediate_size",
            "output_channels",
            "patch_size",
            "mlp_ratio",
            "mlp_dim",
            "num_pos_feats",
            "scale",
        ]);
        Ok(VisionConfig {
            num_attention_heads: settings.take("num_attention_heads")?.unwrap_or(12),
            window_size: settings.take("window_size")?.unwrap_or(14),
            global_attn_indexes: settings.take("global_attn_indexes")?.unwrap_or_else(|| vec![2, 5, 8, 11]),
            layer_norm_eps: settings.positive("layer_norm_eps", DEFAULT_EPS)?,
            num_hidden_layers: settings.take("num_hidden_layers")?,
            image_size: settings.side("image_size")?,
        })
    }
}

impl MaskDecoderConfig {
    fn read(settings: &mut Settings) -> Result<MaskDecoderConfig> {
        settings.ignore_transformers()?;
        settings.one_of("hidden_act", &["relu"])?;
        // Known from the tensors.
        settings.ignore(&[
            "model_type",
            "hidden_size",
            "mlp_dim",
            "attention_downsample_rate",
            "num_multimask_outputs",
            "iou_head_depth",
            "iou_head_hidden_dim",
        ]);
        Ok(MaskDecoderConfig {
            num_attention_heads: settings.take("num_attention_heads")?.unwrap_or(8),
            layer_norm_eps: settings.positive("layer_norm_eps", DEFAULT_EPS)?,
            num_hidden_layers: settings.take("num_hidden_layers")?,
        })
    }
}

/// Refuses a number of layers that is not that of the tensors.
fn check_layers(named: Option<usize>, found: usize, what: &str) -> Result<()> {
    match named {
        Some(named) if named != found => {
            let message = format!("`{CONFIG}` has {named} layers in `{what}`, the tensors {found}");
            Err(Error::new(Code::WeightsMismatch, message))
        }
        Some(_) | None => Ok(()),
    }
}

impl Sam {
    /// Reads a snapshot with `config.json`; sizes are those of the tensors.
    ///
    /// Errors: no configuration, one that does not fit the tensors, or the first tensors that are missing or ill-shaped.
    pub fn load(checkpoint: &Checkpoint) -> Result<Sam> {
        let Some(settings) = Settings::read(checkpoint, CONFIG)? else {
            let message = format!("there is no `{CONFIG}` beside `{}`", checkpoint.name());
            return Err(Error::new(Code::WeightsMissing, message)
                .hint("fetch it from the repository of the weights: heads and windows are not stored in the tensors"));
        };
        let config = Config::read(settings)?;
        checkpoint.root().load(|weights| {
            let image_encoder = ImageEncoder::load(&weights.at("vision_encoder"), &config.vision)?;
            let prompt_encoder = PromptEncoder::load(weights, image_encoder.channels(), image_encoder.grid())?;
            let decoder = &weights.at("mask_decoder");
            let mask_decoder = MaskDecoder::load(decoder, image_encoder.channels(), &config.decoder)?;
            Ok(Sam { image_encoder, prompt_encoder, mask_decoder })
        })
    }

    /// Number of tokens of a box in the decoder: the decoder's own, and two corners.
    pub fn tokens_of_box(&self) -> usize {
        self.mask_decoder.tokens.shape().rows() + 2
    }

    /// Embeds boxes for the decoder: `[n, 4]`, x0, y0, x1, y1 in pixels of the network's square frame → `[n, tokens, channels]`.
    ///
    /// Computed on the host in f64: positions are sines of large angles.
    pub fn embed_boxes(&self, boxes: &Array) -> Result<Array> {
        let own = self.mask_decoder.tokens.to_array()?;
        let corners = self.prompt_encoder.corners(boxes, self.image_encoder.image_size())?; // [n, 2·channels]
        let (count, dim) = (boxes.shape().rows(), own.shape().cols());
        let data = corners.data().chunks(2 * dim).flat_map(|corners| [own.data(), corners].concat());
        Ok(Array::new([count, self.tokens_of_box(), dim], data.collect()))
    }

    /// The mask of each box: `embedding` `[1, grid, grid, channels]` of the encoder, `tokens` of [`Sam::embed_boxes`], any number of them.
    pub fn decode<'g>(&self, embedding: Tensor<'g>, tokens: Tensor<'g>) -> Masks<'g> {
        let graph = embedding.graph();
        let [boxes, of_box, dim] = tokens.shape().axes();
        let grid = self.image_encoder.grid();
        let positions = graph.weight(&self.prompt_encoder.image_positions);
        let image = embedding.reshape([grid * grid, dim]) + graph.weight(&self.prompt_encoder.no_mask_embed);
        let tokens = tokens.cast(graph.precision().storage()).reshape([boxes * of_box, dim]);
        let of_batch = |start: usize| {
            let count = BATCH.min(boxes - start);
            let rows: Vec<usize> = (start * of_box..(start + count) * of_box).collect();
            let tokens = if count == boxes { tokens } else { tokens.gather(&rows) };
            self.mask_decoder.forward(image, positions, tokens.reshape([count, of_box, dim]))
        };
        let joined = |left: Tensor<'g>, right: Tensor<'g>| {
            let flat = |tensor: Tensor<'g>| tensor.reshape([1, tensor.shape().len()]);
            flat(left).concat(flat(right))
        };
        let (logits, scores) = (0..boxes)
            .step_by(BATCH)
            .map(of_batch)
            .reduce(|(masks, scores), (more_masks, more_scores)| (joined(masks, more_masks), joined(scores, more_scores)))
            .expect("an empty tensor is refused where it is made");
        let side = self.mask_decoder.enlargement() * grid;
        Masks { logits: logits.reshape([boxes, side, side]), iou_scores: scores.reshape([boxes, 1]) }
    }
}
