//! Multi-head attention over rows of any number of sequences (Vaswani et al. 2017, §3.2).

use crate::error::{Context, Result};
use crate::graph::{ColumnView, Ranges, Tensor};
use crate::nn::{Heads, Linear};
use crate::tensor::Shape;
use crate::weights::{Scope, Weight};

/// Names of the projections to queries, keys and values in transformers' older networks.
pub const Q_K_V_PROJ: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Names of the projections to queries, keys and values in transformers' other networks.
pub const QUERY_KEY_VALUE: [&str; 3] = ["query", "key", "value"];

/// Self-attention whose queries, keys and values come from one projection.
#[derive(Clone)]
pub struct SelfAttention {
    /// `[dim]` → queries, keys and values side by side `[3·dim]`.
    pub in_proj: Linear,
    /// `[dim]` → `[dim]`.
    pub out_proj: Linear,
    /// Number of heads.
    pub heads: usize,
}

/// Attention whose queries, keys and values come from tensors of their own, at a width of its own.
#[derive(Clone)]
pub struct Attention {
    /// `[dim]` → `[inner]`.
    pub query: Linear,
    /// `[dim]` → `[inner]`.
    pub key: Linear,
    /// `[dim]` → `[inner]`.
    pub value: Linear,
    /// `[inner]` → `[dim]`.
    pub out_proj: Linear,
    /// Number of heads.
    pub heads: usize,
}

impl SelfAttention {
    /// Reads three projections of the same input as one, and `out_proj`.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(projections: &Scope, names: [&str; 3], out_proj: &Scope, dim: usize, heads: usize) -> Result<SelfAttention> {
        Ok(SelfAttention {
            in_proj: joint_projection(projections, names, dim)?,
            out_proj: Linear::load(out_proj, dim, dim)?,
            heads,
        })
    }

    /// The attended values of all heads side by side, before `out_proj`: `x` `[rows, dim]` → `[rows, dim]`.
    #[track_caller]
    pub fn attend<'a, 'g: 'a>(&self, x: Tensor<'g>, ranges: impl Into<Ranges<'a, 'g>>) -> Tensor<'g> {
        let dim = x.shape().cols();
        let qkv = self.in_proj.forward(x); // [rows, 3·dim]
        let [query, key, value] = [0, 1, 2].map(|part| qkv.columns(part * dim, dim));
        ColumnView::attention(query, key, value, ranges, self.heads)
    }

    /// The values of all heads side by side: what each row would get if it attended to itself only. `x` `[rows, dim]` → `[rows, dim]`.
    #[track_caller]
    pub fn values<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let dim = x.shape().cols();
        self.in_proj.outputs(2 * dim..3 * dim).forward(x)
    }
}

impl Attention {
    /// Reads the projections `names` and `out_proj` below `weights`; the inner width is that of the tensors.
    ///
    /// Errors when a tensor is missing or ill-shaped, or heads do not divide the inner width.
    pub fn load(weights: &Scope, names: [&str; 3], dim: usize, heads: usize) -> Result<Attention> {
        let [inner, _] = weights.at(names[0]).sizes("weight")?;
        let [query, key, value] = names.map(|name| Linear::load(&weights.at(name), dim, inner));
        Ok(Attention {
            query: query?,
            key: key?,
            value: value?,
            out_proj: Linear::load(&weights.at("out_proj"), inner, dim)?,
            heads: Heads::Count(heads).of(inner).context(|| format!("for `{}`", weights.path()))?,
        })
    }

    /// The attended values of all heads side by side, before `out_proj`: `[queries, inner]`.
    #[track_caller]
    pub fn attend<'a, 'g: 'a>(&self, [query, key, value]: [Tensor<'g>; 3], ranges: impl Into<Ranges<'a, 'g>>) -> Tensor<'g> {
        let whole = |x: Tensor<'g>| x.columns(0, x.shape().cols());
        let [query, key, value] = [self.query.forward(query), self.key.forward(key), self.value.forward(value)].map(whole);
        ColumnView::attention(query, key, value, ranges, self.heads)
    }
}

/// Three projections of the same input as one, to all their outputs side by side.
///
/// Errors when a tensor is missing or ill-shaped.
pub fn joint_projection(weights: &Scope, names: [&str; 3], dim: usize) -> Result<Linear> {
    let stacked = |tensor: &str, sizes: &[usize]| -> Result<Weight> {
        let [first, second, third] = names.map(|name| weights.at(name).weight(tensor, Shape::new(sizes)));
        Ok(Weight::stacked(&[first?, second?, third?]))
    };
    Ok(Linear::new(stacked("weight", &[dim, dim])?.transposed(), Some(stacked("bias", &[dim])?)))
}
