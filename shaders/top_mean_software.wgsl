//! top_mean for software adapters: y[r] = mean of the `count` largest or smallest values of row r
//!
//! One lane per row, so that nothing is shared. A row with a NaN gives NaN.
//! use: float_bits, index, loop_end, select
//! set: SELECTION

const LARGEST: u32 = 0u;
const LANES: u32 = 8u;

struct Params { rows: u32, cols: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // [rows]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups);
    let row = number * LANES + lane;
    if row >= params.rows {
        return;
    }
    let cols = loop_end(params.cols, number);
    let start = row * cols;

    var lowest = load(start);
    var highest = lowest;
    var widest = 0u;
    for (var col = 0u; col < cols; col++) {
        let value = load(start + col);
        lowest = min(lowest, value);
        highest = max(highest, value);
        widest = max(widest, magnitude_bits(value));
    }

    var bracket = Bracket(key_of(lowest), key_of(highest));
    for (var round = 0u; round < ROUNDS && bracket.low < bracket.high; round++) {
        let cuts = cut_values(bracket);
        var below: array<vec4<u32>, CUTS>;
        for (var col = 0u; col < cols; col++) {
            let value = vec4(load(start + col));
            for (var i = 0u; i < CUTS; i++) {
                below[i] += select(vec4(0u), vec4(1u), value < cuts[i]);
            }
        }
        bracket = narrow(bracket, below, params.count);
    }

    let threshold = value_of(bracket.low);
    var sum = 0.0;
    var better = 0u;
    for (var col = 0u; col < cols; col++) {
        let value = load(start + col);
        sum += select(0.0, value, value < threshold);
        better += select(0u, 1u, value < threshold);
    }
    if better < params.count {
        sum += f32(params.count - better) * threshold;
    }
    let mean = select(sum, -sum, SELECTION == LARGEST) / f32(params.count);
    y[row] = select(mean, bitcast<f32>(widest), widest > INFINITY_BITS);
}

/// A value, negated where the largest are averaged: the rest of the kernel looks for the smallest.
fn load(at: u32) -> f32 {
    return select(x[at], -x[at], SELECTION == LARGEST);
}
