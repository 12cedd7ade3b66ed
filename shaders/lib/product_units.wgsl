//! product_units: 16 × 16 fragments of `matrix_tile` on the matrix units of a GPU, f16 operands and f32 sums. A subgroup holds a fragment.
//!
//! A call behind a function costs an eighth of the speed on NVIDIA, so these are replaced by their text. Indices count vec4.
//! inline: load_left(at) = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[at], LEFT_STRIDE)
//! inline: load_right(at) = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[at], RIGHT_STRIDE)
//! inline: multiply(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: put_on_stage(sums, at) = coopStoreT(sums, &stage[at], STAGE_STRIDE)

alias Sums = coop_mat16x16<f32, C>;
