//! logit: y[i] = log(max(x[i], eps) / max(1 − x[i], eps))
//!
//! Four elements per lane, LANES apart, so that neighbouring lanes read neighbouring elements.
//! use: index

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
            y[at] = log(max(value, params.eps) / max(1.0 - value, params.eps));
        }
    }
}
