alias Elem = f32;
const OP: u32 = 0u;
const BROADCAST: u32 = 0u;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! binary: y[i] = a[i] op b[i mod right_len]
//!
//! Four elements per lane, LANES apart, so that neighbouring lanes read neighbouring elements.
//! use: index
//! set: OP, BROADCAST

const ADD: u32 = 0u;
const SUB: u32 = 1u;
const LANES: u32 = 64u;

struct Params { len: u32, right_len: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [len]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [right_len]
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;    // [len]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = linear_group(group, groups) * 4u * LANES + lane;
    for (var i = 0u; i < 4u; i++) {
        let at = first + i * LANES;
        if at < params.len {
            y[at] = Elem(combine(f32(a[at]), f32(b[right(at)])));
        }
    }
}

/// A remainder costs more than the rest of the kernel, so it is left out where the lengths agree.
fn right(at: u32) -> u32 {
    if BROADCAST == 0u {
        return at;
    }
    return at % params.right_len;
}

fn combine(a: f32, b: f32) -> f32 {
    switch OP {
        case ADD: { return a + b; }
        case SUB: { return a - b; }
        default: { return a * b; }
    }
}
