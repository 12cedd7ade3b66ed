//! Image tiling: each tile of the image is encoded on its own, in place of windows over the tokens of the whole image (Jeong et al. 2023,
//! ablation "image tiling").

use crate::error::{Code, Error, Result};
use crate::image::Rgb;
use crate::methods::image_program::{ImageProgram, upsampled};
use crate::methods::prompts::PromptEnsemble;
use crate::methods::winclip::{harmonic_map, harmonic_mean, windows};
use crate::methods::{Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf};
use crate::models::clip::{self, Clip};
use crate::run::Device;
use crate::tensor::{Array, Precision};

/// Cells along each side of the image.
const CELLS: usize = 6;

/// Cells along each side of a tile.
const TILE: usize = 2;

/// Tiles along each side of the image; a row of them runs as one batch.
///
/// A batch of all tiles would exceed the largest binding of common adapters: with a large tower, 25 images of 577 tokens have 236 MB of
/// hidden activations, five of them 47 MB.
const TILES: usize = CELLS - TILE + 1;

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "image-tiling",
    about: "Baseline: tiles of the image against text",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Paper],
    localizes: true,
    score: ScoreOf::Image,
    suits_f16: false,
    build: |context| {
        let clip = context.clip()?;
        let prototypes = context.prototypes(&clip, &PromptEnsemble::winclip(&context.recipe.class, Reading::Paper))?;
        Ok(Box::new(ImageTiling::new(context.device, &clip, &prototypes, context.recipe.precision)?))
    },
};

/// Image tiling on one network and device: every 2 × 2 block of the image's 6 × 6 cells is compared with the texts as an image of its own.
///
/// A cell gets the harmonic mean of the tiles that cover it, then that with the whole image; the score is the whole image's.
pub struct ImageTiling {
    whole: ImageProgram,
    tiles: ImageProgram,
}

impl ImageTiling {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(device: &Device, clip: &Clip, prototypes: &Array, precision: Precision) -> Result<ImageTiling> {
        let of_images = |batch| ImageProgram::of_whole(device, clip, prototypes, batch, precision);
        Ok(ImageTiling { whole: of_images(1)?, tiles: of_images(TILES)? })
    }

    /// The pixels of a row of tiles `[5, 3, s, s]`.
    fn batch(&self, row: &[Rgb]) -> Array {
        let pixels: Vec<Array> = row.iter().map(|tile| self.tiles.preprocess(tile).0).collect();
        let [_, channels, height, width] = pixels[0].shape().axes();
        Array::new([row.len(), channels, height, width], pixels.iter().flat_map(|pixels| pixels.data()).copied().collect())
    }
}

/// The tiles, row by row.
///
/// Errors: an image of fewer pixels than cells along a side.
fn tiles(image: &Rgb) -> Result<Vec<Rgb>> {
    let (width, height) = (image.width(), image.height());
    if width.min(height) < CELLS {
        let message = format!("the image is {width}×{height}, but image tiling cuts it into {CELLS}×{CELLS} cells");
        return Err(Error::new(Code::TooSmall, message).hint("use another method for images this small"));
    }
    let (columns, rows) = (borders(width), borders(height));
    let tile = |cells: Vec<usize>| {
        let (first, last) = (cells[0], cells[cells.len() - 1]);
        let (left, right) = (columns[first % CELLS], columns[last % CELLS + 1]);
        let (top, bottom) = (rows[first / CELLS], rows[last / CELLS + 1]);
        image.crop(left, top, right - left, bottom - top)
    };
    Ok(windows(CELLS, TILE).into_iter().map(tile).collect())
}

/// Borders of the cells along `length` pixels: equal shares, rounded half to even.
fn borders(length: usize) -> [usize; CELLS + 1] {
    std::array::from_fn(|at| ((at * length) as f64 / CELLS as f64).round_ties_even() as usize)
}

impl Method for ImageTiling {
    /// Probabilities.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let tiles = tiles(image)?;
        let (whole, geometry) = self.whole.preprocess(image);
        let batches: Vec<Array> = tiles.chunks(TILES).map(|row| self.batch(row)).collect();
        clock.preprocessed();
        let score = self.whole.anomalous(&whole)?[0];
        let of_tiles = batches.iter().map(|batch| self.tiles.anomalous(batch)).collect::<Result<Vec<Vec<f32>>>>()?;
        clock.computed();
        let cells = harmonic_mean(&[harmonic_map(&of_tiles.concat(), CELLS, TILE), vec![f64::from(score); CELLS * CELLS]]);
        let map = upsampled(&cells, CELLS, &geometry);
        Ok(Finding::whole(map, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_rounded_half_to_even() {
        // Sixths of 63: 10.5, 21, 31.5, 42, 52.5.
        assert_eq!(borders(63), [0, 10, 21, 32, 42, 52, 63]);
        assert_eq!(borders(6), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn tiles_are_two_cells_wide_and_cover_the_image_row_by_row() {
        let image = Rgb::new(63, 12, (0..63 * 12 * 3).map(|at| at as u8).collect());
        let tiles = tiles(&image).unwrap();
        assert_eq!(tiles.len(), 25);
        assert_eq!(tiles[1], image.crop(10, 0, 22, 4));
        assert_eq!(tiles[24], image.crop(42, 8, 21, 4));
    }

    #[test]
    fn an_image_of_fewer_pixels_than_cells_is_refused() {
        let error = tiles(&Rgb::new(40, 5, vec![0; 600])).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::TooSmall, "the image is 40×5, but image tiling cuts it into 6×6 cells"));
        assert!(tiles(&Rgb::new(6, 6, vec![0; 108])).is_ok());
    }
}
