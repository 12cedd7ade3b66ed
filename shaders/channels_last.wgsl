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
