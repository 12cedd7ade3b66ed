//! strip: ROWS rows × 8·LANES columns of a matrix product in registers, for software adapters. The kernel defines `locate(row)`,
//! `a_start(place, tap_y, tap_x)`, `load_a(at)` and `load_b(at)`; `epilogue` stores.
//!
//! A workgroup is a row of lanes. Each lane owns 8 columns as two vec4, 4·LANES columns apart, so that the lanes load b side by side: on a CPU a
//! load of each lane, dear, and shared by all rows. The loads of a are the same for every lane, on a CPU one scalar load and a broadcast.
//! Rows are counted in blocks of at most 32: with 48 in one loop llvmpipe keeps the sums no longer apart, at a quarter of the speed.
//! No workgroup memory, no barrier.
//! use: epilogue, loop_end, pairing
//! set: LANES, MASKED, ROWS

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;

const BLOCK: u32 = min(ROWS, 32u);
const BLOCKS: u32 = ROWS / BLOCK;

/// Sums over `taps` positions of `inner` vec4 of a each, and stores. `cols` and all column and inner indices count vec4.
///
/// `locate` gives what a row needs to know once; `a_start` the first vec4 of a at a tap, or −1 where the tap reads zeros (only if MASKED).
fn compute_strip(strip: u32, lane: u32, rows: u32, cols: u32, taps: vec2<u32>, inner: u32) {
    // Strips that follow each other share their columns of b, which stay in the cache.
    let strips_down = (rows + ROWS - 1u) / ROWS;
    let first = strip % strips_down * ROWS;
    // Columns past the edge read the last one; `store` drops them.
    let left = strip / strips_down * 2u * LANES + lane;
    let right = left + LANES;
    let b_left = min(left, cols - 1u);
    let b_right = min(right, cols - 1u);

    var places: array<array<vec3<i32>, BLOCK>, BLOCKS>;
    for (var block = 0u; block < BLOCKS; block++) {
        for (var r = 0u; r < BLOCK; r++) {
            places[block][r] = locate(min(first + block * BLOCK + r, rows - 1u));
        }
    }
    var sum_left: array<array<vec4<f32>, BLOCK>, BLOCKS>;
    var sum_right: array<array<vec4<f32>, BLOCK>, BLOCKS>;
    let taps_down = loop_end(taps.y, strip);
    let taps_across = loop_end(taps.x, strip);
    let inner_end = loop_end(inner, strip);
    var at = 0u;
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
                var left4: array<vec4<f32>, 4>;
                var right4: array<vec4<f32>, 4>;
                for (var i = 0u; i < 4u; i++) {
                    left4[i] = load_b(at + b_left);
                    right4[i] = load_b(at + b_right);
                    at += cols;
                }
                for (var block = 0u; block < BLOCKS; block++) {
                    for (var r = 0u; r < BLOCK; r++) {
                        var a4 = load_a(starts[block][r] + k);
                        if MASKED == 1u {
                            a4 = select(vec4(0.0), a4, inside[block][r]);
                        }
                        for (var i = 0u; i < 4u; i++) {
                            sum_left[block][r] = accumulate(a4[i], left4[i], sum_left[block][r]);
                            sum_right[block][r] = accumulate(a4[i], right4[i], sum_right[block][r]);
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
                store(row, left, cols, sum_left[block][r]);
                store(row, right, cols, sum_right[block][r]);
            }
        }
    }
}
