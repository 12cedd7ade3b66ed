alias Elem = f32;
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
//! sine_positions: y[i, 2k] = sin(2π x[i] / period[k]), y[i, 2k + 1] = cos(2π x[i] / period[k])
//!
//! One lane per position and period. Sine and cosine are series: WGSL's are good to 2⁻¹¹ only.
//! use: index

const LANES: u32 = 64u;
const TAU: f32 = 6.2831853;
// π/2 in two parts, the first of which has few digits, so that its products with small whole numbers are exact.
const QUARTER: f32 = 1.5703125;
const QUARTER_REST: f32 = 4.8382679e-4;

struct Params { positions: u32, periods: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [positions]
@group(0) @binding(2) var<storage, read> periods: array<f32>;     // [periods]
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;    // [positions, 2 · periods]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups) * LANES + lane;
    if at >= params.positions * params.periods {
        return;
    }
    let angle = x[at / params.periods] * TAU / periods[at % params.periods];
    let turns = round(angle / (QUARTER + QUARTER_REST));
    let rest = fma(-turns, QUARTER_REST, fma(-turns, QUARTER, angle));
    // Taylor series within ±π/4: what is left out is below 2e-9.
    let square = rest * rest;
    let sine = rest + rest * square * fma(square, fma(square, fma(square, 2.7557319e-6, -1.9841270e-4), 8.3333333e-3), -1.6666667e-1);
    let cosine = 1.0 + square * fma(square, fma(square, fma(square, fma(square, -2.7557319e-7, 2.4801587e-5), -1.3888889e-3), 4.1666667e-2), -0.5);
    let quarter = i32(clamp(turns, -1e9, 1e9)) & 3;
    let swapped = (quarter & 1) == 1;
    let sine_sign = select(1.0, -1.0, quarter >= 2);
    let cosine_sign = select(1.0, -1.0, quarter == 1 || quarter == 2);
    y[2u * at] = Elem(sine_sign * select(sine, cosine, swapped));
    y[2u * at + 1u] = Elem(cosine_sign * select(cosine, sine, swapped));
}
