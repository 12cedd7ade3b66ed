//! UTAD: zero-shot texture anomaly detection (Aota, Tong, Okatani, WACV 2023).
//!
//! A place of a texture is normal when many other places of the same photo look like it: its heat is the mean distance to the 400 nearest
//! of 1600 features.

use std::time::Instant;

use crate::error::{Code, Error, Result};
use crate::graph::Graph;
use crate::image::{Channels, Filter, Fit, Geometry, Normalization, Preprocess, Resampler, Rgb, gaussian_blur, resize_bilinear_map};
use crate::kernels::Extreme;
use crate::methods::{Method, Reading, Scale, Scored, Stages, finite, maximum, minimum, noise};
use crate::models::WideResNet;
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};
use crate::weights::Checkpoint;

/// Side of the square a photo is scaled and cut to.
const FRAME: usize = 320;

/// Nearest features averaged into the heat of a place, itself included.
const NEAREST: usize = 400;

/// Cells of the heat map on each side that see the network's zero padding; they are given the map's minimum.
const BORDER_CELLS: usize = 3;

/// Standard deviation of the final Gaussian, in pixels of the frame.
const BLUR_SIGMA: f64 = 4.0;

/// Pixels on each side of the frame that the image score leaves out.
const MARGIN: usize = 32;

/// UTAD on one network and device.
pub struct Utad {
    program: Program,
    grid: (usize, usize),
    scale: Scale,
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
        let heat = features.distances(features.transposed()).top_mean(Extreme::Smallest, NEAREST);
        let program = Program::compile(device, &graph, &[heat])?;
        let mut method = Utad { program, grid: (rows, cols), scale: Scale { range: [0.0, 1.0], level: None } };
        method.scale = method.scale_of(checkpoint)?;
        Ok(method)
    }

    /// The scale that came with the weights. Weights without one are shown a photo of noise: features have no unit of their own.
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

    /// Mean distance of each cell's feature to the nearest ones: `pixels` `[1, 3, 320, 320]` → `[40, 40]`.
    fn heat(&self, pixels: &Array) -> Result<Array> {
        let heat = self.program.run(&[pixels])?.remove(0);
        finite(heat.reshape([self.grid.0, self.grid.1]), "the heat map of UTAD")
    }
}

impl Method for Utad {
    fn name(&self) -> &'static str {
        "utad"
    }

    fn reading(&self) -> Reading {
        Reading::Released
    }

    fn scale(&self) -> Scale {
        self.scale
    }

    fn score(&self, photo: &Rgb) -> Result<Scored> {
        let start = Instant::now();
        let (pixels, geometry) = preprocess().apply(photo);
        let preprocessed = Instant::now();
        let heat = self.heat(&pixels)?;
        let computed = Instant::now();
        let map = smooth(&heat);
        let score = central_maximum(&map);
        let map = geometry.restore(&map, minimum(map.data()));
        let stages = Stages { preprocess: preprocessed - start, device: computed - preprocessed, postprocess: computed.elapsed() };
        Ok(Scored { map, score, warnings: outside(&geometry), stages })
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
    gaussian_blur(&resize_bilinear_map(&heat, FRAME, FRAME), BLUR_SIGMA)
}

/// The image score: the largest value of the frame without its margin.
fn central_maximum(map: &Array) -> f32 {
    let rows = map.data().chunks(FRAME).skip(MARGIN).take(FRAME - 2 * MARGIN);
    maximum(&rows.flat_map(|row| &row[MARGIN..FRAME - MARGIN]).copied().collect::<Vec<f32>>())
}

/// Says so when the central square leaves much of a photo out.
fn outside(geometry: &Geometry) -> Vec<String> {
    let (height, width) = geometry.resized;
    let share = 1.0 - (FRAME * FRAME) as f64 / (height * width) as f64;
    if share <= 0.01 {
        return Vec::new();
    }
    vec![format!("UTAD inspects the central square; {:.0} % of the photo lies outside and is given the map's minimum", 100.0 * share)]
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
        let score = central_maximum(&map);
        assert!(score > 2.0 && score < 5.0, "{score}");
        // A hot cell whose blur stays inside the margin does not reach the score.
        let mut heat = Array::new([40, 40], vec![1.0; 1600]);
        heat.data_mut()[3 * 40 + 3] = 5.0;
        assert!(central_maximum(&smooth(&heat)) < score);
    }

    #[test]
    fn only_elongated_photos_are_warned_of() {
        assert!(outside(&preprocess().fit.geometry(250, 250)).is_empty());
        assert!(outside(&preprocess().fit.geometry(100, 300))[0].contains("67 %"));
    }
}
