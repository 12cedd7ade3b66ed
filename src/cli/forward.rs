//! `forward`: a raw network from named arrays to named arrays, so that anyone can compare with PyTorch.

use std::path::PathBuf;

use clap::Args;
use safetensors::tensor::TensorView;
use zsas::image::write_whole;
use zsas::{Array, Code, Error, Program, Result};

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
    let arrays = Program::compile(&device, &graph, &outputs)?.run(&feed.arrays())?;
    write_whole(&args.outputs, &to_safetensors(&names, &arrays)?)?;
    for (name, array) in names.iter().zip(&arrays) {
        talk::print_line(format_args!("{name} {}", array.shape()))?;
    }
    Ok(Exit::Done)
}

/// The bytes of a safetensors file of f32 arrays.
fn to_safetensors(names: &[String], arrays: &[Array]) -> Result<Vec<u8>> {
    let refused = |error| Error::new(Code::Io, format!("the outputs do not form a safetensors file: {error}"));
    let mut views = Vec::new();
    let bytes: Vec<Vec<u8>> = arrays.iter().map(|array| array.data().iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    for ((name, array), bytes) in names.iter().zip(arrays).zip(&bytes) {
        let view = TensorView::new(safetensors::Dtype::F32, array.shape().sizes().to_vec(), bytes).map_err(refused)?;
        views.push((name, view));
    }
    safetensors::serialize(views, None).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zsas::Checkpoint;

    #[test]
    fn arrays_come_back_from_the_bytes() {
        let array = Array::new([1, 2, 1, 2], vec![1.0, -2.0, 0.5, 3e9]);
        let bytes = to_safetensors(&["layer1".to_owned()], std::slice::from_ref(&array)).unwrap();
        let read = Checkpoint::from_bytes("test", bytes).unwrap();
        assert_eq!(read.root().weight("layer1", array.shape()).unwrap().to_array().unwrap(), array);
    }
}
