//! UTAD: zero-shot texture anomaly detection (Aota, Tong, Okatani, WACV 2023).
//!
//! A location of a texture is normal when many other locations of the same image look like it: its anomaly is the mean distance to the 400
//! nearest of 1600 features.

use crate::error::{Code, Error, Result};
use crate::graph::Graph;
use crate::image::{
    BoundingBox, Channels, Filter, Fit, Geometry, Normalization, Preprocess, Resampler, Rgb, gaussian_blur, resize_bilinear_map,
};
use crate::kernels::Selection;
use crate::methods::tiles::{SquareFrame, Tiles, inspect_tiles};
use crate::methods::{Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf, finite, maximum, minimum, noise};
use crate::models::{WideResNet, wide_resnet};
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};
use crate::weights::Checkpoint;

/// Side of the square that images are scaled and cropped to.
const FRAME: usize = 320;

/// Nearest features averaged into the anomaly of a location, itself included.
const NEAREST: usize = 400;

/// Border cells of the map on each side, which the network's zero padding affects; they are set to the map's minimum.
const BORDER_CELLS: usize = 3;

/// Standard deviation of the final Gaussian, in pixels of the frame.
const BLUR_SIGMA: f64 = 4.0;

/// Pixels on each side of the frame that the image score leaves out.
const MARGIN: usize = 32;

/// Border cells of a tile on each side that feel the zeros around it: four of layer 2, of the network inside the library, and one more by pooling.
///
/// The published method overwrites three, and shows a seam at its border. Of WideResNet-50-2 zeros reach seven, the outer ones weakly.
const PADDED_CELLS: usize = 5;

/// The frame as tiles need it: the cells that feel zeros, 8 pixels each, are its margin.
const TILE: SquareFrame = SquareFrame { side: FRAME, margin: FRAME / 40 * PADDED_CELLS };

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "utad",
    about: "For textures: what differs from most of the image (Aota et al. 2023)",
    networks: &[&wide_resnet::NETWORK],
    inputs: MethodInputs { tiles: Some(TILE), ..MethodInputs::IMAGES },
    readings: &[Reading::Released],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: true,
    build: |context| {
        let recipe = context.recipe;
        Ok(Box::new(Utad::new(context.device, context.checkpoint(), recipe.precision)?.with_tiles(recipe.tiles)))
    },
};

/// UTAD on one network and device.
pub struct Utad {
    program: Program,
    grid: (usize, usize),
    scale: Scale,
    tiles: Option<Tiles>,
}

impl Utad {
    /// Prepares the method; `checkpoint` holds a WideResNet with at least two layers.
    ///
    /// Errors: other weights, or a device that cannot hold them.
    pub fn new(device: &Device, checkpoint: &Checkpoint, precision: Precision) -> Result<Utad> {
        let network = WideResNet::load(&checkpoint.root())?;
        checkpoint.finish();
        let graph = Graph::new(precision);
        let pixels = graph.input("pixels", [1, 3, FRAME, FRAME]);
        let layers = network.forward(pixels);
        let Some(&layer2) = layers.get(1) else {
            let message = format!("UTAD reads layer 2, {} holds {} layers", checkpoint.name(), layers.len());
            return Err(Error::new(Code::WeightsMismatch, message));
        };
        let [_, rows, cols, channels] = layer2.shape().axes();
        let features = layer2.average_pool(3, 1, 1).reshape([rows * cols, channels]).cast(DType::F32);
        let heat = features.distances(features.transposed()).top_mean(Selection::Smallest, NEAREST);
        let program = Program::compile(device, &graph, &[heat])?;
        let mut method = Utad { program, grid: (rows, cols), scale: Scale { range: [0.0, 1.0], level: None }, tiles: None };
        method.scale = method.scale_of(checkpoint)?;
        Ok(method)
    }

    /// Inspects squares that together cover the image, one by one. The published method, which is the default, inspects the central square only
    /// and leaves its margin out of the score.
    pub fn with_tiles(mut self, tiles: Option<Tiles>) -> Utad {
        self.tiles = tiles;
        self
    }

    /// The scale stored with the weights; without one the range follows from an image of noise, since features have no unit of their own.
    fn scale_of(&self, checkpoint: &Checkpoint) -> Result<Scale> {
        let metadata = checkpoint.metadata();
        let number = |text: &str| text.trim().parse::<f32>().ok().filter(|value| value.is_finite());
        if let Some((low, high)) = metadata.get("utad.range").and_then(|text| text.split_once(','))
            && let (Some(low), Some(high)) = (number(low), number(high))
        {
            return Ok(Scale { range: [low, high], level: metadata.get("utad.level").and_then(|text| number(text)) });
        }
        let noise = self.heat(&preprocess().apply(&noise(FRAME)).0)?;
        Ok(Scale { range: [0.0, 2.0 * maximum(noise.data())], level: None })
    }

    /// Map and score of the central square of an image: `smooth` makes the map of the frame, whose `margin` the score leaves out.
    fn inspect_square(&self, image: &Rgb, clock: &mut Clock, smooth: fn(&Array) -> Array, margin: usize) -> Result<(Array, f32)> {
        let (pixels, geometry) = preprocess().apply(image);
        clock.preprocessed();
        let heat = self.heat(&pixels)?;
        clock.computed();
        let map = smooth(&heat);
        Ok((geometry.restore(&map, minimum(map.data())), central_maximum(&map, margin)))
    }

    /// Mean distance of each cell's feature to the nearest ones: `pixels` `[1, 3, 320, 320]` → `[40, 40]`.
    fn heat(&self, pixels: &Array) -> Result<Array> {
        let heat = self.program.run(&[pixels])?.remove(0);
        finite(heat.reshape([self.grid.0, self.grid.1]), "the heat map of UTAD")
    }
}

impl Method for Utad {
    fn scale(&self) -> Scale {
        self.scale
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        match &self.tiles {
            Some(tiles) => {
                inspect_tiles(image, tiles, TILE, clock, |tile, clock| self.inspect_square(tile, clock, smooth_tile, TILE.margin))
            }
            None => {
                let (map, score) = self.inspect_square(image, clock, smooth, MARGIN)?;
                Ok(Finding::of_part(map, score, inspected(&preprocess().fit.geometry(image.height(), image.width()))))
            }
        }
    }
}

/// RGB, the shorter side scaled to 320 by Lanczos, the central square, ImageNet statistics.
fn preprocess() -> Preprocess {
    Preprocess {
        fit: Fit::ShorterSide { size: FRAME, crop: FRAME },
        resampler: Resampler::Pillow(Filter::Lanczos),
        channels: Channels::Rgb,
        normalization: Normalization::IMAGENET,
    }
}

/// The heat map at the size of the frame: border cells set to the minimum, bilinear, Gaussian.
fn smooth(heat: &Array) -> Array {
    let [rows, cols] = heat.shape().axes();
    let lowest = minimum(heat.data());
    let mut heat = heat.clone();
    for (at, value) in heat.data_mut().iter_mut().enumerate() {
        let (row, col) = (at / cols, at % cols);
        if row.min(col) < BORDER_CELLS || row >= rows - BORDER_CELLS || col >= cols - BORDER_CELLS {
            *value = lowest;
        }
    }
    upsampled(&heat)
}

/// The heat map of a tile at the size of the frame: cells that feel the zeros around it take the value of the nearest that does not.
fn smooth_tile(heat: &Array) -> Array {
    let [rows, cols] = heat.shape().axes();
    let inside = |at: usize, length: usize| at.clamp(PADDED_CELLS, length - 1 - PADDED_CELLS);
    let nearest = |at: usize| heat.data()[inside(at / cols, rows) * cols + inside(at % cols, cols)];
    upsampled(&Array::new([rows, cols], (0..rows * cols).map(nearest).collect()))
}

/// A map of cells at the size of the frame: bilinear, Gaussian.
fn upsampled(heat: &Array) -> Array {
    gaussian_blur(&resize_bilinear_map(heat, FRAME, FRAME), BLUR_SIGMA)
}

/// The score: the largest value of the frame without its margin.
fn central_maximum(map: &Array, margin: usize) -> f32 {
    let rows = map.data().chunks(FRAME).skip(margin).take(FRAME - 2 * margin);
    maximum(&rows.flat_map(|row| &row[margin..FRAME - margin]).copied().collect::<Vec<f32>>())
}

/// The part of an image that decides its score: the central square without its margin.
fn inspected(geometry: &Geometry) -> BoundingBox {
    geometry.from_frame([MARGIN, MARGIN, FRAME - MARGIN, FRAME - MARGIN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_cells_take_the_minimum_and_the_score_leaves_the_margin_out() {
        let mut heat = Array::new([40, 40], vec![1.0; 1600]);
        heat.data_mut()[0] = 100.0; // a corner: overwritten
        heat.data_mut()[20 * 40 + 20] = 5.0;
        let map = smooth(&heat);
        assert!((map.data()[0] - 1.0).abs() < 1e-6);
        let score = central_maximum(&map, MARGIN);
        assert!(score > 2.0 && score < 5.0, "{score}");
        // A hot cell whose blur stays inside the margin does not reach the score.
        let mut heat = Array::new([40, 40], vec![1.0; 1600]);
        heat.data_mut()[3 * 40 + 3] = 5.0;
        assert!(central_maximum(&smooth(&heat), MARGIN) < score);
    }

    #[test]
    fn cells_of_a_tile_that_feel_zeros_take_their_nearest_neighbours_value() {
        let mut heat = Array::new([40, 40], vec![1.0; 1600]);
        for at in 0..40 * 5 {
            heat.data_mut()[at] = 100.0; // the upper five rows
        }
        assert!(smooth_tile(&heat).data().iter().all(|value| (value - 1.0).abs() < 1e-5));
        heat.data_mut()[5 * 40 + 20] = 5.0; // the sixth row counts, and reaches up to the edge
        assert!(smooth_tile(&heat).data()[164] > 2.0 && central_maximum(&smooth_tile(&heat), TILE.margin) > 2.0);
    }

    #[test]
    fn the_margin_and_what_lies_outside_the_square_are_not_inspected() {
        let corners = |width, height| inspected(&preprocess().fit.geometry(height, width)).corners();
        assert_eq!(corners(250, 250), [25.0, 25.0, 225.0, 225.0]);
        assert_eq!(corners(100, 300), [10.0, 110.0, 90.0, 190.0]);
    }
}
