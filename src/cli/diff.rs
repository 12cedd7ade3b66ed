//! `diff`: compares each launch of a network with the reference, and finds the first that is wrong.

use clap::Args;
use zsas::Result;

use crate::cli::network::{InputArgs, NetworkArgs};
use crate::cli::{Exit, talk};

const AFTER: &str = "\
Each launch gets the reference's own inputs, so errors do not compound. Exits 1 at the first launch
outside its derived bound.

Examples:
  zsas-gpu diff wide-resnet
  zsas-gpu diff wide-resnet --weights wide_resnet50_2/ --size 64x64 --precision f16 --device 1
  zsas-gpu diff clip-windows --weights clip/";

/// Options of `diff`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct DiffArgs {
    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    input: InputArgs,
}

/// Compares the launches, and prints the divergence if there is one.
pub fn run(args: &DiffArgs) -> Result<Exit> {
    let network = args.network.load()?;
    let inputs = network.inputs(&args.input)?;
    let device = args.network.device.open(false)?;
    let graph = network.graph();
    let (_, outputs): (Vec<_>, Vec<_>) = network.record(&graph, &inputs).into_iter().unzip();
    let bar = talk::progress(0, false);
    let mut launches = 0;
    let found = zsas::run::diff(&device, &graph, &outputs, &inputs.arrays(), |at, count| {
        launches = count;
        bar.set_length(count as u64);
        bar.set_position(at as u64);
    })?;
    bar.finish_and_clear();
    match found {
        Some(divergence) => {
            talk::print_line(divergence)?;
            Ok(Exit::Failed)
        }
        None => {
            talk::print_line(format_args!("all {launches} launches are within their bounds on {}", device.name()))?;
            Ok(Exit::Done)
        }
    }
}
