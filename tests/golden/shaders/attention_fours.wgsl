alias Elem = f32;
const HEAD_DIM: u32 = 4u;
const GRID_ROWS: u32 = 0u;
const GRID_COLS: u32 = 1u;
const HEADS: u32 = 1u;
const TILE: u32 = 64u;
const Q_STRIDE: u32 = 4u;
const Q_OFFSET: u32 = 0u;
const K_STRIDE: u32 = 4u;
const K_OFFSET: u32 = 0u;
const V_STRIDE: u32 = 4u;
const V_OFFSET: u32 = 0u;
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
//! relative_position: what attention on a grid adds to a score, for the rows and the columns between two cells (Li et al. 2022, equation 4).
//! The kernel binds `rel_pos` and `query_cells`.
//! set: GRID_ROWS, GRID_COLS

const CELLS: u32 = max(GRID_ROWS * GRID_COLS, 1u);
const DIFFERENCES: u32 = 2u * (GRID_ROWS + GRID_COLS);

/// That of a query of a head among `heads`, and a key; after the last cell of a grid, the next begins.
fn relative_position(query: u32, head: u32, heads: u32, key: u32) -> f32 {
    let own = min(query_cells[query], CELLS - 1u);
    let other = key % CELLS;
    let first = (query * heads + head) * DIFFERENCES;
    let row = first + GRID_ROWS + own / GRID_COLS - other / GRID_COLS;
    let col = first + 2u * GRID_ROWS + GRID_COLS + own % GRID_COLS - other % GRID_COLS;
    return f32(rel_pos[row]) + f32(rel_pos[col]);
}
//! attention in vec4: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h]) v[j, h] over the keys j in the range of i
//!
//! One thread per query of a head; a workgroup computes TILE of at most 64 queries and stages KEYS keys and values at a time in workgroup
//! memory, which all threads read at the same place. Scores are folded into a running maximum, sum and output (online softmax, Milakov &
//! Gimelshein 2018); they are never stored. Loops run over the whole of each array, so that compilers unroll them and keep its elements apart.
//! Needs head sizes, strides and offsets divisible by 4; they are constants, so that most of an index is known.
//! With GRID_ROWS above 0 keys are the cells of grids, one after the other, and rel_pos for Δrow and Δcol is added to scores (Li et al.
//! 2022, equation 4).
//! use: index, reduce, relative_position
//! set: HEAD_DIM, HEADS, TILE, Q_STRIDE, Q_OFFSET, K_STRIDE, K_OFFSET, V_STRIDE, V_OFFSET

const KEYS: u32 = 16u;
const VECTORS: u32 = HEAD_DIM / 4u;
const LOWEST: f32 = -3.4028234e38;

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

var<workgroup> key_slab: array<vec4<f32>, KEYS * VECTORS>;
var<workgroup> value_slab: array<vec4<f32>, KEYS * VECTORS>;
// Rows are one element longer than WORKGROUP, so that neither writes nor reads conflict in a bank.
const POSITION_STRIDE: u32 = WORKGROUP + 1u;
var<workgroup> position_slab: array<f32, select(1u, KEYS * POSITION_STRIDE, GRID_ROWS > 0u)>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.queries + TILE - 1u) / TILE;
    // Spare groups recompute the last tile, lanes past the edge the last query: barriers stay uniform.
    let tile = min(linear_group(group, groups), tiles * HEADS - 1u);
    let head = tile / tiles;
    let first_query = tile % tiles * TILE;
    let query = first_query + lane;
    let row = min(min(query, first_query + TILE - 1u), params.queries - 1u);
    let range = min(key_ranges[row], vec2(params.keys));
    // The union of all ranges; an empty one adds nothing.
    let is_empty = range.x >= range.y;
    let walk_from = u32(-workgroup_max(lane, -f32(select(range.x, params.keys, is_empty))));
    let walk_to = u32(workgroup_max(lane, f32(select(range.y, 0u, is_empty))));

    var own: array<vec4<f32>, VECTORS>;
    var sums: array<vec4<f32>, VECTORS>;
    for (var d = 0u; d < VECTORS; d++) {
        own[d] = params.scale * vec4<f32>(q[(row * Q_STRIDE + Q_OFFSET) / 4u + head * VECTORS + d]);
    }
    var largest = LOWEST;
    var total = 0.0;
    for (var start = walk_from; start < walk_to; start += KEYS) {
        for (var at = lane; at < KEYS * VECTORS; at += WORKGROUP) {
            let key = min(start + at / VECTORS, params.keys - 1u);
            let element = head * VECTORS + at % VECTORS;
            key_slab[at] = vec4<f32>(k[(key * K_STRIDE + K_OFFSET) / 4u + element]);
            value_slab[at] = vec4<f32>(v[(key * V_STRIDE + V_OFFSET) / 4u + element]);
        }
        if GRID_ROWS > 0u {
            // Lanes that follow each other read the relative positions of one query.
            for (var at = lane; at < KEYS * WORKGROUP; at += WORKGROUP) {
                let other = min(first_query + at / KEYS, params.queries - 1u);
                position_slab[at % KEYS * POSITION_STRIDE + at / KEYS] = relative_position(other, head, HEADS, start + at % KEYS);
            }
        }
        workgroupBarrier();
        var scores: array<f32, KEYS>;
        var next = largest;
        for (var j = 0u; j < KEYS; j++) {
            var products = vec4(0.0);
            for (var d = 0u; d < VECTORS; d++) {
                products = fma(own[d], key_slab[j * VECTORS + d], products);
            }
            var score = products.x + products.y + (products.z + products.w);
            if GRID_ROWS > 0u {
                score += position_slab[j * POSITION_STRIDE + min(lane, TILE - 1u)];
            }
            let inside = start + j >= range.x && start + j < range.y;
            scores[j] = select(LOWEST, score, inside);
            next = max(next, scores[j]);
        }
        let shrink = exp(largest - next);
        largest = next;
        total *= shrink;
        for (var d = 0u; d < VECTORS; d++) {
            sums[d] *= shrink;
        }
        for (var j = 0u; j < KEYS; j++) {
            // While a thread has had no key in its range, its maximum is LOWEST and the difference 0. A NaN stays.
            let weight = select(exp(scores[j] - next), 0.0, scores[j] == LOWEST);
            total += weight;
            for (var d = 0u; d < VECTORS; d++) {
                sums[d] = fma(vec4(weight), value_slab[j * VECTORS + d], sums[d]);
            }
        }
        workgroupBarrier();
    }
    // A query without keys gets zeros.
    let share = select(1.0 / total, 0.0, total == 0.0);
    if query == row {
        for (var d = 0u; d < VECTORS; d++) {
            y[(query * HEADS + head) * VECTORS + d] = vec4<Elem>(share * sums[d]);
        }
    }
}
