//! attention_units in plain WGSL, to test the index arithmetic of `attention_matrix` on any adapter: each lane of a subgroup holds a row of a
//! left operand and eight neighbouring sums of a fragment, and reads right operands where they lie.
//! use: loop_end
//! inline: load_query(at) = left_row(at + thread % LANES / 2u * SLAB_STRIDE)
//! inline: load_position(at) = left_row(at + thread % LANES / 2u * POSITION_STRIDE)
//! inline: load_weight(at) = left_row(at + thread % LANES / 2u * WEIGHT_STRIDE)
//! inline: load_key(at) = at
//! inline: load_value(at) = at
//! inline: load_cell(at) = at
//! inline: multiply_key(left, right, sums) = times_keys(left, right, sums, thread % 2u * 8u)
//! inline: multiply_value(left, right, sums) = times_values(left, right, sums, thread % 2u * 8u)
//! inline: multiply_cell(left, right, sums) = times_cells(left, right, sums, thread % 2u * 8u)
//! inline: put_on_stage(sums, at) = put_eight(sums, at + thread % LANES / 2u * STAGE_STRIDE + thread % 2u * 2u)
//! inline: take_from_stage(at) = take_eight(at + thread % LANES / 2u * STAGE_STRIDE + thread % 2u * 2u)

alias Sums = array<f32, 8>;
alias Row = array<f32, 16>;

fn left_row(at: u32) -> Row {
    var row: Row;
    for (var e = 0u; e < 16u; e++) {
        row[e] = f32(slab[at + e / 4u][e % 4u]);
    }
    return row;
}

fn times_keys(left: Row, right: u32, sums: Sums, first: u32) -> Sums {
    var row = left;
    var all = sums;
    for (var k = 0u; k < loop_end(16u, first); k++) {
        for (var e = 0u; e < 8u; e++) {
            all[e] = fma(row[k], f32(slab[right + (first + e) * SLAB_STRIDE + k / 4u][k % 4u]), all[e]);
        }
    }
    return all;
}

fn times_values(left: Row, right: u32, sums: Sums, first: u32) -> Sums {
    var row = left;
    var all = sums;
    for (var k = 0u; k < loop_end(16u, first); k++) {
        for (var e = 0u; e < 8u; e++) {
            all[e] = fma(row[k], f32(slab[right + k * SLAB_STRIDE + (first + e) / 4u][e % 4u]), all[e]);
        }
    }
    return all;
}

fn times_cells(left: Row, right: u32, sums: Sums, first: u32) -> Sums {
    var row = left;
    var all = sums;
    for (var k = 0u; k < loop_end(16u, first); k++) {
        for (var e = 0u; e < 8u; e++) {
            all[e] = fma(row[k], f32(cells[right + k * CELL_STRIDE + (first + e) / 4u][e % 4u]), all[e]);
        }
    }
    return all;
}

fn put_eight(sums: Sums, at: u32) {
    stage[at] = vec4(sums[0], sums[1], sums[2], sums[3]);
    stage[at + 1u] = vec4(sums[4], sums[5], sums[6], sums[7]);
}

fn take_eight(at: u32) -> Sums {
    let first = stage[at];
    let second = stage[at + 1u];
    return Sums(first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w);
}
