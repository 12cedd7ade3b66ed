alias Elem = f32;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! place: where a line of a resized image lies between two lines of its source, as PyTorch's `interpolate` places it (`align_corners=False`).

/// Two neighbouring input positions and the part that the second one gets.
struct Place { before: u32, after: u32, part: f32 }

/// The place of line `at`; `scale` is input over output size, divided on the host, where division rounds correctly. Pixel centres lie at halves.
fn place(at: u32, scale: f32, size: u32) -> Place {
    let position = max((f32(at) + 0.5) * scale - 0.5, 0.0);
    let before = min(u32(position), size - 1u);
    return Place(before, min(before + 1u, size - 1u), position - f32(before));
}
//! region_mask: y[n, r, k] = Σᵢ 2ⁱ · [logit of mask n at pixel (r, 16·k + i) > 0]
//!
//! One lane per 16 pixels of a row. A pixel lies between two lines of the frame along each axis, and each of these between two lines of the
//! mask, as PyTorch's `interpolate` places them: four weighted lines along each axis, 16 logits in all.
//! use: index, place

const LANES: u32 = 64u;
const PIXELS: u32 = 16u;

/// Scales are input over output sizes, divided on the host, where division rounds correctly.
struct Params {
    masks: u32, rows: u32, cols: u32, frame_rows: u32, frame_cols: u32, height: u32, width: u32,
    frame_y: f32, frame_x: f32, mask_y: f32, mask_x: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [masks, rows, cols]: logits
@group(0) @binding(2) var<storage, read_write> y: array<u32>;     // [masks, height, ⌈width / 16⌉]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups) * LANES + lane;
    let words = (params.width + PIXELS - 1u) / PIXELS;
    let line = number / words;
    let mask = line / params.height;
    if mask >= params.masks {
        return;
    }
    let base = mask * params.rows * params.cols;
    let down = taps(line - mask * params.height, params.frame_y, params.frame_rows, params.mask_y, params.rows);
    let first = (number - line * words) * PIXELS;
    var bits = 0u;
    for (var i = 0u; i < min(PIXELS, params.width - first); i++) {
        let right = taps(first + i, params.frame_x, params.frame_cols, params.mask_x, params.cols);
        let across = vec4(
            along(base + down.line.x * params.cols, right), along(base + down.line.y * params.cols, right),
            along(base + down.line.z * params.cols, right), along(base + down.line.w * params.cols, right),
        );
        if dot(across, down.weight) > 0.0 {
            bits |= 1u << i;
        }
    }
    y[number] = bits;
}

/// Sum of the logits of a row at four weighted columns.
fn along(row: u32, right: Taps) -> f32 {
    return dot(vec4(x[row + right.line.x], x[row + right.line.y], x[row + right.line.z], x[row + right.line.w]), right.weight);
}

/// Four lines of the mask with their weights.
struct Taps { line: vec4<u32>, weight: vec4<f32> }

/// The lines of the mask that make up a line of the image: `to_frame` and `to_mask` are scales, `frame` the lines of the frame that the image
/// covers, `lines` those of the mask.
fn taps(at: u32, to_frame: f32, frame: u32, to_mask: f32, lines: u32) -> Taps {
    let outer = place(at, to_frame, frame);
    let before = place(outer.before, to_mask, lines);
    let after = place(outer.after, to_mask, lines);
    return Taps(
        vec4(before.before, before.after, after.before, after.after),
        vec4(vec2(1.0 - before.part, before.part) * (1.0 - outer.part), vec2(1.0 - after.part, after.part) * outer.part),
    );
}
