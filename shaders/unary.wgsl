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
