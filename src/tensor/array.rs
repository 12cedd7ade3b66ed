//! A dense f32 tensor on the host, and how far two of them are apart.

use crate::tensor::Shape;

/// A shape and its elements, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Shape,
    data: Vec<f32>,
}

impl Array {
    /// The array with these elements; panics when their number is not the shape's.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Array {
        let shape = shape.into();
        assert!(shape.len() == data.len(), "the shape {shape} holds {} elements, not {}", shape.len(), data.len());
        Array { shape, data }
    }

    /// An array of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Array {
        let shape = shape.into();
        Array { shape, data: vec![0.0; shape.len()] }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, row-major, without the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The elements, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The same elements under another shape of equal length.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Array {
        Array::new(shape, self.data)
    }

    /// `[n, k]` → `[k, n]`; panics unless there are two axes.
    #[track_caller]
    pub fn transposed(&self) -> Array {
        let [n, k] = self.shape.axes();
        Array::new([k, n], (0..k).flat_map(|col| (0..n).map(move |row| self.data[row * k + col])).collect())
    }

    /// Arrays of equal trailing sizes, one after the other along the first axis; panics where there is none.
    #[track_caller]
    pub fn stacked(parts: &[Array]) -> Array {
        let mut sizes = parts[0].shape.sizes().to_vec();
        for part in parts {
            assert!(part.shape.sizes()[1..] == sizes[1..], "arrays of {} and {} cannot be stacked", parts[0].shape, part.shape);
        }
        sizes[0] = parts.iter().map(|part| part.shape[0]).sum();
        Array::new(Shape::new(&sizes), parts.iter().flat_map(|part| &part.data).copied().collect())
    }

    /// True when no element is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }

    /// Largest absolute difference; NaN when any pair is not finite, so that a comparison with a bound fails.
    #[track_caller]
    pub fn max_abs(&self, other: &Array) -> f64 {
        self.pairs(other).fold(0.0, |worst, (a, b)| {
            let difference = (a - b).abs();
            // `f64::max` would drop a NaN and hide the fault.
            if difference > worst || difference.is_nan() { difference } else { worst }
        })
    }

    /// ‖a − b‖ / ‖b‖ with `other` as b, the reference; NaN when any element is not finite.
    #[track_caller]
    pub fn relative_l2(&self, other: &Array) -> f64 {
        let (difference, reference) = self.pairs(other).fold((0.0, 0.0), |(d, r), (a, b)| (d + (a - b) * (a - b), r + b * b));
        if difference == 0.0 { 0.0 } else { (difference / reference).sqrt() }
    }

    #[track_caller]
    fn pairs<'a>(&'a self, other: &'a Array) -> impl Iterator<Item = (f64, f64)> + 'a {
        assert!(self.shape == other.shape, "arrays of shapes {} and {} cannot be compared", self.shape, other.shape);
        self.data.iter().zip(&other.data).map(|(&a, &b)| (f64::from(a), f64::from(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_hand_worked_arrays() {
        let a = Array::new([2], vec![3.0, 5.0]);
        let b = Array::new([2], vec![3.0, 4.0]);
        assert_eq!(a.max_abs(&b), 1.0);
        assert_eq!(a.relative_l2(&b), 0.2); // 1 / √(9 + 16)
    }

    #[test]
    fn stacked_arrays_follow_each_other() {
        let stacked = Array::stacked(&[Array::new([1, 2], vec![1.0, 2.0]), Array::new([2, 2], vec![3.0, 4.0, 5.0, 6.0])]);
        assert_eq!(stacked, Array::new([3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }

    #[test]
    fn a_nan_anywhere_is_a_nan_distance() {
        for at in 0..3 {
            let mut a = Array::zeros([3]);
            a.data_mut()[at] = f32::NAN;
            assert!(a.max_abs(&Array::zeros([3])).is_nan());
            assert!(a.relative_l2(&Array::new([3], vec![1.0; 3])).is_nan());
        }
    }
}
