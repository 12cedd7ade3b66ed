//! Layout conversion from channels first to channels last, with a border of zeros where a convolution needs one.

use crate::kernels::geometry::ELEMENT_LANES;
use crate::kernels::native::each_row;
use crate::kernels::{Implementation, Io, Kernel, Launch, Operand, ParamBlock, Work, boxed, params, read, write};

/// `y[b, h + border, w + border, c] = x[b, c, h, w]`, and 0 in the border and for the channels from `channels` to `padded`.
///
/// `x` `[batch, channels, height, width]`, `y` `[batch, height + 2·border, width + 2·border, padded]`.
/// The way back, without a border, is a `Permute`.
#[derive(Clone, Debug)]
pub struct ChannelsLast {
    /// Images.
    pub batch: usize,
    /// Channels of x.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels of y, at least as many.
    pub padded: usize,
    /// Rows and columns of zeros on each side of y.
    pub border: usize,
}

impl ChannelsLast {
    /// Pixels of an image of y.
    fn pixels(&self) -> usize {
        (self.height + 2 * self.border) * (self.width + 2 * self.border)
    }
}

impl Kernel for ChannelsLast {
    fn name(&self) -> &'static str {
        "channels_last"
    }

    fn operands(&self) -> Vec<Operand> {
        let read_from = self.batch * self.height * self.width * self.channels;
        vec![read("x", read_from), write("y", self.batch * self.pixels() * self.padded)]
    }

    fn params(&self) -> ParamBlock {
        params! {
            batch: u32 = self.batch,
            channels: u32 = self.channels,
            height: u32 = self.height,
            width: u32 = self.width,
            padded: u32 = self.padded,
            border: u32 = self.border
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("channels_last", vec![], Launch::invocations(self.batch * self.pixels(), ELEMENT_LANES))]
    }

    fn work(&self) -> Work {
        Work::new(0, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let across = self.width + 2 * self.border;
        each_row(y, self.padded, |pixel, y| {
            let (image, pixel) = (pixel / self.pixels(), pixel % self.pixels());
            let (row, col) = ((pixel / across).wrapping_sub(self.border), (pixel % across).wrapping_sub(self.border));
            y.fill(0.0);
            if row < self.height && col < self.width {
                for (channel, y) in y.iter_mut().take(self.channels).enumerate() {
                    *y = inputs[0][((image * self.channels + channel) * self.height + row) * self.width + col];
                }
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let x = io.input(0);
        for at in 0..self.output_len() {
            let (pixel, channel) = (at / self.padded, at % self.padded);
            let (image, pixel) = (pixel / self.pixels(), pixel % self.pixels());
            let across = self.width + 2 * self.border;
            // Below the border the row wraps around, which is outside too.
            let (row, col) = ((pixel / across).wrapping_sub(self.border), (pixel % across).wrapping_sub(self.border));
            let is_inside = channel < self.channels && row < self.height && col < self.width;
            let from = || ((image * self.channels + channel) * self.height + row) * self.width + col;
            io.put(at, if is_inside { f64::from(x[from()]) } else { 0.0 }, 0.0);
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(
        [(1, 1, 1, 1, 1, 0), (1, 3, 65, 67, 4, 0), (2, 3, 5, 7, 3, 1), (3, 6, 4, 9, 8, 3), (2, 257, 1, 3, 260, 0)]
            .map(|(batch, channels, height, width, padded, border)| ChannelsLast { batch, channels, height, width, padded, border }),
    )
}
