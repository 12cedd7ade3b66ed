//! Masks, boxes and labels drawn on an image.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use crate::image::boxes::BoundingBox;
use crate::image::mask::Mask;
use crate::image::rgb::{CHANNELS, Rgb};

/// Pixels along the image's longer side for each pixel of a line's width.
const PIXELS_PER_WIDTH: usize = 500;

/// Rows and columns of a letter.
const GLYPH: usize = 8;

/// Pixels along the image's longer side for each time that letters are enlarged.
const PIXELS_PER_LETTER: usize = 640;

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

/// Draws the border of a mask, on the inside: the marked pixels from which a step as wide as the line leaves the mask. Panics when the sizes
/// differ.
#[track_caller]
pub fn paint_border(image: &mut Rgb, mask: &Mask, color: [u8; CHANNELS]) {
    let (width, height) = (image.width(), image.height());
    assert!(
        (width, height) == (mask.width(), mask.height()),
        "the mask is {}×{} but the image {width}×{height}",
        mask.width(),
        mask.height()
    );
    let line = width.max(height).div_ceil(PIXELS_PER_WIDTH);
    let is_marked = |row: Option<usize>, column: Option<usize>| match (row, column) {
        (Some(row), Some(column)) if row < height && column < width => mask.data()[row * width + column],
        _ => false,
    };
    for at in (0..width * height).filter(|&at| mask.data()[at]) {
        let (row, column) = (at / width, at % width);
        let steps = [
            (row.checked_sub(line), Some(column)),
            (Some(row + line), Some(column)),
            (Some(row), column.checked_sub(line)),
            (Some(row), Some(column + line)),
        ];
        if steps.into_iter().any(|(row, column)| !is_marked(row, column)) {
            image.data_mut()[at * CHANNELS..][..CHANNELS].copy_from_slice(&color);
        }
    }
}

/// Draws the edges of a box, as far as they lie on the image, on the inside.
pub fn paint_box(image: &mut Rgb, bounds: BoundingBox, color: [u8; CHANNELS]) {
    let (width, height) = (image.width(), image.height());
    let line = width.max(height).div_ceil(PIXELS_PER_WIDTH) as f32;
    let [x0, y0, x1, y1] = bounds.corners();
    let span = |from: f32, to: f32, size: usize| (from.max(0.0) as usize).min(size)..(to.max(0.0).ceil() as usize).min(size);
    for row in span(y0, y1, height) {
        let y = row as f32 + 0.5;
        for col in span(x0, x1, width) {
            let x = col as f32 + 0.5;
            let inside = (x - x0).min(x1 - x).min(y - y0).min(y1 - y);
            if (0.0..line).contains(&inside) {
                image.data_mut()[(row * width + col) * CHANNELS..][..CHANNELS].copy_from_slice(&color);
            }
        }
    }
}

/// Writes a line of text on a strip of colour whose lower left corner is that of the upper side of a box, or inside the box where there is no
/// room above it. Letters are those of an 8 × 8 font, larger on larger images; what the font lacks is a question mark.
pub fn paint_label(image: &mut Rgb, bounds: BoundingBox, text: &str, color: [u8; CHANNELS]) {
    let (width, height) = (image.width(), image.height());
    let scale = (width.max(height) / PIXELS_PER_LETTER).max(1);
    let side = GLYPH * scale;
    let [x0, y0, ..] = bounds.corners();
    let left = x0.max(0.0) as usize;
    let top = (y0.max(0.0) as usize).checked_sub(side).unwrap_or(y0.max(0.0) as usize);
    // Dark letters on bright colours.
    let brightness = color.iter().map(|&value| u32::from(value)).sum::<u32>();
    let ink = if brightness > 3 * 128 { [0; CHANNELS] } else { [255; CHANNELS] };
    for (number, letter) in text.chars().enumerate() {
        let glyph = glyph(letter);
        for (row, col) in (0..side).flat_map(|row| (0..side).map(move |col| (row, col))) {
            let (y, x) = (top + row, left + number * side + col);
            if y < height && x < width {
                let is_ink = glyph[row / scale] >> (col / scale) & 1 == 1;
                image.data_mut()[(y * width + x) * CHANNELS..][..CHANNELS].copy_from_slice(if is_ink { &ink } else { &color });
            }
        }
    }
}

/// The rows of a letter, a bit for each column.
fn glyph(letter: char) -> [u8; GLYPH] {
    let known = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).or_else(|| GREEK_FONTS.get(letter));
    known.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stands_above_its_box_and_inside_where_there_is_no_room() {
        let mut image = Rgb::new(32, 32, vec![9; 32 * 32 * CHANNELS]);
        let red = [200, 0, 0];
        let row_of_color = |image: &Rgb| {
            image
                .data()
                .chunks_exact(32 * CHANNELS)
                .position(|row| row.chunks_exact(CHANNELS).any(|pixel| pixel == red))
        };
        paint_label(&mut image, BoundingBox::new([2.0, 12.0, 30.0, 30.0]).unwrap(), "a\u{1f4a5}", red);
        assert_eq!(row_of_color(&image), Some(4));
        paint_label(&mut image, BoundingBox::new([2.0, 3.0, 30.0, 30.0]).unwrap(), "far too long for this image", red);
        assert_eq!(row_of_color(&image), Some(3));
        assert!(image.data().contains(&255), "letters are white on a dark colour");
    }
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
