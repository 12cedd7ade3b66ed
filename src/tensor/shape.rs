//! The size of a dense, row-major tensor along each of its axes.

use std::fmt;
use std::ops::Index;

/// Most axes a shape may have: batch, windows, heads, tokens, channels.
pub const MAX_RANK: usize = 5;

/// Sizes of up to [`MAX_RANK`] axes, the last one contiguous in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    sizes: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The shape with these sizes; panics beyond [`MAX_RANK`] axes.
    #[track_caller]
    pub fn new(sizes: &[usize]) -> Shape {
        let rank = sizes.len();
        assert!(rank <= MAX_RANK, "a shape has at most {MAX_RANK} axes, not {sizes:?}");
        let mut all = [1; MAX_RANK];
        all[..rank].copy_from_slice(sizes);
        Shape { sizes: all, rank }
    }

    /// Number of axes; 0 for a scalar.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.sizes().iter().product()
    }

    /// True when an axis has size 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sizes as a slice, outermost first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }

    /// The sizes as a fixed number of axes; panics where the rank differs.
    #[track_caller]
    pub fn axes<const N: usize>(&self) -> [usize; N] {
        self.sizes().try_into().unwrap_or_else(|_| panic!("expected {N} axes, got the shape {self}"))
    }

    /// Size of the last axis; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.sizes().last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last.
    pub fn rows(&self) -> usize {
        self.sizes().iter().rev().skip(1).product()
    }

    /// The same shape with another last axis.
    #[track_caller]
    pub fn with_cols(&self, cols: usize) -> Shape {
        assert!(self.rank > 0, "a scalar has no last axis");
        let mut shape = *self;
        shape.sizes[self.rank - 1] = cols;
        shape
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[track_caller]
    fn from(sizes: [usize; N]) -> Shape {
        Shape::new(&sizes)
    }
}

impl Index<usize> for Shape {
    type Output = usize;
    #[track_caller]
    fn index(&self, axis: usize) -> &usize {
        &self.sizes()[axis]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sizes())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_cols_multiply_to_the_length() {
        let shape = Shape::from([2, 3, 5]);
        assert_eq!((shape.rows(), shape.cols(), shape.len()), (6, 5, 30));
        assert_eq!(shape.to_string(), "[2, 3, 5]");
        assert_eq!(Shape::from([]).len(), 1);
        assert_ne!(Shape::from([2]), Shape::from([2, 1]));
    }

    #[test]
    #[should_panic(expected = "expected 2 axes, got the shape [2, 3, 5]")]
    fn a_wrong_rank_names_the_shape() {
        let [_, _] = Shape::from([2, 3, 5]).axes();
    }
}
