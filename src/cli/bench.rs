//! `bench`: measures each kernel at the sizes that networks use, relative to the copy bandwidth of the machine; or whole runs of a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use zsas::files::read_limited;
use zsas::kernels::{Content, Kernel, Tier, representative, sample};
use zsas::tensor::Seeded;
use zsas::{Code, DType, Device, Error, Program, Result};

use crate::cli::device::DeviceArgs;
use crate::cli::network::{InputArgs, NetworkArgs};
use crate::cli::profile::WARM_UP;
use crate::cli::{Exit, did_you_mean, talk, usage};

/// Most bytes of a baseline; one of all kernels has some thousands.
const MAX_BASELINE_BYTES: u64 = 16 << 20;

/// A case slower than its baseline by more than this fails `--baseline`.
const TOLERATED_SLOWDOWN: f64 = 1.2;

/// Repetitions of each case beyond the warm-up: enough for a median, few enough for a software adapter.
const REPETITIONS: usize = 9;

/// Elements copied to measure bandwidth: beyond caches, within the 128 MiB that lavapipe binds.
const COPIED: usize = 1 << 24;

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

/// One measured case: a line of `--json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    case: String,
    kernel: String,
    file: String,
    elem: String,
    median_us: f64,
    fastest_us: f64,
    slowest_us: f64,
    gflops: f64,
    gigabytes_per_second: f64,
    copy_share: f64,
    copy_gigabytes_per_second: f64,
    device: String,
    driver: String,
    version: String,
    commit: Option<String>,
}

/// Runs of a network: the object of `--json`. Times in milliseconds by the wall clock, one run at a time.
#[derive(Debug, Serialize)]
struct Runs {
    network: String,
    precision: String,
    runs: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    runs_per_second: f64,
    launches: usize,
    device_bytes: u64,
    device: String,
    driver: String,
    tier: Option<Tier>,
    version: String,
    commit: Option<String>,
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
    let arrays = inputs.arrays();
    let start = Instant::now();
    program.run(&arrays)?;
    while start.elapsed() < WARM_UP {
        program.run(&arrays)?;
    }
    let mut milliseconds = Vec::new();
    for _ in 0..args.runs {
        let start = Instant::now();
        program.run(&arrays)?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let adapter = device.adapter();
    milliseconds.sort_by(f64::total_cmp);
    let quantile = |share: f64| milliseconds[((milliseconds.len() - 1) as f64 * share).round() as usize];
    let runs = Runs {
        network: args.network.network.name.to_owned(),
        precision: args.network.device.precision.or_f32().as_str().to_owned(),
        runs: milliseconds.len(),
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        runs_per_second: 1e3 * milliseconds.len() as f64 / milliseconds.iter().sum::<f64>(),
        launches: program.plan().nodes.len(),
        device_bytes: device.allocated_bytes(),
        device: device.name(),
        driver: adapter.map(|adapter| adapter.driver.clone()).unwrap_or_default(),
        tier: adapter.map(|adapter| adapter.tier),
        version: zsas::VERSION.to_owned(),
        commit: zsas::COMMIT.map(str::to_owned),
    };
    if args.json {
        talk::print_json(&runs)?;
    } else {
        let Runs { network, precision, p50_ms, p95_ms, p99_ms, runs_per_second, launches, device_bytes, device, .. } = &runs;
        talk::print_line(format_args!(
            "{network} in {precision} on {device}: p50 {p50_ms:.2} ms, p95 {p95_ms:.2}, p99 {p99_ms:.2}, {runs_per_second:.1} runs a second, \
             {launches} launches, {} MB on the device",
            device_bytes / 1_000_000
        ))?;
    }
    Ok(Exit::Done)
}

fn kernels(args: &KernelsArgs) -> Result<Exit> {
    let cases = chosen(args.kernel.as_deref())?;
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let device = args.device.open(false)?;
    let bench = Bench::new(&device, args)?;
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
            let Measured { case, file, median_us, gflops, gigabytes_per_second, copy_share, .. } = &row;
            let share = 100.0 * copy_share;
            talk::print_line(format_args!(
                "{case:<38} {file:<18} {median_us:>11.1} {gflops:>9.2} {gigabytes_per_second:>8.2} {share:>7.1}"
            ))?;
        }
        measured.push(row);
    }
    baseline.map_or(Ok(Exit::Done), |baseline| compare(&measured, &baseline))
}

struct Bench<'a> {
    device: &'a Device,
    elem: DType,
    /// Bytes per second.
    copy: f64,
}

impl<'a> Bench<'a> {
    fn new(device: &'a Device, args: &KernelsArgs) -> Result<Bench<'a>> {
        let elem = args.device.precision.or_f32().storage();
        let Some(adapter) = device.adapter() else {
            return Err(usage("the reference is not meant to be fast, so it is not measured").hint("choose an adapter with `--device`"));
        };
        if elem == DType::F16 && !adapter.f16 {
            return Err(Error::new(Code::NoAdapter, format!("{} cannot store f16", adapter.name)).hint("use `--precision f32`"));
        }
        let copy = zsas::run::copy_bandwidth(device, COPIED, REPETITIONS)?;
        Ok(Bench { device, elem, copy })
    }

    fn measure(&self, name: &str, kernel: &dyn Kernel) -> Result<Measured> {
        let operands = kernel.operands();
        let mut inputs = sample(kernel, self.elem, &mut Seeded::new(1));
        // Most sampled key ranges are short; networks mostly have whole ones.
        for (input, operand) in inputs.iter_mut().zip(&operands) {
            if let Content::KeyRanges(most) = operand.content {
                *input = (0..operand.len).map(|at| (at % 2 * most) as f32).collect();
            }
        }
        let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let implementation = self.device.implementation(kernel, self.elem);
        let timing = self.device.time(kernel, &implementation, self.elem, &borrowed, REPETITIONS)?;
        let bytes: usize = operands.iter().map(|operand| operand.len * operand.storage.dtype(self.elem).size()).sum();
        let median = timing.median();
        let bytes_per_second = bytes as f64 / (median * 1e-9);
        let adapter = self.device.adapter();
        Ok(Measured {
            case: name.to_owned(),
            kernel: kernel.name().to_owned(),
            file: implementation.file.to_owned(),
            elem: self.elem.to_string(),
            median_us: median / 1e3,
            fastest_us: timing.nanoseconds.first().copied().unwrap_or(median) / 1e3,
            slowest_us: timing.nanoseconds.last().copied().unwrap_or(median) / 1e3,
            gflops: kernel.work().flops as f64 / median,
            gigabytes_per_second: bytes_per_second / 1e9,
            copy_share: bytes_per_second / self.copy,
            copy_gigabytes_per_second: self.copy / 1e9,
            device: adapter.map(|adapter| adapter.name.clone()).unwrap_or_default(),
            driver: adapter.map(|adapter| adapter.driver.clone()).unwrap_or_default(),
            version: zsas::VERSION.to_owned(),
            commit: zsas::COMMIT.map(str::to_owned),
        })
    }
}

fn read_baseline(file: &Path) -> Result<BTreeMap<(String, String), Measured>> {
    let bytes = read_limited(file, MAX_BASELINE_BYTES, Code::Usage).map_err(|error| error.context("as a baseline"))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut baseline = BTreeMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Measured = serde_json::from_str(line)
            .map_err(|error| usage(format!("line {} of `{}` is no result of `bench kernels --json`: {error}", at + 1, file.display())))?;
        baseline.insert((row.case.clone(), row.elem.clone()), row);
    }
    Ok(baseline)
}

/// Prints the cases that became slower; fails when there is one.
fn compare(measured: &[Measured], baseline: &BTreeMap<(String, String), Measured>) -> Result<Exit> {
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
            let Measured { case, median_us, .. } = row;
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
