//! Multi-head self-attention over rows of any number of sequences.

use crate::graph::{ColumnView, KeyRanges, Tensor};
use crate::nn::Linear;

/// Queries, keys and values from one projection, attention, and the projection of its result (Vaswani et al. 2017, §3.2).
#[derive(Clone)]
pub struct SelfAttention {
    /// `[dim]` → queries, keys and values side by side `[3·dim]`.
    pub in_proj: Linear,
    /// `[dim]` → `[dim]`.
    pub out_proj: Linear,
    /// Number of heads.
    pub heads: usize,
}

impl SelfAttention {
    /// The attended values of all heads side by side, before `out_proj`: `x` `[rows, dim]` → `[rows, dim]`.
    #[track_caller]
    pub fn attend<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges) -> Tensor<'g> {
        let dim = x.shape().cols();
        let qkv = self.in_proj.forward(x); // [rows, 3·dim]
        let [query, key, value] = [0, 1, 2].map(|part| qkv.columns(part * dim, dim));
        ColumnView::attention(query, key, value, key_ranges, self.heads)
    }

    /// The values of all heads side by side: what each row would get if it attended to itself only. `x` `[rows, dim]` → `[rows, dim]`.
    #[track_caller]
    pub fn values<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let dim = x.shape().cols();
        self.in_proj.outputs(2 * dim..3 * dim).forward(x)
    }
}
