//! Group norm: groups of channels normalised over a whole image, then scaled and shifted by learnt factors.

use rayon::prelude::*;

use crate::kernels::geometry::row_lanes;
use crate::kernels::native::each_row;
use crate::kernels::{
    Implementation, Io, Kernel, Launch, Operand, ParamBlock, Sum, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write,
};

/// `y = (x − mean) / √(variance + eps) · weight + bias`, mean and variance being those of a group of neighbouring channels over all cells of
/// an image (Wu & He 2018; biased variance, as PyTorch).
///
/// `x` and `y` `[images, cells, channels]`, `weight` and `bias` `[channels]` in f32; `groups` divides `channels`.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// Number of images.
    pub images: usize,
    /// Cells of an image.
    pub cells: usize,
    /// Channels of a cell.
    pub channels: usize,
    /// Groups of channels.
    pub groups: usize,
    /// ε, added to the variance.
    pub eps: f32,
}

impl Kernel for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn operands(&self) -> Vec<Operand> {
        let len = self.images * self.cells * self.channels;
        vec![read("x", len), read_f32("weight", self.channels), read_f32("bias", self.channels), write("y", len)]
    }

    fn params(&self) -> ParamBlock {
        params! {
            images: u32 = self.images, cells: u32 = self.cells, channels: u32 = self.channels, groups: u32 = self.groups,
            eps: f32 = self.eps,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let lanes = row_lanes(self.cells * self.channels / self.groups);
        vec![Implementation::plain("group_norm", vec![("WORKGROUP", lanes)], Launch::groups(self.images * self.groups))]
    }

    fn work(&self) -> Work {
        Work::new(8 * self.output_len(), &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let (x, of_image) = (inputs[0], self.cells * self.channels);
        let of_group = self.channels / self.groups;
        // Of each group its mean and the reciprocal of its standard deviation; f64, as a sum over all cells is long.
        let moments = |number: usize| -> [f32; 2] {
            let own = &x[number / self.groups * of_image..][..of_image];
            let cells = || {
                own.chunks_exact(self.channels)
                    .flat_map(|cell| &cell[number % self.groups * of_group..][..of_group])
            };
            let count = (self.cells * of_group) as f64;
            let mean = cells().map(|&x| f64::from(x)).sum::<f64>() / count;
            let variance = cells().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
            [mean as f32, (1.0 / (variance + f64::from(self.eps)).sqrt()) as f32]
        };
        let moments: Vec<[f32; 2]> = (0..self.images * self.groups).into_par_iter().map(moments).collect();
        each_row(y, self.channels, |row, y| {
            let moments = &moments[row / self.cells * self.groups..];
            for (channel, (y, x)) in y.iter_mut().zip(&x[row * self.channels..]).enumerate() {
                let [mean, scale] = moments[channel / of_group];
                *y = (x - mean) * scale * inputs[1][channel] + inputs[2][channel];
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [x, weight, bias] = [0, 1, 2].map(|at| io.input(at));
        let of_group = self.channels / self.groups;
        let (u, n) = (UNIT_ROUNDOFF, (self.cells * of_group) as f64);
        for number in 0..self.images * self.groups {
            let (image, group) = (number / self.groups, number % self.groups);
            let places = (0..self.cells)
                .flat_map(|cell| (0..of_group).map(move |channel| (cell, group * of_group + channel)))
                .map(|(cell, channel)| ((image * self.cells + cell) * self.channels + channel, channel));
            let mut sum = Sum::default();
            places.clone().for_each(|(at, _)| sum.add(f64::from(x[at])));
            let mean = sum.value / n;
            // As for the layer norm: roundings of the mean, of the deviations and their squares, of the root, of the result.
            let shift = sum.bound() / n + 5.0 * u * mean.abs();
            let deviations = || places.clone().map(|(at, _)| f64::from(x[at]) - mean);
            let variance = deviations().map(|d| d * d).sum::<f64>() / n;
            let spread = deviations().map(f64::abs).sum::<f64>() / n;
            let variance_error = (n + 8.0) * u * variance + 2.0 * shift * spread + shift * shift;
            let scale = 1.0 / (variance + f64::from(self.eps)).sqrt();
            let scale_error = 0.5 * scale * scale * variance_error + 5.0 * u;
            for (at, channel) in places.clone() {
                let (weight, bias) = (f64::from(weight[channel]), f64::from(bias[channel]));
                let deviation = f64::from(x[at]) - mean;
                let term = deviation * scale * weight;
                let moved = (shift + u * deviation.abs()) * scale * weight.abs();
                io.put(at, term + bias, moved + (scale_error + 3.0 * u) * term.abs() + u * (term.abs() + bias.abs()));
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(
        [(1, 1, 1, 1), (1, 5, 6, 3), (2, 7, 4, 4), (3, 33, 10, 2), (1, 650, 32, 32), (2, 129, 24, 3)]
            .map(|(images, cells, channels, groups)| GroupNorm { images, cells, channels, groups, eps: 1e-5 }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_normalised_over_all_cells_and_no_other_group() {
        // Two cells of two channels, each a group: 1 and 3 have mean 2 and variance 1, 10 and 10 variance 0; eps 3 makes the divisors 2 and √3.
        let group_norm = GroupNorm { images: 1, cells: 2, channels: 2, groups: 2, eps: 3.0 };
        let (mut y, mut bounds) = ([0.0; 4], [0.0; 4]);
        group_norm.reference(&mut Io::new(&[&[1.0, 10.0, 3.0, 10.0], &[10.0, 1.0], &[0.0, 7.0]], &mut y, &mut bounds));
        assert_eq!(y, [-5.0, 7.0, 5.0, 7.0]);
    }
}
