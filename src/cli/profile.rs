//! `profile`: measures the time of each launch of a network.

use clap::Args;
use serde::Serialize;
use zsas::run::LaunchProfile;
use zsas::{Program, Result};

use crate::cli::network::{InputArgs, NetworkArgs, Recorded};
use crate::cli::{Exit, talk};

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

/// A profile of a network: the object of `--json`.
#[derive(Serialize)]
struct NetworkProfile {
    #[serde(flatten)]
    recorded: Recorded,
    #[serde(flatten)]
    profile: LaunchProfile,
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
    program.warm_up(&inputs.arrays())?;
    let profile = program.profile(&inputs.arrays())?;
    drop(watch);
    let profile = NetworkProfile { recorded: args.network.recorded(&inputs), profile };
    if args.json {
        talk::print_json(&profile)?
    } else {
        talk::print_line(format_args!("{}\n{}", profile.recorded, profile.profile))?
    }
    Ok(Exit::Done)
}
