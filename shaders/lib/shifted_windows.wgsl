//! shifted_windows: the windows into which images are cut, where the first and the last of a row or column are parts of one when windows are
//! shifted (Liu et al. 2021, figure 4). The kernel binds `params`, `qkv` in vec4, and `padding`.
//! set: HEAD_DIM, HEADS, WINDOW, SHIFT

const VECTORS: u32 = HEAD_DIM / 4u;
const DIM: u32 = HEADS * VECTORS;                // vec4 of a query, a key or a value of all heads
const LEAD: u32 = select(WINDOW - SHIFT, 0u, SHIFT == 0u);
const SIDE: u32 = 2u * WINDOW - 1u;              // differences of rows or of columns

/// A window: its first cell, its size with padding, and its image.
struct Window { top: u32, left: u32, rows: u32, cols: u32, image: u32 }

/// Number of strips along an axis of so many cells.
fn count_strips(cells: u32) -> u32 {
    return (cells + WINDOW - 1u) / WINDOW + select(1u, 0u, SHIFT == 0u);
}

fn strip_start(strip: u32) -> u32 {
    return strip * WINDOW - min(strip * WINDOW, LEAD);
}

fn strip_size(strip: u32, cells: u32) -> u32 {
    let padded = (cells + WINDOW - 1u) / WINDOW * WINDOW;
    return min((strip + 1u) * WINDOW - LEAD, padded) - strip_start(strip);
}

/// Window `number` of all images, of the last one past it.
fn window_of(number: u32) -> Window {
    let across = count_strips(params.width);
    let down = count_strips(params.height);
    let own = min(number, params.images * down * across - 1u);
    let row = own / across % down;
    let col = own % across;
    return Window(strip_start(row), strip_start(col), strip_size(row, params.height), strip_size(col, params.width), own / across / down);
}

fn is_inside(row: u32, col: u32) -> bool {
    return row < params.height && col < params.width;
}

/// First vec4 of a cell in y, which has a third of that of qkv; of some cell where it is padding.
fn first_of(image: u32, row: u32, col: u32) -> u32 {
    return ((image * params.height + min(row, params.height - 1u)) * params.width + min(col, params.width - 1u)) * DIM;
}

/// A vec4 of the queries, keys and values of a cell.
fn load(image: u32, row: u32, col: u32, element: u32) -> vec4<f32> {
    return select(padding[element], vec4<f32>(qkv[3u * first_of(image, row, col) + element]), is_inside(row, col));
}
