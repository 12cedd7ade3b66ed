//! Linear layer: an affine map of each row.

use std::ops::Range;

use crate::error::Result;
use crate::graph::{Epilogue, Tensor};
use crate::kernels::Activation;
use crate::weights::{Scope, Weight};

/// Linear layer `y = x·W + b`.
#[derive(Clone)]
pub struct Linear {
    weight: Weight,
    bias: Option<Weight>,
}

impl Linear {
    /// Reads `weight` `[out, in]` and `bias` `[out]`, as PyTorch's `Linear` stores them.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = weights.weight("weight", [outputs, inputs])?;
        Ok(Linear::new(weight.transposed(), Some(weights.weight("bias", [outputs])?)))
    }

    /// The map of a weight `[in, out]` and a bias `[out]`.
    pub fn new(weight: Weight, bias: Option<Weight>) -> Linear {
        Linear { weight, bias }
    }

    /// The map to some of the outputs.
    pub fn outputs(&self, outputs: Range<usize>) -> Linear {
        let weight = self.weight.transposed().rows(outputs.clone()).transposed();
        Linear::new(weight, self.bias.as_ref().map(|bias| bias.rows(outputs)))
    }

    /// The map of some of the inputs, the others being 0.
    pub fn inputs(&self, inputs: Range<usize>) -> Linear {
        Linear::new(self.weight.rows(inputs), self.bias.clone())
    }

    /// The map without its bias.
    pub fn without_bias(&self) -> Linear {
        Linear::new(self.weight.clone(), None)
    }

    /// The weight `[in, out]`.
    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// The bias `[out]`.
    pub fn bias(&self) -> Option<&Weight> {
        self.bias.as_ref()
    }

    /// `[…, in]` → `[…, out]`.
    #[track_caller]
    pub fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        self.fused(x, None, Activation::Identity)
    }

    /// `activation(x·W + b)`.
    #[track_caller]
    pub fn activated<'g>(&self, x: Tensor<'g>, activation: Activation) -> Tensor<'g> {
        self.fused(x, None, activation)
    }

    /// `x·W + b + residual`.
    #[track_caller]
    pub fn added_to<'g>(&self, x: Tensor<'g>, residual: Tensor<'g>) -> Tensor<'g> {
        self.fused(x, Some(residual), Activation::Identity)
    }

    #[track_caller]
    fn fused<'g>(&self, x: Tensor<'g>, residual: Option<Tensor<'g>>, activation: Activation) -> Tensor<'g> {
        let bias = self.bias.as_ref().map(|bias| x.graph().weight_f32(bias));
        x.matmul(x.graph().weight(&self.weight), Epilogue { bias, residual, activation })
    }
}
