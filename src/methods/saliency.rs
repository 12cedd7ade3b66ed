//! Saliency by self-similarity: the map S of SAA+ (Cao et al. 2023), for a single object.
//!
//! A location is salient when its features differ from those of the rest of the image: with unit features x, Dᵢⱼ = ½ (1 − xᵢ·xⱼ).

use crate::error::{Code, Error, Result};
use crate::graph::{Epilogue, Graph, Tensor};
use crate::image::{Channels, Fit, Normalization, Preprocess, Resampler, Rgb, resize_opencv_map};
use crate::kernels::{Activation, Interpolation, Selection};
use crate::methods::{Clock, Finding, LEAST_NORM, Method, MethodInfo, MethodInputs, Reading, Scale, finite, maximum};
use crate::models::{WideResNet, wide_resnet};
use crate::run::{Device, Program};
use crate::tensor::{DType, Precision};
use crate::weights::Checkpoint;

/// Side of the square that images are stretched to.
const FRAME: usize = 256;

/// Locations averaged into each value; SAA+, "N = 400".
const LOCATIONS: usize = 400;

/// Layers whose features are joined.
const LAYERS: usize = 3;

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "saliency",
    about: "For a single object: self-similarity of the image (SAA+, Cao et al. 2023)",
    networks: &[&wide_resnet::NETWORK],
    inputs: MethodInputs::IMAGES,
    readings: &[Reading::Released, Reading::Paper],
    localizes: true,
    suits_f16: true,
    build: |context| {
        let recipe = context.recipe;
        Ok(Box::new(Saliency::new(context.device, context.checkpoint(), recipe.precision, recipe.reading)?))
    },
};

/// SAA+'s saliency on one network and device.
pub struct Saliency {
    program: Program,
    grid: (usize, usize),
    reading: Reading,
}

impl Saliency {
    /// Prepares the method; `checkpoint` holds a WideResNet with at least three layers.
    ///
    /// The released code averages the 400 *largest* distances of each location and feeds BGR; the paper says N nearest neighbours and RGB.
    /// The reading `reproduction` is the released code. Errors: other weights, or a device that cannot hold them.
    pub fn new(device: &Device, checkpoint: &Checkpoint, precision: Precision, reading: Reading) -> Result<Saliency> {
        let network = WideResNet::load(&checkpoint.root())?;
        checkpoint.finish();
        let graph = Graph::new(precision);
        let pixels = graph.input("pixels", [1, 3, FRAME, FRAME]);
        let layers = network.forward(pixels);
        let Some(layers) = layers.get(..LAYERS) else {
            let message = format!("saliency reads layers 1 to {LAYERS}, {} holds {}", checkpoint.name(), layers.len());
            return Err(Error::new(Code::WeightsMismatch, message));
        };
        let features = join(layers);
        let [_, rows, cols, channels] = features.shape().axes();
        let features = features.reshape([rows * cols, channels]).cast(DType::F32).normalize_rows(LEAST_NORM);
        let similarity = features.matmul(features.transposed(), Epilogue::default());
        // The largest distances are the smallest similarities; ½ (1 − mean) is the mean of ½ (1 − s).
        let chosen = match reading {
            Reading::Released | Reading::Reproduction => Selection::Smallest,
            Reading::Paper => Selection::Largest,
        };
        let saliency = similarity.top_mean(chosen, LOCATIONS).map(Activation::Identity, -0.5, 0.5);
        let program = Program::compile(device, &graph, &[saliency])?;
        Ok(Saliency { program, grid: (rows, cols), reading })
    }

    fn preprocess(&self) -> Preprocess {
        let channels = match self.reading {
            Reading::Released | Reading::Reproduction => Channels::Bgr,
            Reading::Paper => Channels::Rgb,
        };
        Preprocess {
            fit: Fit::Stretch { height: FRAME, width: FRAME },
            resampler: Resampler::OpenCv,
            channels,
            normalization: Normalization::IMAGENET_BYTES,
        }
    }
}

/// Features of all layers at the size of the first, joined: nearest upsampling, then `[b, h, w, c₁ + c₂ + c₃]`.
fn join<'g>(layers: &[Tensor<'g>]) -> Tensor<'g> {
    let [_, rows, cols, _] = layers[0].shape().axes();
    layers[1..]
        .iter()
        .fold(layers[0], |joined, layer| joined.concat(layer.resize(Interpolation::Nearest, (rows, cols))))
}

impl Method for Saliency {
    /// Features after ReLU have cosines in [0, 1], so distances lie in [0, ½].
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 0.5], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let (pixels, _) = self.preprocess().apply(image);
        clock.preprocessed();
        let saliency = self.program.run(&[&pixels])?.remove(0).reshape([self.grid.0, self.grid.1]);
        let saliency = finite(saliency, "the saliency map")?;
        clock.computed();
        let map = resize_opencv_map(&saliency, image.height(), image.width());
        let score = maximum(map.data());
        Ok(Finding::whole(map, score))
    }
}
