//! PatchCore (Roth et al., CVPR 2022): the distance of each patch to the nearest patch of the reference images.
//!
//! Follows `amazon-science/patchcore-inspection` with its settings IM224: layers 2 and 3, patches of 3×3, 1024 numbers a layer and together,
//! one nearest neighbour, squared distances, no re-weighting of the score. Where that code draws random numbers with PyTorch's generator
//! (projection, starting points), this one draws numbers of the same distribution with its own, [`Seeded`].

use crate::error::Result;
use crate::graph::{Epilogue, Graph, Tensor};
use crate::image::{Filter, Rgb};
use crate::kernels::Interpolation;
use crate::methods::few_shot::channel_pool::{PADDING, POOLED, pooling_weight};
use crate::methods::few_shot::coreset::{PROJECTED, farthest_rows, projection, starts};
use crate::methods::few_shot::{
    Done, GRIDS, HOTTEST, Images, Square, SquareMethod, each_reference, hottest, hottest_fault, inputs, layers, memory, network,
    preprocess, smooth, upsampled, with_tiles,
};
use crate::methods::memory::{MemoryArray, MemoryKind};
use crate::methods::nearest::{smallest, smallest_distances};
use crate::methods::{Clock, Memory, MethodInfo, Reading, ScoreOf, finite, maximum};
use crate::models::{WideResNet, wide_resnet};
use crate::run::{Device, Program};
use crate::tensor::{Array, Precision, Seeded};
use crate::weights::Checkpoint;

/// Cells along a side of the map: those of layer 2.
const GRID: usize = GRIDS[1];

/// Layers that patches are joined of.
const LAYERS: usize = 2;

/// References up to whose number all patches are kept: so few need no choice. The code would keep a tenth of them, too.
const ALL_OF: usize = 4;

/// Kept of the patches of more references: one of so many.
const ONE_OF: usize = 10;

/// Seed of projection and starting points.
const SEED: u64 = 0;

/// The memory: the chosen patches, and the numbers that they have among those of all references.
static MEMORY: MemoryKind = MemoryKind {
    name: "patchcore",
    arrays: &[MemoryArray::required("patches", 2), MemoryArray::required("rows", 1), HOTTEST],
    fault: |memory| {
        let [patches, rows] = ["patches", "rows"].map(|name| memory.array(name).shape());
        (patches.cols() != POOLED)
            .then(|| ("patches", format!("has rows of {} numbers, not {POOLED}", patches.cols())))
            .or_else(|| (patches[0] != rows[0]).then(|| ("rows", format!("names {} of {} patches", rows[0], patches[0]))))
            .or_else(|| hottest_fault(memory))
    },
};

/// The entry of the table of methods.
pub static PATCHCORE: MethodInfo = MethodInfo {
    name: "patchcore",
    about: "Patches against those of reference images (Roth et al. 2022)",
    networks: &[&wide_resnet::NETWORK],
    inputs: inputs(&MEMORY),
    readings: &[Reading::Released],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: false,
    build: |context| {
        let (device, precision) = (context.device, context.recipe.precision);
        let network = PatchCore::network(context.checkpoint())?;
        let memory = memory(context, |images, done| PatchCore::remember(device, &network, images, precision, done))?;
        Ok(with_tiles(PatchCore::new(device, &network, &memory, precision)?, context))
    },
};

/// PatchCore on one network and device.
pub struct PatchCore {
    program: Program,
    hottest: f32,
}

impl PatchCore {
    /// Reads the network: a WideResNet with at least three layers.
    ///
    /// Errors: other weights.
    pub fn network(checkpoint: &Checkpoint) -> Result<WideResNet> {
        network(checkpoint, "PatchCore", 3)
    }

    /// Makes the memory of normal images, of any sizes; at least one. All patches of up to four, a tenth of those of more: a coreset.
    ///
    /// Errors: those of the images, a device fault, features that are not finite, or an error of `done`.
    pub fn remember(device: &Device, network: &WideResNet, images: Images<'_>, precision: Precision, done: Done<'_>) -> Result<Memory> {
        let mut random = Seeded::new(SEED);
        let weight = projection(&mut random, POOLED);
        let graph = Graph::new(precision);
        let patches = patch_features(network, &graph);
        let projected = patches.matmul(graph.input("projection", [POOLED, PROJECTED]), Epilogue::default());
        let program = Program::compile(device, &graph, &[patches, projected])?;
        let mut features = [Vec::new(), Vec::new()];
        let first = each_reference(images, &mut *done, |image| {
            let pixels = preprocess(Filter::Bilinear).apply(image).0;
            for (all, output) in features.iter_mut().zip(program.run(&[&pixels, &weight])?) {
                all.push(finite(output, "the features of a reference")?);
            }
            Ok(())
        })?;
        let references = features[0].len();
        let [patches, projected] = features.map(|parts| Array::stacked(&parts));
        let rows = if references <= ALL_OF {
            (0..patches.shape()[0]).collect()
        } else {
            let starts = starts(&mut random, patches.shape()[0]);
            farthest_rows(device, &projected, &starts, patches.shape()[0] / ONE_OF, || done(references))?
        };
        let memory = memory_of(&patches, &rows);
        let hottest = hottest(&PatchCore::new(device, network, &memory, precision)?, &first)?;
        Ok(memory.with(HOTTEST.name, Array::new([1], vec![hottest])))
    }

    /// Prepares the method.
    ///
    /// Errors: a device that cannot hold the network and the memory.
    pub fn new(device: &Device, network: &WideResNet, memory: &Memory, precision: Precision) -> Result<PatchCore> {
        let graph = Graph::new(precision);
        let patches = patch_features(network, &graph);
        let program = Program::compile(device, &graph, &smallest_distances(patches, memory.array("patches")))?;
        Ok(PatchCore { program, hottest: memory.array(HOTTEST.name).data()[0] })
    }
}

impl SquareMethod for PatchCore {
    fn inspect_square(&self, image: &Rgb, clock: &mut Clock) -> Result<Square> {
        let (pixels, geometry) = preprocess(Filter::Bilinear).apply(image);
        clock.preprocessed();
        let distances = self.program.run(&[&pixels])?;
        clock.computed();
        let distances = distances
            .into_iter()
            .map(|part| finite(part, "a distance of PatchCore"))
            .collect::<Result<Vec<Array>>>()?;
        let squared: Vec<f32> = smallest(&distances).iter().map(|distance| distance * distance).collect();
        let score = maximum(&squared);
        Ok(Square { map: smooth(&upsampled(squared, GRID)), score, geometry })
    }

    fn hottest(&self) -> f32 {
        self.hottest
    }
}

/// Features of patches of 3×3 `[784, 1024]`: those of layer 2, and those of layer 3 resized to its grid.
fn patch_features<'g>(network: &WideResNet, graph: &'g Graph) -> Tensor<'g> {
    let layers = layers(network, graph);
    let pooled = |layer: Tensor<'g>| {
        let weight = pooling_weight(layer.shape().cols(), LAYERS);
        layer.conv2d(graph.constant_f32(&weight), 1, PADDING, Epilogue::default())
    };
    let coarse = pooled(layers[2]).resize(Interpolation::Bilinear, (GRID, GRID));
    pooled(layers[1]).concat(coarse).reshape([GRID * GRID, POOLED])
}

/// A memory of some of the patches, whose hottest value is yet to be found.
fn memory_of(patches: &Array, rows: &[usize]) -> Memory {
    let row = |&row: &usize| &patches.data()[row * POOLED..][..POOLED];
    let chosen = Array::new([rows.len(), POOLED], rows.iter().flat_map(row).copied().collect());
    let rows = Array::new([rows.len()], rows.iter().map(|&row| row as f32).collect());
    Memory::new(&MEMORY, [Some(chosen), Some(rows), Some(Array::new([1], vec![1.0]))])
}
