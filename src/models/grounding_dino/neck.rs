//! Neck: the feature maps of the backbone as an image pyramid of one width.

use crate::error::{Code, Error, Result};
use crate::graph::Tensor;
use crate::kernels::Activation;
use crate::nn::{Conv, ConvConfig, GroupNorm};
use crate::weights::Scope;

/// Groups and ε of the norms, which no configuration names.
const GROUPS: usize = 32;
const GROUP_NORM_EPS: f32 = 1e-5;

/// Input projections: a convolution and a norm for each level.
pub(super) struct Neck {
    levels: Vec<(Conv, GroupNorm)>,
    /// How many of them read a feature map each; the others read on, at half the resolution.
    maps: usize,
}

impl Neck {
    /// Reads the projections of feature maps with these `channels`, and as many more as there are `levels`.
    pub fn load(weights: &Scope, channels: &[usize], levels: usize, dim: usize) -> Result<Neck> {
        if !dim.is_multiple_of(GROUPS) {
            let message = format!("features of {dim} numbers cannot be normalised in {GROUPS} groups");
            return Err(Error::new(Code::WeightsMismatch, message).context(format!("for `{}`", weights.path())));
        }
        let level = |at: usize| {
            let projection = weights.at(at);
            // The first level without a map of its own reads the coarsest map, the next ones the level before.
            let channels_in = if at <= channels.len() { channels[at.min(channels.len() - 1)] } else { dim };
            let (kernel, stride) = if at < channels.len() { (1, 1) } else { (3, 2) };
            let conv = ConvConfig { channels_in, channels_out: dim, kernel, stride, pad_to: 1 };
            Ok((Conv::load_biased(&projection.at(0), conv)?, GroupNorm::load(&projection.at(1), dim, GROUPS, GROUP_NORM_EPS)?))
        };
        Ok(Neck { levels: (0..levels).map(level).collect::<Result<_>>()?, maps: channels.len() })
    }

    /// The levels of the pyramid, finest first: `[1, h, w, c]` of each feature map → `[1, h, w, dim]`.
    pub fn forward<'g>(&self, maps: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let mut pyramid: Vec<Tensor<'g>> = Vec::new();
        for (at, (conv, norm)) in self.levels.iter().enumerate() {
            let x = if at <= self.maps { maps[at.min(self.maps - 1)] } else { pyramid[at - 1] };
            pyramid.push(norm.forward(conv.forward(x, None, Activation::Identity)));
        }
        pyramid
    }
}
