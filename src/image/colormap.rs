//! Colour maps: anomaly maps drawn in colours, on a fixed range, so that pictures of different images can be compared.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crate::image::rgb::{CHANNELS, Rgb};
use crate::tensor::Array;

/// Colours a map `[h, w]` with matplotlib's perceptually uniform *inferno*: black at the start of `range`, through
/// red to pale yellow at its end. Scores outside take the colour of the nearer end, NaN that of the start.
///
/// Panics when `range` is empty or the map has no pixels.
#[track_caller]
pub fn colorize(map: &Array, range: RangeInclusive<f32>) -> Rgb {
    let [height, width] = map.shape().axes();
    let inferno = &*INFERNO;
    let mut data = vec![0; map.data().len() * CHANNELS];
    for (pixel, &score) in data.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(map.data()) {
        *pixel = heat(inferno, position(score, &range));
    }
    Rgb::new(width, height, data)
}

/// Lays the colours of a map `[h, w]` over the image of the same size; panics as [`colorize`] does.
///
/// A pixel is covered in proportion to the position of its value in `range`, by `opacity` (0..1) at the end; values at the start leave the
/// image unchanged.
#[track_caller]
pub fn overlay(image: &Rgb, map: &Array, range: RangeInclusive<f32>, opacity: f32) -> Rgb {
    let [height, width] = map.shape().axes();
    assert!(
        (width, height) == (image.width(), image.height()),
        "the map is {width}×{height} but the image {}×{}",
        image.width(),
        image.height()
    );
    let inferno = &*INFERNO;
    let mut data = image.data().to_vec();
    for (pixel, &score) in data.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(map.data()) {
        let position = position(score, &range);
        let cover = position * opacity.clamp(0.0, 1.0);
        for (channel, color) in pixel.iter_mut().zip(heat(inferno, position)) {
            let (below, above) = (f32::from(*channel), f32::from(color));
            // `round` would be a function call for each channel: x86-64 without further features has no such instruction.
            *channel = (below + (above - below) * cover + 0.5) as u8;
        }
    }
    Rgb::new(width, height, data)
}

/// Position of a score in the range, 0 to 1.
#[track_caller]
fn position(score: f32, range: &RangeInclusive<f32>) -> f32 {
    let (start, end) = (*range.start(), *range.end());
    assert!(start < end, "the range {start}..={end} is empty");
    if score.is_nan() { 0.0 } else { ((score - start) / (end - start)).clamp(0.0, 1.0) }
}

/// Number of colours that inferno is drawn with.
const SHADES: usize = 1024;

type Shades = [[u8; CHANNELS]; SHADES];

/// Inferno at equal steps: its spline, read for each pixel, takes three times as long.
static INFERNO: LazyLock<Shades> = LazyLock::new(|| std::array::from_fn(|at| colorous::INFERNO.eval_rational(at, SHADES).as_array()));

/// The colour of a position, 0 to 1.
fn heat(inferno: &Shades, position: f32) -> [u8; CHANNELS] {
    inferno[(position * (SHADES - 1) as f32 + 0.5) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_outside_the_range_take_the_colours_of_its_ends() {
        let map = Array::new([1, 5], vec![-3.0, 0.0, f32::NAN, 1.0, 7.0]);
        let colors = colorize(&map, 0.0..=1.0);
        let [start, end] = [[0, 0, 4], [252, 255, 164]];
        assert_eq!(colors.data(), [start, start, start, end, end].concat());
    }

    #[test]
    fn shades_are_those_of_the_continuous_scale_within_one_level() {
        for at in 0..=10_000 {
            let position = at as f32 / 10_000.0;
            let exact = colorous::INFERNO.eval_continuous(f64::from(position)).as_array();
            let shade = heat(&INFERNO, position);
            assert!(exact.iter().zip(shade).all(|(&exact, shade)| exact.abs_diff(shade) <= 1), "{position}: {exact:?} {shade:?}");
        }
        assert_ne!(heat(&INFERNO, 0.5), heat(&INFERNO, 0.51));
    }

    #[test]
    fn an_overlay_leaves_the_unsuspicious_pixel_alone() {
        let image = Rgb::new(2, 1, vec![10, 20, 30, 10, 20, 30]);
        let covered = overlay(&image, &Array::new([1, 2], vec![0.0, 2.0]), 0.0..=1.0, 0.5);
        assert_eq!(covered.data(), [10, 20, 30, 131, 138, 97]); // halfway to 252, 255, 164
    }
}
