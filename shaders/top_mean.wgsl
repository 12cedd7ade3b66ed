//! top_mean: y[r] = mean of the `count` largest or smallest values of row r
//!
//! One workgroup per row, which it reads again each round: a row stays in the nearest cache. A row with a NaN gives NaN.
//! use: count, float_bits, index, reduce, select
//! set: SELECTION

const LARGEST: u32 = 0u;

struct Params { rows: u32, cols: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // [rows]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Spare groups recompute the last row: barriers stay uniform.
    let row = min(linear_group(group, groups), params.rows - 1u);
    let start = row * params.cols;

    var lowest = load(start);
    var highest = lowest;
    var has_nan = 0.0;
    for (var col = lane; col < params.cols; col += WORKGROUP) {
        let value = load(start + col);
        lowest = min(lowest, value);
        highest = max(highest, value);
        has_nan = max(has_nan, select(0.0, 1.0, is_nan(value)));
    }
    lowest = -workgroup_max(lane, -lowest);
    highest = workgroup_max(lane, highest);
    has_nan = workgroup_max(lane, has_nan);

    var bracket = Bracket(key_of(lowest), key_of(highest));
    for (var round = 0u; round < ROUNDS; round++) {
        // Once the bracket is closed the remaining rounds count nothing, but all lanes still meet at the barriers.
        let is_open = bracket.low < bracket.high;
        let end = select(0u, params.cols, is_open);
        let cuts = cut_values(bracket);
        var below: array<vec4<u32>, CUTS>;
        for (var col = lane; col < end; col += WORKGROUP) {
            let value = vec4(load(start + col));
            for (var i = 0u; i < CUTS; i++) {
                below[i] += select(vec4(0u), vec4(1u), value < cuts[i]);
            }
        }
        below = workgroup_counts(lane, below);
        if is_open {
            bracket = narrow(bracket, below, params.count);
        }
    }

    let threshold = value_of(bracket.low);
    var sum = 0.0;
    var better: array<vec4<u32>, CUTS>;
    for (var col = lane; col < params.cols; col += WORKGROUP) {
        let value = load(start + col);
        sum += select(0.0, value, value < threshold);
        better[0].x += select(0u, 1u, value < threshold);
    }
    sum = workgroup_sum(lane, sum);
    better = workgroup_counts(lane, better);
    if lane == 0u {
        if better[0].x < params.count {
            sum += f32(params.count - better[0].x) * threshold;
        }
        let mean = select(sum, -sum, SELECTION == LARGEST) / f32(params.count);
        y[row] = select(mean, bitcast<f32>(INFINITY_BITS + u32(has_nan)), has_nan > 0.0);
    }
}

/// A value, negated where the largest are averaged: the rest of the kernel looks for the smallest.
fn load(at: u32) -> f32 {
    return select(x[at], -x[at], SELECTION == LARGEST);
}
