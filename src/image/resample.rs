//! Resizing that reproduces Pillow and OpenCV bit by bit, and PyTorch up to rounding.

use std::f64::consts::PI;
use std::ops::Range;

use crate::image::rgb::{CHANNELS, Rgb};
use crate::tensor::Array;

/// Resampling filter of [`resize_pillow`]; named as in `PIL.Image.Resampling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the covered pixels.
    Box,
    /// A triangle of radius 1.
    Bilinear,
    /// Keys' cubic of radius 2 with a = −0.5.
    Bicubic,
    /// A windowed sinc of radius 3.
    Lanczos,
}

impl Filter {
    /// Radius of the filter, in pixels of the coarser grid.
    fn radius(self) -> f64 {
        match self {
            Filter::Nearest => 0.0,
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// The weight at a distance from the centre, not normalised.
    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        let distance = x.abs();
        match self {
            Filter::Nearest => 1.0,
            Filter::Box => f64::from(x > -0.5 && x <= 0.5),
            Filter::Bilinear => (1.0 - distance).max(0.0),
            Filter::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Filter::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5,
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Bicubic | Filter::Lanczos => 0.0,
        }
    }
}

/// A part of a resized image: positions along the columns and along the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl Window {
    /// All of an image.
    fn whole(width: usize, height: usize) -> Window {
        Window { columns: 0..width, rows: 0..height }
    }

    #[track_caller]
    fn check(&self, width: usize, height: usize) {
        check_target(width, height);
        let Window { columns, rows } = self;
        let is_inside = !columns.is_empty() && !rows.is_empty() && columns.end <= width && rows.end <= height;
        assert!(is_inside, "columns {columns:?} and rows {rows:?} are no part of {width}×{height}");
    }
}

/// Resizes as Pillow's `Image.resize((width, height), filter)`: antialiased when shrinking, u8 between the passes.
///
/// Panics when a side is 0. Bit-exact to Pillow 13. Earlier Pillows never pass over the columns first; they differ by a
/// few levels where many more rows than columns go, and nowhere else.
#[track_caller]
pub fn resize_pillow(image: &Rgb, width: usize, height: usize, filter: Filter) -> Rgb {
    check_target(width, height);
    resize_pillow_window(image, width, height, filter, &Window::whole(width, height))
}

/// The part of [`resize_pillow`]'s result that lies in the window; only the pixels that it needs are read and made.
#[track_caller]
pub(super) fn resize_pillow_window(image: &Rgb, width: usize, height: usize, filter: Filter, window: &Window) -> Rgb {
    window.check(width, height);
    if filter == Filter::Nearest {
        let rows = pillow_nearest(image.height(), height, &window.rows);
        let cols = pillow_nearest(image.width(), width, &window.columns);
        return Rgb::new(cols.len(), rows.len(), pick(image.data(), image.width(), &rows, &cols));
    }
    let mut cols = pillow_taps(image.width(), width, filter, &window.columns);
    let mut rows = pillow_taps(image.height(), height, filter, &window.rows);
    let is_vertical_first = is_vertical_first(image, width, height);
    let (keeps_width, keeps_height) = (image.width() == width, image.height() == height);
    // Only the source positions that the taps read, so that the first pass computes no more than the second needs.
    let (left, right) = shift_to_reach(&mut cols);
    let (top, bottom) = shift_to_reach(&mut rows);
    let cut;
    let is_whole = (right - left, bottom - top) == (image.width(), image.height());
    let image = if is_whole {
        image
    } else {
        cut = image.crop(left, top, right - left, bottom - top);
        &cut
    };
    // A pass that would not change the size is left out.
    let horizontal = |image: &Rgb| if keeps_width { image.clone() } else { convolve_rows(image, &cols) };
    let vertical = |image: &Rgb| if keeps_height { image.clone() } else { convolve_cols(image, &rows) };
    if is_vertical_first { horizontal(&vertical(image)) } else { vertical(&horizontal(image)) }
}

/// Renumbers source positions from the first that any tap reads; returns that first position and the end of the last.
fn shift_to_reach(taps: &mut [Taps]) -> (usize, usize) {
    let first = taps.iter().map(|tap| tap.first).min().unwrap_or(0);
    let end = taps.iter().map(|tap| tap.first + tap.weights.len()).max().unwrap_or(0);
    taps.iter_mut().for_each(|tap| tap.first -= first);
    (first, end)
}

/// Pillow 13 starts with the vertical pass when that removes over twice as many rows as the other removes columns.
///
/// Its pull request 9549 gives the reason (speed); the rule was found by experiment and confirmed in 1,329 cases where it matters.
fn is_vertical_first(image: &Rgb, width: usize, height: usize) -> bool {
    let removed = |from: usize, to: usize| from as i64 - to as i64;
    let rows = removed(image.height(), height);
    rows > 0 && rows > 2 * removed(image.width(), width)
}

/// Source pixels and fixed-point weights of one output position.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Fractional bits of Pillow's weights: 32 less 8 of the pixel and 2 of headroom.
const PILLOW_BITS: u32 = 32 - 8 - 2;

/// The taps of some of `to` output positions.
fn pillow_taps(from: usize, to: usize, filter: Filter, positions: &Range<usize>) -> Vec<Taps> {
    if from == to {
        // Each pixel becomes itself.
        return positions.clone().map(|first| Taps { first, weights: vec![1 << PILLOW_BITS] }).collect();
    }
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.radius() * stretch;
    positions
        .clone()
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            // `as` truncates toward zero and stops at 0, which is Pillow's own rule.
            let first = (center - support + 0.5) as usize;
            let end = from.min((center + support + 0.5) as usize);
            let weights: Vec<f64> = (first..end)
                // Pillow multiplies by the reciprocal; a division would round differently.
                .map(|x| filter.weight((x as f64 - center + 0.5) * (1.0 / stretch)))
                .collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| {
                let scaled = weight / sum * f64::from(1 << PILLOW_BITS);
                (scaled + 0.5_f64.copysign(scaled)) as i32
            };
            Taps { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

fn fixed_to_u8(sum: i32) -> u8 {
    (sum >> PILLOW_BITS).clamp(0, 255) as u8
}

fn convolve_rows(image: &Rgb, taps: &[Taps]) -> Rgb {
    let mut out = Vec::with_capacity(image.height() * taps.len() * CHANNELS);
    for row in image.data().chunks_exact(image.width() * CHANNELS) {
        for tap in taps {
            let mut sums = [1 << (PILLOW_BITS - 1); CHANNELS];
            for (pixel, weight) in row[tap.first * CHANNELS..].chunks_exact(CHANNELS).zip(&tap.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(fixed_to_u8));
        }
    }
    Rgb::new(taps.len(), image.height(), out)
}

fn convolve_cols(image: &Rgb, taps: &[Taps]) -> Rgb {
    let row_length = image.width() * CHANNELS;
    let mut out = Vec::with_capacity(taps.len() * row_length);
    let mut sums = vec![0; row_length];
    for tap in taps {
        sums.fill(1 << (PILLOW_BITS - 1));
        for (row, weight) in image.data()[tap.first * row_length..].chunks_exact(row_length).zip(&tap.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| fixed_to_u8(sum)));
    }
    Rgb::new(image.width(), taps.len(), out)
}

fn pillow_nearest(from: usize, to: usize, positions: &Range<usize>) -> Vec<usize> {
    let scale = from as f64 / to as f64;
    // Pillow adds the step up instead of multiplying; the rounding of the sum decides some pixels.
    std::iter::successors(Some(scale * 0.5), |position| Some(position + scale))
        .take(positions.end)
        .skip(positions.start)
        .map(|position| (position as usize).min(from - 1))
        .collect()
}

/// The pixels at the crossings of `rows` and `cols`.
fn pick(data: &[u8], width: usize, rows: &[usize], cols: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * cols.len() * CHANNELS);
    for &y in rows {
        for &x in cols {
            let at = (y * width + x) * CHANNELS;
            out.extend_from_slice(&data[at..at + CHANNELS]);
        }
    }
    out
}

/// The two source positions around an output position, and the weight of the second.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    first: usize,
    second: usize,
    fraction: f32,
}

/// Positions and fractions of OpenCV's INTER_LINEAR.
///
/// Along columns a position outside the image also loses its fraction. Along rows it keeps it: both neighbours are
/// then the same row, but their two fixed-point products round apart.
fn opencv_pairs(from: usize, to: usize, positions: &Range<usize>, keep_fraction: bool) -> Vec<Pair> {
    let last = from - 1;
    let scale = 1.0 / (to as f64 / from as f64);
    positions
        .clone()
        .map(|i| {
            let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
            let floor = position.floor();
            let inside = floor >= 0.0 && (floor as usize) < last;
            let fraction = if inside || keep_fraction { position - floor } else { 0.0 };
            // The float cast stops at 0, so −1 and 0 are both the first position here.
            Pair { first: (floor as usize).min(last), second: ((floor + 1.0) as usize).min(last), fraction }
        })
        .collect()
}

/// Resizes 8-bit pixels as OpenCV's `resize(image, (width, height), interpolation=INTER_LINEAR)`: no antialiasing.
///
/// An exact halving averages 2×2 pixels, as OpenCV does. Panics when a side is 0.
/// Bit-exact to the fixed-point path of OpenCV 4 and 5, which quantises weights to 11 bits.
#[track_caller]
pub fn resize_opencv(image: &Rgb, width: usize, height: usize) -> Rgb {
    check_target(width, height);
    resize_opencv_window(image, width, height, &Window::whole(width, height))
}

/// The part of [`resize_opencv`]'s result that lies in the window; no more is made.
#[track_caller]
pub(super) fn resize_opencv_window(image: &Rgb, width: usize, height: usize, window: &Window) -> Rgb {
    window.check(width, height);
    let Window { columns, rows } = window;
    if (width, height) == (image.width(), image.height()) {
        return image.crop(columns.start, rows.start, columns.len(), rows.len());
    }
    if (2 * width, 2 * height) == (image.width(), image.height()) {
        return halve(&image.crop(2 * columns.start, 2 * rows.start, 2 * columns.len(), 2 * rows.len()));
    }
    let cols = opencv_pairs(image.width(), width, columns, false);
    let rows = opencv_pairs(image.height(), height, rows, true);
    let (col_weights, row_weights) = (opencv_weights(&cols), opencv_weights(&rows));
    // Four of the horizontal sum's bits go, so that the vertical product fits OpenCV's 16-bit lanes.
    let across = |y: usize, (pair, weights): (&Pair, &[i32; 2]), channel: usize| {
        let at = |x: usize| i32::from(image.data()[(y * image.width() + x) * CHANNELS + channel]);
        (at(pair.first) * weights[0] + at(pair.second) * weights[1]) >> 4
    };
    let mut out = Vec::with_capacity(rows.len() * cols.len() * CHANNELS);
    for (row, [upper, lower]) in rows.iter().zip(&row_weights) {
        for col in cols.iter().zip(&col_weights) {
            for channel in 0..CHANNELS {
                let top = (upper * across(row.first, col, channel)) >> 16;
                let bottom = (lower * across(row.second, col, channel)) >> 16;
                out.push(((top + bottom + 2) >> 2).clamp(0, 255) as u8);
            }
        }
    }
    Rgb::new(cols.len(), rows.len(), out)
}

/// Weights of both neighbours in units of 2⁻¹¹, each rounded half to even.
fn opencv_weights(pairs: &[Pair]) -> Vec<[i32; 2]> {
    pairs
        .iter()
        .map(|pair| [1.0 - pair.fraction, pair.fraction].map(|weight| (weight * 2048.0).round_ties_even() as i32))
        .collect()
}

fn halve(image: &Rgb) -> Rgb {
    let (width, height) = (image.width() / 2, image.height() / 2);
    let row_length = image.width() * CHANNELS;
    let mut out = Vec::with_capacity(height * width * CHANNELS);
    for rows in image.data().chunks_exact(2 * row_length) {
        let (upper, lower) = rows.split_at(row_length);
        for (a, b) in upper.chunks_exact(2 * CHANNELS).zip(lower.chunks_exact(2 * CHANNELS)) {
            for channel in 0..CHANNELS {
                let sum: u16 = [a[channel], a[CHANNELS + channel], b[channel], b[CHANNELS + channel]].map(u16::from).iter().sum();
                out.push(((sum + 2) >> 2) as u8);
            }
        }
    }
    Rgb::new(width, height, out)
}

/// Resizes a map `[h, w]` → `[height, width]` as OpenCV's INTER_LINEAR does on f32.
///
/// Panics when a side is 0. Exact to OpenCV's own code; Intel's IPP, which OpenCV prefers where it is built in,
/// differs by some 1e-5 of the values.
#[track_caller]
pub fn resize_opencv_map(map: &Array, height: usize, width: usize) -> Array {
    check_target(width, height);
    let [from_height, from_width] = map.shape().axes();
    if (from_height, from_width) == (height, width) {
        return map.clone();
    }
    if (from_height, from_width) == (2 * height, 2 * width) {
        let at = |y: usize, x: usize| map.data()[y * from_width + x];
        let quarter = |i: usize| {
            let (y, x) = (2 * (i / width), 2 * (i % width));
            (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1)) * 0.25
        };
        return Array::new([height, width], (0..height * width).map(quarter).collect());
    }
    let rows = opencv_pairs(from_height, height, &(0..height), true);
    interpolate(map, &rows, &opencv_pairs(from_width, width, &(0..width), false))
}

/// Positions and fractions of PyTorch's bilinear interpolation with `align_corners=False`, in f32 as it computes them.
///
/// Of the `to` positions that a grid of `from` is spread over; `from` is cut to the `len` positions from `offset` on.
/// `None` where the position lies outside the cut.
pub(super) fn torch_pairs(from: usize, to: usize, offset: usize, len: usize) -> Vec<Option<Pair>> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|i| {
            // Fused, since PyTorch's compiler fuses it; far from the origin a second rounding would show.
            let position = (i as f32 + 0.5).mul_add(scale, -0.5) - offset as f32;
            let is_inside = position >= -0.5 && position < len as f32 - 0.5;
            let position = position.max(0.0);
            let first = (position as usize).min(len - 1);
            let pair = Pair { first, second: (first + 1).min(len - 1), fraction: position - first as f32 };
            is_inside.then_some(pair)
        })
        .collect()
}

/// Resizes a map `[h, w]` → `[height, width]` as PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
///
/// No antialiasing. Panics when a side is 0. Within 5e-7 of PyTorch's CPU code for values around 1: that code fuses
/// its multiplications.
#[track_caller]
pub fn resize_bilinear_map(map: &Array, height: usize, width: usize) -> Array {
    check_target(width, height);
    let [from_height, from_width] = map.shape().axes();
    if (from_height, from_width) == (height, width) {
        return map.clone();
    }
    // Uncut, every position is inside.
    let pairs = |from, to| torch_pairs(from, to, 0, from).into_iter().flatten().collect::<Vec<_>>();
    interpolate(map, &pairs(from_height, height), &pairs(from_width, width))
}

fn interpolate(map: &Array, rows: &[Pair], cols: &[Pair]) -> Array {
    let data = rows.iter().flat_map(|&row| cols.iter().map(move |&col| interpolate_at(map, row, col))).collect();
    Array::new([rows.len(), cols.len()], data)
}

/// The value between four elements of `map` `[h, w]`: first along the columns, then along the rows.
pub(super) fn interpolate_at(map: &Array, row: Pair, col: Pair) -> f32 {
    let across = |y: usize| {
        let line = &map.data()[y * map.shape().cols()..];
        line[col.first] * (1.0 - col.fraction) + line[col.second] * col.fraction
    };
    across(row.first) * (1.0 - row.fraction) + across(row.second) * row.fraction
}

#[track_caller]
fn check_target(width: usize, height: usize) {
    assert!(width > 0 && height > 0, "cannot resize to {width}×{height}: a side is 0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_pixels_of_the_whole() {
        let pattern =
            |width: usize, height: usize| Rgb::new(width, height, (0..width * height * 3).map(|i| (i * 37 % 251) as u8).collect());
        let filters = [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];
        // Narrowed, widened, both, unchanged, halved, along the columns first (60×20 → 39×10 of the goldens, turned).
        for (from, to) in
            [((40, 9), (17, 5)), ((9, 7), (40, 31)), ((30, 8), (20, 16)), ((12, 12), (12, 12)), ((24, 16), (12, 8)), ((20, 60), (10, 19))]
        {
            let image = pattern(from.0, from.1);
            let window = Window { columns: to.0 / 3..to.0 - 1, rows: to.1 / 4..to.1 - 2 };
            let part = |whole: Rgb| whole.crop(window.columns.start, window.rows.start, window.columns.len(), window.rows.len());
            for filter in filters {
                let found = resize_pillow_window(&image, to.0, to.1, filter, &window);
                assert_eq!(found, part(resize_pillow(&image, to.0, to.1, filter)), "{filter:?} {from:?} → {to:?}");
            }
            assert_eq!(resize_opencv_window(&image, to.0, to.1, &window), part(resize_opencv(&image, to.0, to.1)), "{from:?} → {to:?}");
        }
    }
}
