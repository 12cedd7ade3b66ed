//! ClipSeg (Lüddecke & Ecker 2022): a decoder on CLIP's image tower segments what a text, or another image, describes.

use crate::error::{Code, Context, Error, Result};
use crate::graph::{KeyRanges, Tensor};
use crate::kernels::Activation;
use crate::models::catalog::{Layout, NetworkInfo, Published};
use crate::models::clip::{Clip, ClipConfig, ImageTower};
use crate::models::settings::Settings;
use crate::nn::{Conv, ConvConfig, ConvTranspose, Heads, LayerNorm, Linear, Mlp, Q_K_V_PROJ, SelfAttention};
use crate::weights::{Checkpoint, Scope};

/// Its entry in the table of networks.
pub static NETWORK: NetworkInfo = NetworkInfo {
    name: "clipseg",
    layouts: &[Layout { signature: &["decoder.film_mul.weight"], configuration: Some(CONFIG) }],
    published: Some(Published { repository: "CIDAS/clipseg-rd64-refined", files: &["model.safetensors", CONFIG] }),
    raw: &[],
};

/// Configuration file of a transformers snapshot.
const CONFIG: &str = "config.json";

/// CLIP with a decoder, as transformers publishes it (`modeling_clipseg.py`, `CLIPSegForImageSegmentation`).
pub struct ClipSeg {
    /// Both towers; the decoder is conditioned on an embedding of either.
    pub clip: Clip,
    /// Blocks of the image tower whose outputs the decoder reads, from 0.
    extract_layers: Vec<usize>,
    decoder: Decoder,
}

/// Decoder: from the outputs of blocks, the deepest first, to a logit for each pixel.
struct Decoder {
    /// Projection of each output to the decoder's width.
    reduces: Vec<Linear>,
    layers: Vec<DecoderLayer>,
    film_mul: Linear,
    film_add: Linear,
    /// The layer before which the condition enters.
    conditional_layer: usize,
    /// Layers of the refined variant: a 3×3 convolution, then the first half of the upsampling.
    refine: Option<(Conv, ConvTranspose)>,
    /// Transposed convolution to one channel.
    enlarge: ConvTranspose,
}

/// A transformer layer that normalises after each sum (Vaswani et al. 2017), with ReLU whatever `decoder_hidden_act` says.
struct DecoderLayer {
    self_attn: SelfAttention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
}

/// The decoder's keys of `config.json`; missing ones have transformers' defaults.
struct Config {
    extract_layers: Vec<usize>,
    conditional_layer: usize,
    decoder_num_attention_heads: usize,
    use_complex_transposed_convolution: bool,
    /// ε of the decoder's norms, which is that of the image tower.
    eps: f32,
}

impl ClipSeg {
    /// Reads a snapshot with `config.json`, such as `CIDAS/clipseg-rd64-refined`; sizes are those of the tensors.
    ///
    /// Errors: no configuration, one that does not fit the tensors, or the first tensors that are missing or ill-shaped.
    pub fn load(checkpoint: &Checkpoint) -> Result<ClipSeg> {
        let Some(mut settings) = Settings::read(checkpoint, CONFIG)? else {
            let message = format!("there is no `{CONFIG}` beside `{}`", checkpoint.name());
            return Err(Error::new(Code::WeightsMissing, message)
                .hint("fetch it from the repository of the weights: heads and layers are not stored in the tensors"));
        };
        settings.one_of("model_type", &["clipseg"])?;
        let mut config = Config::read(&mut settings)?;
        let clip_config = ClipConfig::from_transformers(settings)?;
        config.eps = clip_config.image.eps;
        checkpoint.root().load(|weights| {
            let clip = Clip::load_below(&weights.at("clip"), clip_config)?;
            config.check(clip.image.transformer.resblocks.len())?;
            let decoder = Decoder::load(&weights.at("decoder"), &config, &clip.image)?;
            Ok(ClipSeg { clip, extract_layers: config.extract_layers, decoder })
        })
    }

    /// Segmentation logits: `pixels` `[b, 3, s, s]`, ImageNet's statistics, and `conditional` `[t·b, embed]`, projected but not
    /// normalised → `[t·b, s, s]`.
    ///
    /// Condition i belongs to image i mod b; the tower encodes each image once, however many conditions it has. The side s is any multiple
    /// of the patch: positions are interpolated from those of the checkpoint. The refined decoder enlarges by (patch / 4)², rounded down,
    /// which is the patch of every published checkpoint, 16. Panics when shapes do not fit.
    pub fn forward<'g>(&self, pixels: Tensor<'g>, conditional: Tensor<'g>) -> Tensor<'g> {
        let [.., height, _] = pixels.shape().axes::<4>();
        let tower = self.clip.image.at_grid(height / self.clip.image.patch());
        let outputs = tower.block_outputs(pixels);
        let activations: Vec<Tensor<'g>> = self.extract_layers.iter().rev().map(|&at| outputs[at]).collect();
        self.decoder
            .forward(&activations, conditional.cast(pixels.graph().precision().storage()), tower.grid())
    }
}

impl Config {
    fn read(settings: &mut Settings) -> Result<Config> {
        settings.ignore(&[
            "reduce_dim",
            "decoder_intermediate_size",
            "decoder_attention_dropout",
            // transformers sets ReLU whatever this says.
            "decoder_hidden_act",
        ]);
        Ok(Config {
            extract_layers: settings.take("extract_layers")?.unwrap_or_else(|| vec![3, 6, 9]),
            conditional_layer: settings.take("conditional_layer")?.unwrap_or(0),
            decoder_num_attention_heads: settings.take("decoder_num_attention_heads")?.unwrap_or(4),
            use_complex_transposed_convolution: settings.take("use_complex_transposed_convolution")?.unwrap_or(false),
            eps: 0.0,
        })
    }

    /// Refuses what does not fit an image tower of `blocks` blocks.
    fn check(&self, blocks: usize) -> Result<()> {
        let depth = self.extract_layers.len();
        if self.extract_layers.iter().any(|&at| at >= blocks) {
            let message = format!("`{CONFIG}` reads the blocks {:?} of an image tower of {blocks}", self.extract_layers);
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        if self.conditional_layer >= depth {
            let message = format!("`{CONFIG}` puts the condition before layer {} of a decoder of {depth}", self.conditional_layer);
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        Ok(())
    }
}

impl Decoder {
    fn load(weights: &Scope, config: &Config, tower: &ImageTower) -> Result<Decoder> {
        let [dim, _] = weights.sizes("film_mul.weight")?;
        let embed = tower.embed();
        let depth = 0..config.extract_layers.len();
        let head = weights.at("transposed_convolution");
        let (refine, enlarge) = if config.use_complex_transposed_convolution {
            let conv = ConvConfig { channels_in: dim, channels_out: dim, kernel: 3, stride: 1, pad_to: 1 };
            let refine = (Conv::load_biased(&head.at(0), conv)?, ConvTranspose::load(&head.at(2), dim, dim / 2)?);
            (Some(refine), ConvTranspose::load(&head.at(4), dim / 2, 1)?)
        } else {
            (None, ConvTranspose::load(&head, dim, 1)?)
        };
        let layer = |at| DecoderLayer::load(&weights.at("layers").at(at), dim, config);
        Ok(Decoder {
            reduces: depth
                .clone()
                .map(|at| Linear::load(&weights.at("reduces").at(at), tower.width(), dim))
                .collect::<Result<_>>()?,
            layers: depth.map(layer).collect::<Result<_>>()?,
            film_mul: Linear::load(&weights.at("film_mul"), embed, dim)?,
            film_add: Linear::load(&weights.at("film_add"), embed, dim)?,
            conditional_layer: config.conditional_layer,
            refine,
            enlarge,
        })
    }

    /// `activations`, each `[b·(1 + grid²), width]`, and `conditional` `[t·b, embed]` → `[t·b, s, s]`.
    fn forward<'g>(&self, activations: &[Tensor<'g>], conditional: Tensor<'g>, grid: usize) -> Tensor<'g> {
        let tokens = 1 + grid * grid;
        let (rows, conditions) = (activations[0].shape().rows(), conditional.shape().rows());
        let batch = rows / tokens;
        assert!(conditions.is_multiple_of(batch), "clipseg: {conditions} conditions are no multiple of {batch} images");

        let mut key_ranges = KeyRanges::sequences(vec![tokens; batch]);
        let mut joined: Option<Tensor<'g>> = None;
        for (at, (reduce, layer)) in self.reduces.iter().zip(&self.layers).enumerate() {
            let reduced = reduce.forward(activations[at]); // [b·(1 + n), dim]
            let dim = reduced.shape().cols();
            // The tower's output is the same for all conditions of an image: it repeats along the first axis of `x`.
            let x = joined.map_or(reduced, |x| x.reshape([x.shape().rows() / rows, rows, dim]) + reduced);
            let x = if at == self.conditional_layer {
                key_ranges = KeyRanges::sequences(vec![tokens; conditions]);
                self.modulate(x, conditional, tokens)
            } else {
                x
            };
            joined = Some(layer.forward(x, &key_ranges));
        }
        let x = joined.expect("the configuration names a conditional layer"); // [t·b·(1 + n), dim]
        let patches: Vec<usize> = (0..conditions * tokens).filter(|row| !row.is_multiple_of(tokens)).collect();
        let x = x.gather(&patches).reshape([conditions, grid, grid, x.shape().cols()]);
        let x = match &self.refine {
            Some((conv, enlarge)) => enlarge.forward(conv.forward(x, None, Activation::Relu), Activation::Relu),
            None => x,
        };
        let logits = self.enlarge.forward(x, Activation::Identity);
        let [_, height, width, _] = logits.shape().axes();
        logits.reshape([conditions, height, width])
    }

    /// FiLM (Perez et al. 2018), `mul(c) ⊙ x + add(c)`: `x` `[…, dim]` of b·tokens rows and conditions `[t·b, embed]` →
    /// `[t, b·tokens, dim]`.
    fn modulate<'g>(&self, x: Tensor<'g>, conditional: Tensor<'g>, tokens: usize) -> Tensor<'g> {
        let (rows, dim) = (x.shape().rows(), x.shape().cols());
        let repeats: Vec<usize> = (0..conditional.shape().rows() * tokens).map(|row| row / tokens).collect();
        let of_tokens = |film: &Linear| film.forward(conditional).gather(&repeats).reshape([repeats.len() / rows, rows, dim]);
        of_tokens(&self.film_mul) * x.reshape([rows, dim]) + of_tokens(&self.film_add)
    }
}

impl DecoderLayer {
    fn load(weights: &Scope, dim: usize, config: &Config) -> Result<DecoderLayer> {
        let eps = config.eps;
        let heads = Heads::Count(config.decoder_num_attention_heads)
            .of(dim)
            .context(|| format!("for `{}`", weights.path()))?;
        let attn = weights.at("self_attn");
        Ok(DecoderLayer {
            self_attn: SelfAttention::load(&attn, Q_K_V_PROJ, &attn.at("out_proj"), dim, heads)?,
            layer_norm1: LayerNorm::load(&weights.at("layer_norm1"), dim, eps)?,
            mlp: Mlp::load(&weights.at("mlp.fc1"), &weights.at("mlp.fc2"), dim, Activation::Relu)?,
            layer_norm2: LayerNorm::load(&weights.at("layer_norm2"), dim, eps)?,
        })
    }

    /// `x` `[…, dim]` → `[rows, dim]`.
    fn forward<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges) -> Tensor<'g> {
        let x = self.layer_norm1.forward(self.self_attn.out_proj.added_to(self.self_attn.attend(x, key_ranges), x));
        self.layer_norm2.forward(self.mlp.added_to(x, x))
    }
}
