//! Gaussian smoothing of a map, as in SciPy's `gaussian_filter`.

use crate::tensor::Array;

/// Standard deviations after which the kernel is cut off; SciPy's default.
const TRUNCATE: f64 = 4.0;

/// Smooths a map `[h, w]` with a Gaussian of `sigma` pixels; `sigma` 0 changes nothing.
///
/// The border is mirrored with the edge repeated (SciPy's `reflect`). Columns first, then rows, accumulated in f64 and
/// stored as f32 in between, as `scipy.ndimage.gaussian_filter` does. Panics when `sigma` is negative or not finite.
#[track_caller]
pub fn gaussian_blur(map: &Array, sigma: f64) -> Array {
    assert!(sigma >= 0.0 && sigma.is_finite(), "a Gaussian has no sigma of {sigma}");
    let [height, width] = map.shape().axes();
    if sigma == 0.0 || map.shape().is_empty() {
        return map.clone();
    }
    let kernel = half_kernel(sigma);
    let mut blurred = map.clone();
    for x in 0..width {
        blur_line(blurred.data_mut(), x, width, height, &kernel);
    }
    for y in 0..height {
        blur_line(blurred.data_mut(), y * width, 1, width, &kernel);
    }
    blurred
}

/// Weights at distance 0, 1, …, ⌊4σ + ½⌋; those at both sides sum to 1.
fn half_kernel(sigma: f64) -> Vec<f64> {
    let radius = (TRUNCATE * sigma + 0.5) as i32;
    let weights: Vec<f64> = (0..=radius).map(|x| (-0.5 / (sigma * sigma) * f64::from(x * x)).exp()).collect();
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Smooths the `len` elements at `start`, `start + step`, … in place.
fn blur_line(data: &mut [f32], start: usize, step: usize, len: usize, kernel: &[f64]) {
    let line: Vec<f64> = (0..len).map(|i| f64::from(data[start + i * step])).collect();
    let mirrored = |i: isize| {
        let i = i.rem_euclid(2 * len as isize) as usize;
        line[if i < len { i } else { 2 * len - 1 - i }]
    };
    for i in 0..len {
        let center = i as isize;
        // Outermost pair first: SciPy's order of summation.
        let sum = kernel.iter().enumerate().skip(1).rev().fold(line[i] * kernel[0], |sum, (distance, weight)| {
            let distance = distance as isize;
            sum + (mirrored(center - distance) + mirrored(center + distance)) * weight
        });
        data[start + i * step] = sum as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_map_stays_and_an_impulse_keeps_its_sum() {
        let ones = Array::new([3, 5], vec![1.0; 15]);
        assert!(gaussian_blur(&ones, 4.0).max_abs(&ones) < 1e-6);
        let mut impulse = Array::zeros([9, 9]);
        impulse.data_mut()[40] = 1.0;
        let blurred = gaussian_blur(&impulse, 0.5);
        // σ = ½: radius 2, 1 + 2e⁻² + 2e⁻⁸ = 1.271342; the centre is its inverse squared.
        assert!((blurred.data()[40] - 0.618694).abs() < 1e-5);
        assert!((blurred.data().iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_single_row_is_mirrored_many_times_over() {
        let row = Array::new([1, 2], vec![0.0, 1.0]);
        let blurred = gaussian_blur(&row, 50.0);
        assert!(blurred.max_abs(&Array::new([1, 2], vec![0.5, 0.5])) < 1e-3);
    }
}
