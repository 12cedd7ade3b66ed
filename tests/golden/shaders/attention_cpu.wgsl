alias Elem = f32;
const HEAD_DIM: u32 = 4u;
//! index: unfolds launches that were folded into a second axis.

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
//! attention for software adapters: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h]) v[j, h] over the keys j in the span of i
//!
//! One lane per query of a head. Neighbouring queries share a workgroup and walk the union of their spans, so that every load of a key or a
//! value is the same for all lanes: on a CPU one scalar load and a broadcast. KEYS scores at a time are folded into a running maximum, sum
//! and output (online softmax, Milakov & Gimelshein 2018); scores are never stored. No workgroup memory, no barrier. Needs heads, strides
//! and offsets divisible by 4.
//! use: index
//! set: HEAD_DIM

const LANES: u32 = 8u;
const KEYS: u32 = 8u;
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
@group(0) @binding(4) var<storage, read> spans: array<vec2<f32>>;       // [queries]: first key, and the one after the last
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [queries, heads · HEAD_DIM]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.queries + LANES - 1u) / LANES;
    let number = linear_group(group, groups);
    // Workgroups that follow each other share their keys, which stay in the cache.
    let head = number / tiles;
    if head >= params.heads {
        return;
    }
    let first = number % tiles * LANES;
    let row = min(first + lane, params.queries - 1u);
    let span = span_of(row);
    var walk = span_of(first);
    for (var other = 1u; other < LANES; other++) {
        walk = join(walk, span_of(min(first + other, params.queries - 1u)));
    }

    let q_start = (row * params.q_stride + params.q_offset) / 4u + head * VECTORS;
    var query: array<vec4<f32>, VECTORS>;
    var sums: array<vec4<f32>, VECTORS>;
    for (var d = 0u; d < VECTORS; d++) {
        query[d] = params.scale * vec4<f32>(q[q_start + d]);
    }
    var largest = LOWEST;
    var total = 0.0;
    for (var start = walk.x; start < walk.y; start += KEYS) {
        var scores: array<f32, KEYS>;
        var at: array<u32, KEYS>;
        for (var j = 0u; j < KEYS; j++) {
            at[j] = min(start + j, params.keys - 1u);
            scores[j] = 0.0;
        }
        for (var d = 0u; d < VECTORS; d++) {
            for (var j = 0u; j < KEYS; j++) {
                let key = vec4<f32>(k[(at[j] * params.k_stride + params.k_offset) / 4u + head * VECTORS + d]);
                scores[j] = fma(query[d].x, key.x, scores[j]);
                scores[j] = fma(query[d].y, key.y, scores[j]);
                scores[j] = fma(query[d].z, key.z, scores[j]);
                scores[j] = fma(query[d].w, key.w, scores[j]);
            }
        }
        var next = largest;
        for (var j = 0u; j < KEYS; j++) {
            let inside = start + j >= span.x && start + j < span.y;
            scores[j] = select(LOWEST, scores[j], inside);
            next = max(next, scores[j]);
        }
        let shrink = exp(largest - next);
        largest = next;
        total *= shrink;
        for (var j = 0u; j < KEYS; j++) {
            // While a lane has seen no key of its own, its maximum is LOWEST and the difference 0.
            scores[j] = select(0.0, exp(scores[j] - next), scores[j] > LOWEST);
            total += scores[j];
        }
        for (var d = 0u; d < VECTORS; d++) {
            var sum = shrink * sums[d];
            for (var j = 0u; j < KEYS; j++) {
                sum = fma(vec4(scores[j]), vec4<f32>(v[(at[j] * params.v_stride + params.v_offset) / 4u + head * VECTORS + d]), sum);
            }
            sums[d] = sum;
        }
    }
    // A query without keys gets zeros.
    let share = select(0.0, 1.0 / total, total > 0.0);
    if first + lane < params.queries {
        for (var d = 0u; d < VECTORS; d++) {
            y[(row * params.heads + head) * VECTORS + d] = vec4<Elem>(share * sums[d]);
        }
    }
}

fn span_of(row: u32) -> vec2<u32> {
    return min(vec2<u32>(spans[row]), vec2(params.keys));
}

/// The shortest span around two; an empty one adds nothing.
fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let both = vec2(min(a.x, b.x), max(a.y, b.y));
    return select(select(both, a, b.x >= b.y), b, a.x >= a.y);
}
