//! Raw network of SAM: an image, and boxes on it, as named arrays.

use super::Sam;
use crate::error::Result;
use crate::graph::{Graph, Tensor};
use crate::models::raw::{NetworkInputs, PIXELS, RawInfo, RawNetwork, input_array, input_shape, read_pixels, refused, sample_pixels};
use crate::tensor::{Array, DType, Seeded};
use crate::weights::Checkpoint;

/// The whole network.
pub(super) const SAM: RawInfo = RawInfo {
    name: "sam",
    about: "`pixel_values` [1, 3, s, s], `input_boxes` [1, n, 4] in its pixels → `image_embeddings` [1, c, g, g], `pred_masks` [1, n, 1, 4g, \
            4g], logits of mask token 0, `iou_scores` [1, n, 1]",
    load: |checkpoint| Ok(Box::new(Sam::load(checkpoint)?)),
};

/// Name of the input of boxes.
const BOXES: &str = "input_boxes";

/// Number of boxes in a random input.
const SAMPLE_BOXES: usize = 4;

/// Bytes of one output that every adapter binds (WebGPU, `maxStorageBufferBindingSize`).
const BINDING_BYTES: usize = 128 << 20;

impl Sam {
    /// Largest number of boxes whose masks fit into one output.
    fn max_boxes(&self) -> usize {
        let side = self.mask_decoder.enlargement() * self.image_encoder.grid();
        BINDING_BYTES / (size_of::<f32>() * side * side)
    }

    fn frame(&self) -> (usize, usize) {
        (self.image_encoder.image_size(), self.image_encoder.image_size())
    }

    /// Inputs of the recording for an image and boxes `[n, 4]`.
    fn inputs_of(&self, pixels: Array, boxes: &Array) -> Result<NetworkInputs> {
        Ok(vec![pixels, self.embed_boxes(boxes)?].into())
    }
}

impl RawNetwork for Sam {
    fn inputs(&self) -> &'static [&'static str] {
        &[PIXELS, BOXES]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        let frame = self.frame();
        let pixels = sample_pixels(random, size.unwrap_or(frame), Some(frame))?;
        let corners = (0..4 * SAMPLE_BOXES).map(|_| (random.uniform() * frame.0 as f64) as f32).collect();
        self.inputs_of(pixels, &Array::new([SAMPLE_BOXES, 4], corners))
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        let pixels = read_pixels(arrays, Some(self.frame()))?;
        let [images, ..] = pixels.shape().axes::<4>();
        if images > 1 {
            return Err(refused(format!("`{PIXELS}` holds {images} images, SAM takes one")));
        }
        let boxes = match *input_shape(arrays, BOXES)?.sizes() {
            [1, count, 4] if count > self.max_boxes() => {
                let message = format!("`{BOXES}` in `{}` holds {count} boxes, more than {} at a time", arrays.name(), self.max_boxes());
                return Err(refused(message).hint("spread them over several files"));
            }
            [1, count, 4] if count > 0 => input_array(arrays, BOXES)?.reshape([count, 4]),
            _ => return Err(refused(format!("`{BOXES}` in `{}` must be [1, boxes, 4]", arrays.name()))),
        };
        self.inputs_of(pixels, &boxes)
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let embedding = self.image_encoder.forward(graph.input(PIXELS, inputs.arrays[0].shape()));
        let masks = self.decode(embedding, graph.input(BOXES, inputs.arrays[1].shape()));
        let [boxes, height, width] = masks.logits.shape().axes();
        let named = |name: &str, tensor: Tensor<'g>| (name.to_owned(), tensor.cast(DType::F32));
        vec![
            named("image_embeddings", embedding.channels_first()),
            named("pred_masks", masks.logits.reshape([1, boxes, 1, height, width])),
            named("iou_scores", masks.iou_scores.reshape([1, boxes, 1])),
        ]
    }
}
