//! Multi-scale deformable attention: each query reads the image pyramid at a few points that it chooses (Zhu et al. 2021).

use crate::error::{Context, Result};
use crate::graph::Tensor;
use crate::kernels::Grid;
use crate::models::grounding_dino::config::heads_in_fours;
use crate::nn::Linear;
use crate::tensor::DType;
use crate::weights::Scope;

/// Attention of queries to sampled points of all levels.
pub(super) struct DeformableAttention {
    sampling_offsets: Linear,
    attention_weights: Linear,
    value_proj: Linear,
    pub output_proj: Linear,
    heads: usize,
    points: usize,
}

impl DeformableAttention {
    /// Reads the layer below `weights`; the configuration sets its `heads` under `key`.
    pub fn load(weights: &Scope, dim: usize, (heads, key): (usize, &str), levels: usize, points: usize) -> Result<DeformableAttention> {
        let heads = heads_in_fours(heads, dim, key).context(|| format!("for `{}`", weights.path()))?;
        let samples = heads * levels * points;
        Ok(DeformableAttention {
            sampling_offsets: Linear::load(&weights.at("sampling_offsets"), dim, 2 * samples)?,
            attention_weights: Linear::load(&weights.at("attention_weights"), dim, samples)?,
            value_proj: Linear::load(&weights.at("value_proj"), dim, dim)?,
            output_proj: Linear::load(&weights.at("output_proj"), dim, dim)?,
            heads,
            points,
        })
    }

    /// The sampled values of all heads side by side, before `output_proj`: `query` `[sequences, queries, dim]` and `image`
    /// `[sequences, cells, dim]` → `[sequences, queries, dim]`.
    ///
    /// `references`, f32, are points `[queries, 2]` or boxes `[sequences, queries, 4]` around which the points lie.
    pub fn attend<'g>(&self, query: Tensor<'g>, image: Tensor<'g>, references: Tensor<'g>, levels: &[Grid]) -> Tensor<'g> {
        // Locations are f32 whatever the precision: a column of 167 has steps of an eighth in f16.
        let offsets = self.sampling_offsets.forward(query).cast(DType::F32);
        let weights = self.attention_weights.forward(query).cast(DType::F32);
        self.value_proj
            .forward(image)
            .deformable_attention([offsets, weights, references], levels, self.heads, self.points)
    }
}
