alias Elem = f32;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, and long ones go out in several dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! channels_last: y[b, p, c] = x[b, c, p], and 0 for the channels that only y has
//!
//! One lane per pixel, so that neighbouring lanes read neighbouring pixels of a plane.
//! use: index

const LANES: u32 = 64u;

struct Params { batch: u32, channels: u32, pixels: u32, padded: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [batch, channels, pixels]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [batch, pixels, padded]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups) * LANES + lane;
    let image = number / params.pixels;
    if image >= params.batch {
        return;
    }
    let source = image * params.channels * params.pixels + (number - image * params.pixels);
    let to = number * params.padded;
    for (var channel = 0u; channel < params.channels; channel++) {
        y[to + channel] = x[source + channel * params.pixels];
    }
    for (var channel = params.channels; channel < params.padded; channel++) {
        y[to + channel] = Elem(0.0);
    }
}
