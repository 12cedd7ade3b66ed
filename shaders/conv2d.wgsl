//! conv2d: y[p, o] = act(Σ over taps and channels of x[tap of p, c] · weight[tap, c, o] + bias[o] + residual[p, o])
//!
//! An implicit matrix product: rows are output pixels, inner positions run over (kernel row, kernel column, channel). One workgroup per
//! TALL × 64 block. Any sizes.
//! use: epilogue, index, tile

alias Value = f32;
alias Stored = Elem;

const WHOLE_SLABS: bool = false;

struct Params {
    batch: u32, height: u32, width: u32, channels_in: u32,
    height_out: u32, width_out: u32, channels_out: u32,
    kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [batch, height, width, channels_in]
@group(0) @binding(2) var<storage, read> weight: array<Elem>;     // [kernel_height, kernel_width, channels_in, channels_out]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [channels_out] or absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // like y, or absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [batch, height_out, width_out, channels_out]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    compute_tile(linear_group(group, groups), thread, pixels(), params.channels_out, inner());
}

fn pixels() -> u32 {
    return params.batch * params.height_out * params.width_out;
}

fn inner() -> u32 {
    return params.kernel_height * params.kernel_width * params.channels_in;
}

/// First input row of the image in the batch, and the top left corner of the pixel's window; of the last pixel past the edge.
fn a_origin(pixel: u32) -> vec3<i32> {
    let at = min(pixel, pixels() - 1u);
    let line = at / params.width_out;
    let top = i32(line % params.height_out * params.stride) - i32(params.padding);
    let left = i32(at % params.width_out * params.stride) - i32(params.padding);
    return vec3(i32(line / params.height_out * params.height), top, left);
}

fn a_step(k: u32) -> u32 {
    return k;
}

fn load_a(origin: vec3<i32>, k: u32) -> vec4<f32> {
    return vec4(a_element(origin, k), a_element(origin, k + 1u), a_element(origin, k + 2u), a_element(origin, k + 3u));
}

fn load_b(k: u32, channel: u32) -> vec4<f32> {
    return vec4(b_element(k, channel), b_element(k, channel + 1u), b_element(k, channel + 2u), b_element(k, channel + 3u));
}

fn a_element(origin: vec3<i32>, k: u32) -> f32 {
    let tap = k / params.channels_in;
    // As u32, positions before the first are beyond the last.
    let row = u32(origin.y) + tap / params.kernel_width;
    let col = u32(origin.z) + tap % params.kernel_width;
    let inside = k < inner() && row < params.height && col < params.width;
    let at = ((u32(origin.x) + row) * params.width + col) * params.channels_in + k % params.channels_in;
    return select(0.0, f32(x[select(0u, at, inside)]), inside);
}

fn b_element(k: u32, channel: u32) -> f32 {
    let inside = k < inner();
    return select(0.0, f32(weight[select(0u, k * params.channels_out + min(channel, params.channels_out - 1u), inside)]), inside);
}

fn store_four(pixel: u32, channel: u32, sums: vec4<f32>) {
    if pixel < pixels() {
        store(pixel, channel, params.channels_out, sums.x);
        store(pixel, channel + 1u, params.channels_out, sums.y);
        store(pixel, channel + 2u, params.channels_out, sums.z);
        store(pixel, channel + 3u, params.channels_out, sums.w);
    }
}
