//! Whitening by a covariance of few samples, in f64: Mahalanobis distances without the inverse of a large matrix.
//!
//! The covariance of n deviations X `[n, d]` is Σ = ε·I + XᵀX / m with m = max(n − 1, 1). With orthonormal rows Q `[n, d]` that span those
//! of X = R·Q, Σ is ε across the span and S = ε·I + RᵀR / m within it. For q = Q·δ and S = L·Lᵀ then
//!
//! δᵀ·Σ⁻¹·δ = |δ − Qᵀ·q|² / ε + |L⁻¹·q|².
//!
//! Woodbury's identity for Σ⁻¹ says the same as a difference of two large numbers; this sum of squares loses no digits. With n ≥ d there is
//! nothing across the span: Σ = L·Lᵀ itself is factored, and the distance is |L⁻¹·δ|.

/// Length below which what is left of a deviation is rounding, as a share of the deviation.
const LEFT_OVER: f64 = 1e-10;

/// What whitens deviations from the mean of one location.
pub(super) struct Whitening {
    /// Q: orthonormal rows `[n, d]`, or of zeros where a deviation depends on those before. `None` where L is of Σ itself.
    pub basis: Option<Vec<f64>>,
    /// L⁻¹ `[n, n]`, or `[d, d]` without a basis.
    pub inverse: Vec<f64>,
}

impl Whitening {
    /// The whitening by `samples` `[n, d]`, row-major, with this mean, and ε = `regularization`.
    pub fn new(samples: &[f64], mean: &[f64], regularization: f64) -> Whitening {
        let dim = mean.len();
        let mut rows: Vec<f64> = samples.chunks_exact(dim).flat_map(|row| row.iter().zip(mean).map(|(x, mean)| x - mean)).collect();
        let count = rows.len() / dim;
        let scale = 1.0 / count.saturating_sub(1).max(1) as f64;
        if count >= dim {
            return Whitening { basis: None, inverse: inverse_factor(&covariance(&rows, dim, scale, regularization), dim) };
        }
        let coordinates = orthonormalise(&mut rows, dim);
        let inverse = inverse_factor(&covariance(&coordinates, count, scale, regularization), count);
        Whitening { basis: Some(rows), inverse }
    }
}

/// ε·I + scale · XᵀX of rows `[n, d]`: `[d, d]`.
fn covariance(rows: &[f64], dim: usize, scale: f64, regularization: f64) -> Vec<f64> {
    let mut sums = vec![0.0; dim * dim];
    for row in rows.chunks_exact(dim) {
        for (sums, &x) in sums.chunks_exact_mut(dim).zip(row) {
            sums.iter_mut().zip(row).for_each(|(sum, y)| *sum += scale * x * y);
        }
    }
    sums.iter_mut().step_by(dim + 1).for_each(|sum| *sum += regularization);
    sums
}

/// Replaces rows `[n, d]` by orthonormal ones, by Gram and Schmidt, twice for each row; returns their coordinates R `[n, n]` with X = R·Q.
fn orthonormalise(rows: &mut [f64], dim: usize) -> Vec<f64> {
    let count = rows.len() / dim;
    let mut coordinates = vec![0.0; count * count];
    for at in 0..count {
        let (before, rest) = rows.split_at_mut(at * dim);
        let row = &mut rest[..dim];
        let length = dot(row, row).sqrt();
        for _ in 0..2 {
            for (other, basis) in before.chunks_exact(dim).enumerate() {
                let part = dot(row, basis);
                row.iter_mut().zip(basis).for_each(|(x, basis)| *x -= part * basis);
                coordinates[at * count + other] += part;
            }
        }
        let left = dot(row, row).sqrt();
        if left > LEFT_OVER * length {
            row.iter_mut().for_each(|x| *x /= left);
            coordinates[at * count + at] = left;
        } else {
            row.fill(0.0);
        }
    }
    coordinates
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// L⁻¹ of a symmetric positive definite matrix S = L·Lᵀ `[n, n]` (Cholesky), zeros above the diagonal.
fn inverse_factor(matrix: &[f64], n: usize) -> Vec<f64> {
    let mut factor = vec![0.0; n * n];
    for row in 0..n {
        for col in 0..=row {
            let rest = matrix[row * n + col] - dot(&factor[row * n..][..col], &factor[col * n..][..col]);
            // At least ε on the diagonal but for rounding: the matrix is ε·I and a sum of squares.
            factor[row * n + col] = if row == col { rest.sqrt() } else { rest / factor[col * n + col] };
        }
    }
    let mut inverse = vec![0.0; n * n];
    for row in 0..n {
        let scale = 1.0 / factor[row * n + row];
        for col in 0..row {
            let sum: f64 = (col..row).map(|k| factor[row * n + k] * inverse[k * n + col]).sum();
            inverse[row * n + col] = -sum * scale;
        }
        inverse[row * n + row] = scale;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Seeded;

    /// δᵀΣ⁻¹δ by the formula of this file.
    fn squared_distance(whitening: &Whitening, delta: &[f64], regularization: f64) -> f64 {
        let dim = delta.len();
        let inside = |q: &[f64]| whitening.inverse.chunks_exact(q.len()).map(|row| dot(row, q).powi(2)).sum::<f64>();
        let Some(basis) = &whitening.basis else { return inside(delta) };
        let q: Vec<f64> = basis.chunks_exact(dim).map(|row| dot(row, delta)).collect();
        let mut left = delta.to_vec();
        for (row, q) in basis.chunks_exact(dim).zip(&q) {
            left.iter_mut().zip(row).for_each(|(x, basis)| *x -= q * basis);
        }
        dot(&left, &left) / regularization + inside(&q)
    }

    #[test]
    fn two_samples_stretch_space_along_their_difference_alone() {
        // Deviations ±(1, 0): variance 2 with ddof 1. Σ = diag(2.5, 0.5): (1, 1) is 1/2.5 + 1/0.5 = 2.4.
        let whitening = Whitening::new(&[2.0, 0.0, 0.0, 4.0, 0.0, 0.0], &[3.0, 0.0, 0.0], 0.5);
        assert!(whitening.basis.is_some());
        assert!((squared_distance(&whitening, &[1.0, 1.0, 0.0], 0.5) - 2.4).abs() < 1e-12);
    }

    #[test]
    fn one_sample_has_no_covariance() {
        let whitening = Whitening::new(&[2.0, 7.0], &[2.0, 7.0], 0.01);
        assert!((squared_distance(&whitening, &[0.3, 0.4], 0.01) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn both_ways_are_the_inverse_of_the_covariance() {
        let mut random = Seeded::new(3);
        let dim = 5;
        // Fewer samples than numbers, one of them twice; as many; more.
        for count in [2, 4, 5, 40] {
            let mut samples: Vec<f64> = (0..count * dim).map(|_| 10.0 * random.normal()).collect();
            if count == 4 {
                samples.copy_within(0..dim, dim);
            }
            let mean: Vec<f64> = (0..dim).map(|at| samples.iter().skip(at).step_by(dim).sum::<f64>() / count as f64).collect();
            let deviations: Vec<f64> = samples.chunks_exact(dim).flat_map(|row| row.iter().zip(&mean).map(|(x, mean)| x - mean)).collect();
            let covariance = covariance(&deviations, dim, 1.0 / (count - 1) as f64, 0.01);
            let whitening = Whitening::new(&samples, &mean, 0.01);
            assert_eq!(whitening.basis.is_none(), count >= dim);
            // δ = Σ·y, so δᵀΣ⁻¹δ = δᵀ·y.
            let y: Vec<f64> = (0..dim).map(|_| random.normal()).collect();
            let delta: Vec<f64> = covariance.chunks_exact(dim).map(|row| dot(row, &y)).collect();
            let (found, expected) = (squared_distance(&whitening, &delta, 0.01), dot(&delta, &y));
            assert!((found - expected).abs() < 1e-8 * expected, "{count}: {found} for {expected}");
        }
    }
}
