//! Kernels at the sizes that networks use: what benchmarks measure.

use crate::kernels::{
    Activation, Attention, Binary, BinaryOp, Cast, CastDirection, ChannelsLast, Concat, Conv2d, DeformableAttention, Gather, Grid,
    GroupNorm, HeadLayout, Interpolation, Kernel, LayerNorm, Logit, MaskGeometry, Matmul, NormalizeRows, Pairing, Permute, Pool, PoolKind,
    RegionMask, Resize, Selection, SinePositions, Softmax, TopMean, TopRows, Unary, WindowAttention, WindowGeometry,
};

/// Every kernel at the sizes that the networks of this crate use, each with a name of its own.
pub fn representative() -> Vec<(String, Box<dyn Kernel>)> {
    let mut cases: Vec<(String, Box<dyn Kernel>)> = Vec::new();
    cases.extend([512, 1024].map(|size| case(format!("matmul {size}³"), matmul(size, size, size, Pairing::Product))));
    cases.extend(linear_layers());
    cases.push(case("distances 1600×1600×128", matmul(1600, 1600, 128, Pairing::SquaredDifference)));
    cases.extend(convolutions());
    cases.extend(rows());
    cases.extend(sequences());
    cases.extend(images());
    cases.extend(elements());
    cases
}

fn case(name: impl Into<String>, kernel: impl Kernel + 'static) -> (String, Box<dyn Kernel>) {
    (name.into(), Box::new(kernel))
}

fn matmul(rows: usize, cols: usize, inner: usize, pairing: Pairing) -> Matmul {
    let activation = if pairing == Pairing::Product { Activation::Identity } else { Activation::Sqrt };
    Matmul { batch: 1, rows, cols, inner, pairing, has_bias: false, has_residual: false, activation }
}

/// The products of a block of Segment Anything's ViT-B, of WinCLIP's windows, and of one sequence of CLIP, with their epilogues.
fn linear_layers() -> Vec<(String, Box<dyn Kernel>)> {
    let layer = |rows: usize, cols: usize, inner: usize, activation: Activation, has_residual: bool| {
        let what = if activation == Activation::Gelu { ", GELU" } else { "" };
        let product = Matmul { has_bias: true, has_residual, activation, ..matmul(rows, cols, inner, Pairing::Product) };
        case(format!("linear {rows}×{cols}×{inner}{what}"), product)
    };
    vec![
        layer(4096, 2304, 768, Activation::Identity, false),
        layer(4096, 768, 768, Activation::Identity, true),
        layer(4096, 3072, 768, Activation::Gelu, false),
        layer(4096, 768, 3072, Activation::Identity, true),
        layer(2896, 3584, 896, Activation::Gelu, false),
        layer(2896, 896, 3584, Activation::Identity, true),
        layer(226, 3584, 896, Activation::Gelu, false),
        layer(226, 896, 3584, Activation::Identity, true),
    ]
}

/// The distinct convolutions of WideResNet-50-2 on 256×256: stem, then of each layer the 3×3, the widening 1×1 and the narrowing 1×1.
fn convolutions() -> Vec<(String, Box<dyn Kernel>)> {
    let conv = |size: usize, channels_in: usize, channels_out: usize, side: usize, stride: usize| {
        let kernel = Conv2d {
            batch: 1,
            height: size,
            width: size,
            channels_in,
            channels_out,
            kernel: (side, side),
            stride,
            padding: side / 2,
            has_bias: true,
            has_residual: side == 1 && channels_out > channels_in && stride == 1,
            activation: Activation::Relu,
        };
        case(format!("conv2d {side}×{side}/{stride} {size}² {channels_in}→{channels_out}"), kernel)
    };
    let mut all = vec![conv(256, 4, 64, 7, 2)];
    for (size, inner, outer) in [(64, 128, 256), (32, 256, 512), (16, 512, 1024), (8, 1024, 2048)] {
        all.extend([conv(size, inner, inner, 3, 1), conv(size, inner, outer, 1, 1), conv(size, outer, inner, 1, 1)]);
    }
    all.extend([conv(64, 256, 256, 3, 2), conv(64, 256, 512, 1, 2)]);
    all
}

/// Kernels that reduce along rows.
fn rows() -> Vec<(String, Box<dyn Kernel>)> {
    let (rows, cols) = (4096, 1024);
    vec![
        case("layer_norm 4096×1024", LayerNorm { rows, cols, eps: 1e-6 }),
        case("softmax 4096×1024", Softmax { rows, cols }),
        case("group_norm 100² 256, 32 groups", GroupNorm { images: 1, cells: 10_000, channels: 256, groups: 32, eps: 1e-5 }),
        case("normalize_rows 4096×1792", NormalizeRows { rows, cols: 1792, eps: 1e-12 }),
        case("top_mean 1600×1600, 400 smallest", TopMean { selection: Selection::Smallest, rows: 1600, cols: 1600, count: 400 }),
        case("top_mean 4096×4096, 400 smallest", TopMean { selection: Selection::Smallest, rows, cols: 4096, count: 400 }),
        case("top_rows 900 of 13294", TopRows { sequences: 1, rows: 13_294, count: 900 }),
    ]
}

/// Attention over one sequence of CLIP's and SAM's lengths, and gathering of rows.
fn sequences() -> Vec<(String, Box<dyn Kernel>)> {
    let attention = |tokens: usize, heads: usize, head_dim: usize| {
        let dim = heads * head_dim;
        let layout = |number: usize| HeadLayout { stride: 3 * dim, offset: number * dim };
        Attention {
            queries: tokens,
            keys: tokens,
            heads,
            head_dim,
            q: layout(0),
            k: layout(1),
            v: layout(2),
            grid: None,
            pairs: tokens * tokens,
        }
    };
    let on_grid = |side: usize, heads: usize, head_dim: usize| Attention {
        grid: Some(Grid { rows: side, cols: side }),
        ..attention(side * side, heads, head_dim)
    };
    vec![
        case("attention 226², 14 heads of 64", attention(226, 14, 64)),
        case("attention 577², 16 heads of 64", attention(577, 16, 64)),
        case("attention 1024², 4 heads of 64", attention(1024, 4, 64)),
        case("attention 1024², 4 heads of 64, relative", on_grid(32, 4, 64)),
        case("attention 4096², 12 heads of 64", attention(4096, 12, 64)),
        case("attention 4096², 12 heads of 64, relative", on_grid(64, 12, 64)),
        case("attention 196², 16 heads of 80", attention(196, 16, 80)),
        case("attention 196², 16 heads of 80, relative", on_grid(14, 16, 80)),
        case("attention 576², 8 heads of 32", attention(576, 8, 32)),
        case("window_attention 200², 3 heads of 32, windows of 7", windows(200, 3, 7)),
        case("window_attention 50², 16 heads of 32, windows of 12", windows(50, 16, 12)),
        case("deformable_attention 13294 queries, 8 heads of 32", deformable(13_294, false)),
        case("deformable_attention 900 boxes, 8 heads of 32", deformable(900, true)),
        case("gather 2896 of 226×896", Gather { rows_in: 226, rows_out: 2896, cols: 896 }),
    ]
}

/// A shifted block of a Swin transformer on a square grid.
fn windows(side: usize, heads: usize, window: usize) -> WindowAttention {
    let geometry = WindowGeometry { images: 1, height: side, width: side, window, shift: window / 2 };
    WindowAttention { geometry, heads, head_dim: 32 }
}

/// GroundingDINO's attention to the pyramid of an image of 800 × 800 pixels.
fn deformable(queries: usize, has_boxes: bool) -> DeformableAttention {
    let levels = [100, 50, 25, 13].map(|side| Grid { rows: side, cols: side }).to_vec();
    DeformableAttention { sequences: 1, queries, levels, heads: 8, head_dim: 32, points: 4, has_boxes }
}

/// Pooling, resizing, and changes of layout.
fn images() -> Vec<(String, Box<dyn Kernel>)> {
    let pool = |kind, side, channels, stride| Pool { kind, batch: 1, height: side, width: side, channels, window: 3, stride, padding: 1 };
    let resize = |interpolation| Resize { interpolation, batch: 1, height: 32, width: 32, channels: 512, height_out: 64, width_out: 64 };
    vec![
        case("pool max 3×3/2 128² 64", pool(PoolKind::Max, 128, 64, 2)),
        case("pool average 3×3/1 40² 128", pool(PoolKind::Average, 40, 128, 1)),
        case("resize nearest 32²→64² 512", resize(Interpolation::Nearest)),
        case("resize bilinear 32²→64² 512", resize(Interpolation::Bilinear)),
        case("region_mask 16 of 256² for 1024×1280", region_mask()),
        case("channels_last 256² 3→4", ChannelsLast { batch: 1, channels: 3, height: 256, width: 256, padded: 4, border: 0 }),
        case("permute 32²×512 channels first", Permute { sizes: [1, 1, 32, 32, 512], order: [0, 1, 4, 2, 3] }),
        case("concat 4096×256+512", Concat { rows: 4096, left: 256, right: 512 }),
    ]
}

/// Masks of Segment Anything for a photo.
fn region_mask() -> RegionMask {
    let geometry = MaskGeometry { mask: (256, 256), frame: (1024, 1024), covered: (819, 1024), image: (1024, 1280) };
    RegionMask { masks: 16, geometry }
}

/// Kernels that work element by element.
fn elements() -> Vec<(String, Box<dyn Kernel>)> {
    let len = 1 << 22;
    vec![
        case("unary gelu 4 Mi", Unary { activation: Activation::Gelu, scale: 1.0, offset: 0.0, len }),
        case("binary add 4 Mi", Binary { op: BinaryOp::Add, len, right_len: len }),
        case("logit 3600", Logit { eps: 1e-3, len: 3600 }),
        case("sine_positions 3600×64", SinePositions { positions: 3600, periods: 64 }),
        case("cast_to_f32 4 Mi", Cast { direction: CastDirection::ToF32, len }),
        case("cast_from_f32 4 Mi", Cast { direction: CastDirection::FromF32, len }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_case_and_no_two_cases_share_a_name() {
        let cases = representative();
        for kernel in crate::kernels::every_kernel() {
            assert!(cases.iter().any(|(_, case)| case.name() == kernel.name()), "no bench of `{}`", kernel.name());
        }
        let mut names: Vec<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
