//! attention for software adapters with subgroups:
//! y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h] + bias) v[j, h] over the keys j in the range of i
//!
//! A workgroup is a subgroup. One lane per ROWS queries of a head, LANES apart. The queries of a workgroup walk the union of their ranges
//! together, LANES keys at a time: each lane loads of a key and a value of its own, and gives that to the others. llvmpipe loads for one
//! lane after the other, also where all of them load the same, so this is an eighth of the loads. The scores are folded into a running
//! maximum, sum and output (online softmax, Milakov & Gimelshein 2018); they are never stored. No workgroup memory, no barrier; all control
//! flow is the same for all lanes. Loops run over the whole of each array, so that compilers unroll them and keep its elements apart. Needs
//! head sizes, strides and offsets divisible by 4.
//! With GRID_ROWS above 0 keys are the cells of grids, one after the other, and rel_pos for Δrow and Δcol is added to scores (Li et al.
//! 2022, equation 4); where LANES divides the columns, the keys of a pass through the loop share a row.
//! use: index
//! set: HEAD_DIM, ROWS, GRID_ROWS, GRID_COLS

const LANES: u32 = 8u;
const QUERIES: u32 = LANES * ROWS;
const VECTORS: u32 = HEAD_DIM / 4u;
const LOWEST: f32 = -3.4028234e38;
const CELLS: u32 = max(GRID_ROWS * GRID_COLS, 1u);
const DIFFERENCES: u32 = 2u * (GRID_ROWS + GRID_COLS);

alias Scores = array<array<f32, ROWS>, LANES>;
alias Queries = array<array<vec4<f32>, ROWS>, VECTORS>;

struct Params {
    queries: u32, keys: u32, heads: u32, scale: f32,
    q_stride: u32, q_offset: u32, k_stride: u32, k_offset: u32, v_stride: u32, v_offset: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<Elem>>;          // [queries, q_stride]: heads side by side from q_offset on
@group(0) @binding(2) var<storage, read> k: array<vec4<Elem>>;          // [keys, k_stride]
@group(0) @binding(3) var<storage, read> v: array<vec4<Elem>>;          // [keys, v_stride]
@group(0) @binding(4) var<storage, read> key_ranges: array<vec2<u32>>;  // [queries]: first key, and the one after the last
@group(0) @binding(5) var<storage, read> rel_pos: array<Elem>;          // [queries, heads, DIFFERENCES] or absent
@group(0) @binding(6) var<storage, read> query_cells: array<u32>;       // [queries]: the cell of each, or absent
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Elem>>;    // [queries, heads · HEAD_DIM]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let number = linear_group(group, groups);
    // Workgroups that follow each other share their keys, which stay in the cache.
    let head = number / tiles;
    if head >= params.heads {
        return;
    }
    let first = number % tiles * QUERIES;
    var range: array<vec2<u32>, ROWS>;
    var query: Queries;
    var sums: Queries;
    var largest: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    // Indices of the relative positions of each query to keys in its own row and column; those of later rows and columns are lower.
    var own_row: array<u32, ROWS>;
    var own_col: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = min(first + r * LANES + lane, params.queries - 1u);
        range[r] = range_of(row);
        largest[r] = LOWEST;
        if GRID_ROWS > 0u {
            let differences = (row * params.heads + head) * DIFFERENCES;
            let cell = min(query_cells[row], CELLS - 1u);
            own_row[r] = differences + GRID_ROWS + cell / GRID_COLS;
            own_col[r] = differences + 2u * GRID_ROWS + GRID_COLS + cell % GRID_COLS;
        }
        for (var d = 0u; d < VECTORS; d++) {
            query[d][r] = params.scale * vec4<f32>(q[(row * params.q_stride + params.q_offset) / 4u + head * VECTORS + d]);
        }
    }
    // The shortest range around those of all lanes; an empty one adds nothing.
    var walk = vec2(params.keys, 0u);
    for (var r = 0u; r < ROWS; r++) {
        if range[r].x < range[r].y {
            walk = vec2(min(walk.x, range[r].x), max(walk.y, range[r].y));
        }
    }
    walk = vec2(subgroupMin(walk.x), subgroupMax(walk.y));

    // From a multiple of LANES on; keys before the range are left out.
    for (var start = walk.x / LANES * LANES; start < walk.y; start += LANES) {
        let own = min(start + lane, params.keys - 1u);
        let key_at = (own * params.k_stride + params.k_offset) / 4u + head * VECTORS;
        let value_at = (own * params.v_stride + params.v_offset) / 4u + head * VECTORS;
        var scores: Scores;
        for (var d = 0u; d < VECTORS; d++) {
            let key = vec4<f32>(k[key_at + d]);
            // WGSL wants a literal for the lane that gives.
            score(&scores, &query, d, 0u, subgroupBroadcast(key, 0u));
            score(&scores, &query, d, 1u, subgroupBroadcast(key, 1u));
            score(&scores, &query, d, 2u, subgroupBroadcast(key, 2u));
            score(&scores, &query, d, 3u, subgroupBroadcast(key, 3u));
            score(&scores, &query, d, 4u, subgroupBroadcast(key, 4u));
            score(&scores, &query, d, 5u, subgroupBroadcast(key, 5u));
            score(&scores, &query, d, 6u, subgroupBroadcast(key, 6u));
            score(&scores, &query, d, 7u, subgroupBroadcast(key, 7u));
        }
        for (var r = 0u; r < ROWS; r++) {
            var next = largest[r];
            var of_row = 0.0;
            for (var j = 0u; j < LANES; j++) {
                if GRID_ROWS > 0u {
                    let cell = (start + j) % CELLS;
                    if j == 0u || GRID_COLS % LANES != 0u {
                        of_row = f32(rel_pos[own_row[r] - cell / GRID_COLS]);
                    }
                    scores[j][r] += of_row + f32(rel_pos[own_col[r] - cell % GRID_COLS]);
                }
                let inside = start + j >= range[r].x && start + j < range[r].y;
                scores[j][r] = select(LOWEST, scores[j][r], inside);
                next = max(next, scores[j][r]);
            }
            let shrink = exp(largest[r] - next);
            largest[r] = next;
            total[r] *= shrink;
            for (var j = 0u; j < LANES; j++) {
                // While a query has had no key in its range, its maximum is LOWEST and the difference 0. A NaN stays.
                scores[j][r] = select(exp(scores[j][r] - next), 0.0, scores[j][r] == LOWEST);
                total[r] += scores[j][r];
            }
            for (var d = 0u; d < VECTORS; d++) {
                sums[d][r] *= shrink;
            }
        }
        for (var d = 0u; d < VECTORS; d++) {
            let value = vec4<f32>(v[value_at + d]);
            add(&sums, &scores, d, 0u, subgroupBroadcast(value, 0u));
            add(&sums, &scores, d, 1u, subgroupBroadcast(value, 1u));
            add(&sums, &scores, d, 2u, subgroupBroadcast(value, 2u));
            add(&sums, &scores, d, 3u, subgroupBroadcast(value, 3u));
            add(&sums, &scores, d, 4u, subgroupBroadcast(value, 4u));
            add(&sums, &scores, d, 5u, subgroupBroadcast(value, 5u));
            add(&sums, &scores, d, 6u, subgroupBroadcast(value, 6u));
            add(&sums, &scores, d, 7u, subgroupBroadcast(value, 7u));
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = first + r * LANES + lane;
        // A query without keys gets zeros.
        let share = select(1.0 / total[r], 0.0, total[r] == 0.0);
        if row < params.queries {
            for (var d = 0u; d < VECTORS; d++) {
                y[(row * params.heads + head) * VECTORS + d] = vec4<Elem>(share * sums[d][r]);
            }
        }
    }
}

/// Adds what four elements of a key contribute to its scores.
fn score(scores: ptr<function, Scores>, query: ptr<function, Queries>, d: u32, j: u32, key: vec4<f32>) {
    for (var r = 0u; r < ROWS; r++) {
        (*scores)[j][r] = fma((*query)[d][r].x, key.x, (*scores)[j][r]);
        (*scores)[j][r] = fma((*query)[d][r].y, key.y, (*scores)[j][r]);
        (*scores)[j][r] = fma((*query)[d][r].z, key.z, (*scores)[j][r]);
        (*scores)[j][r] = fma((*query)[d][r].w, key.w, (*scores)[j][r]);
    }
}

/// Adds four elements of a value, each query's share of it.
fn add(sums: ptr<function, Queries>, scores: ptr<function, Scores>, d: u32, j: u32, value: vec4<f32>) {
    for (var r = 0u; r < ROWS; r++) {
        (*sums)[d][r] = fma(vec4((*scores)[j][r]), value, (*sums)[d][r]);
    }
}

/// Key range of a query; past the edge, that of the last one.
fn range_of(row: u32) -> vec2<u32> {
    return min(key_ranges[min(row, params.queries - 1u)], vec2(params.keys));
}
