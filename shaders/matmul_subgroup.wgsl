//! matmul for software adapters with subgroups:
//! y[i, j] = act(Σₖ pair(a[i, k], b[k, j]) + bias[j] + residual[i, j]) for each of a batch
//!
//! One workgroup, which is one subgroup, per strip of ROWS rows × 4·LANES·VECTORS columns. Needs cols and inner divisible by 4.
//! use: index, strip_subgroup

struct Params { rows: u32, cols: u32, inner: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<Elem>>;          // [batch, rows, inner]
@group(0) @binding(2) var<storage, read> b: array<vec4<Elem>>;          // [batch, inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [batch, cols] or absent
@group(0) @binding(4) var<storage, read> residual: array<vec4<Elem>>;   // [batch, rows, cols] or absent
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [batch, rows, cols]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
    compute_strip(linear_group(group, groups), lane, params.rows, params.cols / 4u, vec2(1u), params.inner / 4u, params.batch);
}

fn locate(row: u32) -> vec3<i32> {
    return vec3(i32(row * (params.inner / 4u)), 0, 0);
}

fn a_start(place: vec3<i32>, tap_y: i32, tap_x: i32) -> i32 {
    return place.x;
}

fn load_a(at: u32) -> vec4<f32> {
    return vec4<f32>(a[at]);
}

fn load_b(at: u32) -> vec4<f32> {
    return vec4<f32>(b[at]);
}
