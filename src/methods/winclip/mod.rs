//! WinCLIP and WinCLIP+ (Jeong et al. 2023): windows of an image compared with text prompts, and with the features of normal reference
//! images.

mod memory;
mod windows;

use crate::error::{Code, Error, Result};
use crate::graph::{Constant, Epilogue, Graph, Tensor};
use crate::image::{Preprocess, Rgb};
use crate::kernels::Selection;
use crate::methods::image_program::{ImageProgram, preprocessing, upsampled};
use crate::methods::prompts::PromptEnsemble;
use crate::methods::text_prototypes::{TEMPERATURE, anomalous, class_probabilities, prototype_columns};
use crate::methods::{
    BuildContext, Clock, Finding, LEAST_NORM, Method, MethodInfo, MethodInputs, MultiCrop, Reading, References, Scale, ScoreOf, finite,
};
use crate::models::clip::{self, Clip};
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};

pub use crate::models::clip::{SIDES, windows};
pub use memory::{KINDS, Memory};
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
    inputs: MethodInputs { views: &MultiCrop::ALL, references: References::Required, ..MethodInputs::TEXT },
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
    let memory = context.memory(&clip)?;
    Ok(Box::new(WinClip::new(context.device, &clip, &prototypes, memory, recipe.views, recipe.precision)?))
}

/// Rows of a memory that are compared in one product; the similarities are held until their maxima are known, so more rows need more
/// memory.
const MEMORY_ROWS: usize = 4096;

/// Rows of a memory are padded to a multiple of this, by repeating the first, so that kernels load four of its columns at a time.
const COLUMNS_TOGETHER: usize = 8;

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

impl Memory {
    /// Computes the features of normal images of the same class, of any sizes; at least one. The iterator is advanced one image at a time.
    ///
    /// `done` is called with the number of finished images after each. Errors: those of the images, a device fault, or an error of `done`.
    pub fn remember(
        device: &Device,
        clip: &Clip,
        images: impl Iterator<Item = Result<Rgb>>,
        precision: Precision,
        mut done: impl FnMut(usize) -> Result<()>,
    ) -> Result<Memory> {
        check(clip)?;
        let graph = Graph::new(precision);
        let features = Features::record(&graph, clip).unit();
        let program = Program::compile(device, &graph, &features)?;
        let preprocess = preprocessing(clip);
        let mut references = Vec::new();
        for image in images {
            let mut kinds = program.run(&[&preprocess.apply(&image?).0])?.into_iter();
            let mut next = || finite(kinds.next().expect("a feature of each kind"), "the features of a reference");
            references.push([next()?, next()?, next()?]);
            done(references.len())?;
        }
        Ok(Memory::of(&references))
    }
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
            for (rows, remembered) in features.unit().into_iter().zip(&memory.features) {
                let before = outputs.len();
                outputs.extend(largest_cosines(rows, remembered));
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
    let found = memory.features.each_ref().map(|rows| rows.shape().cols());
    if found == [width, embed, embed] {
        return Ok(());
    }
    Err(Error::new(Code::Reference, format!("the memory holds features of {found:?} numbers, the tower makes {:?}", [width, embed, embed])))
}

/// The largest cosine of each row with the rows of a memory, part by part of the memory: `[rows, d]` → f32 `[rows]` for each part.
fn largest_cosines<'g>(rows: Tensor<'g>, memory: &Array) -> Vec<Tensor<'g>> {
    let dim = memory.shape().cols();
    let part = |rows_of_memory: &[f32]| {
        let mut data = rows_of_memory.to_vec();
        while !(data.len() / dim).is_multiple_of(COLUMNS_TOGETHER) {
            data.extend_from_slice(&rows_of_memory[..dim]);
        }
        let part = Constant::real("memory", Array::new([data.len() / dim, dim], data).transposed());
        let cosines = rows.matmul(rows.graph().constant_f32(&part), Epilogue::default());
        cosines.top_mean(Selection::Largest, 1)
    };
    memory.data().chunks(MEMORY_ROWS * dim).map(part).collect()
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
