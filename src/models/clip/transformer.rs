//! Transformer blocks of both towers of CLIP.

use crate::error::{Code, Context, Error, Result};
use crate::graph::{KeyRanges, Tensor};
use crate::models::clip::{Naming, TowerConfig};
use crate::nn::{LayerNorm, Linear, Mlp, Q_K_V_PROJ, SelfAttention};
use crate::weights::Scope;

/// A stack of [`Block`]s.
#[derive(Clone)]
pub struct Transformer {
    /// Blocks in order.
    pub resblocks: Vec<Block>,
}

/// `x ← x + attention(ln_1 x)`, then `x ← x + mlp(ln_2 x)` (Radford et al. 2021; `open_clip/transformer.py`, `ResidualAttentionBlock`).
#[derive(Clone)]
pub struct Block {
    /// Layer norm before the attention.
    pub ln_1: LayerNorm,
    /// Multi-head attention.
    pub attn: SelfAttention,
    /// Layer norm before the MLP.
    pub ln_2: LayerNorm,
    /// The MLP; its hidden layer is 4·dim in published towers.
    pub mlp: Mlp,
}

impl Transformer {
    /// Reads as many blocks of width `dim` as lie below `weights`.
    ///
    /// Errors where the configuration has another number of blocks, or heads that do not divide the width.
    pub fn load(weights: &Scope, naming: Naming, dim: usize, config: &TowerConfig) -> Result<Transformer> {
        let heads = config.heads.of(dim).context(|| format!("for `{}`", weights.path()))?;
        let blocks = weights.blocks();
        if let Some(layers) = config.layers.filter(|layers| *layers != blocks) {
            let message = format!("the configuration has {layers} layers, the tensors {blocks}");
            return Err(Error::new(Code::WeightsMismatch, message).context(format!("for `{}`", weights.path())));
        }
        let load = |at| Block::load(&weights.at(at), naming, dim, heads, config);
        Ok(Transformer { resblocks: (0..blocks).map(load).collect::<Result<_>>()? })
    }

    /// All blocks, on sequences one after the other: `x` `[rows, dim]` → the rows `wanted` `[wanted.len(), dim]`.
    ///
    /// The last block leaves the other rows out as soon as nothing depends on them.
    pub fn forward<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges, wanted: &[usize]) -> Tensor<'g> {
        match self.resblocks.split_last() {
            Some((last, others)) => last.forward_rows(Transformer::through(others, x, key_ranges), key_ranges, wanted),
            None => x.gather(wanted),
        }
    }

    /// Input of the last block: `x` `[rows, dim]` → `[rows, dim]`.
    pub fn before_last<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges) -> Tensor<'g> {
        Transformer::through(&self.resblocks[..self.resblocks.len().saturating_sub(1)], x, key_ranges)
    }

    /// Outputs of all blocks: `x` `[rows, dim]` → as many `[rows, dim]`. Blocks after the last output that is used cost nothing.
    pub fn outputs<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges) -> Vec<Tensor<'g>> {
        let through = |x: &mut Tensor<'g>, block: &Block| {
            *x = block.forward(*x, key_ranges);
            Some(*x)
        };
        self.resblocks.iter().scan(x, through).collect()
    }

    fn through<'g>(blocks: &[Block], x: Tensor<'g>, key_ranges: &KeyRanges) -> Tensor<'g> {
        blocks.iter().fold(x, |x, block| block.forward(x, key_ranges))
    }
}

impl Block {
    fn load(weights: &Scope, naming: Naming, dim: usize, heads: usize, config: &TowerConfig) -> Result<Block> {
        let TowerConfig { activation, eps, .. } = *config;
        let [norm_1, norm_2, first, second] = match naming {
            Naming::OpenClip => ["ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj"],
            Naming::Transformers => ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"],
        }
        .map(|name| weights.at(name));
        let attn = match naming {
            Naming::OpenClip => {
                let attn = weights.at("attn");
                let (weight, bias) = (attn.weight("in_proj_weight", [3 * dim, dim])?, attn.weight("in_proj_bias", [3 * dim])?);
                let in_proj = Linear::new(weight.transposed(), Some(bias));
                SelfAttention { in_proj, out_proj: Linear::load(&attn.at("out_proj"), dim, dim)?, heads }
            }
            Naming::Transformers => {
                let attn = weights.at("self_attn");
                SelfAttention::load(&attn, Q_K_V_PROJ, &attn.at("out_proj"), dim, heads)?
            }
        };
        Ok(Block {
            ln_1: LayerNorm::load(&norm_1, dim, eps)?,
            attn,
            ln_2: LayerNorm::load(&norm_2, dim, eps)?,
            mlp: Mlp::load(&first, &second, dim, activation)?,
        })
    }

    /// `x` `[rows, dim]` → `[rows, dim]`.
    pub fn forward<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges) -> Tensor<'g> {
        self.finish(x, self.attn.attend(self.ln_1.forward(x), key_ranges))
    }

    /// The block on all rows, of which only `wanted` are needed: `x` `[rows, dim]` → `[wanted.len(), dim]`.
    fn forward_rows<'g>(&self, x: Tensor<'g>, key_ranges: &KeyRanges, wanted: &[usize]) -> Tensor<'g> {
        let attended = self.attn.attend(self.ln_1.forward(x), key_ranges);
        self.finish(x.gather(wanted), attended.gather(wanted))
    }

    /// The rest of the block after attention, row by row: residual, norm, MLP, residual.
    pub fn finish<'g>(&self, x: Tensor<'g>, attended: Tensor<'g>) -> Tensor<'g> {
        let x = self.attn.out_proj.added_to(attended, x);
        self.mlp.added_to(self.ln_2.forward(x), x)
    }
}
