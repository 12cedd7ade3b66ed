alias Elem = f32;
const VEC: u32 = 1u;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! permute: y[i] = x at the axes of y in another order
//!
//! One lane per VEC neighbouring elements of y along its last axis, whose size VEC divides.
//! use: index
//! set: VEC

const LANES: u32 = 64u;

/// Sizes of the axes of y (the first follows from len), and how far apart in x are neighbours along each.
struct Params {
    len: u32, size_1: u32, size_2: u32, size_3: u32, size_4: u32,
    stride_0: u32, stride_1: u32, stride_2: u32, stride_3: u32, stride_4: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = (linear_group(group, groups) * LANES + lane) * VEC;
    if first >= params.len {
        return;
    }
    // Quotients are the position among the axes so far; what they leave over is the position along the next axis.
    let through_3 = first / params.size_4;
    let through_2 = through_3 / params.size_3;
    let through_1 = through_2 / params.size_2;
    let through_0 = through_1 / params.size_1;
    let source = through_0 * params.stride_0
        + (through_1 - through_0 * params.size_1) * params.stride_1
        + (through_2 - through_1 * params.size_2) * params.stride_2
        + (through_3 - through_2 * params.size_3) * params.stride_3
        + (first - through_3 * params.size_4) * params.stride_4;
    for (var i = 0u; i < VEC; i++) {
        y[first + i] = x[source + i * params.stride_4];
    }
}
