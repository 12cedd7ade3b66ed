enable f16;
enable wgpu_cooperative_matrix;
alias Elem = f16;
const HEAD_DIM: u32 = 32u;
const GRID_ROWS: u32 = 0u;
const GRID_COLS: u32 = 1u;
const HEADS: u32 = 3u;
const TILE: u32 = 9u;
const Q_STRIDE: u32 = 96u;
const Q_OFFSET: u32 = 0u;
const K_STRIDE: u32 = 96u;
const K_OFFSET: u32 = 0u;
const V_STRIDE: u32 = 96u;
const V_OFFSET: u32 = 0u;
const WORKGROUP: u32 = 128u;
//! attention_units: 16 × 16 fragments of `attention_matrix` on the matrix units of a GPU, f16 operands and f32 sums. A subgroup holds a fragment.
//!
//! A call behind a function costs an eighth of the speed on NVIDIA, so these are replaced by their text. Indices count vec4. Keys lie in rows
//! and are multiplied as columns.
//! inline: load_query(at) = coopLoadT<coop_mat16x16<f16, A>>(&slab[at], SLAB_STRIDE)
//! inline: load_position(at) = coopLoadT<coop_mat16x16<f16, A>>(&slab[at], POSITION_STRIDE)
//! inline: load_weight(at) = coopLoadT<coop_mat16x16<f16, A>>(&slab[at], WEIGHT_STRIDE)
//! inline: load_key(at) = coopLoad<coop_mat16x16<f16, B>>(&slab[at], SLAB_STRIDE)
//! inline: load_value(at) = coopLoadT<coop_mat16x16<f16, B>>(&slab[at], SLAB_STRIDE)
//! inline: load_cell(at) = coopLoadT<coop_mat16x16<f16, B>>(&cells[at], CELL_STRIDE)
//! inline: multiply_key(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: multiply_value(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: multiply_cell(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: put_on_stage(sums, at) = coopStoreT(sums, &stage[at], STAGE_STRIDE)
//! inline: take_from_stage(at) = coopLoadT<coop_mat16x16<f32, C>>(&stage[at], STAGE_STRIDE)

alias Sums = coop_mat16x16<f32, C>;
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
//! attention on matrix units: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h]) v[j, h] over the keys j in the range of i
//!
//! A workgroup computes TILE of at most 64 queries of a head, a subgroup 16 of them, two threads a query outside the matrix units. It walks
//! the union of their ranges in steps of 32 keys: scores by matrix units, their weights by threads, over workgroup memory, and the weighted
//! values by matrix units again (online softmax, Milakov & Gimelshein 2018). Weights are relative to a level of their query, which rises to
//! the largest score only when that is 8 powers of two above it; since fragments cannot be looked into, only then are sums taken over the
//! stage to be scaled.
//! With GRID_ROWS above 0 keys are the cells of grids, one after the other, and rel_pos for Δrow and Δcol is added to scores (Li et al.
//! 2022, equation 4) by a further product, with a matrix that says in which row and column each key lies. With columns in whole steps the
//! keys of a step share a row, and only columns are multiplied.
//! Needs head sizes divisible by 16, at most 80, strides and offsets divisible by 8; grids of 32 or 64 columns, or of at most 16 × 16 cells.
//! use: attention_units, index, reduce
//! set: HEAD_DIM, HEADS, GRID_ROWS, GRID_COLS, TILE, Q_STRIDE, Q_OFFSET, K_STRIDE, K_OFFSET, V_STRIDE, V_OFFSET

const LANES: u32 = 32u;
const QUERIES: u32 = 64u;
const KEYS: u32 = 32u;
const DIMS: u32 = HEAD_DIM / 16u;                // fragments across a head
const VECTORS: u32 = HEAD_DIM / 4u;
const LOWEST: f32 = -3.4028234e38;
const RISE: f32 = 8.0;                            // weights up to 2⁸ and their products are far from the largest f16
const LOG2_E: f32 = 1.4426950;
const CELLS: u32 = max(GRID_ROWS * GRID_COLS, 1u);
const DIFFERENCES: u32 = 2u * (GRID_ROWS + GRID_COLS);
const IN_STEPS: bool = GRID_ROWS > 0u && GRID_COLS % KEYS == 0u;
const ONE_BY_ONE: bool = GRID_ROWS > 0u && GRID_COLS % KEYS != 0u;
const POSITIONS: u32 = select(select(8u, 32u, ONE_BY_ONE), GRID_COLS, IN_STEPS);

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

// Rows are padded so that fragments meet different banks. Strides count vec4 and are even, since fragments begin at multiples of 16 bytes.
const SLAB_STRIDE: u32 = VECTORS + 2u;
const WEIGHT_STRIDE: u32 = KEYS / 4u + 2u;
const POSITION_STRIDE: u32 = POSITIONS / 4u + 2u;
const CELL_STRIDE: u32 = KEYS / 4u + 2u;
const STAGE_STRIDE: u32 = KEYS / 4u + 1u;
const STAGE: u32 = 16u * STAGE_STRIDE;           // of a subgroup
/// Where values lie behind the keys, whose place the weights take when the scores are known. Before that, the slab holds the queries, then
/// their relative positions.
const VALUES: u32 = max(KEYS * SLAB_STRIDE, QUERIES * WEIGHT_STRIDE);
const SLAB: u32 = max(VALUES + KEYS * SLAB_STRIDE, select(0u, QUERIES * POSITION_STRIDE, GRID_ROWS > 0u));
var<workgroup> slab: array<vec4<f16>, SLAB>;
/// A row for each of a grid's rows, then of its columns: 1 / scale for the keys in it. In steps, a block of 16 with that on its diagonal, and
/// one of zeros.
var<workgroup> cells: array<vec4<f16>, 32u * CELL_STRIDE>;
var<workgroup> stage: array<vec4<f32>, 4u * STAGE>;
var<workgroup> exchange: array<f32, WORKGROUP>;
/// 1 if a level rose in this step.
var<workgroup> has_risen: u32;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let tiles = (params.queries + TILE - 1u) / TILE;
    // Spare groups recompute the last tile, lanes past the edge the last query: barriers stay uniform.
    let tile = min(linear_group(group, groups), tiles * HEADS - 1u);
    let head = tile / tiles;
    let first_query = tile % tiles * TILE;
    let subgroup = thread / LANES;
    let side = thread % 2u;
    let query = first_query + thread / 2u;
    let row = min(min(query, first_query + TILE - 1u), params.queries - 1u);
    let range = min(key_ranges[row], vec2(params.keys));
    // The union of all ranges; an empty one adds nothing.
    let is_empty = range.x >= range.y;
    let lowest_key = u32(-workgroup_max(thread, -f32(select(range.x, params.keys, is_empty))));
    let walk_to = u32(workgroup_max(thread, f32(select(range.y, 0u, is_empty))));
    let walk_from = select(lowest_key, lowest_key / KEYS * KEYS, IN_STEPS);

    for (var at = thread; at < QUERIES * VECTORS; at += WORKGROUP) {
        let other = min(first_query + at / VECTORS, params.queries - 1u);
        slab[at / VECTORS * SLAB_STRIDE + at % VECTORS] = q[(other * Q_STRIDE + Q_OFFSET) / 4u + head * VECTORS + at % VECTORS];
    }
    if thread == 0u {
        has_risen = 0u;
    }
    workgroupBarrier();
    // Fragments that a smaller head lacks are those of the first; nothing is done with them.
    let query_at = subgroup * 16u * SLAB_STRIDE;
    let q0 = coopLoadT<coop_mat16x16<f16, A>>(&slab[query_at], SLAB_STRIDE);
    let q1 = coopLoadT<coop_mat16x16<f16, A>>(&slab[query_at + select(0u, 4u, DIMS > 1u)], SLAB_STRIDE);
    let q2 = coopLoadT<coop_mat16x16<f16, A>>(&slab[query_at + select(0u, 8u, DIMS > 2u)], SLAB_STRIDE);
    let q3 = coopLoadT<coop_mat16x16<f16, A>>(&slab[query_at + select(0u, 12u, DIMS > 3u)], SLAB_STRIDE);
    let q4 = coopLoadT<coop_mat16x16<f16, A>>(&slab[query_at + select(0u, 16u, DIMS > 4u)], SLAB_STRIDE);
    // The cell of a query in its grid, and where its relative positions begin.
    var own_cell = 0u;
    let relative = (row * HEADS + head) * DIFFERENCES;
    if GRID_ROWS > 0u {
        own_cell = min(query_cells[row], CELLS - 1u);
        workgroupBarrier();
        for (var at = thread; at < QUERIES * POSITIONS / 4u; at += WORKGROUP) {
            let other = min(first_query + at / (POSITIONS / 4u), params.queries - 1u);
            let number = at % (POSITIONS / 4u) * 4u;
            let positions = vec4(position(other, head, number), position(other, head, number + 1u), position(other, head, number + 2u),
                                 position(other, head, number + 3u));
            slab[at / (POSITIONS / 4u) * POSITION_STRIDE + number / 4u] = positions;
        }
        if IN_STEPS {
            let on_diagonal = vec4(thread / 4u) == vec4(thread % 4u * 4u) + vec4(0u, 1u, 2u, 3u);
            cells[thread / 4u * CELL_STRIDE + thread % 4u] = vec4<f16>(select(vec4(0.0), vec4(1.0 / params.scale), on_diagonal));
        }
        workgroupBarrier();
    }
    let position_at = subgroup * 16u * POSITION_STRIDE;
    let p0 = coopLoadT<coop_mat16x16<f16, A>>(&slab[position_at], POSITION_STRIDE);
    let p1 = coopLoadT<coop_mat16x16<f16, A>>(&slab[position_at + select(0u, 4u, POSITIONS > 16u)], POSITION_STRIDE);
    let p2 = coopLoadT<coop_mat16x16<f16, A>>(&slab[position_at + select(0u, 8u, POSITIONS > 32u)], POSITION_STRIDE);
    let p3 = coopLoadT<coop_mat16x16<f16, A>>(&slab[position_at + select(0u, 12u, POSITIONS > 48u)], POSITION_STRIDE);
    workgroupBarrier();

    var o0: Sums; var o1: Sums; var o2: Sums; var o3: Sums; var o4: Sums;
    let stage_at = subgroup * STAGE;
    let weight_at = subgroup * 16u * WEIGHT_STRIDE;
    let mine = stage_at + thread % LANES / 2u * STAGE_STRIDE + side;
    let my_weight = weight_at + thread % LANES / 2u * WEIGHT_STRIDE + side;
    var level = LOWEST;
    var total = 0.0;
    // Each thread stages a vec4 of a key and of a value for each fragment across a head; the next ones are on their way meanwhile.
    let at0 = thread; let place0 = at0 / VECTORS * SLAB_STRIDE + at0 % VECTORS;
    let at1 = thread + 1u * WORKGROUP; let place1 = at1 / VECTORS * SLAB_STRIDE + at1 % VECTORS;
    let at2 = thread + 2u * WORKGROUP; let place2 = at2 / VECTORS * SLAB_STRIDE + at2 % VECTORS;
    let at3 = thread + 3u * WORKGROUP; let place3 = at3 / VECTORS * SLAB_STRIDE + at3 % VECTORS;
    let at4 = thread + 4u * WORKGROUP; let place4 = at4 / VECTORS * SLAB_STRIDE + at4 % VECTORS;
    var k0 = key_at(walk_from, at0, head); var v0 = value_at(walk_from, at0, head);
    var k1 = k0; var v1 = v0;
    var k2 = k0; var v2 = v0;
    var k3 = k0; var v3 = v0;
    var k4 = k0; var v4 = v0;
    if DIMS > 1u { k1 = key_at(walk_from, at1, head); v1 = value_at(walk_from, at1, head); }
    if DIMS > 2u { k2 = key_at(walk_from, at2, head); v2 = value_at(walk_from, at2, head); }
    if DIMS > 3u { k3 = key_at(walk_from, at3, head); v3 = value_at(walk_from, at3, head); }
    if DIMS > 4u { k4 = key_at(walk_from, at4, head); v4 = value_at(walk_from, at4, head); }
    for (var start = walk_from; start < walk_to; start += KEYS) {
        slab[place0] = k0; slab[VALUES + place0] = v0;
        if DIMS > 1u { slab[place1] = k1; slab[VALUES + place1] = v1; }
        if DIMS > 2u { slab[place2] = k2; slab[VALUES + place2] = v2; }
        if DIMS > 3u { slab[place3] = k3; slab[VALUES + place3] = v3; }
        if DIMS > 4u { slab[place4] = k4; slab[VALUES + place4] = v4; }
        if ONE_BY_ONE {
            for (var at = thread; at < 32u * KEYS / 4u; at += WORKGROUP) {
                cells[at / (KEYS / 4u) * CELL_STRIDE + at % (KEYS / 4u)] = in_cell(at / (KEYS / 4u), start + at % (KEYS / 4u) * 4u);
            }
        }
        workgroupBarrier();
        k0 = key_at(start + KEYS, at0, head); v0 = value_at(start + KEYS, at0, head);
        if DIMS > 1u { k1 = key_at(start + KEYS, at1, head); v1 = value_at(start + KEYS, at1, head); }
        if DIMS > 2u { k2 = key_at(start + KEYS, at2, head); v2 = value_at(start + KEYS, at2, head); }
        if DIMS > 3u { k3 = key_at(start + KEYS, at3, head); v3 = value_at(start + KEYS, at3, head); }
        if DIMS > 4u { k4 = key_at(start + KEYS, at4, head); v4 = value_at(start + KEYS, at4, head); }
        var s0: Sums;
        let key00 = coopLoad<coop_mat16x16<f16, B>>(&slab[0u], SLAB_STRIDE); s0 = coopMultiplyAdd(q0, key00, s0);
        if DIMS > 1u { let key01 = coopLoad<coop_mat16x16<f16, B>>(&slab[4u], SLAB_STRIDE); s0 = coopMultiplyAdd(q1, key01, s0); }
        if DIMS > 2u { let key02 = coopLoad<coop_mat16x16<f16, B>>(&slab[8u], SLAB_STRIDE); s0 = coopMultiplyAdd(q2, key02, s0); }
        if DIMS > 3u { let key03 = coopLoad<coop_mat16x16<f16, B>>(&slab[12u], SLAB_STRIDE); s0 = coopMultiplyAdd(q3, key03, s0); }
        if DIMS > 4u { let key04 = coopLoad<coop_mat16x16<f16, B>>(&slab[16u], SLAB_STRIDE); s0 = coopMultiplyAdd(q4, key04, s0); }
        var s1: Sums;
        let key10 = coopLoad<coop_mat16x16<f16, B>>(&slab[16u * SLAB_STRIDE], SLAB_STRIDE); s1 = coopMultiplyAdd(q0, key10, s1);
        if DIMS > 1u { let key11 = coopLoad<coop_mat16x16<f16, B>>(&slab[16u * SLAB_STRIDE + 4u], SLAB_STRIDE); s1 = coopMultiplyAdd(q1, key11, s1); }
        if DIMS > 2u { let key12 = coopLoad<coop_mat16x16<f16, B>>(&slab[16u * SLAB_STRIDE + 8u], SLAB_STRIDE); s1 = coopMultiplyAdd(q2, key12, s1); }
        if DIMS > 3u { let key13 = coopLoad<coop_mat16x16<f16, B>>(&slab[16u * SLAB_STRIDE + 12u], SLAB_STRIDE); s1 = coopMultiplyAdd(q3, key13, s1); }
        if DIMS > 4u { let key14 = coopLoad<coop_mat16x16<f16, B>>(&slab[16u * SLAB_STRIDE + 16u], SLAB_STRIDE); s1 = coopMultiplyAdd(q4, key14, s1); }
        if IN_STEPS {
            // The columns of this step are the first or the second half of 64; zeros lie below the diagonal.
            let is_second = start % GRID_COLS != 0u;
            let first_half = coopLoadT<coop_mat16x16<f16, B>>(&cells[select(0u, 16u * CELL_STRIDE, is_second)], CELL_STRIDE);
            s0 = coopMultiplyAdd(p0, first_half, s0); s1 = coopMultiplyAdd(p1, first_half, s1);
            if GRID_COLS == 64u {
                let second_half = coopLoadT<coop_mat16x16<f16, B>>(&cells[select(16u * CELL_STRIDE, 0u, is_second)], CELL_STRIDE);
                s0 = coopMultiplyAdd(p2, second_half, s0); s1 = coopMultiplyAdd(p3, second_half, s1);
            }
        }
        if ONE_BY_ONE {
            let rows0 = coopLoadT<coop_mat16x16<f16, B>>(&cells[0u], CELL_STRIDE); let cols0 = coopLoadT<coop_mat16x16<f16, B>>(&cells[16u * CELL_STRIDE], CELL_STRIDE);
            s0 = coopMultiplyAdd(p0, rows0, s0); s0 = coopMultiplyAdd(p1, cols0, s0);
            let rows1 = coopLoadT<coop_mat16x16<f16, B>>(&cells[4u], CELL_STRIDE); let cols1 = coopLoadT<coop_mat16x16<f16, B>>(&cells[16u * CELL_STRIDE + 4u], CELL_STRIDE);
            s1 = coopMultiplyAdd(p0, rows1, s1); s1 = coopMultiplyAdd(p1, cols1, s1);
        }
        coopStoreT(s0, &stage[stage_at], STAGE_STRIDE);
        coopStoreT(s1, &stage[stage_at + 4u], STAGE_STRIDE);
        workgroupBarrier();

        // Every second vec4 of the scores of a query.
        var of_row = 0.0;
        if IN_STEPS {
            of_row = f32(rel_pos[relative + GRID_ROWS + own_cell / max(GRID_COLS, 1u) - start % CELLS / max(GRID_COLS, 1u)]);
        }
        let x0 = score(stage[mine], of_row, start + 4u * side, range);
        let x1 = score(stage[mine + 2u], of_row, start + 4u * side + 8u, range);
        let x2 = score(stage[mine + 4u], of_row, start + 4u * side + 16u, range);
        let x3 = score(stage[mine + 6u], of_row, start + 4u * side + 24u, range);
        let most = max(max(x0, x1), max(x2, x3));
        let own_most = max(max(most.x, most.y), max(most.z, most.w));
        exchange[thread] = own_most;
        workgroupBarrier();
        let largest = max(own_most, exchange[thread ^ 1u]);
        let rises = largest > level + RISE;
        let next = select(level, largest, rises);
        let shrink = exp2(level - next);
        level = next;
        // There are no sums yet in the first step.
        if rises && start != walk_from {
            has_risen = 1u;
        }
        let w0 = weight(x0, level); let w1 = weight(x1, level); let w2 = weight(x2, level); let w3 = weight(x3, level);
        let all = w0 + w1 + w2 + w3;
        total = total * shrink + (all.x + all.y + all.z + all.w);
        slab[my_weight] = vec4<f16>(w0);
        slab[my_weight + 2u] = vec4<f16>(w1);
        slab[my_weight + 4u] = vec4<f16>(w2);
        slab[my_weight + 6u] = vec4<f16>(w3);
        // A barrier before and after it.
        if workgroupUniformLoad(&has_risen) == 1u {
            if thread == 0u {
                has_risen = 0u;
            }
            coopStoreT(o0, &stage[stage_at], STAGE_STRIDE); scale_row(mine, shrink, side); o0 = coopLoadT<coop_mat16x16<f32, C>>(&stage[stage_at], STAGE_STRIDE); workgroupBarrier();
            if DIMS > 1u { coopStoreT(o1, &stage[stage_at], STAGE_STRIDE); scale_row(mine, shrink, side); o1 = coopLoadT<coop_mat16x16<f32, C>>(&stage[stage_at], STAGE_STRIDE); workgroupBarrier(); }
            if DIMS > 2u { coopStoreT(o2, &stage[stage_at], STAGE_STRIDE); scale_row(mine, shrink, side); o2 = coopLoadT<coop_mat16x16<f32, C>>(&stage[stage_at], STAGE_STRIDE); workgroupBarrier(); }
            if DIMS > 3u { coopStoreT(o3, &stage[stage_at], STAGE_STRIDE); scale_row(mine, shrink, side); o3 = coopLoadT<coop_mat16x16<f32, C>>(&stage[stage_at], STAGE_STRIDE); workgroupBarrier(); }
            if DIMS > 4u { coopStoreT(o4, &stage[stage_at], STAGE_STRIDE); scale_row(mine, shrink, side); o4 = coopLoadT<coop_mat16x16<f32, C>>(&stage[stage_at], STAGE_STRIDE); workgroupBarrier(); }
        }
        let weights0 = coopLoadT<coop_mat16x16<f16, A>>(&slab[weight_at], WEIGHT_STRIDE);
        let weights1 = coopLoadT<coop_mat16x16<f16, A>>(&slab[weight_at + 4u], WEIGHT_STRIDE);
        let value00 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES], SLAB_STRIDE); o0 = coopMultiplyAdd(weights0, value00, o0);
        let value10 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 16u * SLAB_STRIDE], SLAB_STRIDE); o0 = coopMultiplyAdd(weights1, value10, o0);
        if DIMS > 1u {
            let value01 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 4u], SLAB_STRIDE); o1 = coopMultiplyAdd(weights0, value01, o1);
            let value11 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 16u * SLAB_STRIDE + 4u], SLAB_STRIDE); o1 = coopMultiplyAdd(weights1, value11, o1);
        }
        if DIMS > 2u {
            let value02 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 8u], SLAB_STRIDE); o2 = coopMultiplyAdd(weights0, value02, o2);
            let value12 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 16u * SLAB_STRIDE + 8u], SLAB_STRIDE); o2 = coopMultiplyAdd(weights1, value12, o2);
        }
        if DIMS > 3u {
            let value03 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 12u], SLAB_STRIDE); o3 = coopMultiplyAdd(weights0, value03, o3);
            let value13 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 16u * SLAB_STRIDE + 12u], SLAB_STRIDE); o3 = coopMultiplyAdd(weights1, value13, o3);
        }
        if DIMS > 4u {
            let value04 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 16u], SLAB_STRIDE); o4 = coopMultiplyAdd(weights0, value04, o4);
            let value14 = coopLoadT<coop_mat16x16<f16, B>>(&slab[VALUES + 16u * SLAB_STRIDE + 16u], SLAB_STRIDE); o4 = coopMultiplyAdd(weights1, value14, o4);
        }
        workgroupBarrier();
    }
    exchange[thread] = total;
    workgroupBarrier();
    let sum = total + exchange[thread ^ 1u];
    // A query without keys gets zeros.
    let share = select(1.0 / sum, 0.0, sum == 0.0);
    let y_at = (query * HEADS + head) * VECTORS + 2u * side;
    coopStoreT(o0, &stage[stage_at], STAGE_STRIDE); store_row(mine, share, side, query == row, y_at);
    if DIMS > 1u { coopStoreT(o1, &stage[stage_at], STAGE_STRIDE); store_row(mine, share, side, query == row, y_at + 4u); }
    if DIMS > 2u { coopStoreT(o2, &stage[stage_at], STAGE_STRIDE); store_row(mine, share, side, query == row, y_at + 8u); }
    if DIMS > 3u { coopStoreT(o3, &stage[stage_at], STAGE_STRIDE); store_row(mine, share, side, query == row, y_at + 12u); }
    if DIMS > 4u { coopStoreT(o4, &stage[stage_at], STAGE_STRIDE); store_row(mine, share, side, query == row, y_at + 16u); }
}

/// Four elements of a head, of a key and of a value; of the last one past the edge.
fn key_at(first: u32, at: u32, head: u32) -> vec4<f16> {
    return k[(min(first + at / VECTORS, params.keys - 1u) * K_STRIDE + K_OFFSET) / 4u + head * VECTORS + at % VECTORS];
}

fn value_at(first: u32, at: u32, head: u32) -> vec4<f16> {
    return v[(min(first + at / VECTORS, params.keys - 1u) * V_STRIDE + V_OFFSET) / 4u + head * VECTORS + at % VECTORS];
}

/// Scores in powers of two, `LOWEST` for keys outside the range.
fn score(product: vec4<f32>, of_row: f32, first_key: u32, range: vec2<u32>) -> vec4<f32> {
    let key = vec4(first_key) + vec4(0u, 1u, 2u, 3u);
    let inside = (key >= vec4(range.x)) & (key < vec4(range.y));
    return select(vec4(LOWEST), LOG2_E * fma(product, vec4(params.scale), vec4(of_row)), inside);
}

/// While a query has had no key in its range, its level is `LOWEST` and the difference 0. A NaN stays.
fn weight(x: vec4<f32>, level: f32) -> vec4<f32> {
    return select(exp2(x - level), vec4(0.0), x == vec4(LOWEST));
}

/// Multiplies the two vec4 of a lane in the fragment on its subgroup's stage.
fn scale_row(mine: u32, by: f32, side: u32) {
    workgroupBarrier();
    stage[mine + side] *= by;
    stage[mine + side + 1u] *= by;
    workgroupBarrier();
}

/// Stores the two vec4 of a lane in the fragment on its subgroup's stage.
fn store_row(mine: u32, share: f32, side: u32, is_own: bool, at: u32) {
    workgroupBarrier();
    if is_own {
        y[at] = vec4<Elem>(share * stage[mine + side]);
        y[at + 1u] = vec4<Elem>(share * stage[mine + side + 1u]);
    }
    workgroupBarrier();
}

/// A query's relative position to the column `number`, in steps; else to row `number`, or to column `number` less 16.
fn position(query: u32, head: u32, number: u32) -> f16 {
    let own = min(query_cells[query], CELLS - 1u);
    let first = (query * HEADS + head) * DIFFERENCES;
    let from_row = first + GRID_ROWS + own / max(GRID_COLS, 1u);
    let from_col = first + 2u * GRID_ROWS + GRID_COLS + own % max(GRID_COLS, 1u);
    if IN_STEPS {
        return f16(rel_pos[from_col - number]);
    }
    let is_row = number < 16u;
    let other = number % 16u;
    let exists = other < select(GRID_COLS, GRID_ROWS, is_row);
    return select(f16(), f16(rel_pos[select(first, select(from_col, from_row, is_row) - other, exists)]), exists);
}

/// 1 / scale for those of four keys that lie in row `number` of their grid, or in column `number` less 16.
fn in_cell(number: u32, first_key: u32) -> vec4<f16> {
    let cell = (vec4(first_key) + vec4(0u, 1u, 2u, 3u)) % CELLS;
    let lies = select(cell % max(GRID_COLS, 1u), cell / max(GRID_COLS, 1u), number < 16u);
    return vec4<f16>(select(vec4(0.0), vec4(1.0 / params.scale), lies == vec4(number % 16u)));
}
