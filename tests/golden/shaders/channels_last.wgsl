alias Elem = f32;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! channels_last: y[b, h + border, w + border, c] = x[b, c, h, w], and 0 in the border and for the channels that only y has
//!
//! One lane per pixel of y, so that neighbouring lanes read neighbouring pixels of a plane.
//! use: index

const LANES: u32 = 64u;

struct Params { batch: u32, channels: u32, height: u32, width: u32, padded: u32, border: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [batch, channels, height, width]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [batch, height + 2·border, width + 2·border, padded]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups) * LANES + lane;
    let across = params.width + 2u * params.border;
    let pixels = (params.height + 2u * params.border) * across;
    let image = number / pixels;
    if image >= params.batch {
        return;
    }
    let pixel = number - image * pixels;
    // Above and left of the image these wrap around, and are outside too.
    let row = pixel / across - params.border;
    let col = pixel % across - params.border;
    let is_inside = row < params.height && col < params.width;
    let plane = params.height * params.width;
    let source = image * params.channels * plane + select(0u, row * params.width + col, is_inside);
    let to = number * params.padded;
    for (var channel = 0u; channel < params.channels; channel++) {
        y[to + channel] = select(Elem(0.0), x[source + channel * plane], is_inside);
    }
    for (var channel = params.channels; channel < params.padded; channel++) {
        y[to + channel] = Elem(0.0);
    }
}
