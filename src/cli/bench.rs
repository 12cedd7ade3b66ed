//! `bench`: measures each kernel at the sizes that networks use, relative to the copy bandwidth of the machine; or whole runs of a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use zsas::files::read_limited;
use zsas::kernels::{Kernel, representative};
use zsas::run::{KernelBench, KernelTimes, RunTimes};
use zsas::{Code, Program, Result};

use crate::cli::device::DeviceArgs;
use crate::cli::network::{InputArgs, NetworkArgs, Recorded};
use crate::cli::{Exit, did_you_mean, talk, usage};

/// Most bytes of a baseline; one of all kernels has some thousands.
const MAX_BASELINE_BYTES: u64 = 16 << 20;

/// A case slower than its baseline by more than this fails `--baseline`.
const TOLERATED_SLOWDOWN: f64 = 1.2;

const AFTER: &str = "\
Rates count each operand once. `% copy` is the share of the bandwidth that copying a buffer reaches
on this device.

Examples:
  zsas-gpu bench kernels
  zsas-gpu bench kernels --json > before.jsonl
  zsas-gpu bench kernels --baseline before.jsonl   # exits 1 when a median is over 20 % slower
  zsas-gpu bench kernels --kernel conv2d --precision f16
  zsas-gpu bench models sam --weights snapshots --precision f16";

/// Options of `bench`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

/// What to measure.
#[derive(Subcommand, Debug)]
enum What {
    /// Each kernel at representative sizes
    #[command(after_help = AFTER)]
    Kernels(KernelsArgs),

    /// Whole runs of a network, from its inputs in host memory to its outputs there
    #[command(after_help = AFTER)]
    Models(ModelsArgs),
}

/// Options of `bench models`.
#[derive(Args, Debug)]
struct ModelsArgs {
    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    input: InputArgs,

    /// Runs that count
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Options of `bench kernels`.
#[derive(Args, Debug)]
struct KernelsArgs {
    /// One JSON object per line instead of a table
    #[arg(long)]
    json: bool,

    /// JSON lines of an earlier run; exits 1 when a median is over 20 % slower
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Only this kernel
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs of a network: the object of `bench models --json`.
#[derive(Serialize)]
struct NetworkRuns {
    #[serde(flatten)]
    recorded: Recorded,
    launches: usize,
    #[serde(flatten)]
    runs: RunTimes,
}

/// Measures and prints the results.
pub fn run(args: &BenchArgs) -> Result<Exit> {
    match &args.what {
        What::Kernels(args) => kernels(args),
        What::Models(args) => models(args),
    }
}

fn models(args: &ModelsArgs) -> Result<Exit> {
    let network = args.network.load()?;
    let inputs = network.inputs(&args.input)?;
    let device = args.network.device.open(false)?;
    let graph = network.graph();
    let (_, outputs): (Vec<_>, Vec<_>) = network.record(&graph, &inputs).into_iter().unzip();
    let program = Program::compile(&device, &graph, &outputs)?;
    let runs = program.time(&inputs.arrays(), args.runs as usize)?;
    let runs = NetworkRuns { recorded: args.network.recorded(&inputs), launches: program.plan().nodes.len(), runs };
    if args.json {
        talk::print_json(&runs)?;
    } else {
        let NetworkRuns { recorded, launches, runs } = &runs;
        talk::print_line(format_args!("{recorded}, {launches} launches\n{runs}"))?;
    }
    Ok(Exit::Done)
}

fn kernels(args: &KernelsArgs) -> Result<Exit> {
    let cases = chosen(args.kernel.as_deref())?;
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let device = args.device.open(false)?;
    let bench = KernelBench::new(&device, args.device.precision.or_f32().storage())?;
    if !args.json {
        talk::print_line(format_args!("{}, copies at {:.2} GB/s", device.name(), bench.copy / 1e9))?;
        let head = ("case", "file", "median µs", "GFLOP/s", "GB/s", "% copy");
        talk::print_line(format_args!("{:<38} {:<18} {:>11} {:>9} {:>8} {:>7}", head.0, head.1, head.2, head.3, head.4, head.5))?;
    }
    let mut measured = Vec::new();
    for (name, kernel) in &cases {
        let row = bench.measure(name, &**kernel)?;
        if args.json {
            talk::print_json(&row)?;
        } else {
            let KernelTimes { case, file, median_us, gflops, gigabytes_per_second, copy_share, .. } = &row;
            let share = 100.0 * copy_share;
            talk::print_line(format_args!(
                "{case:<38} {file:<18} {median_us:>11.1} {gflops:>9.2} {gigabytes_per_second:>8.2} {share:>7.1}"
            ))?;
        }
        measured.push(row);
    }
    baseline.map_or(Ok(Exit::Done), |baseline| compare(&measured, &baseline))
}

fn read_baseline(file: &Path) -> Result<BTreeMap<(String, String), KernelTimes>> {
    let bytes = read_limited(file, MAX_BASELINE_BYTES, Code::Usage).map_err(|error| error.context("as a baseline"))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut baseline = BTreeMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: KernelTimes = serde_json::from_str(line)
            .map_err(|error| usage(format!("line {} of `{}` is no result of `bench kernels --json`: {error}", at + 1, file.display())))?;
        baseline.insert((row.case.clone(), row.elem.clone()), row);
    }
    Ok(baseline)
}

/// Prints the cases that became slower; fails when there is one.
fn compare(measured: &[KernelTimes], baseline: &BTreeMap<(String, String), KernelTimes>) -> Result<Exit> {
    let (mut compared, mut slower) = (0, 0);
    for row in measured {
        let Some(before) = baseline.get(&(row.case.clone(), row.elem.clone())) else { continue };
        if before.device != row.device {
            return Err(usage(format!("the baseline was measured on {}, not on {}", before.device, row.device)));
        }
        compared += 1;
        let ratio = row.median_us / before.median_us;
        if ratio > TOLERATED_SLOWDOWN || ratio.is_nan() {
            slower += 1;
            let KernelTimes { case, median_us, .. } = row;
            talk::say(format_args!("slower: {case} took {median_us:.1} µs, {:.1} µs in the baseline ({ratio:.2}×)", before.median_us));
        }
    }
    if compared == 0 {
        return Err(usage("the baseline has no case in common with this run"));
    }
    talk::say(format_args!("{slower} of {compared} cases are over 20 % slower than the baseline"));
    Ok(if slower == 0 { Exit::Done } else { Exit::Failed })
}

/// The cases of one kernel, or all.
fn chosen(kernel: Option<&str>) -> Result<Vec<(String, Box<dyn Kernel>)>> {
    let mut cases = representative();
    if let Some(wanted) = kernel {
        let names: Vec<&'static str> = cases.iter().map(|(_, kernel)| kernel.name()).collect();
        cases.retain(|(_, kernel)| kernel.name() == wanted);
        if cases.is_empty() {
            return Err(usage(format!("there is no benchmark of a kernel `{wanted}`{}", did_you_mean(wanted, names))));
        }
    }
    Ok(cases)
}
