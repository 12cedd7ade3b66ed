//! window_attention: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h] + bias[h, Δ]) v[j, h] over the cells j in the window of cell i
//!
//! One thread per query of a head; a workgroup computes up to 64 queries of a window and stages KEYS keys and values at a time in workgroup
//! memory, which all threads read at the same place. Scores are folded into a running maximum, sum and output (online softmax, Milakov &
//! Gimelshein 2018). Loops run over the whole of each array, so that compilers unroll them and keep its elements apart.
//! use: index, shifted_windows

const LANES: u32 = 64u;
const KEYS: u32 = 16u;
const LOWEST: f32 = -3.4028234e38;
const TILES: u32 = (WINDOW * WINDOW + LANES - 1u) / LANES;

struct Params { images: u32, height: u32, width: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<Elem>>;        // [images, height, width, 3 · HEADS · HEAD_DIM]
@group(0) @binding(2) var<storage, read> padding: array<vec4<f32>>;     // [3 · HEADS · HEAD_DIM]
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [HEADS, SIDE, SIDE]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<Elem>>;    // [images, height, width, HEADS · HEAD_DIM]

var<workgroup> key_slab: array<vec4<f32>, KEYS * VECTORS>;
var<workgroup> value_slab: array<vec4<f32>, KEYS * VECTORS>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups);
    let head = number % HEADS;
    let own_window = window_of(number / HEADS / TILES);
    let count = own_window.rows * own_window.cols;
    let query = number / HEADS % TILES * LANES + lane;
    // Lanes past the last query compute it again: barriers stay uniform.
    let own_cell = min(query, count - 1u);
    let own_row = own_cell / own_window.cols;
    let own_col = own_cell % own_window.cols;

    var own: array<vec4<f32>, VECTORS>;
    var sums: array<vec4<f32>, VECTORS>;
    for (var d = 0u; d < VECTORS; d++) {
        own[d] = params.scale * load(own_window.image, own_window.top + own_row, own_window.left + own_col, head * VECTORS + d);
    }
    let differences = (head * SIDE + own_row + WINDOW - 1u) * SIDE + own_col + WINDOW - 1u;
    var largest = LOWEST;
    var total = 0.0;
    for (var start = 0u; start < count; start += KEYS) {
        for (var at = lane; at < KEYS * VECTORS; at += LANES) {
            let key = min(start + at / VECTORS, count - 1u);
            let row = own_window.top + key / own_window.cols;
            let col = own_window.left + key % own_window.cols;
            let element = head * VECTORS + at % VECTORS;
            key_slab[at] = load(own_window.image, row, col, DIM + element);
            value_slab[at] = load(own_window.image, row, col, 2u * DIM + element);
        }
        workgroupBarrier();
        var scores: array<f32, KEYS>;
        var next = largest;
        for (var j = 0u; j < KEYS; j++) {
            var products = vec4(0.0);
            for (var d = 0u; d < VECTORS; d++) {
                products = fma(own[d], key_slab[j * VECTORS + d], products);
            }
            let key = min(start + j, count - 1u);
            let relative = bias[differences - key / own_window.cols * SIDE - key % own_window.cols];
            let score = products.x + products.y + (products.z + products.w) + relative;
            scores[j] = select(LOWEST, score, start + j < count);
            next = max(next, scores[j]);
        }
        let shrink = exp(largest - next);
        largest = next;
        total *= shrink;
        for (var d = 0u; d < VECTORS; d++) {
            sums[d] *= shrink;
        }
        for (var j = 0u; j < KEYS; j++) {
            let weight = select(exp(scores[j] - next), 0.0, scores[j] == LOWEST);
            total += weight;
            for (var d = 0u; d < VECTORS; d++) {
                sums[d] = fma(vec4(weight), value_slab[j * VECTORS + d], sums[d]);
            }
        }
        workgroupBarrier();
    }
    if query < count && is_inside(own_window.top + own_row, own_window.left + own_col) {
        let first = first_of(own_window.image, own_window.top + own_row, own_window.left + own_col) + head * VECTORS;
        for (var d = 0u; d < VECTORS; d++) {
            y[first + d] = vec4<Elem>(sums[d] / total);
        }
    }
}
