alias Elem = f32;
const KIND: u32 = 0u;
const VEC: u32 = 1u;
//! float_bits: tests for NaN and orders f32 by their bits, because compilers may assume that comparisons never meet a NaN.

const SIGN_BIT: u32 = 0x80000000u;
const INFINITY_BITS: u32 = 0x7f800000u;

/// The bits without the sign: above `INFINITY_BITS` for NaN, and the larger the further from zero.
fn magnitude_bits(x: f32) -> u32 {
    return bitcast<u32>(x) & ~SIGN_BIT;
}

fn is_nan(x: f32) -> bool {
    return magnitude_bits(x) > INFINITY_BITS;
}

/// A number that orders as x does: x < y where key(x) < key(y). The two zeros get neighbouring keys.
fn key_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select(bits | SIGN_BIT, ~bits, bits >= SIGN_BIT);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & ~SIGN_BIT, key >= SIGN_BIT));
}
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! pool: y[p, c] = largest or mean x over the square window of output pixel p
//!
//! One lane per VEC neighbouring channels of an output pixel; VEC divides the channels. The maximum ignores the padding and keeps a NaN;
//! the mean counts the padding as zeros.
//! use: float_bits, index
//! set: KIND, VEC

const MAX: u32 = 0u;
const LANES: u32 = 64u;

struct Params {
    batch: u32, height: u32, width: u32, channels: u32,
    height_out: u32, width_out: u32, window: u32, stride: u32, padding: u32,
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
    // The part of the window that lies inside the image; it holds at least one pixel.
    let rows = inside(line - image * params.height_out, params.height);
    let cols = inside(pixel - line * params.width_out, params.width);

    var pooled: array<f32, VEC>;
    let corner = ((image * params.height + rows.x) * params.width + cols.x) * params.channels + channel;
    for (var i = 0u; i < VEC; i++) {
        pooled[i] = select(0.0, f32(x[corner + i]), KIND == MAX);
    }
    for (var row = rows.x; row < rows.y; row++) {
        for (var col = cols.x; col < cols.y; col++) {
            let at = ((image * params.height + row) * params.width + col) * params.channels + channel;
            for (var i = 0u; i < VEC; i++) {
                pooled[i] = combine(pooled[i], f32(x[at + i]));
            }
        }
    }
    for (var i = 0u; i < VEC; i++) {
        y[first + i] = Elem(finish(pooled[i]));
    }
}

/// First and past-the-last input position of output position `at` along an axis of `size` positions.
fn inside(at: u32, size: u32) -> vec2<u32> {
    let end = min(at * params.stride + params.window, size + params.padding) - params.padding;
    let begin = max(at * params.stride, params.padding) - params.padding;
    return vec2(begin, end);
}

fn combine(pooled: f32, value: f32) -> f32 {
    if KIND == MAX {
        return select(pooled, value, value > pooled || is_nan(value));
    }
    return pooled + value;
}

fn finish(pooled: f32) -> f32 {
    if KIND == MAX {
        return pooled;
    }
    return pooled / f32(params.window * params.window);
}
