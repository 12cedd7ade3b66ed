//! Few-shot anomaly detection on the features of a WideResNet: PatchCore, PaDiM and SPADE, which compare an image with some normal ones.
//!
//! All three look at the central square of an image, as their public codes do: [`SquareMethod`] is what they share.

mod channel_pool;
mod coreset;
mod padim;
mod patchcore;
mod spade;
mod whitening;

use std::cell::Cell;
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::graph::{Graph, Tensor};
use crate::image::{Channels, Filter, Fit, Geometry, Normalization, Preprocess, Resampler, Rgb, gaussian_blur, resize_bilinear_map};
use crate::methods::memory::{MemoryArray, MemoryKind};
use crate::methods::tiles::inspect_tiles;
use crate::methods::{
    BuildContext, Clock, Finding, Memory, Method, MethodInputs, References, Scale, SquareFrame, Tiles, maximum, minimum, noise,
};
use crate::models::WideResNet;
use crate::tensor::{Array, DType};
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

/// Decoded images, one at a time.
type Images<'a> = &'a mut dyn Iterator<Item = Result<Rgb>>;

/// A callback that receives the number of images that are done.
type Done<'a> = &'a mut dyn FnMut(usize) -> Result<()>;

/// The square that is inspected, as part of the scaled image: what the central crop cuts off is not scored.
const SQUARE: SquareFrame = SquareFrame { side: SIDE, margin: (SIDE - FRAME) / 2 };

/// What these methods take beside images to score: reference images, of which a memory of this kind is kept, and tiles.
const fn inputs(memory: &'static MemoryKind) -> MethodInputs {
    MethodInputs { references: References::Required, memory: Some(memory), tiles: Some(SQUARE), ..MethodInputs::IMAGES }
}

/// The memory of the reference images. With tiles, each square of a reference is a reference of its own: PatchCore and SPADE then look for the like of a
/// square anywhere in them, and PaDiM's Gaussians are of places within a square, which suits textures, not objects in one place.
fn memory(context: &BuildContext<'_>, remember: impl FnOnce(Images<'_>, Done<'_>) -> Result<Memory>) -> Result<Arc<Memory>> {
    let Some(tiles) = context.recipe.tiles else { return context.required_memory(remember) };
    context.required_memory(|images, done| {
        let begun = Cell::new(0);
        let mut squares = images.flat_map(|image| {
            begun.set(begun.get() + 1);
            image
                .and_then(|image| tiles.cut(SQUARE, &image))
                .map_or_else(|error| vec![Err(error)], |all| all.into_iter().map(Ok).collect())
        });
        remember(&mut squares, &mut |_| done(begun.get()))
    })
}

/// A method on one network and device, with the tiles that were asked for.
fn with_tiles(method: impl SquareMethod + 'static, context: &BuildContext<'_>) -> Box<dyn Method> {
    match context.recipe.tiles {
        Some(tiles) => Box::new(Tiled { method, tiles }),
        None => Box::new(method),
    }
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
        let square = self.inspect_square(image, clock)?;
        let inspected = square.geometry.from_frame([0, 0, FRAME, FRAME]);
        Ok(Finding::of_part(square.restored(), square.score, inspected))
    }
}

impl Square {
    /// The map at the size of the image, its smallest value outside the square.
    fn restored(&self) -> Array {
        self.geometry.restore(&self.map, minimum(self.map.data()))
    }
}

/// A method that inspects all squares of an image.
struct Tiled<M> {
    method: M,
    tiles: Tiles,
}

impl<M: SquareMethod> Method for Tiled<M> {
    fn scale(&self) -> Scale {
        self.method.scale()
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        inspect_tiles(image, &self.tiles, SQUARE, clock, |tile, clock| {
            let square = self.method.inspect_square(tile, clock)?;
            Ok((square.restored(), square.score))
        })
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
    let mirrored = largest(&reference.mirrored())?;
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

/// What is wrong with the value of the hottest colour of a memory.
fn hottest_fault(memory: &Memory) -> Option<(&'static str, String)> {
    let values = memory.array(HOTTEST.name).data();
    (values.len() != 1 || values[0].is_nan() || values[0] <= 0.0).then(|| (HOTTEST.name, "is not one positive number".to_owned()))
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
    fn what_lies_outside_the_square_is_not_inspected() {
        let corners = |height, width| preprocess(Filter::Bilinear).fit.geometry(height, width).from_frame([0, 0, FRAME, FRAME]).corners();
        // 16 of 256 on each side; of 100 × 200, which is scaled to 256 × 512, 6.25 and 56.25.
        assert_eq!(corners(256, 256), [16.0, 16.0, 240.0, 240.0]);
        assert_eq!(corners(100, 200), [56.25, 6.25, 143.75, 93.75]);
    }
}
