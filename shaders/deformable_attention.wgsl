//! deformable_attention: y[i, h] = Σₛ softmaxₛ(weights[i, h, s]) · value(level of s, reference i + offset[i, h, s])[h]
//!
//! One lane per query, head and vec4 of its channels, so that the lanes of a head read neighbouring vec4. Each lane computes the weights and
//! places of its head's samples again: that is little beside the 16 bytes it reads at each of four cells. Cells outside the level are read at
//! a place inside it and count nothing.
//! use: float_bits, index
//! set: HEADS, HEAD_DIM, LEVELS, POINTS, HAS_BOXES, WORKGROUP

const VECTORS: u32 = HEAD_DIM / 4u;
const SAMPLES: u32 = LEVELS * POINTS;

struct Params {
    sequences: u32, queries: u32, cells: u32,
    rows0: u32, cols0: u32, rows1: u32, cols1: u32, rows2: u32, cols2: u32, rows3: u32, cols3: u32, rows4: u32, cols4: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> value: array<vec4<Elem>>;      // [sequences, cells, HEADS · HEAD_DIM]
@group(0) @binding(2) var<storage, read> offsets: array<vec2<f32>>;     // [sequences, queries, HEADS, LEVELS, POINTS]: column, row
@group(0) @binding(3) var<storage, read> weights: array<f32>;           // [sequences, queries, HEADS, LEVELS, POINTS]
@group(0) @binding(4) var<storage, read> references: array<vec2<f32>>;  // [queries], or middle and size [sequences, queries, 2]
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [sequences, queries, HEADS · HEAD_DIM]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups) * WORKGROUP + lane;
    let vector = number % (HEADS * VECTORS);
    let row = number / (HEADS * VECTORS);
    if row >= params.sequences * params.queries {
        return;
    }
    var middle: vec2<f32>;
    var size = vec2(0.0);
    if HAS_BOXES == 1u {
        middle = references[2u * row];
        size = references[2u * row + 1u] * 0.5;
    } else {
        middle = references[row % params.queries];
    }
    let first = (row * HEADS + vector / VECTORS) * SAMPLES;
    var largest = weights[first];
    for (var s = 1u; s < SAMPLES; s++) {
        largest = max(largest, weights[first + s]);
    }
    var start = row / params.queries * params.cells;
    var sum = vec4(0.0);
    var total = 0.0;
    for (var level = 0u; level < LEVELS; level++) {
        let shape = level_shape(level);
        let cells = vec2<f32>(shape);
        for (var point = 0u; point < POINTS; point++) {
            let at = first + level * POINTS + point;
            var moved = offsets[at];
            if HAS_BOXES == 1u {
                moved *= size * cells / f32(POINTS);
            }
            let place = fma(middle, cells, moved) - 0.5;
            // A place that is no number makes the weight none.
            let weight = select(exp(weights[at] - largest), place.x + place.y, is_nan(place.x + place.y));
            total += weight;
            sum = fma(vec4(weight), sample(place, shape, start, vector), sum);
        }
        start += shape.x * shape.y;
    }
    y[number] = vec4<Elem>(sum / total);
}

/// Columns and rows of a level.
fn level_shape(level: u32) -> vec2<u32> {
    switch level {
        case 0u: { return vec2(params.cols0, params.rows0); }
        case 1u: { return vec2(params.cols1, params.rows1); }
        case 2u: { return vec2(params.cols2, params.rows2); }
        case 3u: { return vec2(params.cols3, params.rows3); }
        default: { return vec2(params.cols4, params.rows4); }
    }
}

/// The value at a place of a level, which begins at cell `start`: bilinear between cells, zero outside.
fn sample(place: vec2<f32>, shape: vec2<u32>, start: u32, vector: u32) -> vec4<f32> {
    // Far away is as good as two cells outside.
    let near = clamp(place, vec2(-2.0), vec2<f32>(shape) + 1.0);
    let corner = floor(near);
    let share = near - corner;
    let left_top = vec2<i32>(corner);
    let upper = mix_columns(left_top, share.x, shape, start, vector);
    let lower = mix_columns(left_top + vec2(0, 1), share.x, shape, start, vector);
    return upper * (1.0 - share.y) + lower * share.y;
}

fn mix_columns(left: vec2<i32>, share: f32, shape: vec2<u32>, start: u32, vector: u32) -> vec4<f32> {
    return cell(left, shape, start, vector) * (1.0 - share) + cell(left + vec2(1, 0), shape, start, vector) * share;
}

fn cell(at: vec2<i32>, shape: vec2<u32>, start: u32, vector: u32) -> vec4<f32> {
    let end = vec2<i32>(shape);
    let inside = clamp(at, vec2(0), end - 1);
    let own = vec4<f32>(value[(start + u32(inside.y * end.x + inside.x)) * HEADS * VECTORS + vector]);
    return select(vec4(0.0), own, all(at == inside));
}
