//! Wide residual networks with bottleneck blocks (Zagoruyko & Komodakis 2016; He et al. 2016), as in torchvision and timm.

use crate::error::{Code, Error, Result};
use crate::graph::{Graph, Tensor};
use crate::kernels::Activation;
use crate::models::catalog::{Layout, NetworkInfo};
use crate::models::raw::{NetworkInputs, PIXELS, RawInfo, RawNetwork, read_pixels, sample_pixels};
use crate::nn::{Conv, ConvConfig, PIXEL_CHANNELS};
use crate::tensor::{DType, Seeded};
use crate::weights::{Checkpoint, Scope};

/// Its entry in the table of networks.
pub static NETWORK: NetworkInfo = NetworkInfo {
    name: "wide-resnet",
    layouts: &[Layout { signature: &["conv1.weight", "bn1.weight"], configuration: None }],
    published: None,
    raw: &[RawInfo {
        name: "wide-resnet",
        about: "`pixel_values` [b, 3, h, w] → `layer1` … `layer4` [b, c, h', w'], those the weights hold",
        load: |checkpoint| Ok(Box::new(load_raw(checkpoint)?)),
    }],
};

/// Height and width of a random input.
const SAMPLE_SIZE: (usize, usize) = (256, 256);

/// The convolutional part of a ResNet: stem and layers; the classifier is not read.
///
/// Follows `torchvision/models/resnet.py`, "v1.5": the stride of a layer sits on the 3×3 of its first block.
pub struct WideResNet {
    stem: Conv,
    layers: Vec<Vec<Bottleneck>>,
}

struct Bottleneck {
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    downsample: Option<Conv>,
}

impl WideResNet {
    /// Reads as many layers, blocks and channels as the file holds.
    ///
    /// Errors list the first tensors that are missing or ill-shaped.
    pub fn load(weights: &Scope) -> Result<WideResNet> {
        weights.load(|weights| {
            let [channels, 3, kernel, _] = weights.sizes("conv1.weight")? else {
                let message = format!("`{}` is no stem of a ResNet: it must take 3 channels", weights.at("conv1.weight").path());
                return Err(Error::new(Code::WeightsMismatch, message));
            };
            let stem = ConvConfig { channels_in: 3, channels_out: channels, kernel, stride: 2, pad_to: PIXEL_CHANNELS };
            let stem = Conv::load(weights, "conv1", "bn1", stem)?;
            let mut layers = Vec::new();
            let mut channels_in = channels;
            while let layer = weights.at(format_args!("layer{}", layers.len() + 1))
                && !layer.is_empty()
            {
                let stride = if layers.is_empty() { 1 } else { 2 };
                let mut blocks = Vec::new();
                for at in 0..layer.blocks() {
                    let (block, channels_out) = Bottleneck::load(&layer.at(at), channels_in, if at == 0 { stride } else { 1 })?;
                    blocks.push(block);
                    channels_in = channels_out;
                }
                layers.push(blocks);
            }
            weights.ignore("fc");
            Ok(WideResNet { stem, layers })
        })
    }

    /// Number of layers in the file.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Outputs of the layers, channels last: `pixels` `[b, 3, h, w]`, normalised → `layer1` `[b, h/4, w/4, c]`,
    /// `layer2` `[b, h/8, w/8, c']` …
    ///
    /// Odd sizes round up at each halving. Outputs that a program does not use cost nothing.
    pub fn forward<'g>(&self, pixels: Tensor<'g>) -> Vec<Tensor<'g>> {
        let storage = pixels.graph().precision().storage();
        let x = pixels.cast(storage).channels_last_with_border(PIXEL_CHANNELS, self.stem.padding());
        let mut x = self.stem.forward_bordered(x, Activation::Relu).max_pool(3, 2, 1);
        let mut outputs = Vec::new();
        for blocks in &self.layers {
            x = blocks.iter().fold(x, |x, block| block.forward(x));
            outputs.push(x);
        }
        outputs
    }
}

impl Bottleneck {
    /// Reads a block; returns it with its number of output channels.
    fn load(weights: &Scope, channels_in: usize, stride: usize) -> Result<(Bottleneck, usize)> {
        let [inner, ..] = weights.sizes::<4>("conv1.weight")?;
        let [channels_out, ..] = weights.sizes::<4>("conv3.weight")?;
        let has_downsample = !weights.at("downsample").is_empty();
        if !has_downsample && (stride != 1 || channels_in != channels_out) {
            let message =
                format!("`{}` is missing: a block from {channels_in} to {channels_out} channels needs it", weights.at("downsample").path());
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        let conv = |name: &str, norm: &str, channels_in, channels_out, kernel, stride| {
            Conv::load(weights, name, norm, ConvConfig { channels_in, channels_out, kernel, stride, pad_to: 1 })
        };
        let block = Bottleneck {
            conv1: conv("conv1", "bn1", channels_in, inner, 1, 1)?,
            conv2: conv("conv2", "bn2", inner, inner, 3, stride)?,
            conv3: conv("conv3", "bn3", inner, channels_out, 1, 1)?,
            downsample: has_downsample
                .then(|| conv("downsample.0", "downsample.1", channels_in, channels_out, 1, stride))
                .transpose()?,
        };
        Ok((block, channels_out))
    }

    fn forward<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(x, None, Activation::Identity),
            None => x,
        };
        let y = self.conv1.forward(x, None, Activation::Relu);
        let y = self.conv2.forward(y, None, Activation::Relu);
        self.conv3.forward(y, Some(shortcut), Activation::Relu)
    }
}

/// Reads the network from a whole checkpoint; refused where it has no layer.
fn load_raw(checkpoint: &Checkpoint) -> Result<WideResNet> {
    let network = WideResNet::load(&checkpoint.root())?;
    if network.depth() == 0 {
        return Err(Error::new(Code::WeightsMismatch, format!("`{}` holds a stem but no layer", checkpoint.name())));
    }
    Ok(network)
}

impl RawNetwork for WideResNet {
    fn inputs(&self) -> &'static [&'static str] {
        &[PIXELS]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        Ok(vec![sample_pixels(random, size.unwrap_or(SAMPLE_SIZE), None)?].into())
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        Ok(vec![read_pixels(arrays, None)?].into())
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let layers = self.forward(graph.input(PIXELS, inputs.arrays[0].shape()));
        let output = |(at, layer): (usize, Tensor<'g>)| (format!("layer{at}"), layer.cast(DType::F32).channels_first());
        (1..).zip(layers).map(output).collect()
    }
}
