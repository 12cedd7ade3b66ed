//! `forward`: a raw network from named arrays to named arrays, so that anyone can compare with PyTorch.

use std::path::PathBuf;

use clap::Args;
use zsas::files::write_whole;
use zsas::weights::to_safetensors;
use zsas::{Program, Result};

use crate::cli::network::NetworkArgs;
use crate::cli::{Exit, talk};

const AFTER: &str = "\
Examples:
  python -c 'import torch, safetensors.torch as s
  s.save_file({\"pixel_values\": torch.randn(1, 3, 256, 256)}, \"in.safetensors\")'
  zsas-gpu forward wide-resnet --weights wide_resnet50_2/ --inputs in.safetensors --outputs out.st
  zsas-gpu forward clip-text --weights clip/ --inputs ids.safetensors --outputs texts.safetensors";

/// Options of `forward`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct ForwardArgs {
    #[command(flatten)]
    network: NetworkArgs,

    /// Named arrays to read (safetensors)
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,

    /// Named arrays to write (safetensors, f32)
    #[arg(long, value_name = "FILE")]
    outputs: PathBuf,
}

/// Runs the network and prints the name and shape of each output.
pub fn run(args: &ForwardArgs) -> Result<Exit> {
    let network = args.network.load()?;
    let feed = network.read(&args.inputs)?;
    let device = args.network.device.open(false)?;
    let graph = network.graph();
    let (names, outputs): (Vec<_>, Vec<_>) = network.record(&graph, &feed).into_iter().unzip();
    let program = Program::compile(&device, &graph, &outputs)?;
    let watch = talk::Watch::new(&device, false);
    let arrays = program.run(&feed.arrays())?;
    drop(watch);
    write_whole(&args.outputs, &to_safetensors(names.iter().map(String::as_str).zip(&arrays), &[])?)?;
    for (name, array) in names.iter().zip(&arrays) {
        talk::print_line(format_args!("{name} {}", array.shape()))?;
    }
    Ok(Exit::Done)
}
