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
//! gather: y[r, ·] = x[rows[r], ·], zeros where rows[r] is past the last
//!
//! One lane per VEC neighbouring elements of y; VEC divides cols.
//! use: index
//! set: VEC

const LANES: u32 = 64u;

struct Params { rows_in: u32, rows_out: u32, cols: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows_in, cols]
@group(0) @binding(2) var<storage, read> rows: array<u32>;        // [rows_out]: whole numbers up to rows_in
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;    // [rows_out, cols]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = (linear_group(group, groups) * LANES + lane) * VEC;
    let row = first / params.cols;
    if row >= params.rows_out {
        return;
    }
    let number = rows[row];
    let source = min(number, params.rows_in - 1u) * params.cols + first % params.cols;
    for (var i = 0u; i < VEC; i++) {
        y[first + i] = select(Elem(0), x[source + i], number < params.rows_in);
    }
}
