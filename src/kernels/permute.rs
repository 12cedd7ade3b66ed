//! Permutation of the axes of a tensor.

use crate::kernels::geometry::slices;
use crate::kernels::native::each_row;
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, Work, boxed, params, read, write};

/// `y = x` with axis `order[i]` of x as axis i, as `torch.permute`.
///
/// `x` has the shape `sizes`; fewer axes are padded with leading ones by the caller.
#[derive(Clone, Debug)]
pub struct Permute {
    /// Sizes of the axes of x, outermost first.
    pub sizes: [usize; 5],
    /// The axis of x that each axis of y is.
    pub order: [usize; 5],
}

impl Permute {
    /// Sizes of the axes of y.
    fn sizes_out(&self) -> [usize; 5] {
        self.order.map(|axis| self.sizes[axis])
    }

    /// How far apart in x are neighbours along each axis of y.
    fn strides(&self) -> [usize; 5] {
        self.order.map(|axis| self.sizes[axis + 1..].iter().product())
    }
}

impl Kernel for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn operands(&self) -> Vec<Operand> {
        let len = self.sizes.iter().product();
        vec![read("x", len), write("y", len)]
    }

    fn params(&self) -> ParamBlock {
        let [_, size_1, size_2, size_3, size_4] = self.sizes_out();
        let [stride_0, stride_1, stride_2, stride_3, stride_4] = self.strides();
        params! {
            len: u32 = self.output_len(), size_1: u32 = size_1, size_2: u32 = size_2, size_3: u32 = size_3, size_4: u32 = size_4,
            stride_0: u32 = stride_0, stride_1: u32 = stride_1, stride_2: u32 = stride_2, stride_3: u32 = stride_3,
            stride_4: u32 = stride_4,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let (vec, launch) = slices(self.output_len(), self.sizes_out()[4]);
        vec![Implementation::plain("permute", vec![("VEC", vec)], launch)]
    }

    fn work(&self) -> Work {
        Work::new(0, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let (sizes, strides) = (self.sizes_out(), self.strides());
        each_row(y, sizes[4], |row, y| {
            let (mut rest, mut from) = (row, 0);
            for axis in (0..4).rev() {
                from += rest % sizes[axis] * strides[axis];
                rest /= sizes[axis];
            }
            if strides[4] == 1 {
                y.copy_from_slice(&inputs[0][from..][..sizes[4]]);
            } else {
                y.iter_mut().zip(inputs[0][from..].iter().step_by(strides[4])).for_each(|(y, x)| *y = *x);
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let x = io.input(0);
        let (sizes, strides) = (self.sizes_out(), self.strides());
        for at in 0..self.output_len() {
            let (mut rest, mut from) = (at, 0);
            for axis in (0..5).rev() {
                from += rest % sizes[axis] * strides[axis];
                rest /= sizes[axis];
            }
            io.put(at, f64::from(x[from]), 0.0);
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed([
        Permute { sizes: [1; 5], order: [0, 1, 2, 3, 4] },
        Permute { sizes: [1, 1, 1, 3, 7], order: [0, 1, 2, 4, 3] },
        Permute { sizes: [2, 3, 4, 5, 6], order: [0, 1, 2, 3, 4] },
        Permute { sizes: [2, 3, 4, 5, 6], order: [4, 2, 0, 3, 1] },
        Permute { sizes: [2, 3, 4, 5, 6], order: [3, 1, 4, 0, 2] },
        Permute { sizes: [1, 2, 50, 3, 16], order: [0, 1, 3, 2, 4] },
        Permute { sizes: [2, 4, 3, 4, 8], order: [0, 1, 3, 2, 4] },
        Permute { sizes: [1, 1, 65, 1, 1280], order: [0, 1, 4, 3, 2] },
        Permute { sizes: [1, 1, 1, 65_537, 3], order: [0, 1, 2, 4, 3] },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapping_the_last_axes_transposes() {
        let permute = Permute { sizes: [1, 1, 1, 2, 3], order: [0, 1, 2, 4, 3] };
        let (mut y, mut bounds) = ([0.0; 6], [0.0; 6]);
        permute.reference(&mut Io::new(&[&[0.0, 1.0, 2.0, 10.0, 11.0, 12.0]], &mut y, &mut bounds));
        assert_eq!(y, [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
    }
}
