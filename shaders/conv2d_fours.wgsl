//! conv2d in vec4: y[p, o] = act(Σ over taps and channels of x[tap of p, c] · weight[tap, c, o] + bias[o] + residual[p, o])
//!
//! An implicit matrix product: rows are output pixels, inner positions run over (kernel row, kernel column, channel). One workgroup per
//! TALL × 64 block. Needs channels_in and channels_out divisible by 4. Sizes are constants, so that most of an
//! index is known.
//! use: epilogue, index, tile, window
//! set: CHANNELS_IN, CHANNELS_OUT, HEIGHT, WIDTH

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;

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

const WHOLE_SLABS: bool = INNER % (SPLIT * SLAB) == 0u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    compute_tile(linear_group(group, groups), thread, pixels(), CHANNELS_OUT, INNER);
}

fn load_a(origin: vec3<i32>, step: vec3<i32>) -> vec4<f32> {
    // As u32, positions before the first are beyond the last.
    let row = u32(origin.y + step.x);
    let col = u32(origin.z + step.y);
    let inside = row < HEIGHT && col < WIDTH;
    let at = ((u32(origin.x) + row) * WIDTH + col) * (CHANNELS_IN / 4u) + u32(step.z) / 4u;
    return select(vec4(0.0), vec4<f32>(x[select(0u, at, inside)]), inside);
}

fn load_b(k: u32, channel: u32) -> vec4<f32> {
    let inside = WHOLE_SLABS || k < INNER;
    let at = k * (CHANNELS_OUT / 4u) + min(channel, CHANNELS_OUT - 4u) / 4u;
    return select(vec4(0.0), vec4<f32>(weight[select(0u, at, inside)]), inside);
}

fn store_four(pixel: u32, channel: u32, sums: vec4<f32>) {
    if pixel < pixels() {
        store(pixel, channel / 4u, CHANNELS_OUT / 4u, sums);
    }
}
