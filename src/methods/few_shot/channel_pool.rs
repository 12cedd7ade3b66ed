//! Adaptive pooling of the channels of 3×3 patches, as PatchCore's public code aggregates layers, written as the weight of a convolution.
//!
//! The code unfolds a layer into patches `[cells, c · 9]`, pools each to 1024 numbers (`adaptive_avg_pool1d`), joins those of both layers
//! and pools the 2048 to 1024. Each step is linear in the features of a patch, so all of them together are one convolution of 3×3 with zero
//! padding. Resizing of patches is linear over positions and acts on each channel alone, so it may follow the pooling.

use std::ops::Range;

use crate::graph::Constant;
use crate::tensor::Array;

/// Numbers that the patch of a layer is pooled to, and those of all layers together again.
pub(super) const POOLED: usize = 1024;

/// Rows and columns of a patch.
const PATCH: usize = 3;

/// Positions around a patch's centre on each side, outside the image zeros.
pub(super) const PADDING: usize = PATCH / 2;

/// Bins of PyTorch's adaptive pooling of `len` positions to `count`: bin i begins at ⌊i·len/count⌋ and ends at ⌈(i + 1)·len/count⌉.
fn adaptive_bins(len: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).map(move |bin| bin * len / count..((bin + 1) * len).div_ceil(count))
}

/// What an element of the last pooling is of the concatenated patches of a layer with so many channels: the weight of a convolution
/// `[3, 3, channels, 1024 / layers]`. `layers` divides 1024, so no bin of the last pooling spans two layers.
pub(super) fn pooling_weight(channels: usize, layers: usize) -> Constant {
    let (taps, out) = (PATCH * PATCH, POOLED / layers);
    let first: Vec<Range<usize>> = adaptive_bins(channels * taps, POOLED).collect();
    let mut weight = vec![0.0_f64; taps * channels * out];
    for (element, second) in adaptive_bins(POOLED, out).enumerate() {
        let share = 1.0 / second.len() as f64;
        for bin in second.flat_map(|bin| first.get(bin)) {
            for at in bin.clone() {
                // Channels, then the positions of the patch, as `unfold` orders them.
                let (channel, tap) = (at / taps, at % taps);
                weight[(tap * channels + channel) * out + element] += share / bin.len() as f64;
            }
        }
    }
    let weight = weight.into_iter().map(|x| x as f32).collect();
    Constant::real("channel pooling", Array::new([PATCH, PATCH, channels, out], weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_those_of_pytorch() {
        // torch.nn.functional.adaptive_avg_pool1d of 10 to 4: 0–2, 2–4, 5–7, 7–9.
        assert_eq!(adaptive_bins(10, 4).collect::<Vec<_>>(), [0..3, 2..5, 5..8, 7..10]);
        // Fewer than bins: each is repeated.
        assert_eq!(adaptive_bins(2, 4).collect::<Vec<_>>(), [0..1, 0..1, 1..2, 1..2]);
    }

    #[test]
    fn each_element_is_a_mean_of_its_own_part_of_the_patch() {
        // 2048 of 9216 / 1024 = 9 numbers a bin: element e is the mean of the channels 2e and 2e + 1 over the patch.
        let weight = pooling_weight(1024, 2);
        let data = weight.array().data();
        let at = |tap: usize, channel: usize, element: usize| data[(tap * 1024 + channel) * 512 + element];
        for tap in 0..9 {
            assert_eq!([at(tap, 14, 7), at(tap, 15, 7), at(tap, 13, 7), at(tap, 16, 7)], [1.0 / 18.0, 1.0 / 18.0, 0.0, 0.0]);
        }
        for channels in [1, 64, 100, 512] {
            let weight = pooling_weight(channels, 2);
            for element in 0..512 {
                let sum: f32 = weight.array().data().iter().skip(element).step_by(512).sum();
                assert!((sum - 1.0).abs() < 1e-5, "element {element} of {channels} channels sums to {sum}");
            }
        }
    }
}
