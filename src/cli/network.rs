//! Options that `forward`, `diff` and `profile` share: a raw network, its weights and its input.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use zsas::models::raw::{self, NetworkInputs, RawInfo, RawNetwork};
use zsas::models::store;
use zsas::tensor::Seeded;
use zsas::{Checkpoint, Code, Error, Graph, Result, Tensor};

use crate::cli::device::DeviceArgs;
use crate::cli::{of_weights, usage};

/// Most pixels of a random input, so that a typing error does not use up all memory.
const MAX_PIXELS: usize = 1 << 26;

/// A network on its weights and a device.
#[derive(Args, Debug)]
pub struct NetworkArgs {
    /// The network
    #[arg(value_parser = network_parser())]
    pub network: &'static RawInfo,

    /// A safetensors file, a snapshot, a folder of snapshots, or `embedded`; without it $ZSAS_WEIGHTS, then the embedded ones
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,

    /// Device options.
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

    /// Height and width of the random input; by default those the network was made for, else 256x256
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    size: Option<(usize, usize)>,
}

/// A parser of the name of a raw network; help lists each with its inputs and outputs.
fn network_parser() -> impl TypedValueParser<Value = &'static RawInfo> {
    let values = raw::all().map(|raw| PossibleValue::new(raw.name).help(raw.about));
    PossibleValuesParser::new(values).try_map(|name| RawInfo::named(&name).ok_or("no such network"))
}

fn parse_size(text: &str) -> std::result::Result<(usize, usize), String> {
    let size: Option<(usize, usize)> = text
        .split_once(['x', '×'])
        .and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    match size {
        Some((height, width)) if height > 0 && width > 0 && height.saturating_mul(width) <= MAX_PIXELS => Ok((height, width)),
        Some(_) => Err(format!("each side is at least 1, and there are at most {MAX_PIXELS} pixels")),
        None => Err("expected height and width, as in `256x320`".to_owned()),
    }
}

/// A network ready to be recorded.
pub struct Network {
    raw: Box<dyn RawNetwork>,
    precision: zsas::Precision,
    /// The weights of the network.
    pub checkpoint: Checkpoint,
}

/// What runs: first keys of the objects of `bench models --json` and `profile --json`.
#[derive(Serialize)]
pub struct Recorded {
    network: &'static str,
    precision: &'static str,
    /// Shapes of the inputs, in the order in which they are recorded.
    inputs: Vec<Vec<usize>>,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recorded { network, precision, inputs } = self;
        let shapes: Vec<String> = inputs.iter().map(|shape| format!("{shape:?}")).collect();
        write!(f, "{network} in {precision} on {}", shapes.join(", "))
    }
}

impl NetworkArgs {
    /// What runs on these inputs.
    pub fn recorded(&self, inputs: &NetworkInputs) -> Recorded {
        Recorded {
            network: self.network.name,
            precision: self.device.precision.or_f32().as_str(),
            inputs: inputs.arrays.iter().map(|array| array.shape().sizes().to_vec()).collect(),
        }
    }

    /// Loads the weights.
    pub fn load(&self) -> Result<Network> {
        let of_weights = of_weights(self.weights.as_deref());
        let checkpoint = store::find(self.network.network(), self.weights.as_deref()).map_err(&of_weights)?.checkpoint;
        let raw = (self.network.load)(&checkpoint).map_err(&of_weights)?;
        checkpoint.finish();
        Ok(Network { raw, precision: self.device.precision.or_f32(), checkpoint })
    }
}

impl Network {
    /// The input the user named, or a random one.
    pub fn inputs(&self, args: &InputArgs) -> Result<NetworkInputs> {
        match &args.inputs {
            Some(file) => self.read(file),
            None => self.raw.sample(&mut Seeded::new(args.seed), args.size),
        }
    }

    /// The input in a file of named arrays.
    pub fn read(&self, file: &Path) -> Result<NetworkInputs> {
        self.raw.read(&open_arrays(file)?)
    }

    /// An empty graph in the precision of the options.
    pub fn graph(&self) -> Graph {
        Graph::new(self.precision)
    }

    /// Records the network on these inputs; its outputs with their names, in PyTorch's layout.
    pub fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        self.raw.record(graph, inputs)
    }
}

/// Opens a file of named arrays. All its faults are usage errors.
fn open_arrays(file: &Path) -> Result<Checkpoint> {
    if !file.exists() {
        return Err(Error::new(Code::NotFound, format!("no input arrays at `{}`", file.display())));
    }
    if !file.is_file() {
        return Err(usage(format!("`{}` is not a regular file of arrays", file.display())));
    }
    Checkpoint::open(file).map_err(|error| usage(error.message()).context(format!("in `{}`", file.display())))
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
