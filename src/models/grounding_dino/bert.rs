//! BERT (Devlin et al. 2019) as GroundingDINO reads captions: tokens attend to their own phrase only, and positions count anew in each.

use crate::error::{Context, Result};
use crate::graph::{GivenKeyRanges, Graph, Tensor};
use crate::kernels::Activation;
use crate::models::grounding_dino::config::{BertConfig, check_layers};
use crate::nn::{Heads, LayerNorm, Mlp, QUERY_KEY_VALUE, SelfAttention};
use crate::tensor::Array;
use crate::weights::{Scope, Weight};

/// The text backbone.
pub(super) struct Bert {
    /// `[vocabulary, width]`.
    word_embeddings: Weight,
    /// Positions, with the embedding of the first token type added, `[positions, width]`.
    position_embeddings: Weight,
    layer_norm: LayerNorm,
    layers: Vec<Layer>,
}

/// `x ← norm(x + attention(x))`, then `x ← norm(x + mlp(x))`.
struct Layer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    mlp: Mlp,
    output_norm: LayerNorm,
}

impl Bert {
    pub fn load(weights: &Scope, config: &BertConfig) -> Result<Bert> {
        let embeddings = weights.at("embeddings");
        let [vocabulary, width] = embeddings.sizes("word_embeddings.weight")?;
        let [positions, _] = embeddings.sizes("position_embeddings.weight")?;
        let [types, _] = embeddings.sizes("token_type_embeddings.weight")?;
        let token_types = embeddings.weight("token_type_embeddings.weight", [types, width])?;
        let position_embeddings = embeddings.weight("position_embeddings.weight", [positions, width])?;
        // The positions 0, 1, … themselves; and what only other tasks read.
        embeddings.ignore("position_ids");
        weights.ignore("pooler");
        let layers = weights.at("encoder.layer");
        check_layers(config.num_hidden_layers, layers.blocks(), "text_config.num_hidden_layers")?;
        let heads = Heads::Count(config.num_attention_heads).of(width).context(|| format!("for `{}`", layers.path()))?;
        Ok(Bert {
            word_embeddings: embeddings.weight("word_embeddings.weight", [vocabulary, width])?,
            position_embeddings: position_embeddings.map([positions, width], move |table| {
                let first = token_types.rows(0..1).to_array()?;
                let sums = table.data().iter().zip(first.data().iter().cycle()).map(|(position, kind)| position + kind);
                Ok(Array::new([positions, width], sums.collect()))
            }),
            layer_norm: LayerNorm::load(&embeddings.at("LayerNorm"), width, config.layer_norm_eps)?,
            layers: (0..layers.blocks())
                .map(|at| Layer::load(&layers.at(at), width, heads, config.layer_norm_eps))
                .collect::<Result<_>>()?,
        })
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.word_embeddings.shape().rows()
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.position_embeddings.shape().rows()
    }

    /// Elements of a token.
    pub fn width(&self) -> usize {
        self.word_embeddings.shape().cols()
    }

    /// Contextual embeddings of tokens: `ids` and `positions` `[rows]`, each row attending to its range → `[rows, width]`.
    pub fn forward<'g>(&self, graph: &'g Graph, ids: Tensor<'g>, positions: Tensor<'g>, phrases: GivenKeyRanges<'g>) -> Tensor<'g> {
        let words = graph.weight(&self.word_embeddings).gather_at(ids);
        let x = words + graph.weight(&self.position_embeddings).gather_at(positions);
        self.layers.iter().fold(self.layer_norm.forward(x), |x, layer| layer.forward(x, phrases))
    }
}

impl Layer {
    fn load(weights: &Scope, width: usize, heads: usize, eps: f32) -> Result<Layer> {
        let output = weights.at("attention.output");
        Ok(Layer {
            attention: SelfAttention::load(&weights.at("attention.self"), QUERY_KEY_VALUE, &output.at("dense"), width, heads)?,
            attention_norm: LayerNorm::load(&output.at("LayerNorm"), width, eps)?,
            mlp: Mlp::load(&weights.at("intermediate.dense"), &weights.at("output.dense"), width, Activation::Gelu)?,
            output_norm: LayerNorm::load(&weights.at("output.LayerNorm"), width, eps)?,
        })
    }

    /// `x` `[rows, width]` → the same shape.
    fn forward<'g>(&self, x: Tensor<'g>, phrases: GivenKeyRanges<'g>) -> Tensor<'g> {
        let x = self.attention_norm.forward(self.attention.out_proj.added_to(self.attention.attend(x, phrases), x));
        self.output_norm.forward(self.mlp.added_to(x, x))
    }
}
