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
//! concat: y[r, ·] = a[r, ·] followed by b[r, ·]
//!
//! One lane per VEC neighbouring elements of y, which come from one side: VEC divides both widths.
//! use: index
//! set: VEC

const LANES: u32 = 64u;

struct Params { rows: u32, left: u32, right: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [rows, left]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [rows, right]
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;    // [rows, left + right]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = (linear_group(group, groups) * LANES + lane) * VEC;
    let cols = params.left + params.right;
    let row = first / cols;
    let col = first - row * cols;
    if row >= params.rows {
        return;
    }
    if col < params.left {
        let source = row * params.left + col;
        for (var i = 0u; i < VEC; i++) {
            y[first + i] = a[source + i];
        }
    } else {
        let source = row * params.right + col - params.left;
        for (var i = 0u; i < VEC; i++) {
            y[first + i] = b[source + i];
        }
    }
}
