//! `profile`: measures the time of each launch of a network.

use std::time::{Duration, Instant};

use clap::Args;
use zsas::run::AdapterReport;
use zsas::{Program, Result};

use crate::cli::network::{InputArgs, NetworkArgs};
use crate::cli::{Exit, talk};

/// Runs of this length precede those that count: a GPU that has nothing to do lowers its clock, and takes a while to raise it.
pub const WARM_UP: Duration = Duration::from_millis(500);

const AFTER: &str = "\
Examples:
  zsas-gpu profile wide-resnet
  zsas-gpu profile wide-resnet --weights wide_resnet50_2/ --json | jq '.rows[].kernel'";

/// Options of `profile`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct ProfileArgs {
    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    input: InputArgs,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs to warm up, once to measure, and prints the rows.
pub fn run(args: &ProfileArgs) -> Result<Exit> {
    let network = args.network.load()?;
    let inputs = network.inputs(&args.input)?;
    let device = args.network.device.open(false)?;
    let graph = network.graph();
    let (_, outputs): (Vec<_>, Vec<_>) = network.record(&graph, &inputs).into_iter().unzip();
    let program = Program::compile(&device, &graph, &outputs)?;
    let watch = talk::watch_device(&device);
    program.profile(&inputs.arrays())?;
    let (start, is_software) = (Instant::now(), device.adapter().is_some_and(AdapterReport::is_software));
    while !is_software && start.elapsed() < WARM_UP {
        program.run(&inputs.arrays())?;
    }
    let profile = program.profile(&inputs.arrays())?;
    drop(watch);
    if args.json {
        talk::print_json(&profile)?
    } else {
        talk::print_line(profile)?
    }
    Ok(Exit::Done)
}
