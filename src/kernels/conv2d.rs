//! Two-dimensional convolution, channels last, with bias, residual and activation in the epilogue.

use crate::kernels::geometry::{matrix_tiles, strip_rows, strips, subgroup_strips, tiles};
use crate::kernels::native::{Epilogue, Matrix, PRODUCT_TILE, each_tile};
use crate::kernels::{
    Activation, Implementation, Io, Kernel, Operand, Pairing, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write,
};

/// `y = activation(conv(x, weight) + bias + residual)` with zero padding, as `torch.nn.functional.conv2d` with one stride and padding.
///
/// `x` `[batch, height, width, channels_in]`, `weight` `[kernel.0, kernel.1, channels_in, channels_out]`, `bias` `[channels_out]` in f32,
/// `residual` and `y` `[batch, height_out, width_out, channels_out]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Input channels.
    pub channels_in: usize,
    /// Output channels.
    pub channels_out: usize,
    /// Kernel rows and columns.
    pub kernel: (usize, usize),
    /// Step in both directions.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Whether a bias is added.
    pub has_bias: bool,
    /// Whether a residual is added, before the activation.
    pub has_residual: bool,
    /// Activation, applied after bias and residual.
    pub activation: Activation,
}

/// Output length of a window sliding over `size` with `padding` on both sides: ⌊(size + 2·padding − window) / stride⌋ + 1.
pub fn windows(size: usize, window: usize, stride: usize, padding: usize) -> usize {
    (size + 2 * padding - window) / stride + 1
}

/// Elements of the windows that a task of the native form copies, which stay in the cache of a core, and its windows at the least.
const WINDOW_ELEMENTS: usize = 1 << 16;
const MIN_WINDOWS: usize = 16;

impl Conv2d {
    /// Output rows.
    pub fn height_out(&self) -> usize {
        windows(self.height, self.kernel.0, self.stride, self.padding)
    }

    /// Output columns.
    pub fn width_out(&self) -> usize {
        windows(self.width, self.kernel.1, self.stride, self.padding)
    }

    fn pixels(&self) -> usize {
        self.batch * self.height_out() * self.width_out()
    }

    /// Constants of files in which most of an index is known.
    fn sizes(&self) -> [(&'static str, u32); 10] {
        [
            ("CHANNELS_IN", self.channels_in),
            ("CHANNELS_OUT", self.channels_out),
            ("HEIGHT", self.height),
            ("HEIGHT_OUT", self.height_out()),
            ("KERNEL_HEIGHT", self.kernel.0),
            ("KERNEL_WIDTH", self.kernel.1),
            ("PADDING", self.padding),
            ("STRIDE", self.stride),
            ("WIDTH", self.width),
            ("WIDTH_OUT", self.width_out()),
        ]
        .map(|(name, size)| (name, size as u32))
    }

    fn inner(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.channels_in
    }

    /// Whether each window is a pixel.
    fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.padding == 0
    }

    /// Copies what the filter covers at an output pixel, tap by tap; what lies in the padding stays as it is, which is zero.
    fn copy_window(&self, x: &[f32], pixel: usize, window: &mut [f32]) {
        let (line, column) = (pixel / self.width_out(), pixel % self.width_out());
        let (image, line) = (line / self.height_out(), line % self.height_out());
        let of_line = self.kernel.1 * self.channels_in;
        for (tap, window) in window.chunks_exact_mut(of_line).enumerate() {
            let row = (line * self.stride + tap).wrapping_sub(self.padding);
            if row >= self.height {
                continue;
            }
            // Columns of the window that lie inside the image.
            let left = column * self.stride;
            let first = self.padding.saturating_sub(left).min(self.kernel.1);
            let end = (self.width + self.padding).saturating_sub(left).clamp(first, self.kernel.1);
            if first < end {
                let from = ((image * self.height + row) * self.width + left + first - self.padding) * self.channels_in;
                let count = (end - first) * self.channels_in;
                window[first * self.channels_in..][..count].copy_from_slice(&x[from..][..count]);
            }
        }
    }
}

impl Kernel for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn operands(&self) -> Vec<Operand> {
        let out = self.pixels() * self.channels_out;
        vec![
            read("x", self.batch * self.height * self.width * self.channels_in),
            read("weight", self.inner() * self.channels_out),
            read_f32("bias", if self.has_bias { self.channels_out } else { 0 }),
            read("residual", if self.has_residual { out } else { 0 }),
            write("y", out),
        ]
    }

    fn params(&self) -> ParamBlock {
        params! {
            batch: u32 = self.batch, height: u32 = self.height, width: u32 = self.width, channels_in: u32 = self.channels_in,
            height_out: u32 = self.height_out(), width_out: u32 = self.width_out(), channels_out: u32 = self.channels_out,
            kernel_height: u32 = self.kernel.0, kernel_width: u32 = self.kernel.1, stride: u32 = self.stride, padding: u32 = self.padding,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let epilogue = [
            ("ACTIVATION", self.activation.number()),
            ("HAS_BIAS", u32::from(self.has_bias)),
            ("HAS_RESIDUAL", u32::from(self.has_residual)),
        ];
        let pairing = [("PAIRING", Pairing::Product as u32)];
        let with = |own: &[(&'static str, u32)]| own.iter().copied().chain(pairing).chain(epilogue).collect();
        let mut all = Vec::new();
        let in_fours = self.channels_in.is_multiple_of(4) && self.channels_out.is_multiple_of(4);
        if in_fours {
            let (own, launch) = subgroup_strips([1, self.pixels(), self.channels_out], self.padding > 0);
            all.push(Implementation::subgroup("conv2d_subgroup", with(&own), launch));
            for (of_strip, elem) in strip_rows(self.pixels()) {
                let (own, launch) = strips(of_strip, [1, self.pixels(), self.channels_out], self.padding > 0);
                all.push(Implementation { elem, ..Implementation::software("conv2d_software", with(&own), launch) });
            }
        }
        if in_fours {
            let (own, launch) = matrix_tiles([1, self.pixels(), self.channels_out], self.inner());
            all.push(Implementation::matrix("conv2d_matrix", own.into_iter().chain(self.sizes()).chain(epilogue).collect(), launch));
        }
        let (own, launch) = tiles([1, self.pixels(), self.channels_out], self.inner());
        if in_fours {
            all.push(Implementation::plain("conv2d_fours", with(&[&own[..], &self.sizes()].concat()), launch));
        }
        all.push(Implementation::plain("conv2d", with(&own), launch));
        all
    }

    fn work(&self) -> Work {
        Work::new(2 * self.pixels() * self.inner() * self.channels_out, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let [x, weight, bias, residual] = [0, 1, 2, 3].map(|at| inputs[at]);
        let (inner, channels) = (self.inner(), self.channels_out);
        let epilogue = Epilogue { bias, residual, cols: channels, activation: self.activation };
        let windows_of_tile = (WINDOW_ELEMENTS / inner).clamp(MIN_WINDOWS, PRODUCT_TILE[0]);
        let sizes = if self.is_pointwise() { PRODUCT_TILE } else { [windows_of_tile, channels] };
        each_tile(y, channels, sizes, |mut tile| {
            let (pixels, cols) = (tile.rows(), tile.cols());
            let mut copied = Vec::new();
            let windows = if self.is_pointwise() {
                &x[pixels.start * inner..pixels.end * inner]
            } else {
                copied.resize(pixels.len() * inner, 0.0);
                copied
                    .chunks_exact_mut(inner)
                    .zip(pixels.clone())
                    .for_each(|(window, pixel)| self.copy_window(x, pixel, window));
                &copied
            };
            let weight = Matrix::new(&weight[cols.start..], [inner, cols.len()], [channels, 1]);
            epilogue.around(&mut tile, |tile| tile.add_product(Matrix::dense(windows, pixels.len(), inner), weight));
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [x, weight, bias, residual] = [0, 1, 2, 3].map(|at| io.input(at));
        let (height_out, width_out) = (self.height_out(), self.width_out());
        let mut sums = vec![0.0; self.channels_out];
        let mut magnitudes = vec![0.0; self.channels_out];
        for pixel in 0..self.pixels() {
            let (line, column) = (pixel / width_out, pixel % width_out);
            let (image, line) = (line / height_out, line % height_out);
            sums.fill(0.0);
            magnitudes.fill(0.0);
            for tap in 0..self.kernel.0 * self.kernel.1 {
                let row = (line * self.stride + tap / self.kernel.1).wrapping_sub(self.padding);
                let col = (column * self.stride + tap % self.kernel.1).wrapping_sub(self.padding);
                if row >= self.height || col >= self.width {
                    continue; // a zero of the padding
                }
                let from = ((image * self.height + row) * self.width + col) * self.channels_in;
                for c in 0..self.channels_in {
                    let left = f64::from(x[from + c]);
                    let right = &weight[(tap * self.channels_in + c) * self.channels_out..][..self.channels_out];
                    for ((sum, magnitude), &right) in sums.iter_mut().zip(&mut magnitudes).zip(right) {
                        let term = left * f64::from(right);
                        *sum += term;
                        *magnitude += term.abs();
                    }
                }
            }
            for channel in 0..self.channels_out {
                let at = pixel * self.channels_out + channel;
                let extra = [bias.get(channel), residual.get(at)].map(|x| x.map_or(0.0, |&x| f64::from(x)));
                let sum = sums[channel] + extra[0] + extra[1];
                let magnitude = magnitudes[channel] + extra[0].abs() + extra[1].abs();
                let bound = (self.inner() + 3) as f64 * UNIT_ROUNDOFF * magnitude;
                let (value, bound) = self.activation.apply(sum, bound);
                io.put(at, value, bound);
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let plain = Conv2d {
        batch: 1,
        height: 5,
        width: 7,
        channels_in: 4,
        channels_out: 8,
        kernel: (1, 1),
        stride: 1,
        padding: 0,
        has_bias: false,
        has_residual: false,
        activation: Activation::Identity,
    };
    let three = Conv2d { kernel: (3, 3), padding: 1, ..plain.clone() };
    boxed([
        Conv2d { stride: 2, ..plain.clone() },
        Conv2d { padding: 2, ..plain.clone() },
        Conv2d { height: 13, width: 11, channels_in: 8, ..plain.clone() },
        Conv2d { height: 1, width: 1, ..three.clone() },
        Conv2d { channels_in: 3, channels_out: 5, ..three.clone() },
        Conv2d { stride: 2, batch: 2, channels_out: 68, ..three.clone() },
        Conv2d { height: 13, width: 11, channels_in: 8, channels_out: 68, ..three.clone() },
        Conv2d { kernel: (3, 2), padding: 0, channels_in: 12, ..plain.clone() },
        Conv2d { channels_in: 36, channels_out: 68, ..three.clone() },
        Conv2d { channels_in: 64, channels_out: 68, ..three.clone() },
        Conv2d { channels_in: 32, channels_out: 36, ..plain.clone() },
        Conv2d { height: 65, width: 64, channels_in: 32, channels_out: 516, ..three.clone() },
        Conv2d { height: 129, width: 128, channels_out: 132, ..three.clone() },
        Conv2d { kernel: (7, 7), padding: 3, stride: 2, height: 33, width: 30, channels_out: 64, ..plain.clone() },
        Conv2d {
            kernel: (7, 7),
            padding: 3,
            stride: 2,
            channels_in: 3,
            channels_out: 6,
            activation: Activation::Relu,
            ..plain.clone()
        },
        Conv2d {
            height: 129,
            width: 128,
            channels_out: 130,
            channels_in: 1,
            activation: Activation::Relu,
            ..three.clone()
        },
        Conv2d { has_bias: true, activation: Activation::Relu, ..three.clone() },
        Conv2d { has_bias: true, has_residual: true, activation: Activation::Relu, ..plain.clone() },
        Conv2d { has_bias: true, has_residual: true, activation: Activation::Relu, channels_out: 7, ..three },
        Conv2d { has_bias: true, ..plain },
    ])
}
