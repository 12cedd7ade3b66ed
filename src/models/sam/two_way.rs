//! The two-way transformer of SAM's decoder: tokens attend to the image, then the image to the tokens (Kirillov et al. 2023, figure 14).

use crate::error::Result;
use crate::graph::{KeyRanges, Tensor};
use crate::kernels::Activation;
use crate::models::sam::{MaskDecoderConfig, check_layers};
use crate::nn::{Attention, LayerNorm, Mlp, Q_K_V_PROJ};
use crate::weights::Scope;

/// ε of the last norm, which no configuration names: PyTorch's default.
const FINAL_EPS: f32 = 1e-5;

/// The two-way transformer: layers, then a last attention from tokens to the image.
pub(super) struct TwoWay {
    layers: Vec<Layer>,
    final_attn_token_to_image: Attention,
    layer_norm_final_attn: LayerNorm,
}

/// One layer: self-attention, token to image, MLP, image to token, with a norm after each sum (Vaswani et al. 2017).
struct Layer {
    self_attn: Attention,
    layer_norm1: LayerNorm,
    cross_attn_token_to_image: Attention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    layer_norm3: LayerNorm,
    cross_attn_image_to_token: Attention,
    layer_norm4: LayerNorm,
}

/// Positional encodings and key ranges of self- and cross-attention, shared by all layers.
struct AttentionContext<'g> {
    boxes: usize,
    /// `[boxes·n, dim]`.
    token_positions: Tensor<'g>,
    /// `[cells, dim]`, the same for all boxes.
    image_positions: Tensor<'g>,
    token_to_token: KeyRanges,
    token_to_image: KeyRanges,
    image_to_token: KeyRanges,
}

impl TwoWay {
    pub fn load(weights: &Scope, dim: usize, config: &MaskDecoderConfig) -> Result<TwoWay> {
        let layers = weights.at("layers");
        check_layers(config.num_hidden_layers, layers.blocks(), "mask_decoder_config")?;
        let load = |at: usize| Layer::load(&layers.at(at), dim, config);
        Ok(TwoWay {
            layers: (0..layers.blocks()).map(load).collect::<Result<_>>()?,
            final_attn_token_to_image: attention(&weights.at("final_attn_token_to_image"), dim, config)?,
            layer_norm_final_attn: LayerNorm::load(&weights.at("layer_norm_final_attn"), dim, FINAL_EPS)?,
        })
    }

    /// `tokens` `[boxes, n, dim]`, which are also their positions, and `image` `[cells, dim]` with its positions → `[boxes·n, dim]` and
    /// `[boxes·cells, dim]`.
    pub fn forward<'g>(&self, tokens: Tensor<'g>, image: Tensor<'g>, image_positions: Tensor<'g>) -> [Tensor<'g>; 2] {
        let ([boxes, count, dim], [cells, _]) = (tokens.shape().axes(), image.shape().axes());
        let tokens = tokens.reshape([boxes * count, dim]);
        let context = AttentionContext {
            token_positions: tokens,
            boxes,
            image_positions,
            token_to_token: KeyRanges::sequences(vec![count; boxes]),
            token_to_image: KeyRanges::cross(vec![(count, cells); boxes]),
            image_to_token: KeyRanges::cross(vec![(cells, count); boxes]),
        };
        let copies: Vec<usize> = (0..boxes * cells).map(|row| row % cells).collect();
        let mut queries = tokens;
        let mut keys = if boxes == 1 { image } else { image.gather(&copies) };
        for (at, layer) in self.layers.iter().enumerate() {
            [queries, keys] = layer.forward(queries, keys, &context, at == 0);
        }
        let q_k_v = [context.with_token_positions(queries), context.with_image_positions(keys), keys];
        let attended = self.final_attn_token_to_image.attend(q_k_v, &context.token_to_image);
        let queries = self.final_attn_token_to_image.out_proj.added_to(attended, queries);
        [self.layer_norm_final_attn.forward(queries), keys]
    }
}

impl<'g> AttentionContext<'g> {
    fn with_token_positions(&self, tokens: Tensor<'g>) -> Tensor<'g> {
        tokens + self.token_positions
    }

    fn with_image_positions(&self, keys: Tensor<'g>) -> Tensor<'g> {
        let [cells, dim] = self.image_positions.shape().axes();
        keys.reshape([self.boxes, cells, dim]) + self.image_positions
    }
}

impl Layer {
    fn load(weights: &Scope, dim: usize, config: &MaskDecoderConfig) -> Result<Layer> {
        let attention = |name: &str| attention(&weights.at(name), dim, config);
        let norm = |name: &str| LayerNorm::load(&weights.at(name), dim, config.layer_norm_eps);
        Ok(Layer {
            self_attn: attention("self_attn")?,
            layer_norm1: norm("layer_norm1")?,
            cross_attn_token_to_image: attention("cross_attn_token_to_image")?,
            layer_norm2: norm("layer_norm2")?,
            mlp: Mlp::load(&weights.at("mlp.lin1"), &weights.at("mlp.lin2"), dim, Activation::Relu)?,
            layer_norm3: norm("layer_norm3")?,
            cross_attn_image_to_token: attention("cross_attn_image_to_token")?,
            layer_norm4: norm("layer_norm4")?,
        })
    }

    /// `queries` `[boxes·n, dim]` and `keys` `[boxes·cells, dim]` → the same.
    fn forward<'g>(&self, queries: Tensor<'g>, keys: Tensor<'g>, context: &AttentionContext<'g>, is_first: bool) -> [Tensor<'g>; 2] {
        let queries = if is_first {
            // In the first layer the tokens are their positions: these are not added again, and there is no residual.
            self.self_attn.out_proj.forward(self.self_attn.attend([queries; 3], &context.token_to_token))
        } else {
            let located = context.with_token_positions(queries);
            let attended = self.self_attn.attend([located, located, queries], &context.token_to_token);
            self.self_attn.out_proj.added_to(attended, queries)
        };
        let queries = self.layer_norm1.forward(queries);

        let located_keys = context.with_image_positions(keys);
        let q_k_v = [context.with_token_positions(queries), located_keys, keys];
        let attended = self.cross_attn_token_to_image.attend(q_k_v, &context.token_to_image);
        let queries = self.layer_norm2.forward(self.cross_attn_token_to_image.out_proj.added_to(attended, queries));

        let queries = self.layer_norm3.forward(self.mlp.added_to(queries, queries));

        let q_k_v = [located_keys, context.with_token_positions(queries), queries];
        let attended = self.cross_attn_image_to_token.attend(q_k_v, &context.image_to_token);
        let keys = self.layer_norm4.forward(self.cross_attn_image_to_token.out_proj.added_to(attended, keys));
        [queries, keys]
    }
}

fn attention(weights: &Scope, dim: usize, config: &MaskDecoderConfig) -> Result<Attention> {
    Attention::load(weights, Q_K_V_PROJ, dim, config.num_attention_heads)
}
