//! window_attention for software adapters: y[i, h] = Σⱼ softmaxⱼ(scale · q[i, h]·k[j, h] + bias[h, Δ]) v[j, h] over the cells j in the window
//! of cell i
//!
//! One lane per ROWS queries of a head, LANES apart. All lanes walk the keys of their window together, so that every load of a key or a
//! value serves ROWS products; llvmpipe makes it for one lane after the other, though it is the same for all. A row of the window is folded
//! at a time into a running maximum, sum and output (online softmax, Milakov & Gimelshein 2018). No workgroup memory, no barrier. Loops run
//! over the whole of each array, so that compilers unroll them and keep its elements apart.
//! use: index, shifted_windows
//! set: ROWS

const LANES: u32 = 8u;
const QUERIES: u32 = LANES * ROWS;
const LOWEST: f32 = -3.4028234e38;
const TILES: u32 = (WINDOW * WINDOW + QUERIES - 1u) / QUERIES;

struct Params { images: u32, height: u32, width: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<Elem>>;        // [images, height, width, 3 · HEADS · HEAD_DIM]
@group(0) @binding(2) var<storage, read> padding: array<vec4<f32>>;     // [3 · HEADS · HEAD_DIM]
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [HEADS, SIDE, SIDE]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<Elem>>;    // [images, height, width, HEADS · HEAD_DIM]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups);
    let head = number % HEADS;
    let own_window = window_of(number / HEADS / TILES);
    let count = own_window.rows * own_window.cols;
    let first = number / HEADS % TILES * QUERIES;
    if first >= count {
        return;
    }
    var query: array<array<vec4<f32>, ROWS>, VECTORS>;
    var sums: array<array<vec4<f32>, ROWS>, VECTORS>;
    var largest: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    // Index of the bias of a key in the first cell of the window; those of later rows and columns are lower.
    var differences: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let cell = min(first + r * LANES + lane, count - 1u);
        let row = cell / own_window.cols;
        let col = cell % own_window.cols;
        largest[r] = LOWEST;
        differences[r] = (head * SIDE + row + WINDOW - 1u) * SIDE + col + WINDOW - 1u;
        for (var d = 0u; d < VECTORS; d++) {
            query[d][r] = params.scale * load(own_window.image, own_window.top + row, own_window.left + col, head * VECTORS + d);
        }
    }
    for (var key_row = 0u; key_row < own_window.rows; key_row++) {
        let row = own_window.top + key_row;
        var scores: array<array<f32, ROWS>, WINDOW>;
        for (var j = 0u; j < WINDOW; j++) {
            let col = own_window.left + min(j, own_window.cols - 1u);
            for (var d = 0u; d < VECTORS; d++) {
                let key = load(own_window.image, row, col, DIM + head * VECTORS + d);
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
            for (var j = 0u; j < WINDOW; j++) {
                let relative = bias[differences[r] - key_row * SIDE - min(j, own_window.cols - 1u)];
                scores[j][r] = select(LOWEST, scores[j][r] + relative, j < own_window.cols);
                next = max(next, scores[j][r]);
            }
            let shrink = exp(largest[r] - next);
            largest[r] = next;
            total[r] *= shrink;
            for (var j = 0u; j < WINDOW; j++) {
                scores[j][r] = select(exp(scores[j][r] - next), 0.0, scores[j][r] == LOWEST);
                total[r] += scores[j][r];
            }
            for (var d = 0u; d < VECTORS; d++) {
                sums[d][r] *= shrink;
            }
        }
        for (var j = 0u; j < WINDOW; j++) {
            let col = own_window.left + min(j, own_window.cols - 1u);
            for (var d = 0u; d < VECTORS; d++) {
                let value = load(own_window.image, row, col, 2u * DIM + head * VECTORS + d);
                for (var r = 0u; r < ROWS; r++) {
                    sums[d][r] = fma(vec4(scores[j][r]), value, sums[d][r]);
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        let cell = first + r * LANES + lane;
        let row = own_window.top + cell / own_window.cols;
        let col = own_window.left + cell % own_window.cols;
        if cell < count && is_inside(row, col) {
            let place = first_of(own_window.image, row, col) + head * VECTORS;
            for (var d = 0u; d < VECTORS; d++) {
                y[place + d] = vec4<Elem>(sums[d][r] / total[r]);
            }
        }
    }
}
