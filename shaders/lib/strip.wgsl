//! strip: ROWS rows × 8·LANES columns of a matrix product in registers, for software adapters. The kernel defines `locate(row)`,
//! `a_start(place, tap_y, tap_x)`, `load_a(at)` and `load_b(at)`; `epilogue` stores.
//!
//! A workgroup is a row of lanes. Each lane owns 8 columns as two vec4, 4·LANES columns apart, so that the lanes load b side by side.
//! The loads of a are the same for every lane: on a CPU one scalar load and a broadcast. STEPS vec4 of a are used per pass over the rows:
//! two keep the sums of a row in registers longer, and use more of a cache line before rows of equal alignment evict it.
//! No workgroup memory, no barrier. `inner` must be a multiple of STEPS.
//! use: epilogue, pairing
//! set: LANES, MASKED, ROWS, STEPS

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;

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

    var places: array<vec3<i32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        places[r] = locate(min(first + r, rows - 1u));
    }
    var sum_left: array<vec4<f32>, ROWS>;
    var sum_right: array<vec4<f32>, ROWS>;
    var at = 0u;
    for (var tap_y = 0u; tap_y < taps.y; tap_y++) {
        for (var tap_x = 0u; tap_x < taps.x; tap_x++) {
            var starts: array<u32, ROWS>;
            var inside: array<bool, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                let start = a_start(places[r], i32(tap_y), i32(tap_x));
                starts[r] = u32(max(start, 0));
                inside[r] = start >= 0;
            }
            for (var k = 0u; k < inner; k += STEPS) {
                var left4: array<vec4<f32>, 4u * STEPS>;
                var right4: array<vec4<f32>, 4u * STEPS>;
                for (var i = 0u; i < 4u * STEPS; i++) {
                    left4[i] = load_b(at + b_left);
                    right4[i] = load_b(at + b_right);
                    at += cols;
                }
                for (var r = 0u; r < ROWS; r++) {
                    for (var step = 0u; step < STEPS; step++) {
                        var a4 = load_a(starts[r] + k + step);
                        if MASKED == 1u {
                            a4 = select(vec4(0.0), a4, inside[r]);
                        }
                        for (var i = 0u; i < 4u; i++) {
                            sum_left[r] = accumulate(a4[i], left4[4u * step + i], sum_left[r]);
                            sum_right[r] = accumulate(a4[i], right4[4u * step + i], sum_right[r]);
                        }
                    }
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if first + r < rows {
            store(first + r, left, cols, sum_left[r]);
            store(first + r, right, cols, sum_right[r]);
        }
    }
}
