//! pairing: what matmul sums over its inner axis, by the numbers of `Pairing` in src/kernels/matmul.rs.
//! set: PAIRING

const PRODUCT: u32 = 0u;

/// `sum` + a·b, or `sum` + (a − b)² for squared distances, which then have no cancellation.
fn accumulate(a: f32, b: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    if PAIRING == PRODUCT {
        return fma(vec4(a), b, sum);
    }
    let d = b - a;
    return fma(d, d, sum);
}
