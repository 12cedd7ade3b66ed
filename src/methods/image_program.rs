//! Image programs: programs on CLIP's image tower, with its preprocessing and the upsampling of patch values to a map of the image.

use crate::error::{Code, Error, Result};
use crate::graph::{Graph, KeyRanges, Tensor};
use crate::image::{Channels, Filter, Fit, Geometry, Preprocess, Resampler, Rgb, resize_bilinear_map};
use crate::methods::text_prototypes::{TEMPERATURE, anomalous, class_probabilities, prototype_columns};
use crate::methods::{Clock, Finding, finite, maximum};
use crate::models::clip::{Block, Clip};
use crate::run::{Device, Program};
use crate::tensor::{Array, Precision};

/// Preprocessing for a CLIP tower: the image is stretched to its square input, whatever the proportions.
///
/// WinCLIP's public reproductions do so; open_clip's own transform would crop the longer side.
pub(super) fn preprocessing(clip: &Clip) -> Preprocess {
    let side = clip.image.image_size();
    Preprocess {
        fit: Fit::Stretch { height: side, width: side },
        resampler: Resampler::Pillow(Filter::Bicubic),
        channels: Channels::Rgb,
        normalization: clip.config.normalization,
    }
}

/// Upsamples a map of `grid` × `grid` cells to the size of the image: bilinear to the frame, then bilinear to the image.
pub(super) fn upsampled(cells: &[impl Copy + Into<f64>], grid: usize, geometry: &Geometry) -> Array {
    let map = Array::new([grid, grid], cells.iter().map(|&x| x.into() as f32).collect());
    let (height, width) = geometry.frame;
    geometry.restore(&resize_bilinear_map(&map, height, width), 0.0)
}

/// The last block of the image tower. Errors: a tower without blocks.
pub(super) fn last_block(clip: &Clip) -> Result<&Block> {
    let block = clip.image.transformer.resblocks.last();
    block.ok_or_else(|| Error::new(Code::WeightsMismatch, "the image tower has no blocks"))
}

/// The input of the last block for one image: `pixels` `[1, 3, s, s]` → `[1 + n, width]`.
pub(super) fn before_last_block<'g>(clip: &Clip, pixels: Tensor<'g>) -> Tensor<'g> {
    let key_ranges = KeyRanges::sequences([clip.image.tokens_per_image()]);
    clip.image.transformer.before_last(clip.image.embed_tokens(pixels), &key_ranges)
}

/// A compiled program that runs CLIP's image tower on one or several images, with the preprocessing and the upsampling around it.
pub(super) struct ImageProgram {
    program: Program,
    preprocess: Preprocess,
    grid: usize,
}

impl ImageProgram {
    /// Compiles the outputs that `record` computes from the pixels `[batch, 3, s, s]` of `batch` images.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(
        device: &Device,
        clip: &Clip,
        batch: usize,
        precision: Precision,
        record: impl for<'g> FnOnce(Tensor<'g>) -> Vec<Tensor<'g>>,
    ) -> Result<ImageProgram> {
        let graph = Graph::new(precision);
        let side = clip.image.image_size();
        let outputs = record(graph.input("pixels", [batch, 3, side, side]));
        Ok(ImageProgram {
            program: Program::compile(device, &graph, &outputs)?,
            preprocess: preprocessing(clip),
            grid: clip.image.grid(),
        })
    }

    /// A program for the class probabilities `[batch, 2]` of whole images.
    pub fn of_whole(device: &Device, clip: &Clip, prototypes: &Array, batch: usize, precision: Precision) -> Result<ImageProgram> {
        ImageProgram::new(device, clip, batch, precision, |pixels| {
            let images = clip.image.forward(pixels).images; // [batch, embed]
            vec![class_probabilities(images, &prototype_columns(prototypes), TEMPERATURE)]
        })
    }

    /// Preprocesses an image: its pixels `[1, 3, s, s]`, and where they came from.
    pub fn preprocess(&self, image: &Rgb) -> (Array, Geometry) {
        self.preprocess.apply(image)
    }

    /// The outputs for `pixels` `[batch, 3, s, s]`. Errors: a device fault, or numbers that are not finite.
    pub fn run(&self, pixels: &Array) -> Result<Vec<Array>> {
        let outputs = self.program.run(&[pixels])?;
        outputs.into_iter().map(|output| finite(output, "an output of the image tower")).collect()
    }

    /// The anomalous column of the first output: with [`ImageProgram::of_whole`], the probability that each image is anomalous.
    pub fn anomalous(&self, pixels: &Array) -> Result<Vec<f32>> {
        Ok(anomalous(&self.run(pixels)?[0]))
    }

    /// Scores one image: `finish` turns the outputs into a map of the image's size, and a score.
    pub fn score(&self, image: &Rgb, clock: &mut Clock, finish: impl FnOnce(&[Array], &Geometry) -> (Array, f32)) -> Result<Finding> {
        let (pixels, geometry) = self.preprocess(image);
        clock.preprocessed();
        let outputs = self.run(&pixels)?;
        clock.computed();
        let (map, score) = finish(&outputs, &geometry);
        Ok(Finding::whole(map, score))
    }

    /// Scores one image patch by patch: `finish` turns the outputs into a value for each patch. The image's score is the largest of them.
    pub fn score_patches(&self, image: &Rgb, clock: &mut Clock, finish: impl FnOnce(&[Array]) -> Vec<f32>) -> Result<Finding> {
        self.score(image, clock, |outputs, geometry| {
            let cells = finish(outputs);
            (upsampled(&cells, self.grid, geometry), maximum(&cells))
        })
    }
}
