//! Multilayer perceptrons: linear layers with an activation between them.

use crate::error::Result;
use crate::graph::Tensor;
use crate::kernels::Activation;
use crate::nn::Linear;
use crate::weights::Scope;

/// Numbers of parts in which the hidden layer is computed: where a whole one is more than an adapter binds, fewer at a time.
const PARTS: [usize; 3] = [1, 2, 4];

/// Bytes of a tensor that every adapter binds (WebGPU, `maxStorageBufferBindingSize`).
const BINDING_BYTES: usize = 128 << 20;

/// Two linear layers, the feed-forward network of a transformer block (Vaswani et al. 2017, §3.3).
#[derive(Clone)]
pub struct Mlp {
    /// Pairs of layers over all of the hidden layer, over each half and over each quarter of it, as far as it can be divided.
    layers: Vec<Vec<[Linear; 2]>>,
    /// Activation between the layers.
    pub activation: Activation,
}

impl Mlp {
    /// Reads both layers; the size of the hidden one is that of the tensor.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(first: &Scope, second: &Scope, dim: usize, activation: Activation) -> Result<Mlp> {
        let [hidden, _] = first.sizes("weight")?;
        let (first, second) = (Linear::load(first, dim, hidden)?, Linear::load(second, hidden, dim)?);
        let divided = |parts: usize| {
            let part = |at: usize| {
                let range = at * hidden / parts..(at + 1) * hidden / parts;
                // The second bias is added once.
                let second = second.inputs(range.clone());
                [first.outputs(range), if at == 0 { second } else { second.without_bias() }]
            };
            if parts == 1 { vec![[first.clone(), second.clone()]] } else { (0..parts).map(part).collect() }
        };
        Ok(Mlp {
            layers: PARTS.into_iter().filter(|parts| hidden.is_multiple_of(*parts)).map(divided).collect(),
            activation,
        })
    }

    /// Both layers.
    pub fn layers(&self) -> &[Linear; 2] {
        &self.layers[0][0]
    }

    /// `second(activation(first(x))) + residual`: `[…, dim]` → the same shape.
    #[track_caller]
    pub fn added_to<'g>(&self, x: Tensor<'g>, residual: Tensor<'g>) -> Tensor<'g> {
        let bytes = |[first, _]: &[Linear; 2]| x.shape().rows() * first.weight().shape().cols() * x.dtype().size();
        let fits = self.layers.iter().find(|parts| bytes(&parts[0]) <= BINDING_BYTES);
        let parts = fits.or(self.layers.last()).expect("a hidden layer can be divided by 1");
        parts
            .iter()
            .fold(residual, |sum, [first, second]| second.added_to(first.activated(x, self.activation), sum))
    }
}

/// Linear layers with ReLU between them, which end in predictions.
#[derive(Clone)]
pub struct PredictionHead {
    layers: Vec<Linear>,
}

impl PredictionHead {
    /// Reads the layers `names`, from `inputs` to `outputs` numbers; hidden sizes are those of the tensors.
    ///
    /// Errors when a tensor is missing or ill-shaped.
    pub fn load(weights: &Scope, names: &[String], inputs: usize, outputs: usize) -> Result<PredictionHead> {
        let mut layers = Vec::new();
        let mut width = inputs;
        for (at, name) in names.iter().enumerate() {
            let layer = weights.at(name);
            let next = if at + 1 == names.len() { outputs } else { layer.sizes::<2>("weight")?[0] };
            layers.push(Linear::load(&layer, width, next)?);
            width = next;
        }
        Ok(PredictionHead { layers })
    }

    /// The head for some of the outputs.
    pub fn outputs(mut self, outputs: std::ops::Range<usize>) -> PredictionHead {
        if let Some(last) = self.layers.last_mut() {
            *last = last.outputs(outputs);
        }
        self
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// All layers but the last: `[…, inputs]` → `[…, hidden]`.
    #[track_caller]
    pub fn hidden<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let hidden = &self.layers[..self.layers.len() - 1];
        hidden.iter().fold(x, |x, layer| layer.activated(x, Activation::Relu))
    }

    /// `[…, inputs]` → `[…, outputs]`.
    #[track_caller]
    pub fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let hidden = self.hidden(x);
        self.layers.last().map_or(hidden, |last| last.forward(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Source};
    use crate::tensor::{Array, Precision, Shape};
    use crate::weights::{Checkpoint, to_safetensors};

    #[test]
    fn a_hidden_layer_beyond_the_binding_limit_is_computed_in_parts_and_biased_once() {
        let halves = |sizes: &[usize]| Array::new(Shape::new(sizes), vec![0.5; sizes.iter().product()]);
        let tensors = [("a.weight", halves(&[4, 2])), ("a.bias", halves(&[4])), ("b.weight", halves(&[2, 4])), ("b.bias", halves(&[2]))];
        let bytes = to_safetensors(tensors.iter().map(|(name, array)| (*name, array)), &[]).unwrap();
        let file = Checkpoint::from_bytes("test", bytes).unwrap();
        let mlp = Mlp::load(&file.root().at("a"), &file.root().at("b"), 2, Activation::Relu).unwrap();
        let launches = |rows: usize| {
            let graph = Graph::new(Precision::F32);
            let x = graph.input("x", [rows, 2]);
            mlp.added_to(x, x);
            let biases = graph
                .values()
                .iter()
                .filter(|value| matches!(&value.source, Source::Weight(weight) if weight.name() == "b.bias"))
                .count();
            assert_eq!(biases, 1);
            graph.nodes().len()
        };
        assert_eq!(launches(3), 2);
        assert_eq!(launches(BINDING_BYTES / 16), 2, "a hidden layer that just fits");
        assert_eq!(launches(BINDING_BYTES / 16 + 1), 4);
        assert_eq!(launches(BINDING_BYTES / 4 + 1), 8);
    }
}
