//! Cross-modality decoder: queries attend to each other, to the caption and to the image, and refine their boxes (Liu et al. 2023, §3.3).

use crate::error::{Code, Error, Result};
use crate::graph::{Constant, GivenKeyRanges, KeyRanges, Tensor};
use crate::kernels::Activation;
use crate::models::grounding_dino::config::{CONFIG, Config, check_layers};
use crate::models::grounding_dino::deformable::DeformableAttention;
use crate::models::grounding_dino::pyramid::Pyramid;
use crate::models::grounding_dino::queries::{box_head, refined};
use crate::models::grounding_dino::{Captions, Semantics};
use crate::nn::{Attention, LayerNorm, Linear, Mlp, PredictionHead, QUERY_KEY_VALUE};
use crate::tensor::Array;
use crate::weights::{Scope, Weight};

/// Temperature of the sine positions of boxes.
const TEMPERATURE: f64 = 10_000.0;

/// The decoder.
pub(super) struct Decoder {
    /// Learnt content of the queries, by rank `[queries, dim]`.
    query_embed: Weight,
    /// From sine positions of a box to the position of its query; rows of the first weight are in the order column, row, width, height.
    reference_points_head: [Linear; 2],
    layers: Vec<Layer>,
    layer_norm: LayerNorm,
    /// The head of each layer; often they share weights.
    bbox_embed: Vec<PredictionHead>,
}

struct Layer {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    encoder_attn_text: Attention,
    encoder_attn_text_layer_norm: LayerNorm,
    encoder_attn: DeformableAttention,
    encoder_attn_layer_norm: LayerNorm,
    mlp: Mlp,
    final_layer_norm: LayerNorm,
}

/// What the queries of all layers attend to.
struct Context<'a, 'g> {
    /// `[captions, cells, dim]`.
    image: Tensor<'g>,
    /// `[captions · tokens, dim]`.
    text: Tensor<'g>,
    among_queries: KeyRanges,
    to_text: GivenKeyRanges<'g>,
    pyramid: &'a Pyramid<'g>,
}

/// Output of the decoder.
pub(super) struct Decoded<'g> {
    /// Normalised queries after each layer `[captions, queries, dim]`.
    pub queries: Vec<Tensor<'g>>,
    /// Boxes of the last layer `[captions, queries, 4]`.
    pub boxes: Tensor<'g>,
}

impl Decoder {
    /// Reads the decoder below `weights`, the content of its queries, and the heads of its layers: `heads` are the paths to look below, the
    /// first of which holds them in published files.
    pub fn load(weights: &Scope, query_embed: Weight, heads: [&Scope; 2], config: &Config) -> Result<Decoder> {
        let dim = query_embed.shape().cols();
        let layers = weights.at("layers");
        check_layers(config.decoder_layers, layers.blocks(), "decoder_layers")?;
        let head = weights.at("reference_points_head.layers");
        let load = |at: usize| Layer::load(&layers.at(at), dim, config);
        let decoder = Decoder {
            query_embed,
            reference_points_head: [columns_first(&Linear::load(&head.at(0), 2 * dim, dim)?), Linear::load(&head.at(1), dim, dim)?],
            layers: (0..layers.blocks()).map(load).collect::<Result<_>>()?,
            layer_norm: LayerNorm::load(&weights.at("layer_norm"), dim, config.layer_norm_eps)?,
            bbox_embed: box_heads(heads, layers.blocks(), dim, config.shares_box_head)?,
        };
        Ok(decoder)
    }

    /// Refines the boxes of queries: `image` `[captions, cells, dim]`, `text` `[captions · tokens, dim]`, `boxes` `[captions, queries, 4]`.
    pub fn forward<'g>(
        &self,
        [image, text]: [Tensor<'g>; 2],
        mut boxes: Tensor<'g>,
        captions: &Captions<'g>,
        pyramid: &Pyramid<'g>,
        semantics: Semantics,
    ) -> Decoded<'g> {
        let graph = image.graph();
        let (queries, dim) = (captions.queries, self.query_embed.shape().cols());
        let among_queries = KeyRanges::sequences(vec![queries; captions.count]);
        let context = Context { image, text, among_queries, to_text: captions.of_queries, pyramid };
        let periods = graph.constant_f32(&periods(dim / 4));
        let learnt = graph.weight(&self.query_embed);
        // An image of few cells has fewer queries than are learnt.
        let of_captions = if captions.count == 1 && queries == learnt.shape().rows() {
            learnt
        } else {
            learnt.gather(&(0..captions.count).flat_map(|_| 0..queries).collect::<Vec<usize>>())
        };
        let mut x = of_captions.reshape([captions.count, queries, dim]);
        let mut normalised = Vec::new();
        for (at, (layer, head)) in self.layers.iter().zip(&self.bbox_embed).enumerate() {
            let [first, second] = &self.reference_points_head;
            let sines = boxes.sine_positions(periods, x.dtype()); // [captions, queries, 2·dim]
            let positions = second.forward(first.activated(sines, Activation::Relu));
            x = layer.forward(x, positions, boxes, &context);
            let output = self.layer_norm.forward(x);
            normalised.push(output);
            // Between layers the head reads the state before the norm, at the end the one after it.
            let read = if at + 1 == self.layers.len() { output } else { x };
            boxes = refined(head, read, boxes.logit(semantics.logit_eps())).reshape(boxes.shape());
        }
        Decoded { queries: normalised, boxes }
    }
}

impl Layer {
    fn load(weights: &Scope, dim: usize, config: &Config) -> Result<Layer> {
        let norm = |name: &str| LayerNorm::load(&weights.at(name), dim, config.layer_norm_eps);
        let attention = |name: &str| Attention::load(&weights.at(name), QUERY_KEY_VALUE, dim, config.decoder_heads);
        Ok(Layer {
            self_attn: attention("self_attn")?,
            self_attn_layer_norm: norm("self_attn_layer_norm")?,
            encoder_attn_text: attention("encoder_attn_text")?,
            encoder_attn_text_layer_norm: norm("encoder_attn_text_layer_norm")?,
            encoder_attn: DeformableAttention::load(
                &weights.at("encoder_attn"),
                dim,
                (config.decoder_heads, "decoder_attention_heads"),
                config.levels,
                config.decoder_points,
            )?,
            encoder_attn_layer_norm: norm("encoder_attn_layer_norm")?,
            mlp: Mlp::load(&weights.at("fc1"), &weights.at("fc2"), dim, Activation::Relu)?,
            final_layer_norm: norm("final_layer_norm")?,
        })
    }

    /// `x` and `positions` `[captions, queries, dim]`, `boxes` `[captions, queries, 4]` → `[captions, queries, dim]`.
    fn forward<'g>(&self, x: Tensor<'g>, positions: Tensor<'g>, boxes: Tensor<'g>, context: &Context<'_, 'g>) -> Tensor<'g> {
        let shape = x.shape();
        let located = x + positions;
        let attended = self.self_attn.attend([located, located, x], &context.among_queries);
        let x = self.self_attn_layer_norm.forward(self.self_attn.out_proj.added_to(attended, x)).reshape(shape);

        let attended = self.encoder_attn_text.attend([x + positions, context.text, context.text], context.to_text);
        let x = self
            .encoder_attn_text_layer_norm
            .forward(self.encoder_attn_text.out_proj.added_to(attended, x))
            .reshape(shape);

        let attended = self.encoder_attn.attend(x + positions, context.image, boxes, &context.pyramid.levels);
        let x = self.encoder_attn_layer_norm.forward(self.encoder_attn.output_proj.added_to(attended, x));

        self.final_layer_norm.forward(self.mlp.added_to(x, x)).reshape(shape)
    }
}

/// The head of each layer, below the first of `paths` that has it. Where layers share one, files may hold copies, which must be alike.
fn box_heads(paths: [&Scope; 2], layers: usize, dim: usize, is_shared: bool) -> Result<Vec<PredictionHead>> {
    let stored = |at: usize| paths.map(|path| path.at(at)).into_iter().filter(|head| !head.is_empty());
    let own = |at: usize| box_head(&stored(at).next().unwrap_or_else(|| paths[0].at(at)), dim);
    let heads = if is_shared { vec![own(0)?; layers] } else { (0..layers).map(own).collect::<Result<_>>()? };
    for (at, head) in heads.iter().enumerate() {
        for copy in stored(at) {
            if !is_alike(&box_head(&copy, dim)?, head)? {
                let message =
                    format!("the tensors below `{}` are no copies of `{}` and the others", copy.path(), head.layers()[0].weight().name());
                let hint = format!("`decoder_bbox_embed_share` in `{CONFIG}` says whether the layers of the decoder share a head");
                return Err(Error::new(Code::WeightsMismatch, message).hint(hint));
            }
        }
    }
    Ok(heads)
}

/// Whether two heads are the same numbers.
fn is_alike(a: &PredictionHead, b: &PredictionHead) -> Result<bool> {
    let weights = |head: &PredictionHead| -> Result<Vec<Array>> {
        let of_layer = |layer: &Linear| std::iter::once(layer.weight()).chain(layer.bias()).map(Weight::to_array).collect::<Vec<_>>();
        head.layers().iter().flat_map(of_layer).collect()
    };
    Ok(weights(a)? == weights(b)?)
}

/// A map of sine positions in the order of the checkpoint, row, column, width, height, as one of column, row, width, height.
fn columns_first(linear: &Linear) -> Linear {
    let weight = linear.weight();
    let of_coordinate = weight.shape().rows() / 4;
    let [rows, columns, sizes] =
        [0..of_coordinate, of_coordinate..2 * of_coordinate, 2 * of_coordinate..4 * of_coordinate].map(|rows| weight.rows(rows));
    Linear::new(Weight::stacked(&[columns, rows, sizes]), linear.bias().cloned())
}

/// Periods of the sine positions of a coordinate, with this many sines and as many cosines.
fn periods(count: usize) -> Constant {
    let period = |at: usize| TEMPERATURE.powf(at as f64 / count as f64) as f32;
    Constant::real("periods", Array::new([count], (0..count).map(period).collect()))
}
