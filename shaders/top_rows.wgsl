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
    for (var other = 0u; other < params.rows; other++) { // unroll 8
        let key = key_of(scores[first + min(other, params.rows - 1u)]);
        before += select(0u, 1u, other < params.rows && (key > own || (key == own && other < row)));
    }
    if before < params.count {
        y[sequence * params.count + before] = first + row;
    }
}
