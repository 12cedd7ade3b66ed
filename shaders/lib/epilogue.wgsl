//! epilogue: y[row, col] = act(sum + bias[col] + residual[row, col]), the end of a matrix product. The kernel binds `bias`, `residual`
//! and `y`; `Value` and `Stored` are f32 and Elem where their elements are numbers, vectors of these where they are vectors.
//! use: activation
//! set: ACTIVATION, HAS_BIAS, HAS_RESIDUAL

/// First element of the bias of this matrix of a batch.
var<private> bias_start: u32;

/// Columns past the edge are dropped; the row must be inside.
fn store(row: u32, col: u32, cols: u32, sum: Value) {
    if col < cols {
        let at = row * cols + col;
        var value = sum;
        if HAS_BIAS == 1u {
            value += bias[bias_start + col];
        }
        if HAS_RESIDUAL == 1u {
            value += Value(residual[at]);
        }
        y[at] = Stored(activate(ACTIVATION, value));
    }
}
