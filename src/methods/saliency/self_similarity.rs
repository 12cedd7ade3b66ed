//! Self-similarity of an image (Cao et al. 2023, eq. 5): a location is salient when its features differ from those elsewhere. With unit
//! features x the distance of two locations is ½ (1 − xᵢ·xⱼ), or twice that.

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::graph::{Epilogue, Graph, Tensor};
use crate::image::{Channels, Fit, Mask, Normalization, Preprocess, Resampler, Rgb};
use crate::kernels::{Activation, Interpolation, Selection};
use crate::methods::programs::Programs;
use crate::methods::{LEAST_NORM, finite};
use crate::models::WideResNet;
use crate::run::{Device, Input, Program, Value};
use crate::tensor::{Array, DType, Precision};
use crate::weights::Checkpoint;

/// Side of the square that images are stretched to.
const FRAME: usize = 256;

/// The same where objects are compared.
const FRAME_OF_OBJECTS: usize = 1024;

/// Locations averaged into each value; "N = 400".
const LOCATIONS: usize = 400;

/// Layers whose features are joined.
const LAYERS: usize = 3;

/// Locations of an object, and of the others, that are compared at once: a block of similarities takes 32 MiB, features at most twice that.
const QUERIES: usize = 1024;
const REFERENCES: usize = 8192;

/// The locations whose distances are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Neighbours {
    /// The most dissimilar ones.
    Farthest,
    /// The most similar ones.
    Nearest,
}

/// Distance of two features with cosine c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// ½ (1 − c).
    HalfCosine,
    /// 1 − c.
    Cosine,
}

impl Distance {
    /// The largest distance: that of features which have nothing in common.
    fn largest(self) -> f32 {
        match self {
            Distance::HalfCosine => 0.5,
            Distance::Cosine => 1.0,
        }
    }
}

/// What self-similarity is computed of.
#[derive(Clone, Copy, Debug)]
pub struct SelfSimilarityOptions {
    /// Order of the colours.
    pub channels: Channels,
    /// The locations whose distances are averaged.
    pub neighbours: Neighbours,
    /// Distance of two locations.
    pub distance: Distance,
}

/// Self-similarity on one network and device.
pub struct SelfSimilarity {
    device: Device,
    network: WideResNet,
    precision: Precision,
    options: SelfSimilarityOptions,
    /// Cells along a side of the finest layer.
    grid: usize,
    programs: Programs<Step>,
}

/// What a program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The map of an image.
    Image,
    /// The layers of the network, for objects.
    Layers,
    /// Similarities of locations.
    Comparison,
}

impl SelfSimilarity {
    /// Reads the network: a WideResNet with at least three layers. Programs are compiled when they are first needed.
    ///
    /// Errors: other weights.
    pub fn new(device: &Device, checkpoint: &Checkpoint, precision: Precision, options: SelfSimilarityOptions) -> Result<SelfSimilarity> {
        let network = WideResNet::load(&checkpoint.root())?;
        checkpoint.finish();
        if network.depth() < LAYERS {
            let message = format!("saliency reads layers 1 to {LAYERS}, {} holds {}", checkpoint.name(), network.depth());
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        let grid = {
            let graph = Graph::new(precision);
            let [_, rows, ..] = network.forward(graph.input("pixels", [1, 3, FRAME, FRAME]))[0].shape().axes::<4>();
            rows
        };
        Ok(SelfSimilarity { device: device.clone(), network, precision, options, grid, programs: Programs::new(3) })
    }

    /// Gives the memory of its programs back; they are compiled again when they are needed.
    pub fn release(&self) {
        self.programs.clear();
    }

    /// The pixels of an image for [`SelfSimilarity::of_image`].
    pub fn prepare(&self, image: &Rgb) -> Array {
        self.stretched(image, FRAME)
    }

    fn stretched(&self, image: &Rgb, side: usize) -> Array {
        let recipe = Preprocess {
            fit: Fit::Stretch { height: side, width: side },
            resampler: Resampler::OpenCv,
            channels: self.options.channels,
            normalization: Normalization::IMAGENET_BYTES,
        };
        recipe.apply(image).0
    }

    /// Mean distance of each location to its neighbours `[grid, grid]`.
    ///
    /// Errors: a device fault, too little memory, or numbers that are not finite.
    pub fn of_image(&self, pixels: &Array) -> Result<Array> {
        let compile = || {
            let graph = Graph::new(self.precision);
            let layers = self.network.forward(graph.input("pixels", [1, 3, FRAME, FRAME]));
            let saliency = mean_distances(unit_features(join(&layers[..LAYERS])), &self.options);
            Program::compile(&self.device, &graph, &[saliency])
        };
        let saliency = self.programs.with(&Step::Image, compile, |program| Ok(program.run(&[pixels])?.remove(0)))?;
        finite(saliency.reshape([self.grid, self.grid]), "the saliency map")
    }

    fn side_of_objects(&self) -> usize {
        self.grid * FRAME_OF_OBJECTS / FRAME
    }

    /// The cells of an object for [`SelfSimilarity::of_objects`]: its mask resized as OpenCV's INTER_NEAREST does.
    pub fn cells(&self, mask: &Mask) -> Vec<bool> {
        let side = self.side_of_objects();
        let from = |at: usize, size: usize| (at * size / side).min(size - 1);
        let inside = |cell: usize| mask.data()[from(cell / side, mask.height()) * mask.width() + from(cell % side, mask.width())];
        (0..side * side).map(inside).collect()
    }

    /// Distance of each location of an object to the most similar one of the others, 0 outside of objects `[side, side]`. Where objects
    /// overlap, the larger of the two values; what an object shares with another is not compared with.
    ///
    /// With fewer than two objects that have cells the map is 0: there is nothing to compare with, and the released code fails.
    ///
    /// Errors: a device fault, too little memory, or numbers that are not finite. Panics unless objects are of [`SelfSimilarity::cells`].
    pub fn of_objects(&self, image: &Rgb, objects: &[Vec<bool>]) -> Result<Array> {
        let side = self.side_of_objects();
        assert!(objects.iter().all(|object| object.len() == side * side), "objects are cells of {side}×{side}");
        let objects: Vec<&Vec<bool>> = objects.iter().filter(|object| object.contains(&true)).collect();
        if objects.len() < 2 {
            return Ok(Array::zeros([side, side]));
        }
        self.compared(&self.layers(&self.stretched(image, FRAME_OF_OBJECTS))?, side, &objects)
    }

    /// Objects with cells, at least two, compared by layers of features.
    fn compared(&self, layers: &[Value], side: usize, objects: &[&Vec<bool>]) -> Result<Array> {
        let mut map = Array::zeros([side, side]);
        let is_object: Vec<bool> = (0..side * side).map(|cell| objects.iter().any(|object| object[cell])).collect();
        for object in objects {
            let is_other = |cell: &usize| is_object[*cell] && !object[*cell];
            let queries: Vec<usize> = (0..side * side).filter(|&cell| object[cell]).collect();
            let references: Vec<usize> = (0..side * side).filter(is_other).collect();
            for (&cell, similarity) in queries.iter().zip(self.most_similar(layers, side, &queries, &references)?) {
                let (value, distance) = (&mut map.data_mut()[cell], self.options.distance.largest() * (1.0 - similarity));
                // NaN stays, to be found.
                *value = if distance.is_nan() { distance } else { value.max(distance) };
            }
        }
        finite(map, "the saliency map")
    }

    /// The layers of the network for an image, on the device.
    fn layers(&self, pixels: &Array) -> Result<Vec<Value>> {
        let compile = || {
            let graph = Graph::new(self.precision);
            let layers = self.network.forward(graph.input("pixels", pixels.shape()));
            let layers: Vec<Tensor<'_>> = layers[..LAYERS].iter().map(|layer| layer.cast(DType::F32)).collect();
            Program::compile(&self.device, &graph, &layers)
        };
        self.programs.with(&Step::Layers, compile, |program| program.run_resident(&[Input::from(pixels)]))
    }

    /// The largest similarity of each query to a reference, at least 0: features after ReLU have no negative ones. Locations are cells of a
    /// grid of `side` × `side`.
    fn most_similar(&self, layers: &[Value], side: usize, queries: &[usize], references: &[usize]) -> Result<Vec<f32>> {
        let compile = || {
            let graph = Graph::new(self.precision);
            let layers: Vec<Tensor<'_>> = layers
                .iter()
                .enumerate()
                .map(|(at, layer)| graph.input(&format!("layer{}", at + 1), layer.shape()))
                .collect();
            // Nearest upsampling reads a cell of a coarser layer for several of the finest.
            let gathered = |name: &str, count: usize| {
                let parts = layers.iter().enumerate().map(|(at, layer)| {
                    let [_, rows, cols, channels] = layer.shape().axes();
                    layer
                        .reshape([rows * cols, channels])
                        .gather_at(graph.input_whole(&format!("{name}{}", at + 1), [count]))
                });
                unit_features(parts.reduce(Tensor::concat).expect("there are layers"))
            };
            let (queries, references) = (gathered("query", QUERIES), gathered("reference", REFERENCES));
            let similarity = queries.matmul(references.transposed(), Epilogue::default());
            Program::compile(&self.device, &graph, &[similarity.top_mean(Selection::Largest, 1)])
        };
        let mut largest = vec![0.0_f32; queries.len()];
        for (block, largest) in queries.chunks(QUERIES).zip(largest.chunks_mut(QUERIES)) {
            let queries = cells_of_layers(layers, side, block, QUERIES);
            for references in references.chunks(REFERENCES) {
                let references = cells_of_layers(layers, side, references, REFERENCES);
                let inputs: Vec<Input<'_>> =
                    layers.iter().map(Input::from).chain(queries.iter().chain(&references).map(Input::from)).collect();
                let found = self.programs.with(&Step::Comparison, compile, |program| program.submit(&inputs)?.wait())?.remove(0);
                for (largest, &found) in largest.iter_mut().zip(found.data()) {
                    // NaN stays, to be found.
                    *largest = if found.is_nan() { found } else { largest.max(found) };
                }
            }
        }
        Ok(largest)
    }
}

/// For each layer the cells that hold these cells of a grid of `side` × `side`, and, up to `count`, the one past the end, which is zeros.
fn cells_of_layers(layers: &[Value], side: usize, cells: &[usize], count: usize) -> Vec<Array> {
    let of_layer = |layer: &Value| {
        let [_, rows, cols, _] = layer.shape().axes();
        let numbers = cells.iter().map(|cell| cell / side * rows / side * cols + cell % side * cols / side);
        let padded = numbers.chain(std::iter::repeat(rows * cols)).take(count);
        Array::new([count], padded.map(|number| number as f32).collect())
    };
    layers.iter().map(of_layer).collect()
}

/// Features of all layers at the size of the first, joined: nearest upsampling, then `[b, h, w, c₁ + c₂ + c₃]`.
fn join<'g>(layers: &[Tensor<'g>]) -> Tensor<'g> {
    let [_, rows, cols, _] = layers[0].shape().axes();
    layers[1..]
        .iter()
        .fold(layers[0], |joined, layer| joined.concat(layer.resize(Interpolation::Nearest, (rows, cols))))
}

/// Mean distance of each of the unit features `[locations, channels]` to its neighbours `[locations]`.
fn mean_distances<'g>(features: Tensor<'g>, options: &SelfSimilarityOptions) -> Tensor<'g> {
    let similarity = features.matmul(features.transposed(), Epilogue::default());
    // The largest distances are the smallest similarities; the mean of 1 − s is 1 − mean.
    let chosen = match options.neighbours {
        Neighbours::Farthest => Selection::Smallest,
        Neighbours::Nearest => Selection::Largest,
    };
    let largest = options.distance.largest();
    similarity.top_mean(chosen, LOCATIONS).map(Activation::Identity, -largest, largest)
}

/// Features of locations `[…, channels]` as f32 rows of unit length `[locations, channels]`.
fn unit_features(features: Tensor<'_>) -> Tensor<'_> {
    let channels = features.shape().cols();
    features
        .reshape([features.shape().len() / channels, channels])
        .cast(DType::F32)
        .normalize_rows(LEAST_NORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

    fn golden() -> Checkpoint {
        Checkpoint::open(format!("{GOLDEN}/saa/numbers.safetensors")).unwrap()
    }

    fn numbers(name: &str) -> Array {
        let golden = golden();
        golden.root().weight(name, golden.shape(name).unwrap()).unwrap().to_array().unwrap()
    }

    fn is_near(found: &Array, name: &str) {
        let truth = numbers(name);
        assert_eq!(found.data().len(), truth.data().len());
        let far = found.data().iter().zip(truth.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.is_finite() && far < 1e-6, "{name}: {far}");
    }

    /// Random features, one of them zero, against PyTorch (`tools/golden_saa.py`).
    #[test]
    fn mean_distances_are_those_of_both_readings() {
        let features = numbers("features");
        let of = |neighbours, distance| {
            let graph = Graph::default();
            let options = SelfSimilarityOptions { channels: Channels::Rgb, neighbours, distance };
            let saliency = mean_distances(unit_features(graph.input("features", features.shape())), &options);
            let program = Program::compile(&Device::reference(), &graph, &[saliency]).unwrap();
            program.run(&[&features]).unwrap().remove(0)
        };
        is_near(&of(Neighbours::Farthest, Distance::HalfCosine), "within_released");
        is_near(&of(Neighbours::Nearest, Distance::Cosine), "within_paper");
    }

    /// Five objects: one has no cell, one lies inside another.
    #[test]
    fn objects_are_compared_with_the_others_but_for_what_they_share() {
        let weights = Checkpoint::open(format!("{GOLDEN}/wide_resnet/tiny.safetensors")).unwrap();
        let options = SelfSimilarityOptions { channels: Channels::Bgr, neighbours: Neighbours::Farthest, distance: Distance::HalfCosine };
        let device = Device::reference();
        let similarity = SelfSimilarity::new(&device, &weights, Precision::F32, options).unwrap();
        let features = numbers("features");
        let graph = Graph::default();
        let same = graph.input("features", features.shape()).scale(1.0);
        let layer = same.reshape([1, 24, 24, features.shape().cols()]);
        let layers = Program::compile(&device, &graph, &[layer])
            .unwrap()
            .run_resident(&[Input::from(&features)])
            .unwrap();
        let cells = golden().integers("objects").unwrap().unwrap();
        let objects: Vec<Vec<bool>> = cells.chunks(576).map(|object| object.iter().map(|&cell| cell != 0).collect()).collect();
        let with_cells: Vec<&Vec<bool>> = objects.iter().filter(|object| object.contains(&true)).collect();
        assert_eq!((objects.len(), with_cells.len()), (5, 4));
        is_near(&similarity.compared(&layers, 24, &with_cells).unwrap(), "between");
        is_near(&similarity.compared(&layers, 24, &with_cells[..2]).unwrap(), "between_two");
    }
}
