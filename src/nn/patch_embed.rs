//! Patch embedding: an image cut into squares, each mapped to a token.

use crate::error::Result;
use crate::graph::{Epilogue, Tensor};
use crate::nn::PIXEL_CHANNELS;
use crate::weights::{Scope, Weight};

/// A linear map of each square patch of an image to a token (Dosovitskiy et al. 2021, §3.1).
#[derive(Clone)]
pub struct PatchEmbed {
    /// `[patch, patch, 4, width]`.
    weight: Weight,
    bias: Option<Weight>,
}

impl PatchEmbed {
    /// Reads `weight` `[width, 3, patch, patch]` and, where there is one, `bias` `[width]`; both sizes are those of the tensor.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope) -> Result<PatchEmbed> {
        let [width, _, patch, _] = weights.sizes("weight")?;
        Ok(PatchEmbed {
            weight: weights.weight("weight", [width, 3, patch, patch])?.channels_last_filter(PIXEL_CHANNELS),
            bias: weights.optional("bias", [width])?,
        })
    }

    /// Pixels along each side of a patch.
    pub fn patch(&self) -> usize {
        self.weight.shape().sizes()[0]
    }

    /// Elements of a token.
    pub fn width(&self) -> usize {
        self.weight.shape().cols()
    }

    /// `pixels` `[b, 3, h, w]` of whole patches → `[b, h / patch, w / patch, width]`, plus `residual` of that shape.
    #[track_caller]
    pub fn forward<'g>(&self, pixels: Tensor<'g>, residual: Option<Tensor<'g>>) -> Tensor<'g> {
        let graph = pixels.graph();
        let bias = self.bias.as_ref().map(|bias| graph.weight_f32(bias));
        let x = pixels.cast(graph.precision().storage()).channels_last(PIXEL_CHANNELS);
        x.conv2d(graph.weight(&self.weight), self.patch(), 0, Epilogue { bias, residual, ..Epilogue::default() })
    }
}
