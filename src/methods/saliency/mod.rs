//! Saliency by self-similarity: the map S of SAA+ (Cao et al. 2023), as a method of its own.

mod self_similarity;

use crate::error::Result;
use crate::image::{Channels, Rgb, resize_opencv_map};
use crate::methods::{Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf, maximum};
use crate::models::wide_resnet;
use crate::run::Device;
use crate::tensor::Precision;
use crate::weights::Checkpoint;

pub use self_similarity::{Distance, Neighbours, SelfSimilarity, SelfSimilarityOptions};

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "saliency",
    about: "For a single object: self-similarity of the image (SAA+, Cao et al. 2023)",
    networks: &[&wide_resnet::NETWORK],
    inputs: MethodInputs::IMAGES,
    readings: &[Reading::Released, Reading::Paper],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: true,
    build: |context| {
        let recipe = context.recipe;
        Ok(Box::new(Saliency::new(context.device, context.checkpoint(), recipe.precision, recipe.reading)?))
    },
};

/// SAA+'s saliency on one network and device.
pub struct Saliency {
    similarity: SelfSimilarity,
}

impl Saliency {
    /// Prepares the method; `checkpoint` holds a WideResNet with at least three layers.
    ///
    /// The released code averages the 400 *largest* distances of each location and feeds BGR; the paper says N nearest neighbours and RGB.
    /// Distances are halves in both, so that maps have one scale. The reading `reproduction` is the released code. Errors: other weights, or
    /// a device that cannot hold them.
    pub fn new(device: &Device, checkpoint: &Checkpoint, precision: Precision, reading: Reading) -> Result<Saliency> {
        let (channels, neighbours) = match reading {
            Reading::Released | Reading::Reproduction => (Channels::Bgr, Neighbours::Farthest),
            Reading::Paper => (Channels::Rgb, Neighbours::Nearest),
        };
        let options = SelfSimilarityOptions { channels, neighbours, distance: Distance::HalfCosine };
        Ok(Saliency { similarity: SelfSimilarity::new(device, checkpoint, precision, options)? })
    }
}

impl Method for Saliency {
    /// Features after ReLU have cosines in [0, 1], so distances lie in [0, ½].
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 0.5], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let pixels = self.similarity.prepare(image);
        clock.preprocessed();
        let saliency = self.similarity.of_image(&pixels)?;
        clock.computed();
        let map = resize_opencv_map(&saliency, image.height(), image.width());
        let score = maximum(map.data());
        Ok(Finding::whole(map, score))
    }
}
