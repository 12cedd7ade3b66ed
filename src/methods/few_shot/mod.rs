//! Few-shot anomaly detection on the features of a WideResNet: PatchCore, PaDiM and SPADE, which compare an image with some normal ones.
//!
//! All three look at the central square of an image, as their public codes do: [`SquareMethod`] is what they share.

mod channel_pool;
mod coreset;
mod padim;
mod patchcore;
mod spade;
mod whitening;

use crate::error::{Code, Error, Result};
use crate::graph::{Graph, Tensor};
use crate::image::{Channels, Filter, Fit, Geometry, Normalization, Preprocess, Resampler, Rgb, gaussian_blur, resize_bilinear_map};
use crate::methods::memory::{MemoryArray, MemoryKind};
use crate::methods::{Clock, Finding, Memory, Method, MethodInputs, References, Scale, maximum, minimum, noise};
use crate::models::WideResNet;
use crate::tensor::{Array, DType};
use crate::uninspected::Uninspected;
use crate::weights::Checkpoint;

pub use padim::{PADIM, Padim};
pub use patchcore::{PATCHCORE, PatchCore};
pub use spade::{SPADE, Spade};

/// Shorter side of a scaled image, in pixels.
const SIDE: usize = 256;

/// Side of the central square that is inspected: the frame.
const FRAME: usize = 224;

/// Standard deviation of the Gaussian that smooths maps, in pixels of the frame.
const BLUR_SIGMA: f64 = 4.0;

/// Cells along a side of the frame in layers 1, 2, … of a ResNet, whose stem and pooling divide it by 4 and each further layer by 2.
const GRIDS: [usize; 3] = [FRAME / 4, FRAME / 8, FRAME / 16];

/// Bytes of a pixel.
const CHANNELS: usize = 3;

/// Decoded images, one at a time.
type Images<'a> = &'a mut dyn Iterator<Item = Result<Rgb>>;

/// A callback that receives the number of images that are done.
type Done<'a> = &'a mut dyn FnMut(usize) -> Result<()>;

/// What these methods take beside images to score: reference images, of which a memory of this kind is kept.
const fn inputs(memory: &'static MemoryKind) -> MethodInputs {
    MethodInputs { references: References::Required, memory: Some(memory), ..MethodInputs::IMAGES }
}

/// A method that inspects the central square of an image.
pub trait SquareMethod: Send + Sync {
    /// Inspects the central square of an image.
    ///
    /// Errors: a device fault, or numbers that are not finite.
    fn inspect_square(&self, image: &Rgb, clock: &mut Clock) -> Result<Square>;

    /// Value drawn as the hottest colour; 0 is the coldest.
    fn hottest(&self) -> f32;
}

/// The inspected square of an image: its map, its score, and where it lies.
pub struct Square {
    /// Anomaly of each pixel of the frame.
    pub map: Array,
    /// Anomaly of the image.
    pub score: f32,
    /// Where the square lies in the image.
    pub geometry: Geometry,
}

impl<M: SquareMethod> Method for M {
    fn scale(&self) -> Scale {
        Scale { range: [0.0, self.hottest()], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let Square { map, score, geometry } = self.inspect_square(image, clock)?;
        let map = geometry.restore(&map, minimum(map.data()));
        let uninspected = outside(&geometry).into_iter().collect();
        Ok(Finding { uninspected, ..Finding::whole(map, score) })
    }
}

/// RGB, the shorter side scaled to 256, the central square of 224, ImageNet statistics.
fn preprocess(filter: Filter) -> Preprocess {
    Preprocess {
        fit: Fit::ShorterSide { size: SIDE, crop: FRAME },
        resampler: Resampler::Pillow(filter),
        channels: Channels::Rgb,
        normalization: Normalization::IMAGENET,
    }
}

/// What lies outside the central square.
fn outside(geometry: &Geometry) -> Option<Uninspected> {
    let (height, width) = geometry.resized;
    let share = 1.0 - (FRAME * FRAME) as f64 / (height * width) as f64;
    (share > 0.0).then(|| Uninspected::outside_crop(share))
}

/// Values of the cells of a layer at the size of the frame: bilinear, as PyTorch's `interpolate`.
fn upsampled(cells: Vec<f32>, grid: usize) -> Array {
    resize_bilinear_map(&Array::new([grid, grid], cells), FRAME, FRAME)
}

/// The Gaussian that ends all three methods.
fn smooth(map: &Array) -> Array {
    gaussian_blur(map, BLUR_SIGMA)
}

/// Name of the array of a memory that holds the value of the hottest colour `[1]`.
const HOTTEST: MemoryArray = MemoryArray::required("hottest", 1);

/// The value of the hottest colour: twice the largest value of a reference that is mirrored from left to right.
///
/// It stands for a good image that is not among the references, which even one reference has; such images then take the lower half of the
/// colours. Noise, by which UTAD finds its range, is an order of magnitude farther from the references than defects are. It is taken
/// where mirroring changes nothing.
fn hottest(method: &impl SquareMethod, reference: &Rgb) -> Result<f32> {
    let largest = |image: &Rgb| Ok::<f32, Error>(maximum(method.inspect_square(image, &mut Clock::stopped())?.map.data()));
    let mirrored = largest(&mirrored(reference))?;
    if mirrored > 0.0 { Ok(2.0 * mirrored) } else { largest(&noise(FRAME)) }
}

/// Hands each reference on, one at a time, and returns the first.
///
/// Errors: those of the images, of `take` and of `done`. Panics where there is none.
fn each_reference(images: Images<'_>, done: Done<'_>, mut take: impl FnMut(&Rgb) -> Result<()>) -> Result<Rgb> {
    let mut first = None;
    for (image, count) in images.zip(1..) {
        let image = image?;
        take(&image)?;
        done(count)?;
        first.get_or_insert(image);
    }
    Ok(first.expect("a memory is of at least one reference"))
}

/// The image mirrored from left to right.
fn mirrored(image: &Rgb) -> Rgb {
    let rows = image.data().chunks_exact(CHANNELS * image.width());
    let data = rows.flat_map(|row| row.chunks_exact(CHANNELS).rev().flatten()).copied().collect();
    Rgb::new(image.width(), image.height(), data)
}

/// What is wrong with the value of the hottest colour of a memory.
fn hottest_fault(memory: &Memory) -> Option<(&'static str, String)> {
    let values = memory.array(HOTTEST.name).data();
    (values.len() != 1 || values[0] <= 0.0).then(|| (HOTTEST.name, "is not one positive number".to_owned()))
}

/// Reads the network of a method that needs this many layers.
///
/// Errors: other weights.
fn network(checkpoint: &Checkpoint, method: &str, layers: usize) -> Result<WideResNet> {
    let network = WideResNet::load(&checkpoint.root())?;
    checkpoint.finish();
    if network.depth() < layers {
        let message = format!("{method} reads layers up to {layers}, {} holds {}", checkpoint.name(), network.depth());
        return Err(Error::new(Code::WeightsMismatch, message));
    }
    Ok(network)
}

/// Layers of the network for the frame, in f32, channels last: layer l is `[1, g, g, c]` with g of [`GRIDS`].
fn layers<'g>(network: &WideResNet, graph: &'g Graph) -> Vec<Tensor<'g>> {
    let pixels = graph.input("pixels", [1, 3, FRAME, FRAME]);
    network.forward(pixels).into_iter().map(|layer| layer.cast(DType::F32)).collect()
}

/// Number of channels of each layer.
fn channels(network: &WideResNet) -> Vec<usize> {
    let graph = Graph::default();
    layers(network, &graph).iter().map(|layer| layer.shape().cols()).collect()
}

/// Refuses a memory whose arrays are not as large as this network makes them: names the array, what it is and what it should be.
fn misfit(array: &str, found: &[usize], expected: &[usize]) -> Error {
    let message = format!("`{array}` of the memory is {found:?}, these weights make {expected:?}");
    Error::new(Code::Reference, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrored_image_has_its_columns_in_the_other_order() {
        assert_eq!(mirrored(&Rgb::new(2, 1, vec![1, 2, 3, 4, 5, 6])), Rgb::new(2, 1, vec![4, 5, 6, 1, 2, 3]));
    }

    #[test]
    fn what_lies_outside_the_square_is_not_inspected() {
        let share = |height, width| outside(&preprocess(Filter::Bilinear).fit.geometry(height, width)).unwrap().share.unwrap();
        // 224² of 256², and of 256 × 512.
        assert!((share(250, 250) - (1.0 - 0.765_625)).abs() < 1e-9);
        assert!((share(100, 200) - (1.0 - 0.765_625 / 2.0)).abs() < 1e-9);
    }
}
