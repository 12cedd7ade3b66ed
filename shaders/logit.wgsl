//! logit: y[i] = log(max(x, eps) / max(1 − x, eps)) of x[i] cut to 0…1; a NaN stays
//!
//! Four elements per lane, LANES apart, so that neighbouring lanes read neighbouring elements.
//! use: float_bits, index

const LANES: u32 = 64u;

struct Params { len: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let first = linear_group(group, groups) * 4u * LANES + lane;
    for (var i = 0u; i < 4u; i++) {
        let at = first + i * LANES;
        if at < params.len {
            let value = x[at];
            let inside = clamp(value, 0.0, 1.0);
            y[at] = select(log(max(inside, params.eps) / max(1.0 - inside, params.eps)), value, is_nan(value));
        }
    }
}
