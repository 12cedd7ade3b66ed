alias Elem = f32;
const SELECTION: u32 = 0u;
const WORKGROUP: u32 = 64u;
//! count: adds up the counts that the lanes of a workgroup made at each cut, and returns the sums to every lane.
//!
//! Sixteen lanes gather the counts of all for each vec4 of cuts, then every lane gathers those 16 itself. Two barriers, and none needed
//! between calls, as in `reduce`. All lanes must call. WORKGROUP is a multiple of 16 and at least 16·CUTS.
//! use: select
//! set: WORKGROUP

const COUNTERS: u32 = 16u;

var<workgroup> lane_counts: array<array<vec4<u32>, WORKGROUP>, CUTS>;
var<workgroup> gathered_counts: array<array<vec4<u32>, COUNTERS>, CUTS>;

fn workgroup_counts(lane: u32, counts: array<vec4<u32>, CUTS>) -> array<vec4<u32>, CUTS> {
    var totals = counts;
    for (var i = 0u; i < CUTS; i++) {
        lane_counts[i][lane] = totals[i];
    }
    workgroupBarrier();
    if lane < COUNTERS * CUTS {
        let i = lane / COUNTERS;
        let counter = lane % COUNTERS;
        var sum = vec4(0u);
        for (var other = counter; other < WORKGROUP; other += COUNTERS) {
            sum += lane_counts[i][other];
        }
        gathered_counts[i][counter] = sum;
    }
    workgroupBarrier();
    for (var i = 0u; i < CUTS; i++) {
        var sum = vec4(0u);
        for (var counter = 0u; counter < COUNTERS; counter++) {
            sum += gathered_counts[i][counter];
        }
        totals[i] = sum;
    }
    return totals;
}
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
