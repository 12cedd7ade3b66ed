//! `bench kernels`: how fast each kernel is at the sizes networks use, against what the machine can copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use zsas::files::read_limited;
use zsas::kernels::{
    Activation, Attention, Binary, BinaryOp, Cast, CastDirection, ChannelsLast, Columns, Concat, Content, Conv2d, Extreme, Gather, Grid,
    Interpolation, Kernel, LayerNorm, Matmul, NormalizeRows, Pairing, Permute, Pool, PoolKind, Resize, Softmax, TopMean, Unary, sample,
};
use zsas::tensor::Seeded;
use zsas::{Code, DType, Device, Error, Result};

use crate::cli::device::DeviceArgs;
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
  zsas-gpu bench kernels --kernel conv2d --precision f16";

/// Options of `bench`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Subcommand, Debug)]
enum What {
    /// Each kernel at representative sizes
    #[command(after_help = AFTER)]
    Kernels(KernelsArgs),
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

/// Measures.
pub fn run(args: &BenchArgs) -> Result<Exit> {
    let What::Kernels(args) = &args.what;
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
        let elem = args.device.precision.storage();
        let Some(adapter) = device.adapter() else {
            return Err(usage("the reference is not made to be fast").hint("choose an adapter with `--device`"));
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
        // Of sampled spans most are short; whole ones are what networks have.
        for (input, operand) in inputs.iter_mut().zip(&operands) {
            if let Content::Spans(most) = operand.content {
                *input = (0..operand.len).map(|at| (at % 2 * most) as f32).collect();
            }
        }
        let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let implementation = self.device.implementation(kernel);
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

/// Says which cases became slower; fails when one did.
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
    let mut cases = cases();
    if let Some(wanted) = kernel {
        let names: Vec<&'static str> = cases.iter().map(|(_, kernel)| kernel.name()).collect();
        cases.retain(|(_, kernel)| kernel.name() == wanted);
        if cases.is_empty() {
            return Err(usage(format!("there is no bench of a kernel `{wanted}`{}", did_you_mean(wanted, names))));
        }
    }
    Ok(cases)
}

/// Every kernel at the sizes the networks of this crate use.
fn cases() -> Vec<(String, Box<dyn Kernel>)> {
    let mut cases: Vec<(String, Box<dyn Kernel>)> = Vec::new();
    cases.extend([512, 1024].map(|size| case(format!("matmul {size}³"), matmul(size, size, size, Pairing::Product))));
    cases.push(case("distances 1600×1600×128", matmul(1600, 1600, 128, Pairing::SquaredDifference)));
    cases.extend(convolutions());
    cases.extend(rows());
    cases.extend(sequences());
    cases.extend(images());
    cases.extend(elements());
    cases
}

fn case(name: impl Into<String>, kernel: impl Kernel + 'static) -> (String, Box<dyn Kernel>) {
    (name.into(), Box::new(kernel))
}

fn matmul(rows: usize, cols: usize, inner: usize, pairing: Pairing) -> Matmul {
    let activation = if pairing == Pairing::Product { Activation::Identity } else { Activation::Sqrt };
    Matmul { rows, cols, inner, pairing, has_bias: false, has_residual: false, activation }
}

/// The distinct convolutions of WideResNet-50-2 on 256×256: stem, then of each layer the 3×3, the widening 1×1 and the narrowing 1×1.
fn convolutions() -> Vec<(String, Box<dyn Kernel>)> {
    let conv = |size: usize, channels_in: usize, channels_out: usize, side: usize, stride: usize| {
        let kernel = Conv2d {
            batch: 1,
            height: size,
            width: size,
            channels_in,
            channels_out,
            kernel: (side, side),
            stride,
            padding: side / 2,
            has_bias: true,
            has_residual: side == 1 && channels_out > channels_in && stride == 1,
            activation: Activation::Relu,
        };
        case(format!("conv2d {side}×{side}/{stride} {size}² {channels_in}→{channels_out}"), kernel)
    };
    let mut all = vec![conv(256, 4, 64, 7, 2)];
    for (size, inner, outer) in [(64, 128, 256), (32, 256, 512), (16, 512, 1024), (8, 1024, 2048)] {
        all.extend([conv(size, inner, inner, 3, 1), conv(size, inner, outer, 1, 1), conv(size, outer, inner, 1, 1)]);
    }
    all.extend([conv(64, 256, 256, 3, 2), conv(64, 256, 512, 1, 2)]);
    all
}

/// Reductions along rows.
fn rows() -> Vec<(String, Box<dyn Kernel>)> {
    let (rows, cols) = (4096, 1024);
    vec![
        case("layer_norm 4096×1024", LayerNorm { rows, cols, eps: 1e-6 }),
        case("softmax 4096×1024", Softmax { rows, cols }),
        case("normalize_rows 4096×1792", NormalizeRows { rows, cols: 1792, eps: 1e-12 }),
        case("top_mean 1600×1600, 400 smallest", TopMean { extreme: Extreme::Smallest, rows: 1600, cols: 1600, count: 400 }),
        case("top_mean 4096×4096, 400 smallest", TopMean { extreme: Extreme::Smallest, rows, cols: 4096, count: 400 }),
    ]
}

/// Attention over one sequence of CLIP's and SAM's lengths, and the picking of rows.
fn sequences() -> Vec<(String, Box<dyn Kernel>)> {
    let attention = |tokens: usize, heads: usize, head_dim: usize| {
        let dim = heads * head_dim;
        let place = |number: usize| Columns { stride: 3 * dim, offset: number * dim };
        Attention {
            queries: tokens,
            keys: tokens,
            heads,
            head_dim,
            q: place(0),
            k: place(1),
            v: place(2),
            grid: None,
            pairs: tokens * tokens,
        }
    };
    let on_grid = |side: usize, heads: usize, head_dim: usize| Attention {
        grid: Some(Grid { rows: side, cols: side }),
        ..attention(side * side, heads, head_dim)
    };
    vec![
        case("attention 226², 14 heads of 64", attention(226, 14, 64)),
        case("attention 577², 16 heads of 64", attention(577, 16, 64)),
        case("attention 1024², 4 heads of 64", attention(1024, 4, 64)),
        case("attention 1024², 4 heads of 64, relative", on_grid(32, 4, 64)),
        case("attention 4096², 2 heads of 64", attention(4096, 2, 64)),
        case("attention 4096², 2 heads of 64, relative", on_grid(64, 2, 64)),
        case("attention 196², 16 heads of 80", attention(196, 16, 80)),
        case("attention 196², 16 heads of 80, relative", on_grid(14, 16, 80)),
        case("attention 576², 8 heads of 32", attention(576, 8, 32)),
        case("gather 2896 of 226×896", Gather { rows_in: 226, rows_out: 2896, cols: 896 }),
    ]
}

/// Images at another size or in another order.
fn images() -> Vec<(String, Box<dyn Kernel>)> {
    let pool = |kind, side, channels, stride| Pool { kind, batch: 1, height: side, width: side, channels, window: 3, stride, padding: 1 };
    let resize = |interpolation| Resize { interpolation, batch: 1, height: 32, width: 32, channels: 512, height_out: 64, width_out: 64 };
    vec![
        case("pool max 3×3/2 128² 64", pool(PoolKind::Max, 128, 64, 2)),
        case("pool average 3×3/1 40² 128", pool(PoolKind::Average, 40, 128, 1)),
        case("resize nearest 32²→64² 512", resize(Interpolation::Nearest)),
        case("resize bilinear 32²→64² 512", resize(Interpolation::Bilinear)),
        case("channels_last 256² 3→4", ChannelsLast { batch: 1, channels: 3, height: 256, width: 256, padded: 4 }),
        case("permute 32²×512 channels first", Permute { sizes: [1, 1, 32, 32, 512], order: [0, 1, 4, 2, 3] }),
        case("concat 4096×256+512", Concat { rows: 4096, left: 256, right: 512 }),
    ]
}

/// Element by element.
fn elements() -> Vec<(String, Box<dyn Kernel>)> {
    let len = 1 << 22;
    vec![
        case("unary gelu 4 Mi", Unary { activation: Activation::Gelu, scale: 1.0, offset: 0.0, len }),
        case("binary add 4 Mi", Binary { op: BinaryOp::Add, len, right_len: len }),
        case("cast_to_f32 4 Mi", Cast { direction: CastDirection::ToF32, len }),
        case("cast_from_f32 4 Mi", Cast { direction: CastDirection::FromF32, len }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_case_and_no_two_cases_share_a_name() {
        let cases = cases();
        for kernel in zsas::kernels::every_kernel() {
            assert!(cases.iter().any(|(_, case)| case.name() == kernel.name()), "no bench of `{}`", kernel.name());
        }
        let mut names: Vec<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
