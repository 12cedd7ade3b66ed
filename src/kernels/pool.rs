//! Max and average pooling over square windows, channels last.

use crate::kernels::conv2d::windows;
use crate::kernels::geometry::slices;
use crate::kernels::native::each_row;
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, Sum, UNIT_ROUNDOFF, Work, boxed, params, read, write};

/// Max or average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Its largest value; the padding counts as −∞, a NaN wins.
    Max,
    /// Its mean; the padding counts as zeros, as `torch.nn.functional.avg_pool2d` does by default.
    Average,
}

/// `y[p, c] = max or mean of x[·, c] over the window of p`, as PyTorch's `max_pool2d` and `avg_pool2d` without `ceil_mode`.
///
/// `x` `[batch, height, width, channels]`, `y` `[batch, height_out, width_out, channels]`. The padding is at most half the window.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Largest or mean.
    pub kind: PoolKind,
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Rows and columns of a window.
    pub window: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Positions outside the image that a window may cover, on each side.
    pub padding: usize,
}

impl Pool {
    /// Output rows.
    pub fn height_out(&self) -> usize {
        windows(self.height, self.window, self.stride, self.padding)
    }

    /// Output columns.
    pub fn width_out(&self) -> usize {
        windows(self.width, self.window, self.stride, self.padding)
    }
}

impl Kernel for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![
            read("x", self.batch * self.height * self.width * self.channels),
            write("y", self.batch * self.height_out() * self.width_out() * self.channels),
        ]
    }

    fn params(&self) -> ParamBlock {
        params! {
            batch: u32 = self.batch, height: u32 = self.height, width: u32 = self.width, channels: u32 = self.channels,
            height_out: u32 = self.height_out(), width_out: u32 = self.width_out(),
            window: u32 = self.window, stride: u32 = self.stride, padding: u32 = self.padding,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let (vec, launch) = slices(self.output_len(), self.channels);
        vec![Implementation::plain("pool", vec![("KIND", self.kind as u32), ("VEC", vec)], launch)]
    }

    fn work(&self) -> Work {
        Work::new(self.output_len() * self.window * self.window, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let area = (self.window * self.window) as f32;
        each_row(y, self.channels, |pixel, y| {
            let (line, column) = (pixel / self.width_out(), pixel % self.width_out());
            let (image, line) = (line / self.height_out(), line % self.height_out());
            y.fill(if self.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 });
            for tap in 0..self.window * self.window {
                let row = (line * self.stride + tap / self.window).wrapping_sub(self.padding);
                let col = (column * self.stride + tap % self.window).wrapping_sub(self.padding);
                if row >= self.height || col >= self.width {
                    continue;
                }
                let x = &inputs[0][((image * self.height + row) * self.width + col) * self.channels..][..self.channels];
                for (y, &x) in y.iter_mut().zip(x) {
                    match self.kind {
                        PoolKind::Max => *y = if x > *y || x.is_nan() { x } else { *y },
                        PoolKind::Average => *y += x,
                    }
                }
            }
            if self.kind == PoolKind::Average {
                y.iter_mut().for_each(|y| *y /= area);
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let x = io.input(0);
        let area = (self.window * self.window) as f64;
        for at in 0..self.output_len() {
            let (pixel, channel) = (at / self.channels, at % self.channels);
            let (line, column) = (pixel / self.width_out(), pixel % self.width_out());
            let (image, line) = (line / self.height_out(), line % self.height_out());
            let mut sum = Sum::default();
            let mut largest = f64::NEG_INFINITY;
            for tap in 0..self.window * self.window {
                let row = (line * self.stride + tap / self.window).wrapping_sub(self.padding);
                let col = (column * self.stride + tap % self.window).wrapping_sub(self.padding);
                if row < self.height && col < self.width {
                    let value = f64::from(x[((image * self.height + row) * self.width + col) * self.channels + channel]);
                    sum.add(value);
                    if value > largest || value.is_nan() {
                        largest = value;
                    }
                }
            }
            match self.kind {
                PoolKind::Max => io.put(at, largest, 0.0),
                PoolKind::Average => {
                    let mean = sum.scale(1.0 / area);
                    // The division may be off by 2.5 units in the last place.
                    io.put(at, mean.value, mean.bound() + 5.0 * UNIT_ROUNDOFF * mean.value.abs());
                }
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let sized = |height, width, channels| Pool { kind: PoolKind::Max, batch: 1, height, width, channels, window: 3, stride: 2, padding: 1 };
    let mut all = Vec::new();
    for kind in [PoolKind::Max, PoolKind::Average] {
        all.extend([
            Pool { kind, ..sized(1, 1, 1) },
            Pool { kind, ..sized(3, 7, 5) },
            Pool { kind, batch: 2, ..sized(9, 8, 12) },
            Pool { kind, stride: 1, ..sized(14, 14, 65) },
            Pool { kind, window: 2, padding: 0, ..sized(6, 4, 8) },
            Pool { kind, window: 7, padding: 0, stride: 7, batch: 3, ..sized(15, 7, 20) },
            Pool { kind, window: 5, padding: 2, stride: 3, ..sized(8, 11, 3) },
        ]);
    }
    boxed(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_skips_the_padding_and_a_mean_counts_it_as_zeros() {
        // A 2 × 2 image of negative numbers; the only 3 × 3 window at stride 2 with padding 1 covers it all and five outside positions.
        let x: &[f32] = &[-1.0, -2.0, -3.0, -12.0];
        for (kind, expected) in [(PoolKind::Max, -1.0), (PoolKind::Average, -18.0 / 9.0)] {
            let pool = Pool { kind, batch: 1, height: 2, width: 2, channels: 1, window: 3, stride: 2, padding: 1 };
            let (mut y, mut bounds) = ([0.0], [0.0]);
            pool.reference(&mut Io::new(&[x], &mut y, &mut bounds));
            assert_eq!(y, [expected], "{kind:?}");
        }
    }
}
