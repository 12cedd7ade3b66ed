//! Resizing of images, nearest or bilinear, channels last.

use crate::kernels::geometry::slices;
use crate::kernels::native::each_row;
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, write};

/// Interpolation of a value between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel at ⌊position · input size / output size⌋.
    Nearest,
    /// The four nearest pixels, weighted by distance; pixel centres at halves (`align_corners=False`), no antialiasing.
    Bilinear,
}

/// `y = x` at another height and width, as `torch.nn.functional.interpolate` with a given size.
///
/// `x` `[batch, height, width, channels]`, `y` `[batch, height_out, width_out, channels]`.
#[derive(Clone, Debug)]
pub struct Resize {
    /// Nearest or bilinear.
    pub interpolation: Interpolation,
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Output rows.
    pub height_out: usize,
    /// Output columns.
    pub width_out: usize,
}

impl Resize {
    /// Input over output size along y and x, in f32 as in PyTorch.
    fn scales(&self) -> [f32; 2] {
        [self.height as f32 / self.height_out as f32, self.width as f32 / self.width_out as f32]
    }
}

impl Kernel for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![
            read("x", self.batch * self.height * self.width * self.channels),
            write("y", self.batch * self.height_out * self.width_out * self.channels),
        ]
    }

    fn params(&self) -> ParamBlock {
        let [scale_y, scale_x] = self.scales();
        params! {
            batch: u32 = self.batch, height: u32 = self.height, width: u32 = self.width, channels: u32 = self.channels,
            height_out: u32 = self.height_out, width_out: u32 = self.width_out, scale_y: f32 = scale_y, scale_x: f32 = scale_x,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let (vec, launch) = slices(self.output_len(), self.channels);
        vec![Implementation::plain("resize", vec![("INTERPOLATION", self.interpolation as u32), ("VEC", vec)], launch)]
    }

    fn work(&self) -> Work {
        let per_element = if self.interpolation == Interpolation::Bilinear { 9 } else { 0 };
        Work::new(per_element * self.output_len(), &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let [scale_y, scale_x] = self.scales();
        each_row(y, self.channels, |pixel, y| {
            let (line, col) = (pixel / self.width_out, pixel % self.width_out);
            let (image, row) = (line / self.height_out, line % self.height_out);
            let x =
                |row: usize, col: usize| &inputs[0][((image * self.height + row) * self.width + col) * self.channels..][..self.channels];
            match self.interpolation {
                Interpolation::Nearest => {
                    let [row, col] = [nearest(row, scale_y, self.height), nearest(col, scale_x, self.width)];
                    y.copy_from_slice(x(row, col));
                }
                Interpolation::Bilinear => {
                    let (down, right) = (Place::of(row, scale_y, self.height), Place::of(col, scale_x, self.width));
                    let (lower, to_right) = (down.part as f32, right.part as f32);
                    let corners =
                        [(down.before, right.before), (down.before, right.after), (down.after, right.before), (down.after, right.after)];
                    let [a, b, c, d] = corners.map(|(row, col)| x(row, col));
                    for (at, y) in y.iter_mut().enumerate() {
                        let upper = a[at] * (1.0 - to_right) + b[at] * to_right;
                        let below = c[at] * (1.0 - to_right) + d[at] * to_right;
                        *y = upper * (1.0 - lower) + below * lower;
                    }
                }
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let x = io.input(0);
        let [scale_y, scale_x] = self.scales();
        for at in 0..self.output_len() {
            let (pixel, channel) = (at / self.channels, at % self.channels);
            let (line, col) = (pixel / self.width_out, pixel % self.width_out);
            let (image, row) = (line / self.height_out, line % self.height_out);
            let value = |row: usize, col: usize| f64::from(x[((image * self.height + row) * self.width + col) * self.channels + channel]);
            match self.interpolation {
                Interpolation::Nearest => {
                    let from = value(nearest(row, scale_y, self.height), nearest(col, scale_x, self.width));
                    io.put(at, from, 0.0);
                }
                Interpolation::Bilinear => {
                    let down = Place::of(row, scale_y, self.height);
                    let right = Place::of(col, scale_x, self.width);
                    let line = |row| right.blend(value(row, right.before), value(row, right.after));
                    let blended = down.blend(line(down.before), line(down.after));
                    // An error of the position moves weight between neighbours, and near a pixel's centre to the next neighbour.
                    let largest = down
                        .around(self.height)
                        .flat_map(|row| right.around(self.width).map(move |col| value(row, col).abs()))
                        .fold(0.0, f64::max);
                    // Each blend rounds a weight, two products and their sum.
                    let bound = (8.0 * UNIT_ROUNDOFF + 2.0 * (down.error + right.error)) * largest;
                    io.put(at, blended, bound);
                }
            }
        }
    }
}

/// Input position of an output position, in f32, where the product may round up to the next pixel, as it does in PyTorch.
fn nearest(at: usize, scale: f32, size: usize) -> usize {
    ((at as f32 * scale) as usize).min(size - 1)
}

/// Neighbouring input positions of an output position along one axis.
pub(super) struct Place {
    pub before: usize,
    pub after: usize,
    /// What the second one gets of the weight.
    pub part: f64,
    /// How far rounding may move it.
    pub error: f64,
}

impl Place {
    pub fn of(at: usize, scale: f32, size: usize) -> Place {
        let scaled = (at as f64 + 0.5) * f64::from(scale);
        let position = (scaled - 0.5).max(0.0);
        let before = (position as usize).min(size - 1);
        // The product and the difference are rounded.
        Place {
            before,
            after: (before + 1).min(size - 1),
            part: position - before as f64,
            error: 2.0 * UNIT_ROUNDOFF * scaled,
        }
    }

    fn blend(&self, before: f64, after: f64) -> f64 {
        before * (1.0 - self.part) + after * self.part
    }

    fn around(&self, size: usize) -> std::ops::RangeInclusive<usize> {
        self.before.saturating_sub(1)..=(self.after + 1).min(size - 1)
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let mut all = Vec::new();
    for interpolation in [Interpolation::Nearest, Interpolation::Bilinear] {
        let sized = |height, width, channels, height_out, width_out| Resize {
            interpolation,
            batch: 1,
            height,
            width,
            channels,
            height_out,
            width_out,
        };
        all.extend([
            sized(1, 1, 1, 1, 1),
            sized(1, 1, 3, 5, 4),
            sized(3, 7, 1, 8, 5),
            sized(16, 16, 4, 64, 64),
            sized(37, 23, 2, 240, 241),
            sized(61, 59, 8, 20, 17),
            Resize { batch: 3, ..sized(5, 6, 7, 10, 12) },
            sized(4, 1000, 1, 4, 777),
        ]);
    }
    boxed(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pixels_become_four() {
        // Centres of the four lie at −0.25 (the edge: 0), 0.25, 0.75 and 1.25 (the edge: 1) of the two.
        let x: &[f32] = &[0.0, 1.0];
        for (interpolation, expected) in [(Interpolation::Bilinear, [0.0, 0.25, 0.75, 1.0]), (Interpolation::Nearest, [0.0, 0.0, 1.0, 1.0])]
        {
            let resize = Resize { interpolation, batch: 1, height: 1, width: 2, channels: 1, height_out: 1, width_out: 4 };
            let (mut y, mut bounds) = ([0.0; 4], [0.0; 4]);
            resize.reference(&mut Io::new(&[x], &mut y, &mut bounds));
            assert_eq!(y, expected, "{interpolation:?}");
        }
    }
}
