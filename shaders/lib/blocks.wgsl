//! blocks: which block of which matrix product of a batch a workgroup computes.

const BAND: u32 = 8u;

/// Number of blocks of a `rows` × `cols` result.
fn count_blocks(rows: u32, cols: u32, tall: u32, wide: u32) -> u32 {
    return ((cols + wide - 1u) / wide) * ((rows + tall - 1u) / tall);
}

/// First row and column of block `number` of a `rows` × `cols` result, of the last block for spare ones: BAND rows of blocks are walked
/// together, column by column, so that the cache serves both operands.
fn block_origin(number: u32, rows: u32, cols: u32, tall: u32, wide: u32) -> vec2<u32> {
    let across = (cols + wide - 1u) / wide;
    let down = (rows + tall - 1u) / tall;
    let block = min(number, across * down - 1u);
    let band = block / (BAND * across);
    let in_band = block % (BAND * across);
    let band_rows = min(BAND, down - BAND * band);
    return vec2((BAND * band + in_band % band_rows) * tall, in_band / band_rows * wide);
}
