//! strip: ROWS rows × 4·LANES·VECTORS columns of a matrix product in registers, for software adapters. The kernel defines `locate(row)`,
//! `a_start(place, tap_y, tap_x)`, `load_a(at)` and `load_b(at)`; `epilogue` stores.
//!
//! A workgroup is a row of lanes. Each lane computes VECTORS vec4 of columns, 4·LANES columns apart, so that the lanes load neighbouring
//! vec4 of b; all rows reuse what it loaded. The loads of a are the same for every lane, yet llvmpipe loads for one lane after the other
//! within a loop: `strip_subgroup` does without, where there are subgroups. Rows are counted in blocks of BLOCK: with more than 256 sums in
//! one loop llvmpipe spills them, at a quarter of the speed. No workgroup memory, no barrier.
//! use: epilogue, loop_end, pairing
//! set: BLOCK, LANES, MASKED, ROWS, VECTORS

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;

const BLOCKS: u32 = ROWS / BLOCK;

/// Sums over `taps` positions of `inner` vec4 of a each, and stores. `cols` and all column and inner indices count vec4. Strips count on
/// through the matrices of a batch, whose rows, b and biases follow each other; `locate` gets rows of the whole batch.
///
/// `locate` computes once what `a_start` needs of a row; `a_start` the first vec4 of a at a tap, or −1 where the tap reads zeros (only if
/// MASKED).
fn compute_strip(number: u32, lane: u32, rows: u32, cols: u32, taps: vec2<u32>, inner: u32, batch: u32) {
    // Strips that follow each other share their columns of b, which stay in the cache.
    let strips_down = (rows + ROWS - 1u) / ROWS;
    let strips = strips_down * ((cols + VECTORS * LANES - 1u) / (VECTORS * LANES));
    let matrix = min(number / strips, batch - 1u);
    let strip = number - matrix * strips;
    let first = strip % strips_down * ROWS;
    let left = strip / strips_down * VECTORS * LANES + lane;
    let top = matrix * rows;
    bias_start = matrix * cols;
    // Columns past the edge read the last one; `store` drops them.
    var columns: array<u32, VECTORS>;
    for (var j = 0u; j < VECTORS; j++) {
        columns[j] = min(left + j * LANES, cols - 1u);
    }

    var places: array<array<vec3<i32>, BLOCK>, BLOCKS>;
    for (var block = 0u; block < BLOCKS; block++) {
        for (var r = 0u; r < BLOCK; r++) {
            places[block][r] = locate(top + min(first + block * BLOCK + r, rows - 1u));
        }
    }
    var sums: array<array<array<vec4<f32>, VECTORS>, BLOCK>, BLOCKS>;
    let taps_down = loop_end(taps.y, strip);
    let taps_across = loop_end(taps.x, strip);
    let inner_end = loop_end(inner, strip);
    var at = matrix * taps.y * taps.x * inner * 4u * cols;
    for (var tap_y = 0u; tap_y < taps_down; tap_y++) {
        for (var tap_x = 0u; tap_x < taps_across; tap_x++) {
            var starts: array<array<u32, BLOCK>, BLOCKS>;
            var inside: array<array<bool, BLOCK>, BLOCKS>;
            for (var block = 0u; block < BLOCKS; block++) {
                for (var r = 0u; r < BLOCK; r++) {
                    let start = a_start(places[block][r], i32(tap_y), i32(tap_x));
                    starts[block][r] = u32(max(start, 0));
                    inside[block][r] = start >= 0;
                }
            }
            for (var k = 0u; k < inner_end; k++) {
                var b4: array<array<vec4<f32>, VECTORS>, 4>;
                for (var i = 0u; i < 4u; i++) {
                    for (var j = 0u; j < VECTORS; j++) {
                        b4[i][j] = load_b(at + columns[j]);
                    }
                    at += cols;
                }
                for (var block = 0u; block < BLOCKS; block++) {
                    for (var r = 0u; r < BLOCK; r++) {
                        var a4 = load_a(starts[block][r] + k);
                        if MASKED == 1u {
                            a4 = select(vec4(0.0), a4, inside[block][r]);
                        }
                        for (var i = 0u; i < 4u; i++) {
                            for (var j = 0u; j < VECTORS; j++) {
                                sums[block][r][j] = accumulate(a4[i], b4[i][j], sums[block][r][j]);
                            }
                        }
                    }
                }
            }
        }
    }
    for (var block = 0u; block < BLOCKS; block++) {
        for (var r = 0u; r < BLOCK; r++) {
            let row = first + block * BLOCK + r;
            if row < rows {
                for (var j = 0u; j < VECTORS; j++) {
                    store(top + row, left + j * LANES, cols, sums[block][r][j]);
                }
            }
        }
    }
}
