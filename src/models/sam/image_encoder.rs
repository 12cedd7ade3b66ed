//! SAM's image encoder: a vision transformer (Dosovitskiy et al. 2021) with window attention in most blocks (Li et al. 2022, "ViTDet").

use crate::error::{Code, Context, Error, Result};
use crate::graph::{ColumnView, Epilogue, GridKeyRanges, Tensor};
use crate::kernels::{Activation, Grid};
use crate::models::sam::{CONFIG, VisionConfig, check_layers};
use crate::nn::{Heads, LayerNorm, Linear, Mlp, PatchEmbed, relative_positions};
use crate::weights::{Scope, Weight};

/// ε of the norms of the neck.
const NECK_EPS: f32 = 1e-6;

/// Image encoder: from pixels to an embedding with 16 times fewer cells along each side.
pub struct ImageEncoder {
    patch_embed: PatchEmbed,
    /// `[1, grid, grid, width]`.
    pos_embed: Weight,
    layers: Vec<Layer>,
    neck: Neck,
    window: usize,
}

/// `x ← x + attention(norm₁ x)`, then `x ← x + mlp(norm₂ x)`.
struct Layer {
    layer_norm1: LayerNorm,
    attn: Attention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    is_global: bool,
}

/// Self-attention with decomposed relative positions.
struct Attention {
    query: Linear,
    /// Keys and values side by side.
    key_value: Linear,
    /// Embeddings of relative positions `[head_dim, 2·rows + 2·cols]`: one column for each difference of rows and of columns.
    rel_pos: Weight,
    proj: Linear,
    heads: usize,
}

/// Two convolutions without bias, each with a norm over the channels of a pixel.
struct Neck {
    /// `[width, channels]`.
    conv1: Weight,
    layer_norm1: LayerNorm,
    /// `[3, 3, channels, channels]`.
    conv2: Weight,
    layer_norm2: LayerNorm,
}

/// Order of the tokens: sorted by window, those of a window in neighbouring rows.
struct Layout {
    /// The keys of windowed blocks.
    windows: KeyGrids,
    /// The keys of global blocks.
    image: KeyGrids,
    /// The cell of the image at which each token is.
    cells: Vec<usize>,
}

/// Keys of attention on grids, one grid after the other: each key is a token, or padding where a window leaves the image.
struct KeyGrids {
    keys: Vec<Option<usize>>,
    ranges: GridKeyRanges,
}

impl ImageEncoder {
    pub(super) fn load(weights: &Scope, config: &VisionConfig) -> Result<ImageEncoder> {
        let [_, grid, cols, width] = weights.sizes("pos_embed")?;
        let patch_embed = PatchEmbed::load(&weights.at("patch_embed.projection"))?;
        let patch = patch_embed.patch();
        if grid != cols {
            let message = format!("positions on {grid}×{cols} patches");
            return Err(Error::new(Code::WeightsMismatch, message).hint("SAM takes square images"));
        }
        if let Some(size) = config.image_size.filter(|size| Some(*size) != grid.checked_mul(patch)) {
            let message = format!("`{CONFIG}` is for images of {size} pixels, the tensors are for {grid}×{patch}");
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        let layers = weights.at("layers");
        let blocks = layers.blocks();
        check_layers(config.num_hidden_layers, blocks, "vision_config")?;
        let is_global = |at: usize| config.global_attn_indexes.contains(&at);
        let windowed = (0..blocks).filter(|at| !is_global(*at));
        for at in windowed.clone() {
            check_window(&layers.at(at).at("attn"), config.window_size)?;
        }
        let load = |at: usize| {
            let side = if is_global(at) { grid } else { config.window_size };
            Layer::load(&layers.at(at), width, side, config, is_global(at))
        };
        Ok(ImageEncoder {
            patch_embed,
            pos_embed: weights.weight("pos_embed", [1, grid, grid, width])?,
            layers: (0..blocks).map(load).collect::<Result<_>>()?,
            neck: Neck::load(&weights.at("neck"), width)?,
            // Without windowed layers the configured size cannot be checked against the tensors.
            window: if windowed.count() == 0 { grid } else { config.window_size },
        })
    }

    /// Patches along each side.
    pub fn grid(&self) -> usize {
        self.pos_embed.shape().sizes()[1]
    }

    /// Pixels along each side of the frame.
    pub fn image_size(&self) -> usize {
        self.grid() * self.patch_embed.patch()
    }

    /// Elements of the embedding of a patch.
    pub fn channels(&self) -> usize {
        self.neck.conv1.shape().cols()
    }

    /// The embedding of an image: `pixels` `[1, 3, s, s]` → `[1, grid, grid, channels]`.
    ///
    /// The image lies in the frame's upper left corner, normalised with ImageNet's statistics; beyond it are zeros.
    pub fn forward<'g>(&self, pixels: Tensor<'g>) -> Tensor<'g> {
        let (graph, grid, side) = (pixels.graph(), self.grid(), self.image_size());
        assert!(pixels.shape().sizes() == [1, 3, side, side], "sam: the encoder takes [1, 3, {side}, {side}], not {}", pixels.shape());
        let x = self.patch_embed.forward(pixels, Some(graph.weight(&self.pos_embed))); // [1, grid, grid, width]
        let layout = Layout::new(grid, self.window);
        let x = x.reshape([grid * grid, x.shape().cols()]).gather(&layout.cells);
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x, &layout));
        self.neck.forward(x.gather_padded(&layout.image.keys), grid)
    }
}

impl Layout {
    fn new(side: usize, window: usize) -> Layout {
        let (mut keys, mut query_cells, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        let starts = || (0..side).step_by(window);
        for (top, left) in starts().flat_map(|top| starts().map(move |left| (top, left))) {
            let mut inside = Vec::new();
            for at in 0..window * window {
                let (y, x) = (top + at / window, left + at % window);
                let is_inside = y < side && x < side;
                keys.push(is_inside.then_some(cells.len()));
                if is_inside {
                    inside.push(at);
                    cells.push(y * side + x);
                }
            }
            query_cells.push(inside);
        }
        let windows = KeyGrids { keys, ranges: GridKeyRanges::new(Grid { rows: window, cols: window }, &query_cells) };
        let mut keys = vec![None; side * side];
        for (token, &cell) in cells.iter().enumerate() {
            keys[cell] = Some(token);
        }
        let ranges = GridKeyRanges::new(Grid { rows: side, cols: side }, std::slice::from_ref(&cells));
        let image = KeyGrids { keys, ranges };
        Layout { windows, image, cells }
    }
}

impl Layer {
    fn load(weights: &Scope, width: usize, side: usize, config: &VisionConfig, is_global: bool) -> Result<Layer> {
        let heads = Heads::Count(config.num_attention_heads);
        Ok(Layer {
            layer_norm1: LayerNorm::load(&weights.at("layer_norm1"), width, config.layer_norm_eps)?,
            attn: Attention::load(&weights.at("attn"), width, heads, side)?,
            layer_norm2: LayerNorm::load(&weights.at("layer_norm2"), width, config.layer_norm_eps)?,
            mlp: Mlp::load(&weights.at("mlp.lin1"), &weights.at("mlp.lin2"), width, Activation::Gelu)?,
            is_global,
        })
    }

    /// `x` `[tokens, width]` → `[tokens, width]`.
    fn forward<'g>(&self, x: Tensor<'g>, layout: &Layout) -> Tensor<'g> {
        let grids = if self.is_global { &layout.image } else { &layout.windows };
        let attended = self.attn.attend(self.layer_norm1.forward(x), grids);
        let x = self.attn.proj.added_to(attended, x);
        self.mlp.added_to(self.layer_norm2.forward(x), x)
    }
}

/// Refuses windows whose differences of positions are not those of the tensors: 1 − window to window − 1.
fn check_window(attn: &Scope, window: usize) -> Result<()> {
    let [length, _] = attn.sizes("rel_pos_h")?;
    if window.checked_mul(2) == length.checked_add(1) {
        return Ok(());
    }
    let message = format!("`{CONFIG}` sets `vision_config.window_size` to {window}, the tensors are for windows of {}", length.div_ceil(2));
    Err(Error::new(Code::WeightsMismatch, message).context(format!("for `{}`", attn.path())))
}

impl Attention {
    /// On grids of `side`² keys; tables of relative positions of other grids are interpolated.
    fn load(weights: &Scope, width: usize, heads: Heads, side: usize) -> Result<Attention> {
        let heads = heads.of(width).context(|| format!("for `{}`", weights.path()))?;
        let head_dim = width / heads;
        let table = |name: &str| -> Result<Weight> {
            let [length, _] = weights.sizes(name)?;
            let table = weights.weight(name, [length, head_dim])?;
            Ok(table.map([2 * side, head_dim], move |table| Ok(relative_positions(&table, side))))
        };
        let qkv = Linear::load(&weights.at("qkv"), width, 3 * width)?;
        Ok(Attention {
            query: qkv.outputs(0..width),
            key_value: qkv.outputs(width..3 * width),
            rel_pos: Weight::stacked(&[table("rel_pos_h")?, table("rel_pos_w")?]).transposed(),
            proj: Linear::load(&weights.at("proj"), width, width)?,
            heads,
        })
    }

    /// The attended values of all heads side by side, before `proj`: `x` `[tokens, width]` → `[tokens, width]`.
    fn attend<'g>(&self, x: Tensor<'g>, grids: &KeyGrids) -> Tensor<'g> {
        let [tokens, width] = x.shape().axes();
        let query = self.query.forward(x);
        // Padding is zeros after the norm: its keys and values are the biases, and take part.
        let key_value = self.key_value.forward(x.gather_padded(&grids.keys)); // [keys, 2·width]
        let by_head = query.reshape([tokens * self.heads, width / self.heads]);
        let rel_pos = by_head.matmul(x.graph().weight(&self.rel_pos), Epilogue::default()); // [tokens·heads, 2·rows + 2·cols]
        let views = [query.columns(0, width), key_value.columns(0, width), key_value.columns(width, width)];
        ColumnView::attention_on_grid(views, rel_pos, &grids.ranges, self.heads)
    }
}

impl Neck {
    fn load(weights: &Scope, width: usize) -> Result<Neck> {
        let [channels, ..] = weights.sizes::<4>("conv1.weight")?;
        Ok(Neck {
            conv1: weights.weight("conv1.weight", [channels, width, 1, 1])?.reshaped([channels, width]).transposed(),
            layer_norm1: LayerNorm::load(&weights.at("layer_norm1"), channels, NECK_EPS)?,
            conv2: weights.weight("conv2.weight", [channels, channels, 3, 3])?.channels_last_filter(1),
            layer_norm2: LayerNorm::load(&weights.at("layer_norm2"), channels, NECK_EPS)?,
        })
    }

    /// `x` `[grid², width]` → `[1, grid, grid, channels]`.
    fn forward<'g>(&self, x: Tensor<'g>, grid: usize) -> Tensor<'g> {
        let graph = x.graph();
        let x = self.layer_norm1.forward(x.matmul(graph.weight(&self.conv1), Epilogue::default()));
        let x = x.reshape([1, grid, grid, x.shape().cols()]);
        self.layer_norm2.forward(x.conv2d(graph.weight(&self.conv2), 1, 1, Epilogue::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_by_window_and_windows_that_leave_the_image_are_padded() {
        // Cells 0 1 2 / 3 4 5 / 6 7 8 in windows of 2 × 2.
        let layout = Layout::new(3, 2);
        assert_eq!(layout.cells, [0, 1, 3, 4, 2, 5, 6, 7, 8]);
        let keys: Vec<usize> = layout.windows.keys.iter().map(|key| key.map_or(9, |key| layout.cells[key])).collect();
        assert_eq!(keys, [0, 1, 3, 4, 2, 9, 5, 9, 6, 7, 9, 9, 8, 9, 9, 9]);
        let back: Vec<usize> = layout.image.keys.iter().map(|key| layout.cells[key.unwrap()]).collect();
        assert_eq!(back, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((layout.windows.ranges.key_ranges().pairs(), layout.image.ranges.key_ranges().pairs()), (9 * 4, 81));
    }
}
