//! ClipSeg with the names of defects as prompts (Lüddecke & Ecker 2022; Cao et al. 2023 measure it as a baseline of SAA+).

use crate::error::{Code, Error, Result};
use crate::graph::{Constant, Graph};
use crate::image::{Normalization, Rgb, resize_bilinear_map};
use crate::kernels::Activation;
use crate::methods::{Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf, finite, maximum, prompts};
use crate::models::ClipSeg;
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};

/// Side of the square that images are stretched to; the decoder was trained at this size.
const FRAME: usize = 352;

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "clipseg",
    about: "Segmentation with words for defects as prompts (Lüddecke & Ecker 2022)",
    networks: &[&crate::models::clipseg::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Released],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: false,
    build: |context| {
        let network = ClipSeg::load(context.checkpoint())?;
        context.checkpoint().finish();
        let conditionals = context.text_embeddings(&network.clip, &prompts::clipseg(&context.recipe.class))?;
        Ok(Box::new(ClipSegMethod::new(context.device, &network, conditionals, context.recipe.precision)?))
    },
};

/// ClipSeg with the texts of one class on one device.
///
/// For each text the network gives a probability per pixel that the pixel shows what the text names; the map holds the largest of them. The
/// image's score is the maximum of its map.
pub struct ClipSegMethod {
    program: Program,
}

impl ClipSegMethod {
    /// Prepares the method for texts with the embeddings `conditionals` `[texts, embed]`: projected by `network.clip.text`, not normalised.
    ///
    /// [`crate::methods::prompts::clipseg`] gives the texts of a class, [`crate::methods::text_prototypes::embed_texts`] their embeddings.
    /// The image is encoded once, whatever their number.
    ///
    /// Errors: no text, embeddings of another size, patches that do not fill the frame, or a device that cannot hold the weights.
    pub fn new(device: &Device, network: &ClipSeg, conditionals: Array, precision: Precision) -> Result<ClipSegMethod> {
        let (shape, embed, patch) = (conditionals.shape(), network.clip.text.embed(), network.clip.image.patch());
        if shape.rank() != 2 || shape.is_empty() || shape.cols() != embed {
            return Err(Error::new(Code::Usage, format!("the embeddings of the texts are {shape}; ClipSeg takes [texts, {embed}]")));
        }
        if !FRAME.is_multiple_of(patch) {
            let message = format!("patches of {patch} pixels do not fill ClipSeg's frame of {FRAME}×{FRAME}");
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        let graph = Graph::new(precision);
        let pixels = graph.input("pixels", [1, 3, FRAME, FRAME]);
        let logits = network.forward(pixels, graph.constant(&Constant::real("conditionals", conditionals)));
        let probabilities = logits.cast(DType::F32).activate(Activation::Sigmoid); // [texts, side, side]
        Ok(ClipSegMethod { program: Program::compile(device, &graph, &[probabilities])? })
    }
}

impl Method for ClipSegMethod {
    /// A probability.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let pixels = preprocess(image);
        clock.preprocessed();
        let probabilities = finite(self.program.run(&[&pixels])?.remove(0), "the map of ClipSeg")?;
        clock.computed();
        let map = resize_bilinear_map(&largest(&probabilities), image.height(), image.width());
        let score = maximum(map.data());
        Ok(Finding::whole(map, score))
    }
}

/// The input `[1, 3, 352, 352]`: ImageNet's statistics, then bilinear without antialiasing.
///
/// The released code resizes the normalised tensor, which torchvision did without antialiasing when it was published and has done with it
/// since 0.17. transformers' processor resizes the image, antialiased.
fn preprocess(image: &Rgb) -> Array {
    let plane = |channel| resize_bilinear_map(&Normalization::IMAGENET.plane(image, channel), FRAME, FRAME);
    let planes = [0, 1, 2].map(plane);
    Array::new([1, 3, FRAME, FRAME], planes.iter().flat_map(Array::data).copied().collect())
}

/// The largest value of each pixel: `[texts, h, w]` → `[h, w]`.
fn largest(maps: &Array) -> Array {
    let [_, height, width] = maps.shape().axes();
    let mut all = maps.data().chunks_exact(height * width);
    let first = all.next().unwrap_or_default().to_vec();
    let data = all.fold(first, |most, map| most.iter().zip(map).map(|(most, value)| most.max(*value)).collect());
    Array::new([height, width], data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_normalised_and_every_second_pair_of_pixels_averaged() {
        // Twice as wide and as high as the frame: each value is the mean of 2×2 pixels; antialiasing would reach into the pairs beside.
        let row = |x: usize| if x % 4 == 3 { [255, 0, 0] } else { [0, 0, 0] };
        let image = Rgb::new(2 * FRAME, 2 * FRAME, (0..4 * FRAME * FRAME).flat_map(|at| row(at % (2 * FRAME))).collect());
        let pixels = preprocess(&image);
        assert_eq!(pixels.shape().axes(), [1, 3, FRAME, FRAME]);
        let expected = |value: f32, channel: usize| {
            let Normalization { mean, std, .. } = Normalization::IMAGENET;
            (value - mean[channel]) / std[channel]
        };
        let at = |channel: usize, x: usize| pixels.data()[channel * FRAME * FRAME + 100 * FRAME + x];
        for (channel, x, value) in [(0, 200, 0.0), (0, 201, 0.5), (1, 201, 0.0), (2, 200, 0.0)] {
            assert!((at(channel, x) - expected(value, channel)).abs() < 1e-6, "channel {channel}, column {x}: {}", at(channel, x));
        }
    }

    #[test]
    fn the_surest_text_counts_at_each_pixel() {
        let maps = Array::new([3, 1, 2], vec![0.1, 0.9, 0.4, 0.2, 0.3, 0.5]);
        assert_eq!(largest(&maps), Array::new([1, 2], vec![0.4, 0.9]));
    }
}
