alias Elem = f32;
const WORKGROUP: u32 = 64u;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! reduce: combines one value of each lane of a workgroup, and returns the result to every lane.
//!
//! 16 lanes gather the values of all, then every lane gathers those 16: two barriers and a fixed order, so results repeat bit by bit.
//! A second call needs no barrier before it: its own first one keeps its writes to `gathered` behind the last reads of this call.
//! All lanes must call. WORKGROUP is a multiple of 16.
//! set: WORKGROUP

const GATHERERS: u32 = 16u;

var<workgroup> of_lanes: array<f32, WORKGROUP>;
var<workgroup> gathered: array<f32, GATHERERS>;

fn workgroup_sum(lane: u32, value: f32) -> f32 {
    of_lanes[lane] = value;
    workgroupBarrier();
    if lane < GATHERERS {
        var sum = value;
        for (var other = lane + GATHERERS; other < WORKGROUP; other += GATHERERS) {
            sum += of_lanes[other];
        }
        gathered[lane] = sum;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var at = 0u; at < GATHERERS; at++) {
        total += gathered[at];
    }
    return total;
}

/// Whether a NaN is kept depends on the adapter.
fn workgroup_max(lane: u32, value: f32) -> f32 {
    of_lanes[lane] = value;
    workgroupBarrier();
    if lane < GATHERERS {
        var largest = value;
        for (var other = lane + GATHERERS; other < WORKGROUP; other += GATHERERS) {
            largest = max(largest, of_lanes[other]);
        }
        gathered[lane] = largest;
    }
    workgroupBarrier();
    var largest = gathered[0];
    for (var at = 1u; at < GATHERERS; at++) {
        largest = max(largest, gathered[at]);
    }
    return largest;
}
//! softmax: y[r, c] = exp(x[r, c] − max_r) / Σ exp(x[r, ·] − max_r)
//!
//! One workgroup per row; lanes stride over the columns. A NaN or an infinity in a row makes the row NaN, as PyTorch does; a −infinity
//! gives 0, and a row of nothing else NaN.
//! use: index, reduce

const LOWEST: f32 = -3.4028234e38;

struct Params { rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Spare groups recompute the last row: barriers stay uniform.
    let start = min(linear_group(group, groups), params.rows - 1u) * params.cols;
    let end = start + params.cols;

    var largest = LOWEST;
    for (var at = start + lane; at < end; at += WORKGROUP) {
        largest = max(largest, f32(x[at]));
    }
    largest = workgroup_max(lane, largest);

    var sum = 0.0;
    for (var at = start + lane; at < end; at += WORKGROUP) {
        sum += exp(f32(x[at]) - largest);
    }
    let scale = 1.0 / workgroup_sum(lane, sum);

    for (var at = start + lane; at < end; at += WORKGROUP) {
        y[at] = Elem(exp(f32(x[at]) - largest) * scale);
    }
}
