//! A transposed convolution whose windows do not overlap.

use crate::error::Result;
use crate::graph::{Epilogue, Tensor};
use crate::kernels::Activation;
use crate::tensor::Array;
use crate::weights::{Scope, Weight};

/// A transposed convolution whose stride is its kernel k: every pixel becomes k×k pixels, so it is a matrix product and a permutation.
pub struct ConvTranspose {
    /// `[in, k·k·out]`.
    weight: Weight,
    /// `[k·k·out]`, the same for each of the k×k pixels.
    bias: Weight,
    kernel: usize,
}

impl ConvTranspose {
    /// Reads `weight` `[in, out, k, k]` and `bias` `[out]`, as PyTorch's `ConvTranspose2d` stores them; k is that of the tensor.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope, channels_in: usize, channels_out: usize) -> Result<ConvTranspose> {
        let [.., kernel] = weights.sizes::<4>("weight")?;
        let weight = weights.weight("weight", [channels_in, channels_out, kernel, kernel])?;
        Ok(ConvTranspose::new(&weight, &weights.weight("bias", [channels_out])?))
    }

    /// The map of a weight `[in, out, k, k]` and a bias `[out]`.
    pub fn new(weight: &Weight, bias: &Weight) -> ConvTranspose {
        let [inputs, outputs, kernel, _] = weight.shape().axes();
        let taps = kernel * kernel;
        let weight = weight.map([inputs, taps * outputs], move |filter| {
            let at = |input: usize, tap: usize, output: usize| filter.data()[(input * outputs + output) * taps + tap];
            let row = |input: usize| (0..taps).flat_map(move |tap| (0..outputs).map(move |output| at(input, tap, output)));
            Ok(Array::new([inputs, taps * outputs], (0..inputs).flat_map(row).collect()))
        });
        let bias = bias.map([taps * outputs], move |bias| Ok(Array::new([taps * outputs], bias.data().repeat(taps))));
        ConvTranspose { weight, bias, kernel }
    }

    /// Kernel size: pixels along each side that one pixel becomes.
    pub fn kernel(&self) -> usize {
        self.kernel
    }

    /// `activation(convᵀ(x))`: `[b, h, w, in]` → `[b, h·k, w·k, out]`.
    #[track_caller]
    pub fn forward<'g>(&self, x: Tensor<'g>, activation: Activation) -> Tensor<'g> {
        let (graph, k) = (x.graph(), self.kernel);
        let [batch, height, width, _] = x.shape().axes();
        let epilogue = Epilogue { bias: Some(graph.weight_f32(&self.bias)), residual: None, activation };
        let y = x.matmul(graph.weight(&self.weight), epilogue); // [b, h, w, k·k·out]
        let out = y.shape().cols() / (k * k);
        y.reshape([batch * height, width, k, k * out])
            .permute(&[0, 2, 1, 3])
            .reshape([batch, height * k, width * k, out])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_of_the_window_holds_its_channels_side_by_side() {
        // Input 0 has the windows 1 2 / 3 4 and 5 6 / 7 8 for its two outputs, input 1 those of 9 to 16.
        let weight = Weight::from_array("w", Array::new([2, 2, 2, 2], (1..=16).map(|x| x as f32).collect()));
        let conv = ConvTranspose::new(&weight, &Weight::from_array("b", Array::new([2], vec![-1.0, -2.0])));
        let first = [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0];
        let second = [9.0, 13.0, 10.0, 14.0, 11.0, 15.0, 12.0, 16.0];
        assert_eq!(conv.weight.to_array().unwrap(), Array::new([2, 8], [first, second].concat()));
        assert_eq!(conv.bias.to_array().unwrap().data(), [-1.0, -2.0].repeat(4));
    }

    #[test]
    fn every_pixel_becomes_a_square() {
        let graph = crate::graph::Graph::default();
        let zeros = |shape: &[usize]| Weight::from_array("w", Array::zeros(crate::tensor::Shape::new(shape)));
        let conv = ConvTranspose::new(&zeros(&[4, 5, 3, 3]), &zeros(&[5]));
        let y = conv.forward(graph.input("x", [2, 6, 7, 4]), Activation::Relu);
        assert_eq!(y.shape().axes(), [2, 18, 21, 5]);
    }
}
