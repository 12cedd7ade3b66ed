//! Batch normalisation with fixed statistics, folded into the convolution before it (Ioffe and Szegedy 2015).

use super::scope::Scope;
use super::weight::Weight;
use crate::error::{Code, Error, Result};
use crate::tensor::Array;

/// Parameters of a batch norm, `y = weight · (x − running_mean) / √(running_var + eps) + bias`, one value per channel.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// γ `[channels]`.
    pub weight: Weight,
    /// β `[channels]`.
    pub bias: Weight,
    /// Mean of the training data `[channels]`.
    pub running_mean: Weight,
    /// Variance of the training data `[channels]`.
    pub running_var: Weight,
    /// ε, added to the variance; 1e-5 in torchvision and timm.
    pub eps: f64,
}

impl BatchNorm {
    /// Finds the four tensors under their PyTorch names; a counter `num_batches_tracked` is ignored.
    pub fn load(scope: &Scope, channels: usize, eps: f64) -> Result<BatchNorm> {
        scope.ignore("num_batches_tracked");
        Ok(BatchNorm {
            weight: scope.weight("weight", [channels])?,
            bias: scope.weight("bias", [channels])?,
            running_mean: scope.weight("running_mean", [channels])?,
            running_var: scope.weight("running_var", [channels])?,
            eps,
        })
    }

    /// a = γ / √(var + eps) of every channel.
    fn scales(&self) -> Result<Vec<f64>> {
        let weight = self.weight.to_array()?;
        let variance = self.running_var.to_array()?;
        if let Some(channel) = variance.data().iter().position(|&v| f64::from(v) + self.eps <= 0.0) {
            let value = variance.data()[channel];
            let message =
                format!("tensor `{}` holds the variance {value} at [{channel}], which has no square root", self.running_var.name());
            return Err(self.running_var.in_file(Error::new(Code::WeightsNonfinite, message)));
        }
        let scale = |(&gamma, &var): (&f32, &f32)| f64::from(gamma) / (f64::from(var) + self.eps).sqrt();
        Ok(weight.data().iter().zip(variance.data()).map(scale).collect())
    }

    /// β − mean · a of every channel.
    fn shifts(&self) -> Result<Vec<f64>> {
        let bias = self.bias.to_array()?;
        let mean = self.running_mean.to_array()?;
        let ingredients = bias.data().iter().zip(mean.data()).zip(self.scales()?);
        Ok(ingredients.map(|((&beta, &mean), scale)| f64::from(beta) - f64::from(mean) * scale).collect())
    }
}

impl Weight {
    /// The filter and the bias of one convolution that equals a convolution without bias and the batch norm after it.
    ///
    /// With a = γ / √(var + eps): filter `[o, …]` → `W[o] · a[o]` of the same shape and name; bias `β − mean · a`
    /// `[o]` under the name of the batch norm's bias. Computed in f64, rounded once. Panics where the batch norm
    /// has another number of channels than the filter has outputs.
    #[track_caller]
    pub fn fold_batch_norm(&self, norm: &BatchNorm) -> (Weight, Weight) {
        let (outputs, channels) = (self.shape()[0], norm.weight.shape().len());
        assert!(
            outputs == channels,
            "batch norm `{}` has {channels} channels, `{}` has {outputs} outputs",
            norm.weight.name(),
            self.name()
        );
        let scales_of = norm.clone();
        let filter = self.map(self.shape(), move |mut array| {
            let scales = scales_of.scales()?;
            let per_output = (array.shape().len() / outputs.max(1)).max(1);
            for (taps, scale) in array.data_mut().chunks_mut(per_output).zip(scales) {
                for value in taps {
                    *value = (f64::from(*value) * scale) as f32;
                }
            }
            Ok(array)
        });
        let shifts_of = norm.clone();
        let bias = norm.bias.map([outputs], move |_| {
            let shifts = shifts_of.shifts()?;
            Ok(Array::new([outputs], shifts.iter().map(|&shift| shift as f32).collect()))
        });
        (filter, bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;
    use crate::weights::testing::{checkpoint, f32_bytes, serialized};
    use safetensors::Dtype;

    /// A filter of two outputs with two taps each, and its batch norm.
    fn conv_and_norm(variance: [f32; 2]) -> Checkpoint {
        checkpoint(&[
            ("conv1.weight", &[2, 1, 1, 2], &[1.0, -2.0, 3.0, 0.5]),
            ("bn1.weight", &[2], &[6.0, -1.0]),
            ("bn1.bias", &[2], &[0.5, 1.0]),
            ("bn1.running_mean", &[2], &[2.0, -4.0]),
            ("bn1.running_var", &[2], &variance),
        ])
    }

    fn folded(checkpoint: &Checkpoint, eps: f64) -> Result<(Array, Array)> {
        let root = checkpoint.root();
        let norm = BatchNorm::load(&root.at("bn1"), 2, eps)?;
        let (filter, bias) = root.weight("conv1.weight", [2, 1, 1, 2])?.fold_batch_norm(&norm);
        assert_eq!((filter.name(), bias.name()), ("conv1.weight", "bn1.bias"));
        Ok((filter.to_array()?, bias.to_array()?))
    }

    #[test]
    fn two_channels_folded_by_hand() {
        // eps 1: a = [6/√(8+1), −1/√(3+1)] = [2, −0.5]; bias = [0.5 − 2·2, 1 − (−4)(−0.5)] = [−3.5, −1]
        let (filter, bias) = folded(&conv_and_norm([8.0, 3.0]), 1.0).unwrap();
        assert_eq!(filter, Array::new([2, 1, 1, 2], vec![2.0, -4.0, -1.5, -0.25]));
        assert_eq!(bias, Array::new([2], vec![-3.5, -1.0]));
    }

    #[test]
    fn a_wrong_eps_changes_the_fold() {
        // Channels of tiny variance are where 1e-3 (Keras) for 1e-5 (PyTorch) shows: √(1.1e-3 / 2e-5) ≈ 7.4.
        let checkpoint = conv_and_norm([1e-5, 1e-4]);
        let (right, _) = folded(&checkpoint, 1e-5).unwrap();
        let (wrong, _) = folded(&checkpoint, 1e-3).unwrap();
        let ratio = right.data()[0] / wrong.data()[0];
        assert!((ratio - 7.1).abs() < 0.01, "{ratio}"); // √(1.01e-3 / 2e-5) = 7.106
    }

    #[test]
    fn folding_is_worked_out_in_f64_and_rounded_once() {
        let checkpoint = checkpoint(&[
            ("conv1.weight", &[2, 1, 1, 2], &[0.1, 0.2, 0.3, 0.7]),
            ("bn1.weight", &[2], &[0.3, 0.7]),
            ("bn1.bias", &[2], &[0.1, 0.2]),
            ("bn1.running_mean", &[2], &[0.3, 0.9]),
            ("bn1.running_var", &[2], &[0.7, 1.3]),
        ]);
        let (filter, bias) = folded(&checkpoint, 1e-5).unwrap();
        let scale = |gamma: f32, var: f32| f64::from(gamma) / (f64::from(var) + 1e-5).sqrt();
        assert_eq!(filter.data()[3], (f64::from(0.7f32) * scale(0.7, 1.3)) as f32);
        assert_eq!(bias.data()[0], (f64::from(0.1f32) - f64::from(0.3f32) * scale(0.3, 0.7)) as f32);
    }

    #[test]
    fn the_batch_counter_is_not_reported_as_unread() {
        let vector = || f32_bytes(&[1.0]);
        let bytes = serialized(&[
            ("bn1.weight", Dtype::F32, &[1], vector()),
            ("bn1.bias", Dtype::F32, &[1], vector()),
            ("bn1.running_mean", Dtype::F32, &[1], vector()),
            ("bn1.running_var", Dtype::F32, &[1], vector()),
            ("bn1.num_batches_tracked", Dtype::I64, &[], vec![0; 8]),
            ("fc.bias", Dtype::F32, &[1], vector()),
        ]);
        let checkpoint = Checkpoint::from_bytes("test.safetensors", bytes).unwrap();
        BatchNorm::load(&checkpoint.root().at("bn1"), 1, 1e-5).unwrap();
        assert_eq!(checkpoint.finish(), ["fc.bias"]);
    }

    #[test]
    fn a_negative_variance_and_a_nan_mean_are_refused_by_name() {
        let error = folded(&conv_and_norm([1.0, -1.0]), 1e-5).unwrap_err();
        assert_eq!(error.code(), Code::WeightsNonfinite);
        assert_eq!(error.message(), "tensor `bn1.running_var` holds the variance -1 at [1], which has no square root");
        let error = folded(&conv_and_norm([f32::NAN, 1.0]), 1e-5).unwrap_err();
        assert_eq!(error.message(), "tensor `bn1.running_var` holds NaN at [0]");
    }

    #[test]
    fn a_folded_filter_takes_its_layout_afterwards() {
        let checkpoint = conv_and_norm([8.0, 3.0]);
        let norm = BatchNorm::load(&checkpoint.root().at("bn1"), 2, 1.0).unwrap();
        let (filter, _) = checkpoint.root().weight("conv1.weight", [2, 1, 1, 2]).unwrap().fold_batch_norm(&norm);
        // [kh, kw, i', o] = [1, 2, 2, 2]; the second input channel is padding
        let expected = [2.0, -1.5, 0.0, 0.0, -4.0, -0.25, 0.0, 0.0];
        assert_eq!(filter.channels_last_filter(2).to_array().unwrap().data(), expected);
    }

    #[test]
    #[should_panic(expected = "batch norm `bn1.weight` has 2 channels, `w` has 3 outputs")]
    fn a_batch_norm_of_another_width_is_our_bug() {
        let norm = BatchNorm::load(&conv_and_norm([1.0, 1.0]).root().at("bn1"), 2, 1e-5).unwrap();
        let _ = Weight::from_array("w", Array::zeros([3, 1, 1, 1])).fold_batch_norm(&norm);
    }
}
