//! product_units in plain WGSL, to test the index arithmetic of `matrix_tile` on any adapter: each lane of a subgroup holds eight neighbouring
//! sums of a fragment, and reads its operands where they lie.
//! use: loop_end
//! inline: load_left(at) = at
//! inline: load_right(at) = at
//! inline: multiply(left, right, sums) = products(left, right, sums, thread % LANES)
//! inline: put_on_stage(sums, at) = put_eight(sums, at, thread % LANES)

alias Sums = array<f32, 8>;

fn products(left: u32, right: u32, sums: Sums, lane: u32) -> Sums {
    var all = sums;
    for (var k = 0u; k < loop_end(16u, lane); k++) {
        let a = f32(left_slab[left + lane / 2u * LEFT_STRIDE + k / 4u][k % 4u]);
        let b = right + k * RIGHT_STRIDE + lane % 2u * 2u;
        for (var e = 0u; e < 8u; e++) {
            all[e] = fma(a, f32(right_slab[b + e / 4u][e % 4u]), all[e]);
        }
    }
    return all;
}

fn put_eight(sums: Sums, at: u32, lane: u32) {
    let first = at + lane / 2u * STAGE_STRIDE + lane % 2u * 2u;
    stage[first] = vec4(sums[0], sums[1], sums[2], sums[3]);
    stage[first + 1u] = vec4(sums[4], sums[5], sums[6], sums[7]);
}
