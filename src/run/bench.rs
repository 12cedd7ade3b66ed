//! Benchmarks: kernels by the device's own clock, relative to what copying a buffer reaches, and whole runs of a program by the wall clock.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Remedy, Result};
use crate::kernels::{Activation, Content, Kernel, Tier, Unary, sample};
use crate::run::device::Device;
use crate::run::program::Program;
use crate::tensor::{Array, DType, Seeded};
use crate::{COMMIT, VERSION};

/// Repetitions of a kernel beyond the warm-up: enough for a median, few enough for a software adapter.
const REPETITIONS: usize = 9;

/// Elements copied to measure bandwidth: beyond caches, within the 128 MiB that lavapipe binds.
const COPIED: usize = 1 << 24;

/// Runs of this length precede those that count: a GPU that has nothing to do lowers its clock, and takes a while to raise it.
const WARM_UP: Duration = Duration::from_millis(500);

/// A device with the bandwidth that copies reach on it, ready to measure kernels.
pub struct KernelBench<'a> {
    device: &'a Device,
    elem: DType,
    /// Bytes per second of copying a buffer with the element-wise kernel, reads and writes counted.
    pub copy: f64,
}

/// Times of a kernel: a line of `bench kernels --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelTimes {
    /// Name of the case.
    pub case: String,
    /// Kernel family.
    pub kernel: String,
    /// Stem of the WGSL file that ran, or [`NATIVE`](crate::kernels::NATIVE).
    pub file: String,
    /// Storage of activations and weights.
    pub elem: String,
    /// Median of the repetitions in microseconds.
    pub median_us: f64,
    /// The fastest.
    pub fastest_us: f64,
    /// The slowest.
    pub slowest_us: f64,
    /// 10⁹ floating-point operations per second.
    pub gflops: f64,
    /// 10⁹ bytes per second, counting each operand once.
    pub gigabytes_per_second: f64,
    /// Share of the bandwidth that copies reach.
    pub copy_share: f64,
    /// What copies reach.
    pub copy_gigabytes_per_second: f64,
    /// Adapter, or the CPU.
    pub device: String,
    /// Driver and version; empty for the CPU.
    pub driver: String,
    /// Version of the program.
    pub version: String,
    /// Commit it was built from, where that is known.
    pub commit: Option<String>,
}

impl<'a> KernelBench<'a> {
    /// Measures copies.
    ///
    /// Errors: the reference device, an adapter that cannot store `elem`, a lost device.
    pub fn new(device: &'a Device, elem: DType) -> Result<KernelBench<'a>> {
        let adapter = device.adapter();
        if adapter.is_none() && !device.is_cpu() {
            let message = "the reference is not meant to be fast, so it is not measured";
            return Err(Error::new(Code::Usage, message).hint(Remedy::UseCpuOrAdapter));
        }
        if elem == DType::F16 && !adapter.is_some_and(|adapter| adapter.f16) {
            return Err(Error::new(Code::NoAdapter, format!("{} cannot store f16", device.name())).hint(Remedy::UseF32));
        }
        let kernel = Unary { activation: Activation::Identity, scale: 1.0, offset: 0.0, len: COPIED };
        let implementation = device.implementation(&kernel, DType::F32);
        let timing = device.time(&kernel, &implementation, DType::F32, &[&vec![1.0; COPIED]], REPETITIONS)?;
        Ok(KernelBench { device, elem, copy: 2.0 * 4.0 * COPIED as f64 / (timing.median() * 1e-9) })
    }

    /// Measures a kernel on seeded inputs.
    pub fn measure(&self, case: &str, kernel: &dyn Kernel) -> Result<KernelTimes> {
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
        Ok(KernelTimes {
            case: case.to_owned(),
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
            device: adapter.map_or_else(|| self.device.name(), |adapter| adapter.name.clone()),
            driver: adapter.map(|adapter| adapter.driver.clone()).unwrap_or_default(),
            version: VERSION.to_owned(),
            commit: COMMIT.map(str::to_owned),
        })
    }
}

/// Times of whole runs in milliseconds by the wall clock, one run at a time, from inputs in host memory to outputs there.
#[derive(Clone, Debug, Serialize)]
pub struct RunTimes {
    /// Runs that count.
    pub runs: usize,
    /// The median.
    pub p50_ms: f64,
    /// 95 of 100 runs take at most this.
    pub p95_ms: f64,
    /// 99 of 100 runs take at most this.
    pub p99_ms: f64,
    /// Runs by their total time.
    pub runs_per_second: f64,
    /// Bytes held on the device.
    pub device_bytes: u64,
    /// Device and driver in a line.
    pub device: String,
    /// Tier of kernels; none for the CPU and the reference.
    pub tier: Option<Tier>,
    /// Version of the program.
    pub version: &'static str,
    /// Commit it was built from, where that is known.
    pub commit: Option<&'static str>,
}

impl Program {
    /// Runs until the device is at its full clock: for half a second on a GPU, once on other devices.
    #[track_caller]
    pub fn warm_up(&self, inputs: &[&Array]) -> Result<()> {
        let is_gpu = self.device().adapter().is_some_and(|adapter| !adapter.is_software());
        let start = Instant::now();
        self.run(inputs)?;
        while is_gpu && start.elapsed() < WARM_UP {
            self.run(inputs)?;
        }
        Ok(())
    }

    /// Times `runs` runs after a warm-up. Panics when there are none.
    #[track_caller]
    pub fn time(&self, inputs: &[&Array], runs: usize) -> Result<RunTimes> {
        assert!(runs > 0, "no runs to time");
        self.warm_up(inputs)?;
        let mut milliseconds = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            self.run(inputs)?;
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
        milliseconds.sort_by(f64::total_cmp);
        // The nearest rank.
        let quantile = |share: f64| milliseconds[((share * runs as f64).ceil() as usize).clamp(1, runs) - 1];
        let device = self.device();
        Ok(RunTimes {
            runs,
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            runs_per_second: 1e3 * runs as f64 / milliseconds.iter().sum::<f64>(),
            device_bytes: device.allocated_bytes(),
            device: device.name(),
            tier: device.adapter().map(|adapter| adapter.tier),
            version: VERSION,
            commit: COMMIT,
        })
    }
}

impl fmt::Display for RunTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunTimes { runs, p50_ms, p95_ms, p99_ms, runs_per_second, device_bytes, device, .. } = self;
        let megabytes = device_bytes / 1_000_000;
        writeln!(f, "{device}")?;
        writeln!(f, "p50 {p50_ms:.2} ms, p95 {p95_ms:.2}, p99 {p99_ms:.2} of {runs} runs, {runs_per_second:.1} a second")?;
        write!(f, "{megabytes} MB on the device")
    }
}
