//! A convolution with a bias, or with its batch norm folded into one.

use crate::error::Result;
use crate::graph::{Epilogue, Tensor};
use crate::kernels::Activation;
use crate::weights::{BatchNorm, Scope, Weight};

/// Channels of pixels on a device: red, green and blue are padded to this many, so that kernels load four at a time.
pub const PIXEL_CHANNELS: usize = 4;

/// Batch norm's ε in every torchvision and timm network.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvConfig {
    /// Channels read, as the checkpoint has them.
    pub channels_in: usize,
    /// Output channels.
    pub channels_out: usize,
    /// Rows and columns of the kernel; half of it is padded on each side, which keeps the size at stride 1.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// The input's channels are padded with zeros to a multiple of this.
    pub pad_to: usize,
}

/// A convolution with a bias; a batch norm after a convolution is folded into both.
pub struct Conv {
    weight: Weight,
    bias: Weight,
    stride: usize,
    padding: usize,
}

impl Conv {
    /// Reads `{conv}.weight` `[out, in, k, k]` and the statistics below `{norm}`.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope, conv: &str, norm: &str, config: ConvConfig) -> Result<Conv> {
        let ConvConfig { channels_in, channels_out, kernel, stride, pad_to } = config;
        let weight = weights.at(conv).weight("weight", [channels_out, channels_in, kernel, kernel])?;
        let norm = BatchNorm::load(&weights.at(norm), channels_out, BATCH_NORM_EPS)?;
        let (weight, bias) = weight.fold_batch_norm(&norm);
        Ok(Conv { weight: weight.channels_last_filter(pad_to), bias, stride, padding: kernel / 2 })
    }

    /// Reads `weight` `[out, in, k, k]` and `bias` `[out]`, as PyTorch's `Conv2d` stores them.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load_biased(weights: &Scope, config: ConvConfig) -> Result<Conv> {
        let ConvConfig { channels_in, channels_out, kernel, stride, pad_to } = config;
        let weight = weights.weight("weight", [channels_out, channels_in, kernel, kernel])?;
        let bias = weights.weight("bias", [channels_out])?;
        Ok(Conv { weight: weight.channels_last_filter(pad_to), bias, stride, padding: kernel / 2 })
    }

    /// Zeros that it adds on each side of its input.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// `activation(conv(x))` of an input that has its border of [`Conv::padding`] zeros already.
    #[track_caller]
    pub fn forward_bordered<'g>(&self, x: Tensor<'g>, activation: Activation) -> Tensor<'g> {
        let epilogue = Epilogue { bias: Some(x.graph().weight_f32(&self.bias)), residual: None, activation };
        x.conv2d(x.graph().weight(&self.weight), self.stride, 0, epilogue)
    }

    /// `activation(conv(x) + residual)`, norm and bias included: `x` `[b, h, w, in]` → `[b, h', w', out]`.
    #[track_caller]
    pub fn forward<'g>(&self, x: Tensor<'g>, residual: Option<Tensor<'g>>, activation: Activation) -> Tensor<'g> {
        let weight = x.graph().weight(&self.weight);
        let epilogue = Epilogue { bias: Some(x.graph().weight_f32(&self.bias)), residual, activation };
        let [kernel, _, channels_in, channels_out] = weight.shape().axes();
        if kernel == 1 && self.stride == 1 {
            return x.matmul(weight.reshape([channels_in, channels_out]), epilogue);
        }
        x.conv2d(weight, self.stride, self.padding, epilogue)
    }
}
