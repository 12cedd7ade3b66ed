//! WinCLIP and WinCLIP+ (Jeong et al. 2023): windows of an image compared with text prompts, and with the features of normal reference
//! images.

mod windows;

use crate::error::{Code, Error, Result};
use crate::graph::{Graph, Tensor};
use crate::image::{Preprocess, Rgb};
use crate::methods::image_program::{ImageProgram, preprocessing, upsampled};
use crate::methods::memory::{Memory, MemoryArray, MemoryKind};
use crate::methods::nearest::largest_cosines;
use crate::methods::prompts::PromptEnsemble;
use crate::methods::text_prototypes::{TEMPERATURE, anomalous, class_probabilities, prototype_columns};
use crate::methods::{
    BuildContext, Clock, Finding, LEAST_NORM, Method, MethodInfo, MethodInputs, MultiCrop, Reading, References, Scale, ScoreOf, finite,
};
use crate::models::clip::{self, Clip};
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};

pub use crate::models::clip::{SIDES, windows};
pub use windows::{harmonic_map, harmonic_mean};

/// The entry of the table of methods.
pub(super) static WINCLIP: MethodInfo = MethodInfo {
    name: "winclip",
    about: "Windows of the image against text (Jeong et al. 2023)",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs { views: &MultiCrop::ALL, ..MethodInputs::TEXT },
    readings: &[Reading::Paper, Reading::Reproduction],
    localizes: true,
    score: ScoreOf::Image,
    suits_f16: true,
    build,
};

/// The entry of the table of methods.
pub(super) static WINCLIP_PLUS: MethodInfo = MethodInfo {
    name: "winclip+",
    about: "WinCLIP with reference images of normal objects (Jeong et al. 2023)",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs {
        views: &MultiCrop::ALL,
        references: References::Required,
        memory: Some(&MEMORY),
        ..MethodInputs::TEXT
    },
    readings: &[Reading::Paper, Reading::Reproduction],
    localizes: true,
    score: ScoreOf::Image,
    suits_f16: true,
    build,
};

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Method>> {
    let recipe = context.recipe;
    let clip = context.clip()?;
    let prototypes = context.prototypes(&clip, &PromptEnsemble::winclip(&recipe.class, recipe.reading))?;
    let memory = context.memory(|images, done| remember(context.device, &clip, images, recipe.precision, done))?;
    Ok(Box::new(WinClip::new(context.device, &clip, &prototypes, memory.as_deref(), recipe.views, recipe.precision)?))
}

/// The kinds of features that a memory holds, rows of unit length: patch tokens of the last block, small and mid windows. Those of all
/// positions and references are pooled, since the association ignores position (WinCLIP+, §4.3).
const KINDS: [&str; 3] = ["patches", "windows_2", "windows_3"];

/// The memory of WinCLIP+.
pub static MEMORY: MemoryKind = MemoryKind {
    name: "winclip",
    arrays: &[MemoryArray::required(KINDS[0], 2), MemoryArray::required(KINDS[1], 2), MemoryArray::required(KINDS[2], 2)],
    fault: |memory| {
        let long = KINDS.into_iter().find(|kind| !has_unit_rows(memory.array(kind)));
        long.map(|kind| (kind, "has rows that are not of unit length".to_owned()))
    },
};

/// Largest accepted deviation of a row's length from 1.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// WinCLIP, or with a memory WinCLIP+, on one network and device.
///
/// Patch features are the last block's tokens as they are, before `ln_post`, as the public reproductions have them; the temperature is
/// 0.07.
pub struct WinClip {
    program: Program,
    views: Option<ImageProgram>,
    preprocess: Preprocess,
    grid: usize,
    multi_crop: MultiCrop,
    /// Number of parts that the memory of each kind of feature is split into; empty without references.
    parts: Vec<usize>,
}

/// Features of an image, recorded for both programs of this method: patches `[grid², width]`, windows `[windows, embed]` for each window
/// side, and the whole image `[1, embed]`.
struct Features<'g> {
    whole: Tensor<'g>,
    windows: Vec<Tensor<'g>>,
    patches: Tensor<'g>,
}

impl<'g> Features<'g> {
    fn record(graph: &'g Graph, clip: &Clip) -> Features<'g> {
        let (side, grid) = (clip.image.image_size(), clip.image.grid());
        let lists = SIDES.map(|side| windows(grid, side));
        let (image, windows) = clip.image.forward_windows(graph.input("pixels", [1, 3, side, side]), &lists);
        Features { whole: image.images, windows, patches: image.patches.reshape([grid * grid, clip.image.width()]) }
    }

    /// The features that a memory stores: patch tokens of the last block, then windows, as f32 rows of unit length.
    fn unit(&self) -> Vec<Tensor<'g>> {
        let all = std::iter::once(&self.patches).chain(&self.windows);
        all.map(|rows| rows.cast(DType::F32).normalize_rows(LEAST_NORM)).collect()
    }
}

/// Computes the features of normal images of the same class, of any sizes; at least one. The iterator is advanced one image at a time.
///
/// `done` is called with the number of finished images after each. Errors: those of the images, a device fault, or an error of `done`.
pub fn remember(
    device: &Device,
    clip: &Clip,
    images: &mut dyn Iterator<Item = Result<Rgb>>,
    precision: Precision,
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Memory> {
    check(clip)?;
    let graph = Graph::new(precision);
    let features = Features::record(&graph, clip).unit();
    let program = Program::compile(device, &graph, &features)?;
    let preprocess = preprocessing(clip);
    let mut kinds = KINDS.map(|_| Vec::new());
    for (image, count) in images.zip(1..) {
        let features = program.run(&[&preprocess.apply(&image?).0])?;
        for (kind, features) in kinds.iter_mut().zip(features) {
            kind.push(finite(features, "the features of a reference")?);
        }
        done(count)?;
    }
    Ok(Memory::new(&MEMORY, kinds.iter().map(|references| Some(Array::stacked(references)))))
}

fn has_unit_rows(rows: &Array) -> bool {
    let length = |row: &[f32]| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    rows.data()
        .chunks_exact(rows.shape().cols())
        .all(|row| (length(row) - 1.0).abs() <= LENGTH_TOLERANCE)
}

impl WinClip {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length;
    /// `multi_crop` are the views whose text scores are averaged.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(
        device: &Device,
        clip: &Clip,
        prototypes: &Array,
        memory: Option<&Memory>,
        multi_crop: MultiCrop,
        precision: Precision,
    ) -> Result<WinClip> {
        check(clip)?;
        let graph = Graph::new(precision);
        let features = Features::record(&graph, clip);
        let prototype = prototype_columns(prototypes);
        let text_features = std::iter::once(&features.whole).chain(&features.windows);
        let mut outputs: Vec<_> = text_features.map(|rows| class_probabilities(*rows, &prototype, TEMPERATURE)).collect();
        let mut parts = Vec::new();
        if let Some(memory) = memory {
            check_memory(memory, clip)?;
            for (rows, kind) in features.unit().into_iter().zip(KINDS) {
                let before = outputs.len();
                outputs.extend(largest_cosines(rows, memory.array(kind)));
                parts.push(outputs.len() - before);
            }
        }
        let views = match multi_crop {
            MultiCrop::None => None,
            _ => Some(ImageProgram::of_whole(device, clip, prototypes, 1, precision)?),
        };
        let program = Program::compile(device, &graph, &outputs)?;
        Ok(WinClip { program, views, preprocess: preprocessing(clip), grid: clip.image.grid(), multi_crop, parts })
    }

    fn has_references(&self) -> bool {
        !self.parts.is_empty()
    }

    /// M̄₀, the map from text: the harmonic mean over windows, then over scales, the whole image being one of them.
    fn text_map(&self, whole: f32, windows: &[Vec<f32>]) -> Vec<f64> {
        let mut maps: Vec<Vec<f64>> = windows.iter().zip(SIDES).map(|(scores, side)| harmonic_map(scores, self.grid, side)).collect();
        maps.push(vec![f64::from(whole); self.grid * self.grid]);
        harmonic_mean(&maps)
    }

    /// M^W, the map of distances to the memory: the mean of those of patches, small and mid windows (equation 5).
    fn reference_map(&self, distances: &[Vec<f32>]) -> Vec<f64> {
        let of_patches = distances[0].iter().map(|&x| f64::from(x)).collect();
        let of_windows = distances[1..].iter().zip(SIDES).map(|(distances, side)| harmonic_map(distances, self.grid, side));
        let maps: Vec<Vec<f64>> = std::iter::once(of_patches).chain(of_windows).collect();
        (0..self.grid * self.grid)
            .map(|cell| maps.iter().map(|map| map[cell]).sum::<f64>() / maps.len() as f64)
            .collect()
    }

    /// ½ (1 − cosine) of each feature to the nearest of the memory, for each kind, from the largest cosines with each part of it.
    fn distances(&self, similarities: &[Array]) -> Vec<Vec<f32>> {
        let mut rest = similarities;
        let of_kind = |&count: &usize| {
            let (parts, later) = rest.split_at(count);
            rest = later;
            let nearest = |row: usize| parts.iter().map(|part| part.data()[row]).fold(f32::NEG_INFINITY, f32::max);
            (0..parts[0].data().len()).map(|row| (0.5 * (1.0 - nearest(row))).max(0.0)).collect()
        };
        self.parts.iter().map(of_kind).collect()
    }

    /// The score from text: the mean probability of the anomalous state over the views.
    fn text_score(&self, image: &Rgb, whole: f32) -> Result<f32> {
        let Some(scorer) = &self.views else { return Ok(whole) };
        let views = self.multi_crop.views(image)?;
        let scores = views
            .iter()
            .map(|view| Ok(scorer.anomalous(&scorer.preprocess(&view.of(image)).0)?[0]))
            .collect::<Result<Vec<f32>>>()?;
        Ok(scores.iter().sum::<f32>() / scores.len() as f32)
    }
}

/// Refuses a tower whose patch grid is smaller than a window.
fn check(clip: &Clip) -> Result<()> {
    let (grid, largest) = (clip.image.grid(), SIDES[SIDES.len() - 1]);
    if grid >= largest {
        return Ok(());
    }
    Err(Error::new(Code::WeightsMismatch, format!("WinCLIP's windows of {largest}×{largest} patches do not fit a tower of {grid}×{grid}")))
}

/// Refuses a memory whose features have other lengths than the tower's.
fn check_memory(memory: &Memory, clip: &Clip) -> Result<()> {
    let (width, embed) = (clip.image.width(), clip.image.embed());
    let found = KINDS.map(|kind| memory.array(kind).shape().cols());
    if found == [width, embed, embed] {
        return Ok(());
    }
    Err(Error::new(Code::Reference, format!("the memory holds features of {found:?} numbers, the tower makes {:?}", [width, embed, embed])))
}

impl Method for WinClip {
    /// Probabilities; WinCLIP+ adds distances in [0, 1], which rarely reach ½.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, if self.has_references() { 1.5 } else { 1.0 }], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let (pixels, geometry) = self.preprocess.apply(image);
        clock.preprocessed();
        let outputs = self.program.run(&[&pixels])?;
        let outputs = outputs
            .into_iter()
            .map(|output| finite(output, "an output of WinCLIP"))
            .collect::<Result<Vec<Array>>>()?;
        let whole = anomalous(&outputs[0])[0];
        let text_score = self.text_score(image, whole)?;
        clock.computed();
        let (windows, similarities) = outputs[1..].split_at(SIDES.len());
        let windows: Vec<Vec<f32>> = windows.iter().map(anomalous).collect();
        let mut cells = self.text_map(whole, &windows);
        let mut score = text_score;
        if self.has_references() {
            let reference = self.reference_map(&self.distances(similarities));
            let largest = reference.iter().copied().fold(0.0, f64::max);
            cells.iter_mut().zip(&reference).for_each(|(cell, distance)| *cell += distance);
            score = (0.5 * (f64::from(text_score) + largest)) as f32;
        }
        let map = upsampled(&cells, self.grid, &geometry);
        Ok(Finding::whole(map, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Checkpoint, to_safetensors};

    fn memory(length: f32) -> Memory {
        let one = |x: f32| Some(Array::new([1, 2], vec![x, 0.0]));
        Memory::new(&MEMORY, [one(1.0), one(length), one(-1.0)])
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        let file = |length| Checkpoint::from_bytes("m", memory(length).to_bytes("w", "bottle").unwrap()).unwrap();
        assert_eq!(Memory::read(&file(1.0), &MEMORY, "w").unwrap(), memory(1.0));
        let error = Memory::read(&file(2.0), &MEMORY, "w").unwrap_err();
        assert_eq!(error.message(), "`windows_2` of `m` has rows that are not of unit length");
    }

    /// Files of version 0.1.0, whose memory was of this method alone.
    #[test]
    fn files_of_earlier_runs_are_read() {
        let memory = memory(1.0);
        let metadata = [("format", "zsas-gpu winclip memory 1"), ("features", "the weights ab in f32"), ("class", "bottle")];
        let bytes = to_safetensors(KINDS.map(|kind| (kind, memory.array(kind))), &metadata).unwrap();
        let file = Checkpoint::from_bytes("m", bytes).unwrap();
        assert_eq!(Memory::read(&file, &MEMORY, "the weights ab in f32").unwrap(), memory);
    }
}
