//! PaDiM (Defard et al., ICPR 2021): the Mahalanobis distance of each location to the Gaussian of the same location in reference images.
//!
//! Follows `xiahaifeng1995/PaDiM-Anomaly-Detection-Localization-master`: layers 1 to 3 at the size of the first, 550 channels chosen at random,
//! covariance + 0.01·I. That code then scales all maps of a test set to 0..1 together, which changes no order, and which one image cannot
//! know: it is left out. Channels are chosen by [`Seeded`], not by Python's generator; of a network with fewer than 550, all are taken. The
//! covariance of one reference, which is undefined, is taken as zero.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Result;
use crate::graph::{Constant, Epilogue, Graph, Tensor};
use crate::image::{Filter, Rgb};
use crate::kernels::Interpolation;
use crate::methods::few_shot::whitening::Whitening;
use crate::methods::few_shot::{
    Done, GRIDS, HOTTEST, Images, Square, SquareMethod, channels, each_reference, hottest, hottest_fault, inputs, layers, memory, misfit,
    network, preprocess, smooth, upsampled, with_tiles,
};
use crate::methods::memory::{MemoryArray, MemoryKind};
use crate::methods::{Clock, Memory, MethodInfo, Reading, ScoreOf, finite, maximum};
use crate::models::{WideResNet, wide_resnet};
use crate::run::{Device, Program};
use crate::tensor::{Array, Precision, Seeded};
use crate::weights::Checkpoint;

/// Layers that are joined.
const LAYERS: usize = 3;

/// Cells along a side of the map: those of layer 1.
const GRID: usize = GRIDS[0];

/// Locations of the map.
const CELLS: usize = GRID * GRID;

/// Channels that are kept of a network that has more.
const KEPT: usize = 550;

/// Added to the diagonal of covariances.
const REGULARIZATION: f64 = 0.01;

/// Seed of the choice of channels; the public code's.
const SEED: u64 = 1024;

/// Numbers of one binding: a quarter of the 128 MiB that every adapter binds, since a product has operands beside it.
const BINDING: usize = 1 << 23;

/// The memory: numbers of the channels in the joined layers, ascending; for each location the mean, and [`Whitening`].
static MEMORY: MemoryKind = MemoryKind {
    name: "padim",
    arrays: &[
        MemoryArray::required("channels", 1),
        MemoryArray::required("mean", 2),
        MemoryArray { name: "basis", axes: 3, is_optional: true },
        MemoryArray::required("inverse", 3),
        HOTTEST,
    ],
    fault,
};

/// The entry of the table of methods.
pub static PADIM: MethodInfo = MethodInfo {
    name: "padim",
    about: "Locations against their Gaussians in aligned reference images (Defard et al. 2021)",
    networks: &[&wide_resnet::NETWORK],
    inputs: inputs(&MEMORY),
    readings: &[Reading::Released],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: false,
    build: |context| {
        let (device, precision) = (context.device, context.recipe.precision);
        let network = Padim::network(context.checkpoint())?;
        let memory = memory(context, |images, done| Padim::remember(device, &network, images, precision, done))?;
        Ok(with_tiles(Padim::new(device, &network, &memory, precision)?, context))
    },
};

/// What cannot be a memory, whatever the network.
fn fault(memory: &Memory) -> Option<(&'static str, String)> {
    let channels = memory.array("channels").data();
    let is_ascending = channels.windows(2).all(|pair| pair[0] < pair[1]);
    if !is_ascending || channels.iter().any(|&channel| channel < 0.0 || channel.fract() != 0.0) {
        return Some(("channels", "are no ascending whole numbers".to_owned()));
    }
    let sizes = |name: &str| memory.optional(name).map(|array| array.shape().sizes().to_vec());
    let dim = channels.len();
    let rank = memory.optional("basis").map_or(dim, |basis| basis.shape()[1]);
    let expected = [("mean", vec![CELLS, dim]), ("basis", vec![CELLS, rank, dim]), ("inverse", vec![CELLS, rank, rank])];
    let wrong = expected.into_iter().find(|(name, expected)| sizes(name).is_some_and(|found| found != *expected));
    wrong
        .map(|(name, expected)| (name, format!("is not {expected:?}")))
        .or_else(|| hottest_fault(memory))
}

/// PaDiM on one network and device.
pub struct Padim {
    program: Program,
    hottest: f32,
}

impl Padim {
    /// Reads the network: a WideResNet with at least three layers.
    ///
    /// Errors: other weights.
    pub fn network(checkpoint: &Checkpoint) -> Result<WideResNet> {
        network(checkpoint, "PaDiM", LAYERS)
    }

    /// Makes the memory of normal images, of any sizes; at least one. They should show the object in one place.
    ///
    /// Errors: those of the images, a device fault, features that are not finite, or an error of `done`.
    pub fn remember(device: &Device, network: &WideResNet, images: Images<'_>, precision: Precision, done: Done<'_>) -> Result<Memory> {
        let total: usize = channels(network)[..LAYERS].iter().sum();
        let mut chosen = Seeded::new(SEED).distinct(KEPT.min(total), total);
        chosen.sort_unstable();
        let graph = Graph::new(precision);
        let program = Program::compile(device, &graph, &[embedding(network, &graph, &chosen)])?;
        let mut references = Vec::new();
        let first = each_reference(images, done, |image| {
            let pixels = preprocess(Filter::Lanczos).apply(image).0;
            references.push(finite(program.run(&[&pixels])?.remove(0), "the features of a reference")?);
            Ok(())
        })?;
        let memory = memory_of(&chosen, &references);
        let hottest = hottest(&Padim::new(device, network, &memory, precision)?, &first)?;
        Ok(memory.with(HOTTEST.name, Array::new([1], vec![hottest])))
    }

    /// Prepares the method.
    ///
    /// Errors: a memory of another network, or a device that cannot hold the network and the memory.
    pub fn new(device: &Device, network: &WideResNet, memory: &Memory, precision: Precision) -> Result<Padim> {
        let total: usize = channels(network)[..LAYERS].iter().sum();
        let chosen: Vec<usize> = memory.array("channels").data().iter().map(|&channel| channel as usize).collect();
        if chosen.len() != KEPT.min(total) || chosen.iter().any(|&channel| channel >= total) {
            return Err(misfit("channels", &[chosen.len(), chosen[chosen.len() - 1] + 1], &[KEPT.min(total), total]));
        }
        let graph = Graph::new(precision);
        let mean = Constant::real("mean", memory.array("mean").clone());
        let deviations = embedding(network, &graph, &chosen) - graph.constant_f32(&mean);
        let program = Program::compile(device, &graph, &distances(deviations, memory))?;
        Ok(Padim { program, hottest: memory.array(HOTTEST.name).data()[0] })
    }
}

impl SquareMethod for Padim {
    fn inspect_square(&self, image: &Rgb, clock: &mut Clock) -> Result<Square> {
        let (pixels, geometry) = preprocess(Filter::Lanczos).apply(image);
        clock.preprocessed();
        let parts = self.program.run(&[&pixels])?;
        clock.computed();
        let mut distances = Vec::with_capacity(CELLS);
        for part in parts {
            distances.extend(finite(part, "a distance of PaDiM")?.into_data());
        }
        let map = smooth(&upsampled(distances, GRID));
        Ok(Square { score: maximum(map.data()), map, geometry })
    }

    fn hottest(&self) -> f32 {
        self.hottest
    }
}

/// Chosen channels of layers 1 to 3, numbered through all of them, at the size of layer 1 `[3136, chosen]`; those of coarser layers by nearest
/// upsampling.
fn embedding<'g>(network: &WideResNet, graph: &'g Graph, chosen: &[usize]) -> Tensor<'g> {
    let mut before = 0;
    let mut joined: Option<Tensor<'g>> = None;
    for layer in &layers(network, graph)[..LAYERS] {
        let [_, rows, cols, channels] = layer.shape().axes();
        let own: Vec<usize> = chosen
            .iter()
            .filter(|&&channel| (before..before + channels).contains(&channel))
            .map(|c| c - before)
            .collect();
        before += channels;
        if own.is_empty() {
            continue;
        }
        let kept = layer.reshape([rows * cols, channels]).transposed().gather(&own).transposed();
        let kept = kept.reshape([1, rows, cols, own.len()]).resize(Interpolation::Nearest, (GRID, GRID));
        joined = Some(joined.map_or(kept, |joined| joined.concat(kept)));
    }
    joined.expect("at least one channel is chosen").reshape([CELLS, chosen.len()])
}

/// The Gaussian of a location, as a memory holds it.
struct Gaussian {
    mean: Vec<f32>,
    /// See [`Whitening`].
    basis: Option<Vec<f32>>,
    inverse: Vec<f32>,
}

impl Gaussian {
    /// The Gaussian of the embeddings of one location in the references.
    fn of_cell(cell: usize, references: &[Array]) -> Gaussian {
        let dim = references[0].shape().cols();
        let samples: Vec<f64> = references.iter().flat_map(|one| &one.data()[cell * dim..][..dim]).map(|&x| f64::from(x)).collect();
        let mean_of = |at: usize| samples.iter().skip(at).step_by(dim).sum::<f64>() / references.len() as f64;
        let mean: Vec<f64> = (0..dim).map(mean_of).collect();
        let Whitening { basis, inverse } = Whitening::new(&samples, &mean, REGULARIZATION);
        let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|x| x as f32).collect();
        Gaussian { mean: narrow(mean), basis: basis.map(narrow), inverse: narrow(inverse) }
    }
}

/// The Gaussian of each location, of the embeddings of references; the hottest value is yet to be found.
fn memory_of(chosen: &[usize], references: &[Array]) -> Memory {
    let dim = chosen.len();
    let cells: Vec<Gaussian> = (0..CELLS).into_par_iter().map(|cell| Gaussian::of_cell(cell, references)).collect();
    let bases = cells.iter().map(|cell| cell.basis.as_ref()).collect::<Option<Vec<&Vec<f32>>>>();
    let rank = if bases.is_some() { references.len() } else { dim };
    let basis = bases.map(|bases| Array::new([CELLS, rank, dim], bases.into_iter().flatten().copied().collect()));
    let inverse = Array::new([CELLS, rank, rank], cells.iter().flat_map(|cell| &cell.inverse).copied().collect());
    let mean = Array::new([CELLS, dim], cells.iter().flat_map(|cell| &cell.mean).copied().collect());
    let channels = Array::new([dim], chosen.iter().map(|&channel| channel as f32).collect());
    Memory::new(&MEMORY, [Some(channels), Some(mean), basis, Some(inverse), Some(Array::new([1], vec![1.0]))])
}

/// Mahalanobis distances of deviations `[3136, d]` from the means, in parts of the locations.
fn distances<'g>(deviations: Tensor<'g>, memory: &Memory) -> Vec<Tensor<'g>> {
    let [_, rank, dim] = memory.optional("basis").unwrap_or(memory.array("inverse")).shape().axes();
    let cells_of_part = (BINDING / (rank * dim)).clamp(1, CELLS);
    let parts = (0..CELLS).step_by(cells_of_part).map(|from| from..CELLS.min(from + cells_of_part));
    parts.map(|cells| distances_of(deviations, memory, cells)).collect()
}

/// Mahalanobis distances of some of the locations: |(δ − Qᵀ·Q·δ) / √ε, L⁻¹·Q·δ|, or |L⁻¹·δ|; see [`Whitening`].
fn distances_of<'g>(deviations: Tensor<'g>, memory: &Memory, cells: Range<usize>) -> Tensor<'g> {
    let graph = deviations.graph();
    let [count, dim] = [cells.len(), deviations.shape().cols()];
    let part = |name: &'static str, array: &Array| {
        let [_, rows, cols] = array.shape().axes();
        let size = rows * cols;
        graph.constant_f32(&Constant::real(
            name,
            Array::new([count, rows, cols], array.data()[cells.start * size..cells.end * size].to_vec()),
        ))
    };
    let delta = deviations.gather(&cells.clone().collect::<Vec<usize>>());
    let inverse = part("inverse", memory.array("inverse"));
    let rank = inverse.shape().cols();
    let whitened = match memory.optional("basis") {
        None => inverse.batched_matmul(delta.reshape([count, dim, 1]), Epilogue::default()).reshape([count, dim]),
        Some(basis) => {
            let basis = part("basis", basis);
            let inside = basis.batched_matmul(delta.reshape([count, dim, 1]), Epilogue::default()); // [count, rank, 1]
            let projected = inside.reshape([count, 1, rank]).batched_matmul(basis, Epilogue::default()).reshape([count, dim]);
            let across = (delta - projected).scale((1.0 / REGULARIZATION.sqrt()) as f32);
            across.concat(inverse.batched_matmul(inside, Epilogue::default()).reshape([count, rank]))
        }
    };
    let zero = Constant::real("zero", Array::zeros([whitened.shape().cols(), 1]));
    whitened.distances(graph.constant_f32(&zero))
}
