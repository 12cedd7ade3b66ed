alias Elem = f32;
const SELECTION: u32 = 0u;
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
//! loop_end: the bound of a loop, hidden so that drivers do not compile its value in.
//!
//! lavapipe unrolls a loop whose bound is read from a uniform: it compiles the kernel again for each dispatch, with the value as a
//! constant, and keeps all of them. It does not do so for a bound that depends on the workgroup.

/// `count`, whatever the number of the workgroup.
fn loop_end(count: u32, number: u32) -> u32 {
    return min(count, count + (number >> 31u));
}
//! select: finds the `wanted`-th smallest value of a row without sorting, by narrowing a bracket of float keys.
//!
//! A round cuts the bracket at 4·CUTS places; the kernel counts how many values lie below each; the counts tell between which cuts the next
//! round continues. The bracket of keys shrinks (4·CUTS + 1)-fold each round, so ROUNDS rounds close any bracket.
//! use: float_bits

const CUTS: u32 = 4u;       // vec4 of cuts per round
const ROUNDS: u32 = 8u;     // 17⁸ > 2³²

/// Keys of values. The wanted value lies between them, ends included, and fewer than `wanted` values lie below `low`; or both ends are
/// one key with exactly `wanted` values below it.
struct Bracket { low: u32, high: u32 }

/// The cuts, ascending, from cut number 1 at the first.
fn cut_values(bracket: Bracket) -> array<vec4<f32>, CUTS> {
    var values: array<vec4<f32>, CUTS>;
    for (var i = 0u; i < CUTS; i++) {
        for (var c = 0u; c < 4u; c++) {
            values[i][c] = value_of(cut_key(bracket, 4u * i + c + 1u));
        }
    }
    return values;
}

fn cut_key(bracket: Bracket, number: u32) -> u32 {
    let step = (bracket.high - bracket.low) / (4u * CUTS + 1u) + 1u;
    // The product is bounded first: near the largest keys the sum would wrap.
    return bracket.low + min(number * step, bracket.high - bracket.low);
}

/// The bracket after a round. `below` counts the values below each cut.
fn narrow(bracket: Bracket, below: array<vec4<u32>, CUTS>, wanted: u32) -> Bracket {
    var counts = below;
    var next = bracket;
    var is_exact = false;
    for (var i = 0u; i < CUTS; i++) {
        for (var c = 0u; c < 4u; c++) {
            let key = cut_key(bracket, 4u * i + c + 1u);
            let count = counts[i][c];
            if count == wanted {
                next = Bracket(key, key);
                is_exact = true;
            } else if count < wanted {
                next.low = key;
            } else if !is_exact {
                next.high = min(next.high, key - 1u);
            }
        }
    }
    return next;
}
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
