alias Elem = f32;
const HEAD_DIM: u32 = 4u;
const GRID_ROWS: u32 = 0u;
const GRID_COLS: u32 = 1u;
const ROWS: u32 = 2u;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! attention for software adapters: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h]) v[j, h] over the keys j in the range of i
//!
//! One lane per ROWS queries of a head, LANES apart. The queries of a workgroup walk the union of their ranges together, so that every load
//! of a key or a value serves ROWS products; llvmpipe makes it for one lane after the other, though it is the same for all. KEYS scores at
//! a time are folded into a running maximum, sum and output (online softmax, Milakov & Gimelshein 2018); they are never stored. No
//! workgroup memory, no barrier. Loops run over the whole of each array, so that compilers unroll them and keep its elements apart. Needs
//! head sizes, strides and offsets divisible by 4.
//! With GRID_ROWS above 0 keys are the cells of grids, one after the other, and rel_pos for Δrow and Δcol is added to scores (Li et al.
//! 2022, equation 4); where KEYS divides the columns, the KEYS keys of a pass through the loop share a row.
//! use: index
//! set: HEAD_DIM, ROWS, GRID_ROWS, GRID_COLS

const LANES: u32 = 8u;
const KEYS: u32 = 4u;
const QUERIES: u32 = LANES * ROWS;
const VECTORS: u32 = HEAD_DIM / 4u;
const LOWEST: f32 = -3.4028234e38;
const CELLS: u32 = max(GRID_ROWS * GRID_COLS, 1u);
const DIFFERENCES: u32 = 2u * (GRID_ROWS + GRID_COLS);

/// Strides and offsets count elements.
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
        @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let number = linear_group(group, groups);
    // Workgroups that follow each other share their keys, which stay in the cache.
    let head = number / tiles;
    if head >= params.heads {
        return;
    }
    let first = number % tiles * QUERIES;
    var walk = range_of(first);
    for (var other = 1u; other < QUERIES; other++) {
        walk = join(walk, range_of(first + other));
    }

    var range: array<vec2<u32>, ROWS>;
    var query: array<array<vec4<f32>, ROWS>, VECTORS>;
    var sums: array<array<vec4<f32>, ROWS>, VECTORS>;
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
    // From a multiple of KEYS on; keys before the range are left out.
    for (var start = walk.x / KEYS * KEYS; start < walk.y; start += KEYS) {
        var key_at: array<u32, KEYS>;
        var value_at: array<u32, KEYS>;
        var key_row: array<u32, KEYS>;
        var key_col: array<u32, KEYS>;
        for (var j = 0u; j < KEYS; j++) {
            let cell = (start + j) % CELLS;
            key_row[j] = cell / GRID_COLS;
            key_col[j] = cell % GRID_COLS;
            let row = min(start + j, params.keys - 1u);
            key_at[j] = (row * params.k_stride + params.k_offset) / 4u + head * VECTORS;
            value_at[j] = (row * params.v_stride + params.v_offset) / 4u + head * VECTORS;
        }
        var scores: array<array<f32, ROWS>, KEYS>;
        for (var d = 0u; d < VECTORS; d++) {
            for (var j = 0u; j < KEYS; j++) {
                let key = vec4<f32>(k[key_at[j] + d]);
                for (var r = 0u; r < ROWS; r++) {
                    scores[j][r] = fma(query[d][r].x, key.x, scores[j][r]);
                    scores[j][r] = fma(query[d][r].y, key.y, scores[j][r]);
                    scores[j][r] = fma(query[d][r].z, key.z, scores[j][r]);
                    scores[j][r] = fma(query[d][r].w, key.w, scores[j][r]);
                }
            }
        }
        for (var r = 0u; r < ROWS; r++) {
            var next = largest[r];
            var of_row = 0.0;
            for (var j = 0u; j < KEYS; j++) {
                if GRID_ROWS > 0u {
                    if j == 0u || GRID_COLS % KEYS != 0u {
                        of_row = f32(rel_pos[own_row[r] - key_row[j]]);
                    }
                    scores[j][r] += of_row + f32(rel_pos[own_col[r] - key_col[j]]);
                }
                let inside = start + j >= range[r].x && start + j < range[r].y;
                scores[j][r] = select(LOWEST, scores[j][r], inside);
                next = max(next, scores[j][r]);
            }
            let shrink = exp(largest[r] - next);
            largest[r] = next;
            total[r] *= shrink;
            for (var j = 0u; j < KEYS; j++) {
                // While a query has had no key in its range, its maximum is LOWEST and the difference 0. A NaN stays.
                scores[j][r] = select(exp(scores[j][r] - next), 0.0, scores[j][r] == LOWEST);
                total[r] += scores[j][r];
            }
            for (var d = 0u; d < VECTORS; d++) {
                sums[d][r] *= shrink;
            }
        }
        for (var d = 0u; d < VECTORS; d++) {
            for (var j = 0u; j < KEYS; j++) {
                let value = vec4<f32>(v[value_at[j] + d]);
                for (var r = 0u; r < ROWS; r++) {
                    sums[d][r] = fma(vec4(scores[j][r]), value, sums[d][r]);
                }
            }
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

/// Key range of a query; past the edge, that of the last one.
fn range_of(row: u32) -> vec2<u32> {
    return min(key_ranges[min(row, params.queries - 1u)], vec2(params.keys));
}

/// The shortest range around two; an empty one adds nothing.
fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let both = vec2(min(a.x, b.x), max(a.y, b.y));
    return select(select(both, a, b.x >= b.y), b, a.x >= a.y);
}
