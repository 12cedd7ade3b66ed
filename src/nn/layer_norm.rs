//! Layer norm with learnt scale and offset.

use crate::error::Result;
use crate::graph::Tensor;
use crate::weights::{Scope, Weight};

/// `(x − mean) / √(variance + eps) · weight + bias` over the last axis (Ba et al. 2016).
#[derive(Clone)]
pub struct LayerNorm {
    weight: Weight,
    bias: Weight,
    eps: f32,
}

impl LayerNorm {
    /// Reads `weight` and `bias` `[dim]`.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope, dim: usize, eps: f32) -> Result<LayerNorm> {
        Ok(LayerNorm { weight: weights.weight("weight", [dim])?, bias: weights.weight("bias", [dim])?, eps })
    }

    /// The scale `[dim]`.
    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// The offset `[dim]`.
    pub fn bias(&self) -> &Weight {
        &self.bias
    }

    /// ε, added to the variance.
    pub fn eps(&self) -> f32 {
        self.eps
    }

    /// `[…, dim]` → the same shape.
    #[track_caller]
    pub fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let graph = x.graph();
        x.layer_norm(graph.weight_f32(&self.weight), graph.weight_f32(&self.bias), self.eps)
    }
}
