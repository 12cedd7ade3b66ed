//! Feature enhancer: in each layer image and caption attend to each other, then the caption to itself and the image to itself
//! (Liu et al. 2023, §3.1).

use crate::error::{Context, Result};
use crate::graph::{Epilogue, Tensor};
use crate::kernels::Activation;
use crate::models::grounding_dino::Captions;
use crate::models::grounding_dino::config::{Config, check_layers};
use crate::models::grounding_dino::deformable::DeformableAttention;
use crate::models::grounding_dino::pyramid::Pyramid;
use crate::nn::{Attention, Heads, LayerNorm, Linear, Mlp, QUERY_KEY_VALUE};
use crate::tensor::{Array, DType};
use crate::weights::{Scope, Weight};

/// The encoder.
pub(super) struct Encoder {
    layers: Vec<Layer>,
}

struct Layer {
    fusion: Fusion,
    text_enhancer: TextEnhancer,
    deformable: DeformableLayer,
}

/// Attention from the image to the caption and back, with one matrix of scores (GLIP, Li et al. 2022, equation 4).
///
/// A caption has few tokens, so nothing of the fusion's own width (1024) is computed for the cells of the image: the projections of image
/// and caption are multiplied with each other first. Scores are products of the image's features with a matrix made of the caption, what
/// the image gets are products of the weights with another one, and the caption's means of values are values of means. The sums are those
/// of the paper in another order, with a thirtieth of the arithmetic at ten tokens.
struct Fusion {
    layer_norm_vision: LayerNorm,
    layer_norm_text: LayerNorm,
    text_proj: Linear,
    values_text_proj: Linear,
    /// Queries of the image, divided by the root of a head's width: by head, transposed `[heads, head_dim, dim]`.
    vision_proj: Weight,
    /// Their bias: a column for each head `[heads · head_dim, heads]`, zero outside it.
    vision_proj_bias: Weight,
    /// Values of the image by head `[heads, dim, head_dim]`.
    values_vision_proj: Weight,
    /// `[heads, head_dim]`.
    values_vision_proj_bias: Weight,
    /// What the image gets by head `[heads, head_dim, dim]`, times the learnt factors of the residual sum.
    out_vision_proj: Weight,
    /// `[heads, dim]`: the weights of each head add up to 1, so that each has its share of the bias.
    out_vision_proj_bias: Weight,
    /// What the caption gets, times the learnt factors of the residual sum.
    out_text_proj: Linear,
    heads: usize,
}

/// A transformer layer of the caption with a norm after each sum.
struct TextEnhancer {
    self_attn: Attention,
    /// After the attention, whatever its name says.
    layer_norm_before: LayerNorm,
    mlp: Mlp,
    layer_norm_after: LayerNorm,
}

/// A transformer layer of the image with deformable attention.
struct DeformableLayer {
    self_attn: DeformableAttention,
    self_attn_layer_norm: LayerNorm,
    mlp: Mlp,
    final_layer_norm: LayerNorm,
}

impl Encoder {
    pub fn load(weights: &Scope, dim: usize, config: &Config) -> Result<Encoder> {
        let layers = weights.at("layers");
        check_layers(config.encoder_layers, layers.blocks(), "encoder_layers")?;
        let load = |at: usize| Layer::load(&layers.at(at), dim, config);
        Ok(Encoder { layers: (0..layers.blocks()).map(load).collect::<Result<_>>()? })
    }

    /// `image` `[captions, cells, dim]` and `text` `[captions · tokens, dim]` → the same.
    pub fn forward<'g>(&self, image: Tensor<'g>, text: Tensor<'g>, captions: &Captions<'g>, pyramid: &Pyramid<'g>) -> [Tensor<'g>; 2] {
        self.layers
            .iter()
            .fold([image, text], |[image, text], layer| layer.forward(image, text, captions, pyramid))
    }
}

impl Layer {
    fn load(weights: &Scope, dim: usize, config: &Config) -> Result<Layer> {
        Ok(Layer {
            fusion: Fusion::load(&weights.at("fusion_layer"), dim, config)?,
            text_enhancer: TextEnhancer::load(&weights.at("text_enhancer_layer"), dim, config)?,
            deformable: DeformableLayer::load(&weights.at("deformable_layer"), dim, config)?,
        })
    }

    fn forward<'g>(&self, image: Tensor<'g>, text: Tensor<'g>, captions: &Captions<'g>, pyramid: &Pyramid<'g>) -> [Tensor<'g>; 2] {
        let [image, text] = self.fusion.forward(image, text, captions);
        [self.deformable.forward(image, pyramid), self.text_enhancer.forward(text, captions)]
    }
}

impl Fusion {
    fn load(weights: &Scope, dim: usize, config: &Config) -> Result<Fusion> {
        let attn = weights.at("attn");
        let [inner, _] = attn.sizes("text_proj.weight")?;
        let heads = Heads::Count(config.encoder_heads / 2).of(inner).context(|| format!("for `{}`", attn.path()))?;
        let head_dim = inner / heads;
        let projection = |name: &str, outputs: usize, inputs: usize| -> Result<(Weight, Weight)> {
            let weights = attn.at(name);
            Ok((weights.weight("weight", [outputs, inputs])?, weights.weight("bias", [outputs])?))
        };
        let (queries, query_bias) = projection("vision_proj", inner, dim)?;
        let (values, value_bias) = projection("values_vision_proj", inner, dim)?;
        let (out_vision, out_vision_bias) = projection("out_vision_proj", dim, inner)?;
        let (out_text, out_text_bias) = projection("out_text_proj", dim, inner)?;
        let [vision_param, text_param] = ["vision_param", "text_param"].map(|name| weights.weight(name, [dim]));
        let (vision_param, text_param) = (vision_param?, text_param?);
        let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
        let scaled = |weight: &Weight| {
            weight.map(weight.shape(), move |mut weight| {
                weight.data_mut().iter_mut().for_each(|x| *x *= scale);
                Ok(weight)
            })
        };
        let out_vision_bias = times_columns(&out_vision_bias, &vision_param);
        Ok(Fusion {
            layer_norm_vision: LayerNorm::load(&weights.at("layer_norm_vision"), dim, config.layer_norm_eps)?,
            layer_norm_text: LayerNorm::load(&weights.at("layer_norm_text"), dim, config.layer_norm_eps)?,
            text_proj: Linear::load(&attn.at("text_proj"), dim, inner)?,
            values_text_proj: Linear::load(&attn.at("values_text_proj"), dim, inner)?,
            vision_proj: scaled(&queries).reshaped([heads, head_dim, dim]),
            vision_proj_bias: scaled(&query_bias).map([inner, heads], move |bias| {
                let mut columns = Array::zeros([inner, heads]);
                bias.data()
                    .iter()
                    .enumerate()
                    .for_each(|(at, &bias)| columns.data_mut()[at * heads + at / head_dim] = bias);
                Ok(columns)
            }),
            values_vision_proj: values.map([heads, dim, head_dim], move |values| {
                let by_head = values.data().chunks_exact(head_dim * dim);
                let transposed = by_head.flat_map(|own| Array::new([head_dim, dim], own.to_vec()).transposed().data().to_vec());
                Ok(Array::new([heads, dim, head_dim], transposed.collect()))
            }),
            values_vision_proj_bias: value_bias.reshaped([heads, head_dim]),
            out_vision_proj: times_columns(&out_vision.transposed(), &vision_param).reshaped([heads, head_dim, dim]),
            out_vision_proj_bias: out_vision_bias.map([heads, dim], move |bias| {
                let share: Vec<f32> = bias.data().iter().map(|bias| bias / heads as f32).collect();
                Ok(Array::new([heads, dim], share.repeat(heads)))
            }),
            out_text_proj: Linear::new(
                times_columns(&out_text.transposed(), &text_param),
                Some(times_columns(&out_text_bias, &text_param)),
            ),
            heads,
        })
    }

    fn forward<'g>(&self, image: Tensor<'g>, text: Tensor<'g>, captions: &Captions<'g>) -> [Tensor<'g>; 2] {
        // Both residual sums start from the normalised features.
        let (image, text) = (self.layer_norm_vision.forward(image), self.layer_norm_text.forward(text));
        let scores = self.scores(image, text, captions); // [captions, cells, heads · tokens]
        [self.to_image(scores, image, text, captions), self.to_text(scores, image, text, captions)]
    }

    /// Scores of all heads side by side; those of padding tokens are too low to count.
    fn scores<'g>(&self, image: Tensor<'g>, text: Tensor<'g>, captions: &Captions<'g>) -> Tensor<'g> {
        let (graph, heads) = (image.graph(), self.heads);
        let (count, tokens, dim) = (captions.count, captions.tokens, text.shape().cols());
        let keys = self.text_proj.forward(text); // [captions · tokens, heads · head_dim]
        let queries = self.by_head(keys).batched_matmul(graph.weight(&self.vision_proj), Epilogue::default());
        let queries = queries
            .reshape([heads, count, tokens, dim])
            .permute(&[1, 3, 0, 2])
            .reshape([count, dim, heads * tokens]);
        let of_bias = keys.matmul(graph.weight(&self.vision_proj_bias), Epilogue::default()).cast(DType::F32);
        let of_bias = of_bias.transposed().reshape([heads, count, tokens]) + captions.padding;
        let bias = of_bias.permute(&[1, 0, 2]).reshape([count, heads * tokens]);
        image.batched_matmul(queries, Epilogue { bias: Some(bias), ..Epilogue::default() })
    }

    /// What the image gets from the caption, added to it.
    fn to_image<'g>(&self, scores: Tensor<'g>, image: Tensor<'g>, text: Tensor<'g>, captions: &Captions<'g>) -> Tensor<'g> {
        let (graph, heads) = (image.graph(), self.heads);
        let (count, tokens, dim) = (captions.count, captions.tokens, text.shape().cols());
        let weights = scores.reshape([scores.shape().len() / tokens, tokens]).softmax().reshape(scores.shape());
        let bias = Some(graph.weight_f32(&self.out_vision_proj_bias));
        let values = self.by_head(self.values_text_proj.forward(text));
        let values = values.batched_matmul(graph.weight(&self.out_vision_proj), Epilogue { bias, ..Epilogue::default() });
        let values = values
            .reshape([heads, count, tokens, dim])
            .permute(&[1, 0, 2, 3])
            .reshape([count, heads * tokens, dim]);
        weights.batched_matmul(values, Epilogue { residual: Some(image), ..Epilogue::default() })
    }

    /// What the caption gets from the image, added to it.
    fn to_text<'g>(&self, scores: Tensor<'g>, image: Tensor<'g>, text: Tensor<'g>, captions: &Captions<'g>) -> Tensor<'g> {
        let (graph, heads) = (image.graph(), self.heads);
        let (count, tokens, dim) = (captions.count, captions.tokens, text.shape().cols());
        let cells = image.shape()[1];
        let weights = scores.permute(&[0, 2, 1]).cast(DType::F32).softmax(); // [captions, heads · tokens, cells]
        let means = if image.dtype() == DType::F32 {
            weights.batched_matmul(image, Epilogue::default())
        } else {
            // A share of one cell in ten thousand would be a subnormal f16.
            let shares = weights.scale(cells as f32).cast(image.dtype());
            shares.batched_matmul(image, Epilogue::default()).scale(1.0 / cells as f32)
        };
        let means = means
            .reshape([count, heads, tokens, dim])
            .permute(&[1, 0, 2, 3])
            .reshape([heads, count * tokens, dim]);
        let bias = Some(graph.weight_f32(&self.values_vision_proj_bias));
        let values = means.batched_matmul(graph.weight(&self.values_vision_proj), Epilogue { bias, ..Epilogue::default() });
        let values = values.permute(&[1, 0, 2]).reshape([count * tokens, values.shape().len() / (count * tokens)]);
        self.out_text_proj.added_to(values, text)
    }

    /// `[rows, heads · head_dim]` → `[heads, rows, head_dim]`.
    fn by_head<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let [rows, inner] = x.shape().axes();
        x.reshape([rows, self.heads, inner / self.heads]).permute(&[1, 0, 2])
    }
}

/// Each column of a matrix, or each element of a vector, times a factor of its own.
fn times_columns(weight: &Weight, factors: &Weight) -> Weight {
    let factors = factors.clone();
    weight.map(weight.shape(), move |mut weight| {
        let factors = factors.to_array()?;
        weight.data_mut().iter_mut().zip(factors.data().iter().cycle()).for_each(|(x, factor)| *x *= factor);
        Ok(weight)
    })
}

impl TextEnhancer {
    fn load(weights: &Scope, dim: usize, config: &Config) -> Result<TextEnhancer> {
        let eps = config.layer_norm_eps;
        Ok(TextEnhancer {
            self_attn: Attention::load(&weights.at("self_attn"), QUERY_KEY_VALUE, dim, config.encoder_heads / 2)?,
            layer_norm_before: LayerNorm::load(&weights.at("layer_norm_before"), dim, eps)?,
            mlp: Mlp::load(&weights.at("fc1"), &weights.at("fc2"), dim, Activation::Relu)?,
            layer_norm_after: LayerNorm::load(&weights.at("layer_norm_after"), dim, eps)?,
        })
    }

    /// `text` `[captions · tokens, dim]` → the same shape; tokens attend to their own phrase.
    fn forward<'g>(&self, text: Tensor<'g>, captions: &Captions<'g>) -> Tensor<'g> {
        let located = text + captions.sines;
        let attended = self.self_attn.attend([located, located, text], captions.phrases);
        let text = self.layer_norm_before.forward(self.self_attn.out_proj.added_to(attended, text));
        self.layer_norm_after.forward(self.mlp.added_to(text, text))
    }
}

impl DeformableLayer {
    fn load(weights: &Scope, dim: usize, config: &Config) -> Result<DeformableLayer> {
        let eps = config.layer_norm_eps;
        Ok(DeformableLayer {
            self_attn: DeformableAttention::load(
                &weights.at("self_attn"),
                dim,
                (config.encoder_heads, "encoder_attention_heads"),
                config.levels,
                config.encoder_points,
            )?,
            self_attn_layer_norm: LayerNorm::load(&weights.at("self_attn_layer_norm"), dim, eps)?,
            mlp: Mlp::load(&weights.at("fc1"), &weights.at("fc2"), dim, Activation::Relu)?,
            final_layer_norm: LayerNorm::load(&weights.at("final_layer_norm"), dim, eps)?,
        })
    }

    /// `image` `[captions, cells, dim]` → the same shape.
    fn forward<'g>(&self, image: Tensor<'g>, pyramid: &Pyramid<'g>) -> Tensor<'g> {
        let attended = self.self_attn.attend(image + pyramid.positions, image, pyramid.centres, &pyramid.levels);
        let image = self.self_attn_layer_norm.forward(self.self_attn.output_proj.added_to(attended, image));
        self.final_layer_norm.forward(self.mlp.added_to(image, image))
    }
}
