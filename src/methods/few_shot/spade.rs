//! SPADE (Cohen & Hoshen 2020): the distance of an image to the most similar reference images, and of each location to all locations of
//! these.
//!
//! Follows `byungjae89/SPADE-pytorch`: the five nearest references by the pooled features of the last layer, then layers 1 to 3, each on its
//! own. That code compares galleries in chunks of 100 locations and drops the rest; here all count. A network without a fourth layer is
//! pooled at the last one that it has.

use std::sync::Arc;

use crate::error::Result;
use crate::graph::{Graph, Tensor};
use crate::image::{Filter, Rgb};
use crate::kernels::{Activation, Selection};
use crate::methods::few_shot::{
    Done, FRAME, GRIDS, HOTTEST, Images, Square, SquareMethod, channels, each_reference, hottest, hottest_fault, inputs, layers, memory,
    misfit, network, preprocess, smooth, upsampled, with_tiles,
};
use crate::methods::memory::{MemoryArray, MemoryKind};
use crate::methods::nearest::{columns_in_parts, smallest};
use crate::methods::{Clock, Memory, MethodInfo, Reading, ScoreOf, finite};
use crate::models::{WideResNet, wide_resnet};
use crate::run::{Device, Input, Program, Value};
use crate::tensor::{Array, Precision};
use crate::weights::Checkpoint;

/// Layers whose locations are compared.
const LAYERS: usize = 3;

/// References that an image is compared with: the most similar ones.
const NEAREST: usize = 5;

/// Added to each difference of features, as in PyTorch's `pairwise_distance`, of reference minus image.
const DIFFERENCE_OFFSET: f32 = 1e-6;

/// Names of the layers in the memory.
const NAMES: [&str; LAYERS] = ["layer1", "layer2", "layer3"];

/// The memory: pooled features of each reference `[n, c]`, and the layers, channels first `[n, c, cells]`.
static MEMORY: MemoryKind = MemoryKind {
    name: "spade",
    arrays: &[
        MemoryArray::required("pooled", 2),
        MemoryArray::required(NAMES[0], 3),
        MemoryArray::required(NAMES[1], 3),
        MemoryArray::required(NAMES[2], 3),
        HOTTEST,
    ],
    fault: |memory| {
        let count = |name: &str| memory.array(name).shape()[0];
        let other = NAMES.into_iter().find(|name| count(name) != count("pooled"));
        let fault = other.map(|name| (name, format!("is of {} references, the pooled features are of {}", count(name), count("pooled"))));
        fault.or_else(|| hottest_fault(memory))
    },
};

/// The entry of the table of methods.
pub static SPADE: MethodInfo = MethodInfo {
    name: "spade",
    about: "Locations against all of the most similar reference images (Cohen & Hoshen 2020)",
    networks: &[&wide_resnet::NETWORK],
    inputs: inputs(&MEMORY),
    readings: &[Reading::Released],
    localizes: true,
    score: ScoreOf::Image,
    suits_f16: false,
    build: |context| {
        let (device, precision) = (context.device, context.recipe.precision);
        let network = Spade::network(context.checkpoint())?;
        let memory = memory(context, |images, done| Spade::remember(device, &network, images, precision, done))?;
        Ok(with_tiles(Spade::new(device, &network, memory, precision)?, context))
    },
};

/// SPADE on one network and device.
pub struct Spade {
    features: Program,
    comparison: Program,
    memory: Arc<Memory>,
    hottest: f32,
}

impl Spade {
    /// Reads the network: a WideResNet with at least three layers.
    ///
    /// Errors: other weights.
    pub fn network(checkpoint: &Checkpoint) -> Result<WideResNet> {
        network(checkpoint, "SPADE", LAYERS)
    }

    /// Makes the memory of normal images, of any sizes; at least one.
    ///
    /// Errors: those of the images, a device fault, features that are not finite, or an error of `done`.
    pub fn remember(device: &Device, network: &WideResNet, images: Images<'_>, precision: Precision, done: Done<'_>) -> Result<Memory> {
        let graph = Graph::new(precision);
        let layers = layers(network, &graph);
        let columns = layers[..LAYERS].iter().map(|layer| rows_of(*layer).transposed());
        let outputs: Vec<Tensor<'_>> = std::iter::once(pooled(&layers)).chain(columns).collect();
        let program = Program::compile(device, &graph, &outputs)?;
        let mut references = vec![Vec::new(); outputs.len()];
        let first = each_reference(images, done, |image| {
            let pixels = preprocess(Filter::Lanczos).apply(image).0;
            for (all, output) in references.iter_mut().zip(program.run(&[&pixels])?) {
                let output = finite(output, "the features of a reference")?;
                // Pooled features are a row already; a layer becomes `[1, c, cells]`.
                let [rows, cols] = output.shape().axes();
                all.push(if rows == 1 { output } else { output.reshape([1, rows, cols]) });
            }
            Ok(())
        })?;
        let arrays = references.iter().map(|all| Array::stacked(all)).chain([Array::new([1], vec![1.0])]);
        let memory = Arc::new(Memory::new(&MEMORY, arrays.map(Some)));
        let hottest = hottest(&Spade::new(device, network, Arc::clone(&memory), precision)?, &first)?;
        Ok(Arc::unwrap_or_clone(memory).with(HOTTEST.name, Array::new([1], vec![hottest])))
    }

    /// Prepares the method.
    ///
    /// Errors: a memory of another network, or a device that cannot hold the network and the comparison of a layer.
    pub fn new(device: &Device, network: &WideResNet, memory: Arc<Memory>, precision: Precision) -> Result<Spade> {
        check(&memory, network)?;
        let features = {
            let graph = Graph::new(precision);
            let layers = layers(network, &graph);
            // One part of the pooled features after the other, then the layers.
            let pooled = pooled(&layers);
            let mut outputs: Vec<_> = columns_in_parts(memory.array("pooled"))
                .iter()
                .map(|part| pooled.distances(graph.constant_f32(part)))
                .collect();
            outputs.extend(
                layers[..LAYERS]
                    .iter()
                    .map(|layer| rows_of(*layer).map(Activation::Identity, 1.0, -DIFFERENCE_OFFSET)),
            );
            Program::compile(device, &graph, &outputs)?
        };
        let comparison = comparison(device, network, NEAREST.min(memory.array("pooled").shape()[0]))?;
        let hottest = memory.array(HOTTEST.name).data()[0];
        Ok(Spade { features, comparison, memory, hottest })
    }

    /// The most similar references, the nearest first, and their mean distance.
    fn nearest(&self, distances: &[Value]) -> Result<(Vec<usize>, f32)> {
        let mut all = Vec::new();
        for part in distances {
            all.extend(finite(part.to_host()?, "a distance of SPADE")?.into_data());
        }
        // The last part may repeat its first reference.
        all.truncate(self.memory.array("pooled").shape()[0]);
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| all[a].total_cmp(&all[b]));
        order.truncate(NEAREST);
        let sum: f64 = order.iter().map(|&at| f64::from(all[at])).sum();
        let mean = (sum / order.len() as f64) as f32;
        Ok((order, mean))
    }

    /// Distance of each location of the layers to the nearest location of some references, on each layer's grid.
    fn compare(&self, layers: &[Value], references: &[usize]) -> Result<Vec<Vec<f32>>> {
        let of_reference = |name: &str, reference: usize| {
            let [_, channels, cells] = self.memory.array(name).shape().axes();
            let size = channels * cells;
            Array::new([channels, cells], self.memory.array(name).data()[reference * size..][..size].to_vec())
        };
        let galleries: Vec<Array> = NAMES
            .iter()
            .flat_map(|name| references.iter().map(|&reference| of_reference(name, reference)))
            .collect();
        let inputs: Vec<Input<'_>> = layers.iter().map(Input::from).chain(galleries.iter().map(Input::from)).collect();
        let found = self.comparison.submit(&inputs)?.wait()?;
        let found = found.into_iter().map(|one| finite(one, "a distance of SPADE")).collect::<Result<Vec<Array>>>()?;
        Ok(found.chunks(references.len()).map(smallest).collect())
    }
}

impl SquareMethod for Spade {
    fn inspect_square(&self, image: &Rgb, clock: &mut Clock) -> Result<Square> {
        let (pixels, geometry) = preprocess(Filter::Lanczos).apply(image);
        clock.preprocessed();
        let features = self.features.run_resident(&[Input::from(&pixels)])?;
        let (distances, layers) = features.split_at(features.len() - LAYERS);
        let (references, score) = self.nearest(distances)?;
        let of_layers = self.compare(layers, &references)?;
        clock.computed();
        let maps: Vec<Array> = of_layers.into_iter().zip(GRIDS).map(|(cells, grid)| upsampled(cells, grid)).collect();
        Ok(Square { map: smooth(&mean(&maps)), score, geometry })
    }

    fn hottest(&self) -> f32 {
        self.hottest
    }
}

/// A program that compares locations of each layer `[cells, c]` with those of some references `[c, cells]`: for each layer and reference the
/// smallest distance `[cells]`.
fn comparison(device: &Device, network: &WideResNet, references: usize) -> Result<Program> {
    let graph = Graph::new(Precision::F32);
    let sizes: Vec<[usize; 2]> = GRIDS.into_iter().zip(channels(network)).map(|(grid, channels)| [grid * grid, channels]).collect();
    let layers: Vec<Tensor<'_>> = sizes.iter().zip(NAMES).map(|(&size, name)| graph.input(name, size)).collect();
    let mut smallest = Vec::new();
    for ([cells, channels], layer) in sizes.into_iter().zip(layers) {
        for reference in 0..references {
            let gallery = graph.input(&format!("reference {reference}"), [channels, cells]);
            smallest.push(layer.distances(gallery).top_mean(Selection::Smallest, 1));
        }
    }
    Program::compile(device, &graph, &smallest)
}

/// Refuses a memory whose layers are not as large as this network's.
fn check(memory: &Memory, network: &WideResNet) -> Result<()> {
    let channels = channels(network);
    let layers = NAMES
        .into_iter()
        .zip(&channels)
        .zip(GRIDS)
        .map(|((name, &channels), grid)| (name, vec![channels, grid * grid]));
    let pooled = ("pooled", vec![channels[channels.len() - 1]]);
    for (name, expected) in layers.chain([pooled]) {
        let shape = memory.array(name).shape();
        let found = &shape.sizes()[1..];
        if found != expected {
            return Err(misfit(name, found, &expected));
        }
    }
    Ok(())
}

/// A layer as rows of locations `[cells, c]`.
fn rows_of(layer: Tensor<'_>) -> Tensor<'_> {
    let [_, rows, cols, channels] = layer.shape().axes();
    layer.reshape([rows * cols, channels])
}

/// Mean of the last layer over all locations `[1, c]`.
fn pooled<'g>(layers: &[Tensor<'g>]) -> Tensor<'g> {
    let last = layers[layers.len() - 1];
    let [_, side, _, channels] = last.shape().axes();
    last.average_pool(side, 1, 0).reshape([1, channels])
}

/// Mean of the maps of several layers, each of the frame.
fn mean(maps: &[Array]) -> Array {
    let at = |pixel: usize| maps.iter().map(|map| map.data()[pixel]).sum::<f32>() / maps.len() as f32;
    Array::new([FRAME, FRAME], (0..FRAME * FRAME).map(at).collect())
}
