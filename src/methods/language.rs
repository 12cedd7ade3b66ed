//! What the methods on CLIP share: the two prototypes, the scores against them, the frame of a photo, and the way from patches to pixels.

use crate::error::{Code, Error, Result};
use crate::graph::{Epilogue, Graph, KeyRanges, Tensor};
use crate::image::{Channels, Filter, Fit, Geometry, Preprocess, Resampler, Rgb, resize_bilinear_map};
use crate::methods::prompts::Average;
use crate::methods::{Clock, Finding, LEAST_NORM, finite, maximum};
use crate::models::clip::{Block, Clip};
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};
use crate::weights::Weight;

/// What cosines are divided by before the softmax over the two states. WinCLIP prints a symbol only; 0.07 is CLIP's value at the start of its
/// training, and that of the public reproduction.
pub const TEMPERATURE: f32 = 0.07;

/// CLIP's learnt temperature, 1 / 100, which MaskCLIP and Trans-MM take.
pub const LEARNT_TEMPERATURE: f32 = 0.01;

/// Tokens of texts that run at once: the widest activations of a large tower stay within what adapters bind.
const MAX_TOKENS: usize = 4096;

/// Embeddings of texts given as token ids, projected and not normalised: `[texts, embed]`.
///
/// `done` is told how many texts are through. Errors: ids that the tower does not know, a device fault, or an error of `done`.
pub fn embed_texts(
    device: &Device,
    clip: &Clip,
    texts: &[Vec<u32>],
    precision: Precision,
    mut done: impl FnMut(usize) -> Result<()>,
) -> Result<Array> {
    let embed = clip.text.embed();
    let mut data = Vec::with_capacity(texts.len() * embed);
    let mut rest = texts;
    // The program before, which keeps the weights on the device for the next.
    let mut held = None;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fitting = rest.iter().take_while(|text| {
            tokens += text.len();
            tokens <= MAX_TOKENS
        });
        let (batch, later) = rest.split_at(fitting.count().max(1));
        let graph = Graph::new(precision);
        let lengths: Vec<usize> = batch.iter().map(Vec::len).collect();
        let rows = clip.text.embed_tokens(batch)?;
        let embeddings = clip.text.forward(&graph, &lengths).cast(DType::F32);
        let program = Program::compile(device, &graph, &[embeddings])?;
        data.extend_from_slice(finite(program.run(&[&rows])?.remove(0), "the embedding of a prompt")?.data());
        held = Some(program);
        rest = later;
        done(texts.len() - rest.len())?;
    }
    drop(held);
    Ok(Array::new([texts.len(), embed], data))
}

/// The prototype of a state from the embeddings of its prompts `[n, embed]`: a row of unit length.
pub fn prototype(embeddings: &Array, average: Average) -> Vec<f32> {
    let embed = embeddings.shape().cols();
    let mut mean = vec![0.0_f64; embed];
    for row in embeddings.data().chunks_exact(embed) {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let scale = match average {
            Average::NormalizeEach => 1.0 / norm(&row),
            Average::MeanRaw => 1.0,
        };
        mean.iter_mut().zip(&row).for_each(|(mean, x)| *mean += scale * x);
    }
    let scale = 1.0 / norm(&mean);
    mean.into_iter().map(|x| (scale * x) as f32).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::from(LEAST_NORM))
}

/// The prototypes of both states as a weight `[embed, 2]`, normal first.
pub(super) fn prototype_weight(prototypes: &Array) -> Weight {
    Weight::from_array("prototypes", prototypes.clone()).transposed()
}

/// How likely each embedding shows the anomalous state: the second entry of softmax(cosines / temperature) over the two prototypes.
///
/// `embeddings` `[n, embed]`, of any length, `prototypes` `[embed, 2]` → f32 `[n, 2]`, whose columns sum to 1.
pub(super) fn class_probabilities<'g>(embeddings: Tensor<'g>, prototypes: &Weight, temperature: f32) -> Tensor<'g> {
    let unit = embeddings.cast(DType::F32).normalize_rows(LEAST_NORM);
    let prototypes = unit.graph().weight_f32(prototypes);
    unit.matmul(prototypes, Epilogue::default()).scale(1.0 / temperature).softmax()
}

/// The anomalous column of `[n, 2]`.
pub(super) fn anomalous(probabilities: &Array) -> Vec<f32> {
    probabilities.data().chunks_exact(2).map(|row| row[1]).collect()
}

/// Photos as a tower of CLIP sees them: stretched to its square whatever their proportions (as WinCLIP's public reproductions do; open_clip's own
/// transform would cut the longer side off).
pub(super) fn frame(clip: &Clip) -> Preprocess {
    let side = clip.image.image_size();
    Preprocess {
        fit: Fit::Stretch { height: side, width: side },
        resampler: Resampler::Pillow(Filter::Bicubic),
        channels: Channels::Rgb,
        normalization: clip.config.normalization,
    }
}

/// A map of `grid` × `grid` cells at the size of the photo: bilinear to the frame, then bilinear to the photo.
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

/// What enters the last block, for one photo: `pixels` `[1, 3, s, s]` → `[1 + n, width]`.
pub(super) fn before_last_block<'g>(clip: &Clip, pixels: Tensor<'g>) -> Tensor<'g> {
    let key_ranges = KeyRanges::sequences([clip.image.tokens_per_image()]);
    clip.image.transformer.before_last(clip.image.embed_tokens(pixels), &key_ranges)
}

/// A program on photos as the image tower sees them, and the way from its outputs to a map.
pub(super) struct PhotoProgram {
    program: Program,
    frame: Preprocess,
    grid: usize,
}

impl PhotoProgram {
    /// Prepares what `record` makes of the pixels `[batch, 3, s, s]` of `batch` photos.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(
        device: &Device,
        clip: &Clip,
        batch: usize,
        precision: Precision,
        record: impl for<'g> FnOnce(Tensor<'g>) -> Vec<Tensor<'g>>,
    ) -> Result<PhotoProgram> {
        let graph = Graph::new(precision);
        let side = clip.image.image_size();
        let outputs = record(graph.input("pixels", [batch, 3, side, side]));
        Ok(PhotoProgram { program: Program::compile(device, &graph, &outputs)?, frame: frame(clip), grid: clip.image.grid() })
    }

    /// The class probabilities `[batch, 2]` of whole photos.
    pub fn of_whole(device: &Device, clip: &Clip, prototypes: &Array, batch: usize, precision: Precision) -> Result<PhotoProgram> {
        PhotoProgram::new(device, clip, batch, precision, |pixels| {
            let images = clip.image.forward(pixels).images; // [batch, embed]
            vec![class_probabilities(images, &prototype_weight(prototypes), TEMPERATURE)]
        })
    }

    /// The pixels of a photo `[1, 3, s, s]`, and where they came from.
    pub fn frame(&self, photo: &Rgb) -> (Array, Geometry) {
        self.frame.apply(photo)
    }

    /// The outputs for `pixels` `[batch, 3, s, s]`. Errors: a device fault, or numbers that are not finite.
    pub fn run(&self, pixels: &Array) -> Result<Vec<Array>> {
        let outputs = self.program.run(&[pixels])?;
        outputs.into_iter().map(|output| finite(output, "an output of the image tower")).collect()
    }

    /// The anomalous column of the first output: with [`PhotoProgram::of_whole`], how likely each photo is anomalous.
    pub fn anomalous(&self, pixels: &Array) -> Result<Vec<f32>> {
        Ok(anomalous(&self.run(pixels)?[0]))
    }

    /// Scores one photo: `finish` makes of the outputs a map of its pixels, and a score.
    pub fn score(&self, photo: &Rgb, clock: &mut Clock, finish: impl FnOnce(&[Array], &Geometry) -> (Array, f32)) -> Result<Finding> {
        let (pixels, geometry) = self.frame(photo);
        clock.preprocessed();
        let outputs = self.run(&pixels)?;
        clock.computed();
        let (map, score) = finish(&outputs, &geometry);
        Ok(Finding::whole(map, score))
    }

    /// Scores one photo patch by patch: `finish` makes of the outputs a value for each patch. The photo's score is the largest of these.
    pub fn score_patches(&self, photo: &Rgb, clock: &mut Clock, finish: impl FnOnce(&[Array]) -> Vec<f32>) -> Result<Finding> {
        self.score(photo, clock, |outputs, geometry| {
            let cells = finish(outputs);
            (upsampled(&cells, self.grid, geometry), maximum(&cells))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_of_prompts_differ_by_whether_each_is_normalised_first() {
        // Lengths 5 and 1: normalised, the mean points between both; raw, along the longer one.
        let embeddings = Array::new([2, 2], vec![5.0, 0.0, 0.0, 1.0]);
        let each = prototype(&embeddings, Average::NormalizeEach);
        assert!(each.iter().all(|x| (x - 0.5_f32.sqrt()).abs() < 1e-7), "{each:?}");
        let raw = prototype(&embeddings, Average::MeanRaw);
        assert!((raw[0] - 5.0 / 26.0_f32.sqrt()).abs() < 1e-7, "{raw:?}");
    }
}
