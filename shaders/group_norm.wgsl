//! group_norm: y[i, p, c] = (x[i, p, c] − mean) / √(variance + eps) · weight[c] + bias[c], mean and variance over the cells p of image i and
//! the channels of c's group
//!
//! One workgroup per group of an image; lanes stride over its elements, so that neighbouring lanes read neighbouring channels. The variance
//! is biased, as PyTorch's, and comes from the deviations in a second pass.
//! use: index, reduce

struct Params { images: u32, cells: u32, channels: u32, groups: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [images, cells, channels]
@group(0) @binding(2) var<storage, read> weight: array<f32>;      // [channels]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [channels]
@group(0) @binding(4) var<storage, read_write> y: array<Elem>;    // [images, cells, channels]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Spare groups recompute the last one: barriers stay uniform.
    let number = min(linear_group(group, groups), params.images * params.groups - 1u);
    let of_group = params.channels / params.groups;
    let channel = number % params.groups * of_group;
    let start = number / params.groups * params.cells * params.channels + channel;
    let count = params.cells * of_group;

    var sum = 0.0;
    for (var at = lane; at < count; at += WORKGROUP) {
        sum += f32(x[start + at / of_group * params.channels + at % of_group]);
    }
    let mean = workgroup_sum(lane, sum) / f32(count);

    var squares = 0.0;
    for (var at = lane; at < count; at += WORKGROUP) {
        let deviation = f32(x[start + at / of_group * params.channels + at % of_group]) - mean;
        squares = fma(deviation, deviation, squares);
    }
    let variance = workgroup_sum(lane, squares) / f32(count);
    let scale = inverseSqrt(variance + params.eps);

    for (var at = lane; at < count; at += WORKGROUP) {
        let own = at % of_group;
        let place = start + at / of_group * params.channels + own;
        let normal = (f32(x[place]) - mean) * scale;
        y[place] = Elem(fma(normal, weight[channel + own], bias[channel + own]));
    }
}
