alias Elem = f32;
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
//! top_rows: y[s, k] = number of the row with the k-th highest score of sequence s
//!
//! One lane per row: it counts the rows that come before its own, and that count is its place in y. All lanes read the same score at a time.
//! Quadratic in the rows, but of integer comparisons alone, and each place is written once. Scores order by their bits, so that even with NaN
//! every row has a place. The loop is written out, since llvmpipe leaves it in silence after 65,535 rounds.
//! use: float_bits, index

const LANES: u32 = 64u;

struct Params { sequences: u32, rows: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;     // [sequences, rows]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;    // [sequences, count]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let of_sequence = (params.rows + LANES - 1u) / LANES;
    let number = linear_group(group, groups);
    let sequence = number / of_sequence;
    let row = number % of_sequence * LANES + lane;
    if sequence >= params.sequences || row >= params.rows {
        return;
    }
    let first = sequence * params.rows;
    let own = key_of(scores[first + row]);
    var before = 0u;
    for (var other = 0u; other < params.rows;) {
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    {
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    } other++;
    }
    if before < params.count {
        y[sequence * params.count + before] = first + row;
    }
}
