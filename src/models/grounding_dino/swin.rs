//! Swin transformer: attention inside windows, which every other block shifts, at four resolutions (Liu et al. 2021).

use crate::error::{Code, Context, Error, Result};
use crate::graph::Tensor;
use crate::kernels::{Activation, WindowGeometry};
use crate::models::grounding_dino::config::{CONFIG, SwinConfig, heads_in_fours};
use crate::nn::{LayerNorm, Linear, Mlp, PatchEmbed, QUERY_KEY_VALUE, joint_projection};
use crate::weights::{Scope, Weight};

/// The backbone: from pixels to feature maps.
pub(super) struct Swin {
    patch_embed: PatchEmbed,
    norm: LayerNorm,
    stages: Vec<Stage>,
}

/// Blocks at one resolution.
struct Stage {
    blocks: Vec<Block>,
    /// The norm of the output, where it is read.
    output: Option<LayerNorm>,
    downsample: Option<PatchMerging>,
}

/// `x ← x + attention(norm x)`, then `x ← x + mlp(norm x)`.
struct Block {
    layernorm_before: LayerNorm,
    attention: WindowAttention,
    layernorm_after: LayerNorm,
    mlp: Mlp,
}

/// Self-attention inside windows, with a bias for each relative position.
struct WindowAttention {
    in_proj: Linear,
    /// `[heads, (2·window − 1)²]`.
    relative_position_bias: Weight,
    out_proj: Linear,
    heads: usize,
    window: usize,
    shift: usize,
}

/// From 2×2 cells to one of twice the channels.
struct PatchMerging {
    norm: LayerNorm,
    /// `[4·dim, 2·dim]`.
    reduction: Linear,
}

impl Swin {
    /// Reads the backbone below `weights`, and the norms of its outputs below `norms`.
    pub fn load(weights: &Scope, norms: &Scope, config: &SwinConfig) -> Result<Swin> {
        let patch_embed = PatchEmbed::load(&weights.at("embeddings.patch_embeddings.projection"))?;
        // transformers saves a norm that only classifiers read.
        weights.ignore("swin.layernorm");
        let layers = weights.at("encoder.layers");
        let depths: Vec<usize> = (0..layers.blocks()).map(|at| layers.at(at).at("blocks").blocks()).collect();
        if depths != config.depths || config.num_heads.len() != depths.len() {
            let message =
                format!("`{CONFIG}` has blocks {:?} and heads {:?}, the tensors have blocks {depths:?}", config.depths, config.num_heads);
            return Err(Error::new(Code::WeightsMismatch, message).context("for the Swin transformer"));
        }
        let last = config.outputs.iter().max().copied().unwrap_or(0);
        if last != depths.len() || config.outputs.contains(&0) {
            let message = format!("`{CONFIG}` reads stages {:?} of {}", config.outputs, depths.len());
            return Err(Error::new(Code::WeightsMismatch, message).hint("the last stage must be among them, and the stem must not"));
        }
        let dim = patch_embed.width();
        let stage = |at: usize| Stage::load(&layers.at(at), norms, at, dim << at, config);
        Ok(Swin {
            norm: LayerNorm::load(&weights.at("embeddings.norm"), dim, config.layer_norm_eps)?,
            patch_embed,
            stages: (0..depths.len()).map(stage).collect::<Result<_>>()?,
        })
    }

    /// Pixels along each side of a patch: images are padded with zeros to whole patches.
    pub fn patch(&self) -> usize {
        self.patch_embed.patch()
    }

    /// Channels of each output.
    pub fn channels(&self) -> Vec<usize> {
        self.stages
            .iter()
            .filter_map(|stage| stage.output.as_ref())
            .map(|norm| norm.weight().shape().len())
            .collect()
    }

    /// Feature maps: `pixels` `[1, 3, h, w]` of whole patches → `[1, h', w', c]` of each stage that is read, coarser from one to the next.
    pub fn forward<'g>(&self, pixels: Tensor<'g>) -> Vec<Tensor<'g>> {
        let mut x = self.norm.forward(self.patch_embed.forward(pixels, None)); // [1, h/4, w/4, dim]
        let mut outputs = Vec::new();
        for stage in &self.stages {
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x));
            outputs.extend(stage.output.as_ref().map(|norm| norm.forward(x)));
            x = stage.downsample.as_ref().map_or(x, |downsample| downsample.forward(x));
        }
        outputs
    }
}

impl Stage {
    fn load(weights: &Scope, norms: &Scope, at: usize, dim: usize, config: &SwinConfig) -> Result<Stage> {
        let blocks = weights.at("blocks");
        let eps = config.layer_norm_eps;
        let heads =
            heads_in_fours(config.num_heads[at], dim, "backbone_config.num_heads").context(|| format!("for `{}`", weights.path()))?;
        let block = |number: usize| {
            let weights = blocks.at(number);
            // Every other block shifts its windows by half a window.
            let shift = if number.is_multiple_of(2) { 0 } else { config.window_size / 2 };
            Ok(Block {
                layernorm_before: LayerNorm::load(&weights.at("layernorm_before"), dim, eps)?,
                attention: WindowAttention::load(&weights.at("attention"), dim, heads, config.window_size, shift)?,
                layernorm_after: LayerNorm::load(&weights.at("layernorm_after"), dim, eps)?,
                mlp: Mlp::load(&weights.at("intermediate.dense"), &weights.at("output.dense"), dim, Activation::Gelu)?,
            })
        };
        let is_output = config.outputs.contains(&(at + 1));
        let output = is_output.then(|| LayerNorm::load(&norms.at(format!("stage{}", at + 1)), dim, eps)).transpose()?;
        let downsample = (at + 1 < config.depths.len())
            .then(|| PatchMerging::load(&weights.at("downsample"), dim, eps))
            .transpose()?;
        Ok(Stage { blocks: (0..blocks.blocks()).map(block).collect::<Result<_>>()?, output, downsample })
    }
}

impl Block {
    /// `[1, h, w, dim]` → the same shape.
    fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let attended = self.attention.attend(self.layernorm_before.forward(x));
        let x = self.attention.out_proj.added_to(attended, x).reshape(x.shape());
        self.mlp.added_to(self.layernorm_after.forward(x), x)
    }
}

impl WindowAttention {
    fn load(weights: &Scope, dim: usize, heads: usize, window: usize, shift: usize) -> Result<WindowAttention> {
        let own = weights.at("self");
        // Follows from the window.
        own.ignore("relative_position_index");
        let differences = 2 * window - 1;
        Ok(WindowAttention {
            in_proj: joint_projection(&own, QUERY_KEY_VALUE, dim)?,
            relative_position_bias: own.weight("relative_position_bias_table", [differences * differences, heads])?.transposed(),
            out_proj: Linear::load(&weights.at("output.dense"), dim, dim)?,
            heads,
            window,
            shift,
        })
    }

    /// The attended values of all heads side by side, before `out_proj`: `x` `[1, h, w, dim]` → the same shape.
    fn attend<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let graph = x.graph();
        let [images, height, width, _] = x.shape().axes();
        // As in the original code, windows are shifted even where one covers the grid.
        let geometry = WindowGeometry { images, height, width, window: self.window, shift: self.shift };
        // Padding is zeros after the norm: its queries, keys and values are the biases.
        let padding = graph.weight_f32(self.in_proj.bias().expect("a joint projection has a bias"));
        let bias = graph.weight_f32(&self.relative_position_bias);
        self.in_proj.forward(x).window_attention(padding, bias, geometry, self.heads).reshape(x.shape())
    }
}

impl PatchMerging {
    fn load(weights: &Scope, dim: usize, eps: f32) -> Result<PatchMerging> {
        Ok(PatchMerging {
            norm: LayerNorm::load(&weights.at("norm"), 4 * dim, eps)?,
            reduction: Linear::new(weights.weight("reduction.weight", [2 * dim, 4 * dim])?.transposed(), None),
        })
    }

    /// `[1, h, w, dim]` → `[1, ⌈h/2⌉, ⌈w/2⌉, 2·dim]`; cells past the edge are zeros.
    fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let [_, height, width, dim] = x.shape().axes();
        let (down, across) = (height.div_ceil(2), width.div_ceil(2));
        let cells = (0..down * across).flat_map(|cell| {
            // The lower left cell comes before the upper right one.
            [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(row, col)| (2 * (cell / across) + row, 2 * (cell % across) + col))
        });
        let rows: Vec<Option<usize>> = cells.map(|(row, col)| (row < height && col < width).then_some(row * width + col)).collect();
        let merged = x.reshape([height * width, dim]).gather_padded(&rows).reshape([1, down, across, 4 * dim]);
        self.reduction.forward(self.norm.forward(merged))
    }
}
