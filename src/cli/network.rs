//! What `forward`, `diff` and `profile` share: a raw network, its weights, its input.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use zsas::models::WideResNet;
use zsas::{Array, Checkpoint, Code, DType, Error, Graph, Result, Tensor};

use crate::cli::device::DeviceArgs;
use crate::cli::seeded::Seeded;
use crate::cli::{usage, weights};

/// Name of the input of image networks.
const PIXELS: &str = "pixel_values";

/// Most elements of a random input, so that a slip of the finger does not take all memory.
const MOST_PIXELS: usize = 1 << 26;

/// Networks that can run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// `pixel_values` [b, 3, h, w] → `layer1` … `layer4` [b, c, h', w'], those the weights hold
    WideResnet,
}

impl NetworkName {
    /// The name users type, and of its folder among snapshots.
    pub fn as_str(self) -> &'static str {
        match self {
            NetworkName::WideResnet => "wide-resnet",
        }
    }
}

/// A network on its weights and a device.
#[derive(Args, Debug)]
pub struct NetworkArgs {
    /// The network
    #[arg(value_enum)]
    pub network: NetworkName,

    /// A safetensors file, a snapshot, a folder of snapshots, or `embedded`; without it $ZSAS_WEIGHTS, then the embedded ones
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,

    /// Where it runs.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// An input from a file, or a random one.
#[derive(Args, Debug)]
pub struct InputArgs {
    /// Named arrays to run it on (safetensors); without it seeded random numbers
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "size"])]
    inputs: Option<PathBuf>,

    /// Seed of the random input
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Height and width of the random input
    #[arg(long, value_name = "HxW", default_value = "256x256", value_parser = parse_size)]
    size: (usize, usize),
}

impl InputArgs {
    /// The input.
    pub fn pixels(&self) -> Result<Array> {
        match &self.inputs {
            Some(file) => read_pixels(file),
            None => {
                let (height, width) = self.size;
                let shape = [1, 3, height, width];
                Ok(Array::new(shape, Seeded::new(self.seed).numbers(3 * height * width)))
            }
        }
    }
}

fn parse_size(text: &str) -> std::result::Result<(usize, usize), String> {
    let size: Option<(usize, usize)> = text
        .split_once(['x', '×'])
        .and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    match size {
        Some((height, width)) if height > 0 && width > 0 && height.saturating_mul(width) <= MOST_PIXELS => Ok((height, width)),
        Some(_) => Err(format!("each side is at least 1, and there are at most {MOST_PIXELS} pixels")),
        None => Err("expected height and width, as in `256x320`".to_owned()),
    }
}

/// Reads `pixel_values` `[b, 3, h, w]` from a safetensors file.
pub fn read_pixels(file: &Path) -> Result<Array> {
    if !file.exists() {
        return Err(Error::new(Code::NotFound, format!("no input arrays at `{}`", file.display())));
    }
    let checkpoint = Checkpoint::open(file)?;
    if !checkpoint.contains(PIXELS) {
        let names: Vec<&str> = checkpoint.names().take(5).collect();
        return Err(usage(format!("`{}` holds no `{PIXELS}` but `{}`", file.display(), names.join("`, `"))));
    }
    let root = checkpoint.root();
    let wrong = |shape: String| usage(format!("`{PIXELS}` in `{}` is {shape}, it must be [batch, 3, height, width]", file.display()));
    let Some(shape) = checkpoint.shape(PIXELS) else { return Err(wrong("of too many axes".to_owned())) };
    match *shape.sizes() {
        [batch, 3, height, width] if batch * height * width > 0 => root.weight(PIXELS, shape)?.to_array(),
        _ => Err(wrong(shape.to_string())),
    }
}

/// A network ready to be recorded.
pub struct Network {
    model: WideResNet,
    precision: zsas::Precision,
}

impl NetworkArgs {
    /// Loads the weights.
    pub fn load(&self) -> Result<Network> {
        let chosen = weights::choose(self.network.as_str(), self.weights.as_deref())?;
        let model = WideResNet::load(&chosen.checkpoint.root())?;
        chosen.checkpoint.finish();
        if model.depth() == 0 {
            return Err(Error::new(Code::WeightsMismatch, format!("`{}` holds a stem but no layer", chosen.checkpoint.name())));
        }
        Ok(Network { model, precision: self.device.precision.precision() })
    }
}

impl Network {
    /// An empty recording in the precision asked for.
    pub fn graph(&self) -> Graph {
        Graph::new(self.precision)
    }

    /// Records the network on an input like `pixels`; outputs as PyTorch lays them out, with their names.
    pub fn record<'g>(&self, graph: &'g Graph, pixels: &Array) -> Vec<(String, Tensor<'g>)> {
        let input = graph.input(PIXELS, pixels.shape());
        let layers = self.model.forward(input);
        (1..)
            .zip(layers)
            .map(|(at, layer)| (format!("layer{at}"), layer.cast(DType::F32).channels_first()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_positive_numbers() {
        assert_eq!(parse_size("256x320"), Ok((256, 320)));
        for wrong in ["", "256", "0x3", "ax3", "-1x3", "99999999x99999999", "18446744073709551616x1"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
