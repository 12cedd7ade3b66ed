//! strip_subgroup: ROWS rows × 4·LANES·VECTORS columns of a matrix product in registers, for software adapters with subgroups of LANES. The
//! kernel defines `locate(row)`, `a_start(place, tap_y, tap_x)`, `load_a(at)` and `load_b(at)`; `epilogue` stores.
//!
//! A workgroup is a subgroup. Each lane computes VECTORS vec4 of columns, 4·LANES columns apart, so that the lanes load neighbouring vec4
//! of b. llvmpipe loads for one lane after the other, also where all of them load the same. So each lane loads a of a row of its own, LANES
//! rows at a time, and gives it to the others: an eighth of the loads. No workgroup memory, no barrier; all control flow is the same for all
//! lanes. ROWS must be a multiple of LANES, which is 8.
//! use: epilogue, loop_end, pairing
//! set: LANES, MASKED, ROWS, VECTORS

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;
alias Sums = array<array<array<vec4<f32>, VECTORS>, LANES>, EIGHTS>;
alias Factors = array<array<vec4<f32>, 4>, VECTORS>;

const EIGHTS: u32 = ROWS / LANES;

/// Sums over `taps` positions of `inner` vec4 of a each, and stores. `cols` and all column and inner indices count vec4. Strips count on
/// through the matrices of a batch, whose rows, b and biases follow each other; `locate` gets rows of the whole batch.
///
/// `lane` counts within the subgroup. `locate` computes once what `a_start` needs of a row; `a_start` the first vec4 of a at a tap, or −1
/// where the tap reads zeros (only if MASKED).
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
    // Of each eight rows, the one that this lane loads.
    var places: array<vec3<i32>, EIGHTS>;
    for (var eight = 0u; eight < EIGHTS; eight++) {
        places[eight] = locate(top + min(first + eight * LANES + lane, rows - 1u));
    }

    var sums: Sums;
    let taps_down = loop_end(taps.y, strip);
    let taps_across = loop_end(taps.x, strip);
    let inner_end = loop_end(inner, strip);
    var at = matrix * taps.y * taps.x * inner * 4u * cols;
    for (var tap_y = 0u; tap_y < taps_down; tap_y++) {
        for (var tap_x = 0u; tap_x < taps_across; tap_x++) {
            var starts: array<u32, EIGHTS>;
            var inside: array<bool, EIGHTS>;
            for (var eight = 0u; eight < EIGHTS; eight++) {
                let start = a_start(places[eight], i32(tap_y), i32(tap_x));
                starts[eight] = u32(max(start, 0));
                inside[eight] = start >= 0;
            }
            for (var k = 0u; k < inner_end; k++) {
                var b4: Factors;
                for (var i = 0u; i < 4u; i++) {
                    for (var j = 0u; j < VECTORS; j++) {
                        b4[j][i] = load_b(at + columns[j]);
                    }
                    at += cols;
                }
                for (var eight = 0u; eight < EIGHTS; eight++) {
                    var a4 = load_a(starts[eight] + k);
                    if MASKED == 1u {
                        a4 = select(vec4(0.0), a4, inside[eight]);
                    }
                    // WGSL wants a literal for the lane that gives.
                    add(&sums, eight, 0u, subgroupBroadcast(a4, 0u), &b4);
                    add(&sums, eight, 1u, subgroupBroadcast(a4, 1u), &b4);
                    add(&sums, eight, 2u, subgroupBroadcast(a4, 2u), &b4);
                    add(&sums, eight, 3u, subgroupBroadcast(a4, 3u), &b4);
                    add(&sums, eight, 4u, subgroupBroadcast(a4, 4u), &b4);
                    add(&sums, eight, 5u, subgroupBroadcast(a4, 5u), &b4);
                    add(&sums, eight, 6u, subgroupBroadcast(a4, 6u), &b4);
                    add(&sums, eight, 7u, subgroupBroadcast(a4, 7u), &b4);
                }
            }
        }
    }
    for (var eight = 0u; eight < EIGHTS; eight++) {
        for (var r = 0u; r < LANES; r++) {
            let row = first + eight * LANES + r;
            if row < rows {
                for (var j = 0u; j < VECTORS; j++) {
                    store(top + row, left + j * LANES, cols, sums[eight][r][j]);
                }
            }
        }
    }
}

/// Adds four inner positions to the sums of a row. Its columns one after the other: four sums at a time stay in registers.
fn add(sums: ptr<function, Sums>, eight: u32, row: u32, a4: vec4<f32>, b4: ptr<function, Factors>) {
    for (var j = 0u; j < VECTORS; j++) {
        for (var i = 0u; i < 4u; i++) {
            (*sums)[eight][row][j] = accumulate(a4[i], (*b4)[j][i], (*sums)[eight][row][j]);
        }
    }
}
