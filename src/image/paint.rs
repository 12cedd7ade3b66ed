//! Masks and boxes drawn on an image, each in a colour of its own.

use crate::image::boxes::BoundingBox;
use crate::image::mask::Mask;
use crate::image::rgb::{CHANNELS, Rgb};

/// Pixels along the image's longer side for each pixel of a line's width.
const PIXELS_PER_WIDTH: usize = 500;

/// Step of the hue from one colour to the next, as a part of the circle: the golden ratio, whose multiples always stay apart.
const HUE_STEP: f64 = 0.618_033_988_749_895;

/// The colour of the mask at this position: the first ten are Tableau's, later ones are hues of a circle.
pub fn distinct_color(at: usize) -> [u8; CHANNELS] {
    match colorous::TABLEAU10.get(at) {
        Some(color) => color.as_array(),
        None => colorous::SINEBOW.eval_continuous((at as f64 * HUE_STEP).fract()).as_array(),
    }
}

/// Lays a colour over the marked pixels, in proportion to `opacity` (0..1). Panics when the sizes differ.
#[track_caller]
pub fn paint_mask(image: &mut Rgb, mask: &Mask, color: [u8; CHANNELS], opacity: f32) {
    let sizes = [(image.width(), image.height()), (mask.width(), mask.height())];
    assert!(sizes[0] == sizes[1], "the mask is {}×{} but the image {}×{}", sizes[1].0, sizes[1].1, sizes[0].0, sizes[0].1);
    for (pixel, _) in image.data_mut().chunks_exact_mut(CHANNELS).zip(mask.data()).filter(|(_, is_marked)| **is_marked) {
        for (value, above) in pixel.iter_mut().zip(color) {
            let below = f32::from(*value);
            *value = (below + (f32::from(above) - below) * opacity.clamp(0.0, 1.0)).round() as u8;
        }
    }
}

/// Draws the edges of a box, as far as they lie on the image, on the inside.
pub fn paint_box(image: &mut Rgb, bounds: BoundingBox, color: [u8; CHANNELS]) {
    let (width, height) = (image.width(), image.height());
    let line = width.max(height).div_ceil(PIXELS_PER_WIDTH) as f32;
    let [x0, y0, x1, y1] = bounds.corners();
    for (at, pixel) in image.data_mut().chunks_exact_mut(CHANNELS).enumerate() {
        let (x, y) = ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
        let inside = (x - x0).min(x1 - x).min(y - y0).min(y1 - y);
        if (0.0..line).contains(&inside) {
            pixel.copy_from_slice(&color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Array;

    #[test]
    fn marked_pixels_take_half_of_the_colour_and_others_stay() {
        let mut image = Rgb::new(2, 1, vec![10, 20, 30, 10, 20, 30]);
        paint_mask(&mut image, &Mask::of_positive(&Array::new([1, 2], vec![-1.0, 1.0])), [110, 20, 0], 0.5);
        assert_eq!(image.data(), [10, 20, 30, 60, 20, 15]);
    }

    #[test]
    fn edges_lie_inside_the_box_and_on_the_image() {
        let mut image = Rgb::new(4, 3, vec![0; 36]);
        paint_box(&mut image, BoundingBox::new([1.0, 0.0, 9.0, 3.0]).unwrap(), [7; 3]);
        let painted: Vec<u8> = image.data().iter().step_by(3).copied().collect();
        assert_eq!(painted, [0, 7, 7, 7, 0, 7, 0, 0, 0, 7, 7, 7]);
    }

    #[test]
    fn two_hundred_colours_differ() {
        let colors: std::collections::HashSet<_> = (0..200).map(distinct_color).collect();
        assert_eq!(colors.len(), 200);
        let apart = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        for at in 0..24 {
            let nearest = (0..at).map(|other| apart(distinct_color(at), distinct_color(other))).min();
            assert!(nearest.is_none_or(|nearest| nearest >= 16), "{at}: {nearest:?}");
        }
    }
}
