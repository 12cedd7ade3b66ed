//! attention_units: 16 × 16 fragments of `attention_matrix` on the matrix units of a GPU, f16 operands and f32 sums. A subgroup holds a fragment.
//!
//! A call behind a function costs an eighth of the speed on NVIDIA, so these are replaced by their text. Indices count vec4. Keys lie in rows
//! and are multiplied as columns.
//! inline: load_query(at) = coopLoadT<coop_mat16x16<f16, A>>(&slab[at], SLAB_STRIDE)
//! inline: load_position(at) = coopLoadT<coop_mat16x16<f16, A>>(&slab[at], POSITION_STRIDE)
//! inline: load_weight(at) = coopLoadT<coop_mat16x16<f16, A>>(&slab[at], WEIGHT_STRIDE)
//! inline: load_key(at) = coopLoad<coop_mat16x16<f16, B>>(&slab[at], SLAB_STRIDE)
//! inline: load_value(at) = coopLoadT<coop_mat16x16<f16, B>>(&slab[at], SLAB_STRIDE)
//! inline: load_cell(at) = coopLoadT<coop_mat16x16<f16, B>>(&cells[at], CELL_STRIDE)
//! inline: multiply_key(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: multiply_value(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: multiply_cell(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: put_on_stage(sums, at) = coopStoreT(sums, &stage[at], STAGE_STRIDE)
//! inline: take_from_stage(at) = coopLoadT<coop_mat16x16<f32, C>>(&stage[at], STAGE_STRIDE)

alias Sums = coop_mat16x16<f32, C>;
