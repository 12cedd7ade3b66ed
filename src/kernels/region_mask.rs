//! Masks of regions at the size of an image: logits resized, and cut at 0.

use crate::kernels::geometry::ELEMENT_LANES;
use crate::kernels::native::each_row;
use crate::kernels::resize::Place;
use crate::kernels::{
    Access, Content, Implementation, Io, Kernel, Launch, Operand, ParamBlock, Storage, UNIT_ROUNDOFF, Work, boxed, params, read_f32,
};

/// Pixels in a number of [`RegionMask`].
pub const PIXELS_PER_NUMBER: usize = 16;

/// Sizes between a mask and the image that it is for, as (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskGeometry {
    /// The mask as the network gives it.
    pub mask: (usize, usize),
    /// The network's frame, to which the mask is enlarged.
    pub frame: (usize, usize),
    /// The part of the frame, from its upper left corner, that the image covers.
    pub covered: (usize, usize),
    /// The image.
    pub image: (usize, usize),
}

/// `y[n, r, k] = Σᵢ 2ⁱ · [logit of mask n at pixel (r, 16·k + i) > 0]`: the logits are enlarged to the frame, cut to the part that the image
/// covers, and resized to the image, both bilinear as PyTorch's `interpolate` (Segment Anything's `postprocess_masks`).
///
/// `x` `[masks, rows, cols]` in f32, `y` `[masks, height, ⌈width / 16⌉]` whole numbers below 2¹⁶.
#[derive(Clone, Debug)]
pub struct RegionMask {
    /// Number of masks.
    pub masks: usize,
    /// Their sizes.
    pub geometry: MaskGeometry,
}

impl RegionMask {
    /// Numbers in a row of an image of so many columns.
    pub fn numbers(width: usize) -> usize {
        width.div_ceil(PIXELS_PER_NUMBER)
    }

    /// Scales along y and x, in f32 as in PyTorch: from the image to the frame, from the frame to the mask.
    fn scales(&self) -> [[f32; 2]; 2] {
        let MaskGeometry { mask, frame, covered, image } = self.geometry;
        let scale = |from: usize, to: usize| from as f32 / to as f32;
        [[scale(covered.0, image.0), scale(mask.0, frame.0)], [scale(covered.1, image.1), scale(mask.1, frame.1)]]
    }
}

impl Kernel for RegionMask {
    fn name(&self) -> &'static str {
        "region_mask"
    }

    fn operands(&self) -> Vec<Operand> {
        let MaskGeometry { mask, image, .. } = self.geometry;
        let bits = Operand {
            name: "y",
            access: Access::Write,
            storage: Storage::U32,
            len: self.masks * image.0 * RegionMask::numbers(image.1),
            content: Content::Rows(1 << PIXELS_PER_NUMBER),
        };
        vec![read_f32("x", self.masks * mask.0 * mask.1), bits]
    }

    fn params(&self) -> ParamBlock {
        let MaskGeometry { mask, covered, image, .. } = self.geometry;
        let [[frame_y, mask_y], [frame_x, mask_x]] = self.scales();
        params! {
            masks: u32 = self.masks, rows: u32 = mask.0, cols: u32 = mask.1, frame_rows: u32 = covered.0, frame_cols: u32 = covered.1,
            height: u32 = image.0, width: u32 = image.1,
            frame_y: f32 = frame_y, frame_x: f32 = frame_x, mask_y: f32 = mask_y, mask_x: f32 = mask_x,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("region_mask", vec![], Launch::invocations(self.output_len(), ELEMENT_LANES))]
    }

    fn work(&self) -> Work {
        // Of each pixel 16 products and sums, and as many operations for its columns.
        Work::new(64 * self.masks * self.geometry.image.0 * self.geometry.image.1, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let MaskGeometry { mask: (rows, cols), covered, image: (height, width), .. } = self.geometry;
        let [down, right] = self.scales();
        let columns: Vec<Taps> = (0..width).map(|col| Taps::of(col, right, covered.1, cols)).collect();
        each_row(y, RegionMask::numbers(width), |line, y| {
            let logits = &inputs[0][line / height * rows * cols..][..rows * cols];
            let taps = Taps::of(line % height, down, covered.0, rows);
            // The line of the mask at this height, before it is enlarged across.
            let mut blended = vec![0.0; cols];
            for (row, weight) in taps.lines {
                blended.iter_mut().zip(&logits[row * cols..]).for_each(|(sum, x)| *sum += weight as f32 * x);
            }
            for (y, columns) in y.iter_mut().zip(columns.chunks(PIXELS_PER_NUMBER)) {
                let is_inside = |right: &Taps| right.lines.iter().map(|&(col, weight)| weight as f32 * blended[col]).sum::<f32>() > 0.0;
                let bits = columns.iter().enumerate().map(|(bit, right)| u32::from(is_inside(right)) << bit);
                *y = bits.sum::<u32>() as f32;
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let x = io.input(0);
        let MaskGeometry { mask: (rows, cols), covered, image: (height, width), .. } = self.geometry;
        let [down, right] = self.scales();
        let numbers = RegionMask::numbers(width);
        let columns: Vec<Taps> = (0..width).map(|col| Taps::of(col, right, covered.1, cols)).collect();
        for line in 0..self.masks * height {
            let logits = &x[line / height * rows * cols..][..rows * cols];
            let down = Taps::of(line % height, down, covered.0, rows);
            for (number, columns) in columns.chunks(PIXELS_PER_NUMBER).enumerate() {
                let (mut bits, mut doubtful) = (0_u32, 0_u32);
                for (bit, right) in columns.iter().enumerate() {
                    let at = |row: usize, col: usize| f64::from(logits[row * cols + col]);
                    let logit: f64 = down
                        .lines
                        .iter()
                        .flat_map(|&(row, by)| right.lines.iter().map(move |&(col, across)| by * across * at(row, col)))
                        .sum();
                    let largest = down
                        .around(rows)
                        .flat_map(|row| right.around(cols).map(move |col| at(row, col).abs()))
                        .fold(0.0, f64::max);
                    bits |= u32::from(logit > 0.0) << bit;
                    // Each weight is a product of two rounded differences; four products are summed along either axis.
                    let rounding = 16.0 * UNIT_ROUNDOFF + 2.0 * (down.error + right.error);
                    doubtful |= u32::from(logit.abs() <= rounding * largest) << bit;
                }
                io.put(line * numbers + number, f64::from(bits), f64::from(doubtful));
            }
        }
    }
}

/// Lines of the mask with their weights for a line of the image.
struct Taps {
    lines: [(usize, f64); 4],
    /// How far rounding may move the place, in lines of the mask or, where that is more, of the frame.
    error: f64,
}

impl Taps {
    fn of(at: usize, [to_frame, to_mask]: [f32; 2], frame: usize, lines: usize) -> Taps {
        let outer = Place::of(at, to_frame, frame);
        let [before, after] = [outer.before, outer.after].map(|line| Place::of(line, to_mask, lines));
        Taps {
            lines: [
                (before.before, (1.0 - outer.part) * (1.0 - before.part)),
                (before.after, (1.0 - outer.part) * before.part),
                (after.before, outer.part * (1.0 - after.part)),
                (after.after, outer.part * after.part),
            ],
            error: outer.error + before.error.max(after.error),
        }
    }

    /// The lines that a place moved by rounding may read.
    fn around(&self, lines: usize) -> std::ops::RangeInclusive<usize> {
        self.lines[0].0.saturating_sub(1)..=(self.lines[3].0 + 1).min(lines - 1)
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let sized = |masks, mask, frame, covered, image| RegionMask { masks, geometry: MaskGeometry { mask, frame, covered, image } };
    boxed([
        sized(1, (1, 1), (1, 1), (1, 1), (1, 1)),
        sized(3, (8, 8), (32, 32), (20, 32), (7, 17)),
        sized(2, (5, 7), (20, 21), (20, 13), (65, 33)),
        sized(1, (16, 16), (64, 64), (64, 1), (129, 3)),
        sized(5, (4, 4), (16, 16), (16, 16), (16, 257)),
        sized(1, (3, 3), (12, 12), (9, 12), (600, 700)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_above_zero_are_bits_from_the_lowest() {
        // Two logits in a frame of two, of which the image covers both: 20 pixels, the sign changes between the 12th and the 13th.
        let geometry = MaskGeometry { mask: (1, 2), frame: (1, 2), covered: (1, 2), image: (1, 20) };
        let (mut y, mut bounds) = ([0.0; 2], [0.0; 2]);
        RegionMask { masks: 1, geometry }.reference(&mut Io::new(&[&[3.0, -1.0]], &mut y, &mut bounds));
        // Pixel i lies at (i + ½) / 10 − ½: 3 − 4·(i − 4.5) / 10 is above 0 up to i = 11, where it is 0.4; at 12 it is 0.
        assert_eq!(y[0] as u32 & 0b1111_1111_1111, 0b1111_1111_1111);
        assert_eq!((y[0] as u32 >> 13, y[1]), (0, 0.0));
        assert_eq!(bounds, [f64::from(1 << 12), 0.0], "of pixel 12 nobody can say");
    }
}
