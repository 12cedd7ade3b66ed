//! conv2d for software adapters with subgroups:
//! y[p, o] = act(Σ over taps and channels of x[tap of p, c] · weight[tap, c, o] + bias[o] + residual[p, o])
//!
//! One workgroup, which is one subgroup, per strip of ROWS output pixels × 4·LANES·VECTORS output channels. Needs channels_in and
//! channels_out divisible by 4.
//! use: index, strip_subgroup

struct Params {
    batch: u32, height: u32, width: u32, channels_in: u32,
    height_out: u32, width_out: u32, channels_out: u32,
    kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Elem>>;          // [batch, height, width, channels_in]
@group(0) @binding(2) var<storage, read> weight: array<vec4<Elem>>;     // [kernel_height, kernel_width, channels_in, channels_out]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [channels_out] or absent
@group(0) @binding(4) var<storage, read> residual: array<vec4<Elem>>;   // like y, or absent
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [batch, height_out, width_out, channels_out]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
    let pixels = params.batch * params.height_out * params.width_out;
    // Without padding, the taps of a row lie side by side in x and in weight: they are one tap with as many times the channels.
    let taps = vec2(select(1u, params.kernel_width, MASKED == 1u), params.kernel_height);
    let inner = params.channels_in / 4u * select(params.kernel_width, 1u, MASKED == 1u);
    compute_strip(linear_group(group, groups), lane, pixels, params.channels_out / 4u, taps, inner, 1u);
}

/// First input row of the image in the batch, and the top left corner of the pixel's window.
fn locate(pixel: u32) -> vec3<i32> {
    let line = pixel / params.width_out;
    let top = i32(line % params.height_out * params.stride) - i32(params.padding);
    let left = i32(pixel % params.width_out * params.stride) - i32(params.padding);
    return vec3(i32(line / params.height_out * params.height), top, left);
}

fn a_start(place: vec3<i32>, tap_y: i32, tap_x: i32) -> i32 {
    let row = place.y + tap_y;
    let col = place.z + tap_x;
    let inside = row >= 0 && row < i32(params.height) && col >= 0 && col < i32(params.width);
    return select(-1, ((place.x + row) * i32(params.width) + col) * i32(params.channels_in / 4u), inside);
}

fn load_a(at: u32) -> vec4<f32> {
    return vec4<f32>(x[at]);
}

fn load_b(at: u32) -> vec4<f32> {
    return vec4<f32>(weight[at]);
}
