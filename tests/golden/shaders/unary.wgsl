alias Elem = f32;
const ACTIVATION: u32 = 0u;
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
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! unary: y[i] = act(scale · x[i] + offset)
//!
//! Four elements per lane, LANES apart, so that neighbouring lanes read neighbouring elements.
//! use: activation, index
//! set: ACTIVATION

alias Value = vec4<f32>;
const LANES: u32 = 64u;

struct Params { len: u32, scale: f32, offset: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = linear_group(group, groups) * 4u * LANES + lane;
    var values: Value;
    for (var i = 0u; i < 4u; i++) {
        values[i] = f32(x[min(first + i * LANES, params.len - 1u)]);
    }
    values = activate(ACTIVATION, fma(Value(params.scale), values, Value(params.offset)));
    for (var i = 0u; i < 4u; i++) {
        let at = first + i * LANES;
        if at < params.len {
            y[at] = Elem(values[i]);
        }
    }
}
