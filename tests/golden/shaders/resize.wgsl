alias Elem = f32;
const INTERPOLATION: u32 = 0u;
const VEC: u32 = 1u;
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
//! resize: y[p, c] = x at the position of output pixel p in the input, nearest or bilinear
//!
//! One lane per VEC neighbouring channels of an output pixel; VEC divides the channels. Positions as in PyTorch's `interpolate`.
//! use: index, place
//! set: INTERPOLATION, VEC

const NEAREST: u32 = 0u;
const LANES: u32 = 64u;

/// `scale_y` and `scale_x` are input over output sizes, divided on the host, where division rounds correctly.
struct Params {
    batch: u32, height: u32, width: u32, channels: u32,
    height_out: u32, width_out: u32, scale_y: f32, scale_x: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [batch, height, width, channels]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [batch, height_out, width_out, channels]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = (linear_group(group, groups) * LANES + lane) * VEC;
    let pixel = first / params.channels;
    let channel = first - pixel * params.channels;
    let line = pixel / params.width_out;
    let image = line / params.height_out;
    if image >= params.batch {
        return;
    }
    let row = line - image * params.height_out;
    let col = pixel - line * params.width_out;
    let base = image * params.height * params.width * params.channels + channel;

    if INTERPOLATION == NEAREST {
        let source = base + pixel_at(nearest(row, params.scale_y, params.height), nearest(col, params.scale_x, params.width));
        for (var i = 0u; i < VEC; i++) {
            y[first + i] = x[source + i];
        }
    } else {
        let down = place(row, params.scale_y, params.height);
        let right = place(col, params.scale_x, params.width);
        let top_left = base + pixel_at(down.before, right.before);
        let top_right = base + pixel_at(down.before, right.after);
        let bottom_left = base + pixel_at(down.after, right.before);
        let bottom_right = base + pixel_at(down.after, right.after);
        for (var i = 0u; i < VEC; i++) {
            let top = blend(f32(x[top_left + i]), f32(x[top_right + i]), right.part);
            let bottom = blend(f32(x[bottom_left + i]), f32(x[bottom_right + i]), right.part);
            y[first + i] = Elem(blend(top, bottom, down.part));
        }
    }
}

fn pixel_at(row: u32, col: u32) -> u32 {
    return (row * params.width + col) * params.channels;
}

fn nearest(at: u32, scale: f32, size: u32) -> u32 {
    return min(u32(f32(at) * scale), size - 1u);
}

fn blend(before: f32, after: f32, part: f32) -> f32 {
    return before * (1.0 - part) + after * part;
}
