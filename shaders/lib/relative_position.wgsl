//! relative_position: what attention on a grid adds to a score, for the rows and the columns between two cells (Li et al. 2022, equation 4).
//! The kernel binds `rel_pos` and `query_cells`.
//! set: GRID_ROWS, GRID_COLS

const CELLS: u32 = max(GRID_ROWS * GRID_COLS, 1u);
const DIFFERENCES: u32 = 2u * (GRID_ROWS + GRID_COLS);

/// That of a query of a head among `heads`, and a key; after the last cell of a grid, the next begins.
fn relative_position(query: u32, head: u32, heads: u32, key: u32) -> f32 {
    let own = min(query_cells[query], CELLS - 1u);
    let other = key % CELLS;
    let first = (query * heads + head) * DIFFERENCES;
    let row = first + GRID_ROWS + own / GRID_COLS - other / GRID_COLS;
    let col = first + 2u * GRID_ROWS + GRID_COLS + own % GRID_COLS - other % GRID_COLS;
    return f32(rel_pos[row]) + f32(rel_pos[col]);
}
