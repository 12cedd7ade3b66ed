//! From planes of pixels to pixels of channels.

use crate::kernels::geometry::ELEMENT_LANES;
use crate::kernels::{Implementation, Io, Kernel, Launch, Operand, ParamBlock, Work, boxed, params, read, write};

/// `y[b, h, w, c] = x[b, c, h, w]`, and 0 for the channels from `channels` to `padded`.
///
/// `x` `[batch, channels, height, width]`, `y` `[batch, height, width, padded]`. The way back is a `Permute`.
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
}

impl ChannelsLast {
    fn pixels(&self) -> usize {
        self.height * self.width
    }
}

impl Kernel for ChannelsLast {
    fn name(&self) -> &'static str {
        "channels_last"
    }

    fn operands(&self) -> Vec<Operand> {
        let images = self.batch * self.pixels();
        vec![read("x", images * self.channels), write("y", images * self.padded)]
    }

    fn params(&self) -> ParamBlock {
        params! { batch: u32 = self.batch, channels: u32 = self.channels, pixels: u32 = self.pixels(), padded: u32 = self.padded }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("channels_last", vec![], Launch::invocations(self.batch * self.pixels(), ELEMENT_LANES))]
    }

    fn work(&self) -> Work {
        Work::new(0, &self.operands())
    }

    fn reference(&self, io: &mut Io<'_>) {
        let x = io.input(0);
        for at in 0..self.output_len() {
            let (pixel, channel) = (at / self.padded, at % self.padded);
            let (image, pixel) = (pixel / self.pixels(), pixel % self.pixels());
            let from = (image * self.channels + channel) * self.pixels() + pixel;
            let value = if channel < self.channels { f64::from(x[from]) } else { 0.0 };
            io.put(at, value, 0.0);
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(
        [(1, 1, 1, 1, 1), (1, 3, 65, 67, 4), (2, 3, 5, 7, 3), (3, 6, 4, 9, 8), (2, 257, 1, 3, 260)]
            .map(|(batch, channels, height, width, padded)| ChannelsLast { batch, channels, height, width, padded }),
    )
}
