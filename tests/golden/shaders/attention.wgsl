alias Elem = f32;
const HEAD_DIM: u32 = 1u;
const GRID_ROWS: u32 = 0u;
const GRID_COLS: u32 = 1u;
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
//! attention: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h]) v[j, h] over the keys j in the range of i
//!
//! One thread per query of a head; a workgroup shares a head and stages KEYS keys and values at a time in workgroup memory. Scores are
//! folded into a running maximum, sum and output (online softmax, Milakov & Gimelshein 2018); they are never stored. Any sizes.
//! With GRID_ROWS above 0 keys are the cells of grids, one after the other, and rel_pos for Δrow and Δcol is added to scores (Li et al.
//! 2022, equation 4).
//! use: index, reduce, relative_position
//! set: HEAD_DIM

const KEYS: u32 = 16u;
const LOWEST: f32 = -3.4028234e38;

struct Params {
    queries: u32, keys: u32, heads: u32, scale: f32,
    q_stride: u32, q_offset: u32, k_stride: u32, k_offset: u32, v_stride: u32, v_offset: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Elem>;                // [queries, q_stride]: heads side by side from q_offset on
@group(0) @binding(2) var<storage, read> k: array<Elem>;                // [keys, k_stride]
@group(0) @binding(3) var<storage, read> v: array<Elem>;                // [keys, v_stride]
@group(0) @binding(4) var<storage, read> key_ranges: array<vec2<u32>>;  // [queries]: first key, and the one after the last
@group(0) @binding(5) var<storage, read> rel_pos: array<Elem>;          // [queries, heads, DIFFERENCES] or absent
@group(0) @binding(6) var<storage, read> query_cells: array<u32>;       // [queries]: the cell of each, or absent
@group(0) @binding(7) var<storage, read_write> y: array<Elem>;          // [queries, heads · HEAD_DIM]

var<workgroup> key_slab: array<f32, KEYS * HEAD_DIM>;
var<workgroup> value_slab: array<f32, KEYS * HEAD_DIM>;
// Rows are one element longer than WORKGROUP, so that neither writes nor reads conflict in a bank.
const POSITION_STRIDE: u32 = WORKGROUP + 1u;
var<workgroup> position_slab: array<f32, select(1u, KEYS * POSITION_STRIDE, GRID_ROWS > 0u)>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.queries + WORKGROUP - 1u) / WORKGROUP;
    // Spare groups recompute the last tile, lanes past the edge the last query: barriers stay uniform.
    let tile = min(linear_group(group, groups), tiles * params.heads - 1u);
    let head = tile / tiles;
    let query = tile % tiles * WORKGROUP + lane;
    let row = min(query, params.queries - 1u);
    let range = min(key_ranges[row], vec2(params.keys));
    // The union of all ranges; an empty one adds nothing.
    let is_empty = range.x >= range.y;
    let walk_from = u32(-workgroup_max(lane, -f32(select(range.x, params.keys, is_empty))));
    let walk_to = u32(workgroup_max(lane, f32(select(range.y, 0u, is_empty))));

    var own: array<f32, HEAD_DIM>;
    var sums: array<f32, HEAD_DIM>;
    for (var d = 0u; d < HEAD_DIM; d++) {
        own[d] = params.scale * f32(q[row * params.q_stride + params.q_offset + head * HEAD_DIM + d]);
    }
    var largest = LOWEST;
    var total = 0.0;
    for (var start = walk_from; start < walk_to; start += KEYS) {
        for (var at = lane; at < KEYS * HEAD_DIM; at += WORKGROUP) {
            let key = min(start + at / HEAD_DIM, params.keys - 1u);
            let element = head * HEAD_DIM + at % HEAD_DIM;
            key_slab[at] = f32(k[key * params.k_stride + params.k_offset + element]);
            value_slab[at] = f32(v[key * params.v_stride + params.v_offset + element]);
        }
        if GRID_ROWS > 0u {
            // Lanes that follow each other read the relative positions of one query.
            for (var at = lane; at < KEYS * WORKGROUP; at += WORKGROUP) {
                let other = min(tile % tiles * WORKGROUP + at / KEYS, params.queries - 1u);
                position_slab[at % KEYS * POSITION_STRIDE + at / KEYS] = relative_position(other, head, params.heads, start + at % KEYS);
            }
        }
        workgroupBarrier();
        var scores: array<f32, KEYS>;
        var next = largest;
        for (var j = 0u; j < KEYS; j++) {
            var score = 0.0;
            for (var d = 0u; d < HEAD_DIM; d++) {
                score = fma(own[d], key_slab[j * HEAD_DIM + d], score);
            }
            if GRID_ROWS > 0u {
                score += position_slab[j * POSITION_STRIDE + lane];
            }
            let inside = start + j >= range.x && start + j < range.y;
            scores[j] = select(LOWEST, score, inside);
            next = max(next, scores[j]);
        }
        let shrink = exp(largest - next);
        largest = next;
        total *= shrink;
        for (var d = 0u; d < HEAD_DIM; d++) {
            sums[d] *= shrink;
        }
        for (var j = 0u; j < KEYS; j++) {
            // While a thread has had no key in its range, its maximum is LOWEST and the difference 0. A NaN stays.
            let weight = select(exp(scores[j] - next), 0.0, scores[j] == LOWEST);
            total += weight;
            for (var d = 0u; d < HEAD_DIM; d++) {
                sums[d] = fma(weight, value_slab[j * HEAD_DIM + d], sums[d]);
            }
        }
        workgroupBarrier();
    }
    // A query without keys gets zeros.
    let share = select(1.0 / total, 0.0, total == 0.0);
    if query < params.queries {
        for (var d = 0u; d < HEAD_DIM; d++) {
            y[(query * params.heads + head) * HEAD_DIM + d] = Elem(share * sums[d]);
        }
    }
}
