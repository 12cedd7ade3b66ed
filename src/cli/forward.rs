//! `forward`: runs a raw network on named arrays, for comparison with PyTorch.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use zsas::files::write_whole;
use zsas::weights::to_safetensors;
use zsas::{Array, Program, Result};

use crate::cli::network::{Network, NetworkArgs};
use crate::cli::{Exit, talk, usage};

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
    args.check_target(&network)?;
    let inputs = network.read(&args.inputs)?;
    let device = args.network.device.open(false)?;
    let graph = network.graph();
    let (names, outputs): (Vec<_>, Vec<_>) = network.record(&graph, &inputs).into_iter().unzip();
    let program = Program::compile(&device, &graph, &outputs)?;
    let watch = talk::watch_device(&device);
    let arrays = program.run(&inputs.arrays())?;
    drop(watch);
    write_whole(&args.outputs, &to_safetensors(names.iter().map(String::as_str).zip(&arrays), &[])?)?;
    for (name, array) in names.iter().zip(&arrays) {
        talk::print_line(format_args!("{name} {}", array.shape()))?;
        say_nonfinite(name, array);
    }
    Ok(Exit::Done)
}

impl ForwardArgs {
    /// Refuses to overwrite something that is no regular file, or a file that the run reads.
    fn check_target(&self, network: &Network) -> Result<()> {
        let target = &self.outputs;
        let Ok(found) = fs::symlink_metadata(target) else { return Ok(()) };
        if !found.is_file() {
            return Err(usage(format!("`--outputs {}` is there already and is no regular file", target.display())));
        }
        let is_target = |file: &PathBuf| {
            fs::canonicalize(file)
                .ok()
                .is_some_and(|file| fs::canonicalize(target).is_ok_and(|target| file == target))
        };
        match network.checkpoint.files().into_iter().chain([self.inputs.clone()]).find(is_target) {
            Some(file) => Err(usage(format!("`--outputs {}` would overwrite `{}`, which is read", target.display(), file.display()))),
            None => Ok(()),
        }
    }
}

/// Warns of an output that holds NaN or infinity.
fn say_nonfinite(name: &str, array: &Array) {
    let count = array.data().iter().filter(|x| !x.is_finite()).count();
    if count > 0 {
        talk::say(format_args!("warning: {count} of {} numbers of `{name}` are NaN or infinite", array.shape().len()));
    }
}
