//! conv2d: y[p, o] = act(Σ over taps and channels of x[tap of p, c] · weight[tap, c, o] + bias[o] + residual[p, o])
//!
//! An implicit matrix product: rows are output pixels, inner positions run over (kernel row, kernel column, channel). Any sizes.
//! use: index, tile

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
    let inner = params.kernel_height * params.kernel_width * params.channels_in;
    compute_tile(linear_group(group, groups), thread, pixels(), params.channels_out, inner);
}

fn pixels() -> u32 {
    return params.batch * params.height_out * params.width_out;
}

fn load_a(pixel: u32, k: u32) -> f32 {
    let tap = k / params.channels_in;
    let line = pixel / params.width_out;
    let row = i32(line % params.height_out * params.stride + tap / params.kernel_width) - i32(params.padding);
    let col = i32(pixel % params.width_out * params.stride + tap % params.kernel_width) - i32(params.padding);
    let inside = pixel < pixels() && tap < params.kernel_height * params.kernel_width
        && row >= 0 && row < i32(params.height) && col >= 0 && col < i32(params.width);
    let image = line / params.height_out * params.height;
    let at = ((image + u32(row)) * params.width + u32(col)) * params.channels_in + k % params.channels_in;
    return select(0.0, f32(x[select(0u, at, inside)]), inside);
}

fn load_b(k: u32, channel: u32) -> f32 {
    let inside = k < params.kernel_height * params.kernel_width * params.channels_in && channel < params.channels_out;
    return select(0.0, f32(weight[select(0u, k * params.channels_out + channel, inside)]), inside);
}
