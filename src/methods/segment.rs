//! Segmentation of boxes on an image (Segment Anything, Kirillov et al. 2023).

use crate::error::Result;
use crate::graph::Graph;
use crate::image::{BoundingBox, Channels, Filter, Fit, Geometry, Mask, Normalization, Preprocess, Resampler, Rgb, resize_bilinear_map};
use crate::kernels::{MaskGeometry, PIXELS_PER_NUMBER, RegionMask};
use crate::methods::finite;
use crate::methods::programs::{BatchSize, Programs};
use crate::models::{Sam, sam};
use crate::run::{Device, Input, Program, Value};
use crate::tensor::{Array, DType, Precision};

/// Pixels of masks that are enlarged together: as bits they take 16 MiB.
const ENLARGED_PIXELS: usize = 1 << 26;

/// Segment Anything on a device: an image is encoded once; then the masks of any number of boxes are decoded from its embedding.
pub struct Segmenter {
    device: Device,
    network: Sam,
    precision: Precision,
    encoder: Programs<()>,
    /// By the number of boxes in a batch, a power of two.
    decoders: Programs<usize>,
    batch: BatchSize,
    /// Programs that enlarge masks, by their number and geometry.
    enlargers: Programs<(usize, MaskGeometry)>,
    enlarged: BatchSize,
    enlarged_at_once: usize,
}

/// An image resized and normalised for the encoder.
pub struct Prepared {
    /// `[1, 3, side, side]`.
    pixels: Array,
    geometry: Geometry,
}

/// The embedding of an image, on the device.
pub struct Encoded {
    /// `[1, grid, grid, channels]`; it stays where it was computed.
    embedding: Value,
    geometry: Geometry,
}

/// The mask that the network predicts for a box.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Logits at the decoder's own size `[side, side]`.
    coarse: Array,
    geometry: Geometry,
    /// The network's estimate of the mask's intersection over union with the true mask; it may leave 0…1.
    pub iou: f32,
}

impl Segmenter {
    /// A network on a device. Its image encoder is compiled now, decoders when the first boxes come.
    ///
    /// Errors: a device that cannot hold the weights.
    pub fn new(device: &Device, network: Sam, precision: Precision) -> Result<Segmenter> {
        let segmenter = Segmenter::lazy(device, network, precision);
        segmenter.with_encoder(|_| Ok(()))?;
        Ok(segmenter)
    }

    /// A network on a device, all of whose programs are compiled when they are first needed.
    pub(super) fn lazy(device: &Device, network: Sam, precision: Precision) -> Segmenter {
        let (encoder, decoders, batch) = (Programs::new(1), Programs::new(4), BatchSize::new(sam::BATCH));
        let (enlargers, enlarged, enlarged_at_once) = (Programs::new(4), BatchSize::new(ENLARGED_PIXELS), ENLARGED_PIXELS);
        Segmenter {
            device: device.clone(),
            network,
            precision,
            encoder,
            decoders,
            batch,
            enlargers,
            enlarged,
            enlarged_at_once,
        }
    }

    /// Gives the memory of its programs back; they are compiled again when they are needed.
    pub(super) fn release(&self) {
        self.encoder.clear();
        self.decoders.clear();
        self.enlargers.clear();
    }

    fn with_encoder<R>(&self, act: impl Fn(&Program) -> Result<R>) -> Result<R> {
        let compile = || {
            let graph = Graph::new(self.precision);
            let side = self.network.image_encoder.image_size();
            let embedding = self.network.image_encoder.forward(graph.input("pixels", [1, 3, side, side]));
            Program::compile(&self.device, &graph, &[embedding.cast(DType::F32)])
        };
        self.encoder.with(&(), compile, act)
    }

    /// Resizes and normalises an image, its colours in this order, for [`Segmenter::encode`].
    pub fn prepare(&self, image: &Rgb, channels: Channels) -> Prepared {
        let recipe = Preprocess {
            fit: Fit::LongestSide { size: self.network.image_encoder.image_size() },
            resampler: Resampler::Pillow(Filter::Bilinear),
            channels,
            normalization: Normalization::IMAGENET_BYTES,
        };
        let (pixels, geometry) = recipe.apply(image);
        Prepared { pixels, geometry }
    }

    /// Encodes an image; this takes most of the time.
    ///
    /// Errors: a device fault, or too little memory for the embedding. Numbers that are not finite are found by [`Segmenter::segment`].
    pub fn encode(&self, prepared: &Prepared) -> Result<Encoded> {
        let embedding = self.with_encoder(|encoder| Ok(encoder.run_resident(&[Input::from(&prepared.pixels)])?.remove(0)))?;
        Ok(Encoded { embedding, geometry: prepared.geometry })
    }

    /// The mask of each box, any number of them, in their order.
    ///
    /// Errors: a device fault, too little memory for a single box, or numbers that are not finite.
    pub fn segment(&self, encoded: &Encoded, boxes: &[BoundingBox]) -> Result<Vec<Segment>> {
        self.batch.run(boxes, 1, "boxes", |boxes| self.decode(encoded, boxes))
    }

    fn decode(&self, encoded: &Encoded, boxes: &[BoundingBox]) -> Result<Vec<Segment>> {
        let count = padded(boxes.len());
        let corners = boxes.iter().cycle().take(count).flat_map(|&bounds| encoded.geometry.to_frame(bounds)).collect();
        let tokens = self.network.embed_boxes(&Array::new([count, 4], corners))?;
        let decode = |decoder: &Program| decoder.submit(&[Input::from(&encoded.embedding), Input::from(&tokens)])?.wait();
        let mut found = self.decoders.with(&count, || self.compile_decoder(encoded, count), decode)?.into_iter();
        let mut next = |what| finite(found.next().expect("a decoder has two outputs"), what);
        let (logits, scores) = (next("the masks of Segment Anything")?, next("the scores of Segment Anything")?);
        let [_, height, width] = logits.shape().axes();
        let masks = logits.data().chunks_exact(height * width).zip(scores.data());
        Ok(masks
            .take(boxes.len())
            .map(|(mask, &iou)| Segment { coarse: Array::new([height, width], mask.to_vec()), geometry: encoded.geometry, iou })
            .collect())
    }

    /// With another bound on the pixels of masks that are enlarged together, for tests.
    #[doc(hidden)]
    pub fn enlarging_at_once(self, pixels: usize) -> Segmenter {
        Segmenter { enlarged_at_once: pixels, ..self }
    }

    /// Masks at the image's own size, as [`Segment::mask`] computes them, but on the device and in order to `each`, as there may be hundreds. The
    /// two may differ at pixels whose logit is nearly 0.
    ///
    /// Errors: a device fault, too little memory for a single mask. Panics where segments are of different images.
    pub fn masks(&self, segments: &[&Segment], mut each: impl FnMut(usize, &Mask)) -> Result<()> {
        let Some(first) = segments.first() else { return Ok(()) };
        let geometry = first.mask_geometry();
        let (height, width) = geometry.image;
        let [rows, cols] = first.coarse.shape().axes();
        let of_mask = height * RegionMask::numbers(width);
        let enlarge = |some: &[&Segment]| -> Result<Vec<Array>> {
            assert!(some.iter().all(|segment| segment.mask_geometry() == geometry), "segments of one image are enlarged together");
            let count = padded(some.len());
            let coarse = some.iter().cycle().take(count).flat_map(|segment| segment.coarse.data());
            let logits = Array::new([count, rows, cols], coarse.copied().collect());
            let compile = || {
                let graph = Graph::new(self.precision);
                Program::compile(&self.device, &graph, &[graph.input("logits", logits.shape()).region_mask(geometry)])
            };
            let bits = self.enlargers.with(&(count, geometry), compile, |program| Ok(program.run(&[&logits])?.remove(0)))?;
            let masks = bits.data().chunks_exact(of_mask).take(some.len());
            Ok(masks.map(|bits| Array::new([height, RegionMask::numbers(width)], bits.to_vec())).collect())
        };
        // Batches are consumed one after the other. A mask takes its pixels as bits, and its logits.
        let size = (height * width).max(8 * rows * cols);
        let together = 1 << (self.enlarged_at_once / size).max(1).ilog2();
        for (batch, some) in segments.chunks(together).enumerate() {
            for (at, bits) in self.enlarged.run(some, size, "masks", enlarge)?.iter().enumerate() {
                each(batch * together + at, &unpacked(bits, width));
            }
        }
        Ok(())
    }

    fn compile_decoder(&self, encoded: &Encoded, boxes: usize) -> Result<Program> {
        let graph = Graph::new(self.precision);
        let embedding = graph.input("embedding", encoded.embedding.shape());
        let tokens = graph.input("tokens", [boxes, self.network.tokens_of_box(), embedding.shape().cols()]);
        let masks = self.network.decode(embedding.cast(self.precision.storage()), tokens);
        Program::compile(&self.device, &graph, &[masks.logits.cast(DType::F32), masks.iou_scores.cast(DType::F32)])
    }
}

/// Items in a batch that is filled up with copies, so that few programs serve any number of items.
fn padded(count: usize) -> usize {
    count.next_power_of_two()
}

/// The mask of bits `[height, numbers]`, [`PIXELS_PER_NUMBER`] in each number.
fn unpacked(bits: &Array, width: usize) -> Mask {
    let of_row = |row: &[f32]| -> Vec<bool> {
        let of_number = |&number: &f32| (0..PIXELS_PER_NUMBER).map(move |bit| number as u32 >> bit & 1 == 1);
        row.iter().flat_map(of_number).take(width).collect()
    };
    let marks = bits.data().chunks_exact(bits.shape().cols()).flat_map(of_row).collect();
    Mask::new(width, bits.shape().rows(), marks)
}

impl Segment {
    fn mask_geometry(&self) -> MaskGeometry {
        let [rows, cols] = self.coarse.shape().axes();
        let Geometry { original, resized, frame, .. } = self.geometry;
        MaskGeometry { mask: (rows, cols), frame, covered: resized, image: original }
    }

    /// Logits at the image's own size `[height, width]`; above 0 a pixel is more likely in than out.
    ///
    /// As the released code: enlarged to the frame, cut to the image, then resized to it. The two resizes are not the same as one.
    pub fn logits(&self) -> Array {
        let (height, width) = self.geometry.frame;
        self.geometry.restore(&resize_bilinear_map(&self.coarse, height, width), f32::NEG_INFINITY)
    }

    /// The pixels whose logit is above 0.
    pub fn mask(&self) -> Mask {
        Mask::of_positive(&self.logits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_enlarged_to_the_frame_cut_to_the_image_and_resized_once_more() {
        // An image of 3 × 1 in a frame of 4 × 4, of which it fills 4 × 1, and a mask of 2 × 2.
        let geometry = Fit::LongestSide { size: 4 }.geometry(1, 3);
        assert_eq!(geometry.resized, (1, 4));
        let segment = Segment { coarse: Array::new([2, 2], vec![0.0, 8.0, -50.0, -50.0]), geometry, iou: 0.5 };
        // First row of the frame: 0, 2, 6, 8. Its three columns lie at 1/6, 1.5 and 2 5/6: 1/3, 4 and 7 2/3.
        let expected = [1.0 / 3.0, 4.0, 23.0 / 3.0];
        let found = segment.logits();
        assert_eq!(found.shape().axes(), [1, 3]);
        // One resize from columns 2 to 3 would give 0, 4 and 8.
        assert!(
            found
                .data()
                .iter()
                .zip(expected)
                .all(|(found, expected): (&f32, f64)| (f64::from(*found) - expected).abs() < 1e-5),
            "{found:?}"
        );
        assert_eq!(segment.mask().area(), 3);
    }
}
