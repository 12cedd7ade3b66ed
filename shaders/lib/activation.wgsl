//! activation: functions of one number, by the numbers of `Activation` in src/kernels/activation.rs. The including file declares the alias
//! `Value`: f32 or a vector of it.

const IDENTITY: u32 = 0u;
const RELU: u32 = 1u;
const GELU: u32 = 2u;
const QUICK_GELU: u32 = 3u;
const SIGMOID: u32 = 4u;
const EXP: u32 = 5u;
const SQRT: u32 = 6u;

/// `kind` is a constant of the kernel, so all branches but one vanish when the driver compiles it.
fn activate(kind: u32, x: Value) -> Value {
    switch kind {
        // `max` may drop a NaN; PyTorch keeps it.
        case RELU: { return select(x, Value(0.0), x < Value(0.0)); }
        case GELU: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        case QUICK_GELU: { return x * sigmoid(1.702 * x); }
        case SIGMOID: { return sigmoid(x); }
        case EXP: { return exp(x); }
        case SQRT: { return sqrt(select(x, Value(0.0), x < Value(0.0))); }
        default: { return x; }
    }
}

fn sigmoid(x: Value) -> Value {
    return 1.0 / (1.0 + exp(-x));
}

/// Error function, absolute error below 1.5e-7 (Abramowitz & Stegun 7.1.26).
fn erf(x: Value) -> Value {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - tail * exp(-x * x));
}
