//! Tiles: squares that together cover an image, inspected one by one, so that a method with a fixed square frame sees all of it.
//!
//! A method that scores the centre of its frame alone leaves out the margin of each square. Therefore the image gets a mirrored border that
//! takes the margins of the outer squares, and neighbours overlap at least so far that their scored parts touch.

use std::fmt;

use serde::Serialize;

use crate::error::{Code, Error, Remedy, Result};
use crate::image::Rgb;
use crate::methods::{Clock, Finding};
use crate::tensor::Array;

/// Most squares of an image; each is one run of the network.
const MAX_SQUARES: usize = 4096;

/// Most squares along the shorter side: those of a square image are less than [`MAX_SQUARES`].
const MAX_COUNT: usize = 30;

/// Share of their side that neighbours overlap by where nothing else is asked for.
const USUAL_OVERLAP: f64 = 0.2;

/// Most that neighbours may share of their side.
const MAX_OVERLAP: f64 = 0.9;

/// The frame of a method that scales the shorter side of an image to it and takes the central square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquareFrame {
    /// Side that the shorter side of an image is scaled to, in pixels.
    pub side: usize,
    /// Pixels of it on each side that do not decide the score: a margin, or what a central crop cuts off.
    pub margin: usize,
}

impl SquareFrame {
    /// Share of the side that lies in the two margins: neighbours have to overlap so far, so that no gap is left between them.
    fn least_overlap(self) -> f64 {
        (2 * self.margin) as f64 / self.side as f64
    }
}

/// How an image is cut into squares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tiles {
    /// Squares that span the shorter side. 1: they are as large as it, and seen in the scale in which a method sees an image without tiles; more
    /// are smaller, and show smaller defects. Where margins are not scored, the mirrored border makes it one more.
    count: usize,
    /// Share of their side that neighbours overlap by; `None` for the usual share, which depends on the method.
    overlap: Option<f64>,
}

impl fmt::Display for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tiles along the shorter side", self.count)?;
        self.overlap.map_or(Ok(()), |overlap| write!(f, " overlapping by {overlap}"))
    }
}

impl Tiles {
    /// Squares `count` of which span the shorter side, and neighbours of which overlap by this share of their side; by default by 0.2, or by as much as the
    /// method needs where that is more.
    ///
    /// Errors with [`Code::Usage`]: no square or more than 30, or an overlap that is not between 0 and 0.9.
    pub fn new(count: usize, overlap: Option<f64>) -> Result<Tiles> {
        if !(1..=MAX_COUNT).contains(&count) {
            let message = format!("{count} tiles along the shorter side: from 1 to {MAX_COUNT} are possible");
            return Err(Error::new(Code::Usage, message));
        }
        if let Some(overlap) = overlap
            && !(0.0..=MAX_OVERLAP).contains(&overlap)
        {
            return Err(Error::new(
                Code::Usage,
                format!("tiles cannot overlap by {overlap}: from 0 to {MAX_OVERLAP} of their side is possible"),
            ));
        }
        Ok(Tiles { count, overlap })
    }

    /// Squares that span the shorter side.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The same with the overlap that is used with this frame, that of the method `name`.
    ///
    /// Errors with [`Code::Usage`]: an overlap that leaves gaps between the scored parts of squares.
    pub fn of_method(self, name: &str, frame: SquareFrame) -> Result<Tiles> {
        let (overlap, least) = (self.overlap(frame), frame.least_overlap());
        if overlap >= least {
            return Ok(Tiles { overlap: Some(overlap), ..self });
        }
        let message = format!(
            "tiles of `{name}` that overlap by {overlap} leave gaps: the margins of two neighbours, which it does not score, are {least} of their \
             side"
        );
        Err(Error::new(Code::Usage, message).hint(format!("let them overlap by {least} or more")))
    }

    fn overlap(&self, frame: SquareFrame) -> f64 {
        self.overlap.unwrap_or(USUAL_OVERLAP.max(frame.least_overlap()))
    }

    /// The pixels of each square of an image.
    ///
    /// Errors: those of [`Tiles::squares`].
    pub fn cut(&self, frame: SquareFrame, image: &Rgb) -> Result<Vec<Rgb>> {
        let squares = self.squares(frame, image.width(), image.height())?;
        Ok(squares.cut(image).map(|(_, square)| square).collect())
    }

    /// The squares of an image of this size.
    ///
    /// Errors with [`Code::TooLarge`]: more than 4096 squares.
    pub fn squares(&self, frame: SquareFrame, width: usize, height: usize) -> Result<Squares> {
        let step_by_side = 1.0 - self.overlap(frame);
        let side = (width.min(height) as f64 / (1.0 + (self.count - 1) as f64 * step_by_side)).ceil() as usize;
        let border = (side * frame.margin).div_ceil(frame.side);
        let step = ((step_by_side * side as f64) as usize).max(1);
        let along = |length: usize| starts(length + 2 * border - side, step);
        let (columns, rows) = (along(width), along(height));
        if columns.len() * rows.len() > MAX_SQUARES {
            let number = columns.len() * rows.len();
            let message = format!("an image of {width}×{height} would be cut into {number} tiles, more than {MAX_SQUARES}");
            return Err(Error::new(Code::TooLarge, message).hint(Remedy::UseFewerTiles));
        }
        // The whole pixels that lie in the margin: those on its edge are taken as scored, so that rounding leaves no gap.
        let margin = side * frame.margin / frame.side;
        Ok(Squares { size: (width, height), border, side, margin, columns, rows })
    }
}

/// Starts of squares along a side: every `step`, the last at `end`, where it ends with the image.
fn starts(end: usize, step: usize) -> Vec<usize> {
    (0..end).step_by(step).chain([end]).collect()
}

/// The squares of an image, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squares {
    /// Width and height of the image.
    size: (usize, usize),
    /// Width of the mirrored border around the image.
    border: usize,
    /// Side of each square.
    side: usize,
    /// Pixels of a square on each side that are not scored.
    margin: usize,
    /// First columns and rows of the squares, in the image with its border.
    columns: Vec<usize>,
    rows: Vec<usize>,
}

impl Squares {
    /// Cuts the squares out of the image, one at a time: column and row of the upper left corner in the image with its border, and the pixels.
    ///
    /// Panics where the image is of another size.
    #[track_caller]
    pub fn cut<'a>(&'a self, image: &Rgb) -> impl Iterator<Item = ((usize, usize), Rgb)> + 'a {
        assert!((image.width(), image.height()) == self.size, "squares of {:?} in {}×{}", self.size, image.width(), image.height());
        let image = image.reflected(self.border);
        let origins = self.rows.iter().flat_map(|&top| self.columns.iter().map(move |&left| (left, top)));
        origins.map(move |(left, top)| ((left, top), image.crop(left, top, self.side, self.side)))
    }

    /// The scored part of a square that begins here, as columns and rows of the image.
    fn scored(&self, (left, top): (usize, usize)) -> [std::ops::Range<usize>; 2] {
        let along = |start: usize, length: usize| {
            let inside = |at: usize| at.saturating_sub(self.border).min(length);
            inside(start + self.margin)..inside(start + self.side - self.margin)
        };
        [along(left, self.size.0), along(top, self.size.1)]
    }
}

/// Inspects the squares of an image one by one. Each pixel gets the largest value of the squares that score it, the image the largest score.
///
/// `inspect` turns a square into its map `[side, side]` and its score; it ends the stages of preprocessing and of the device.
///
/// Errors: those of [`Tiles::squares`] and of `inspect`.
pub fn inspect_tiles(
    image: &Rgb,
    tiles: &Tiles,
    frame: SquareFrame,
    clock: &mut Clock,
    mut inspect: impl FnMut(&Rgb, &mut Clock) -> Result<(Array, f32)>,
) -> Result<Finding> {
    let squares = tiles.squares(frame, image.width(), image.height())?;
    let mut whole = Array::new([image.height(), image.width()], vec![f32::NEG_INFINITY; image.width() * image.height()]);
    let mut score = f32::NEG_INFINITY;
    for (origin, square) in squares.cut(image) {
        let (map, score_of_square) = inspect(&square, clock)?;
        squares.raise(&mut whole, origin, &map);
        score = score.max(score_of_square);
        clock.postprocessed();
    }
    Ok(Finding::whole(whole, score))
}

impl Squares {
    /// Raises the values of the image's map to those of a square's where they are larger, as far as the square scores it.
    #[track_caller]
    fn raise(&self, whole: &mut Array, (left, top): (usize, usize), map: &Array) {
        assert!(map.shape().axes() == [self.side, self.side], "a map of {:?} for squares of {}", map.shape(), self.side);
        let [columns, rows] = self.scored((left, top));
        for row in rows {
            let from = (row + self.border - top) * self.side + self.border - left;
            let values = &map.data()[from + columns.start..from + columns.end];
            let pixels = &mut whole.data_mut()[row * self.size.0..][columns.clone()];
            pixels.iter_mut().zip(values).for_each(|(most, &value)| *most = most.max(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UTAD's frame, one with a tenth as its margin, one with a central crop of 224 of 256, and one without a margin.
    const FRAMES: [SquareFrame; 4] = [
        SquareFrame { side: 320, margin: 40 },
        SquareFrame { side: 320, margin: 32 },
        SquareFrame { side: 256, margin: 16 },
        SquareFrame { side: 240, margin: 0 },
    ];

    fn tiles(count: usize) -> Tiles {
        Tiles::new(count, None).unwrap()
    }

    #[test]
    fn the_scored_parts_cover_every_pixel_whatever_the_size() {
        for frame in FRAMES {
            for (width, height) in
                [(8, 8), (9, 250), (250, 250), (251, 249), (333, 100), (97, 1000), (640, 480), (1283, 1168), (4000, 3000)]
            {
                for (count, overlap) in [(1, 0.25), (2, 0.25), (3, 0.25), (1, 0.5), (3, 0.61)] {
                    let squares = Tiles::new(count, Some(overlap)).unwrap().squares(frame, width, height).unwrap();
                    for (starts, length) in [(&squares.columns, width), (&squares.rows, height)] {
                        // In exact numbers: what the frame scores, scaled to the square.
                        let margin = squares.side as f64 * frame.margin as f64 / frame.side as f64;
                        let mut covered = squares.border as f64;
                        for &start in starts {
                            let start = start as f64 + margin;
                            assert!(start <= covered + 1e-9, "{width}×{height} by {count}: {start} leaves a gap behind {covered}");
                            covered = start + squares.side as f64 - 2.0 * margin;
                        }
                        assert!(covered + 1e-9 >= (squares.border + length) as f64, "{width}×{height} by {count}");
                        assert_eq!(starts[starts.len() - 1] + squares.side, length + 2 * squares.border);
                    }
                }
            }
        }
    }

    #[test]
    fn every_pixel_gets_its_value_and_margins_none() {
        for (frame, count) in FRAMES.into_iter().flat_map(|frame| [1, 2, 3].map(|count| (frame, count))) {
            let (width, height) = (61, 37);
            let image = Rgb::new(width, height, (0..width * height).flat_map(|at| [(at % 251) as u8; 3]).collect());
            let margin = |side: usize| side * frame.margin / frame.side;
            let found = inspect_tiles(&image, &tiles(count), frame, &mut Clock::stopped(), |square, _| {
                let side = square.width();
                let is_scored = |at: usize| (margin(side)..side - margin(side)).contains(&at);
                let value = |at: usize| {
                    let red = f32::from(square.data()[3 * at]);
                    if is_scored(at % side) && is_scored(at / side) { red } else { 1000.0 }
                };
                Ok((Array::new([side, side], (0..side * side).map(value).collect()), side as f32))
            });
            let expected: Vec<f32> = image.data().iter().step_by(3).map(|&red| f32::from(red)).collect();
            assert_eq!(found.unwrap().map.data(), expected, "{frame:?} by {count}");
        }
    }

    #[test]
    fn more_squares_are_smaller_ones() {
        let frame = FRAMES[1];
        let of = |count| {
            let squares = tiles(count).squares(frame, 500, 250).unwrap();
            (squares.columns.len(), squares.rows.len(), squares.side, squares.border)
        };
        // 250 / (1 + 0.8) = 138.9, 250 / (1 + 1.6) = 96.2; a tenth of that is mirrored on each side.
        assert_eq!([of(1), of(2), of(3)], [(3, 2, 250, 25), (5, 3, 139, 14), (7, 4, 97, 10)]);
        let squares = Tiles::new(2, Some(0.5)).unwrap().squares(frame, 250, 250).unwrap();
        assert_eq!((squares.side, &squares.columns), (167, &vec![0, 83, 117]));
        // Without margins, as many as were asked for.
        let squares = tiles(2).squares(FRAMES[3], 250, 250).unwrap();
        assert_eq!((squares.border, &squares.rows), (0, &vec![0, 111]));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        for (count, overlap) in [(0, 0.2), (31, 0.2), (1, -0.1), (1, 0.95), (1, f64::NAN)] {
            assert_eq!(Tiles::new(count, Some(overlap)).unwrap_err().code(), Code::Usage, "{count} {overlap}");
        }
        let error = tiles(2).squares(FRAMES[1], 65_000, 100).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::TooLarge, "an image of 65000×100 would be cut into 4434 tiles, more than 4096"));
        assert!(tiles(1).squares(FRAMES[0], 65_000, 100).is_ok());
        let of_method = |overlap, frame| Tiles::new(1, overlap).unwrap().of_method("utad", frame);
        assert!(of_method(Some(0.2), FRAMES[0]).unwrap_err().message().contains("leave gaps"));
        let overlaps = FRAMES.map(|frame| of_method(None, frame).unwrap().overlap);
        assert_eq!(overlaps, [Some(0.25), Some(0.2), Some(0.2), Some(0.2)]);
        assert!(of_method(Some(0.0), FRAMES[3]).is_ok());
    }
}
