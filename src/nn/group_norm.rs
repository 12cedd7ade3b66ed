//! Group norm with learnt scale and offset.

use crate::error::Result;
use crate::graph::Tensor;
use crate::weights::{Scope, Weight};

/// `(x − mean) / √(variance + eps) · weight + bias` over groups of channels of a whole image (Wu & He 2018).
pub struct GroupNorm {
    weight: Weight,
    bias: Weight,
    groups: usize,
    eps: f32,
}

impl GroupNorm {
    /// Reads `weight` and `bias` `[channels]`.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope, channels: usize, groups: usize, eps: f32) -> Result<GroupNorm> {
        Ok(GroupNorm {
            weight: weights.weight("weight", [channels])?,
            bias: weights.weight("bias", [channels])?,
            groups,
            eps,
        })
    }

    /// `[images, …, channels]` → the same shape.
    #[track_caller]
    pub fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let graph = x.graph();
        x.group_norm(self.groups, graph.weight_f32(&self.weight), graph.weight_f32(&self.bias), self.eps)
    }
}
