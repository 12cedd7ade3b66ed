//! `doctor`: reports the adapters of this machine, what is missing, and whether kernels compute correctly.

use clap::Args;
use serde::Serialize;
use zsas::kernels::{Tier, every_kernel};
use zsas::run::{AdapterReport, adapters, hidden_adapters};
use zsas::tensor::Seeded;
use zsas::{DType, Device, DeviceChoice, Error, Result};

use crate::cli::device::DeviceArgs;
use crate::cli::{Exit, talk};

const AFTER: &str = "\
`--selftest` runs every kernel on the device and compares it with its f64 reference within derived
bounds. Exits 1 when a kernel is wrong, 5 where the device that is asked for is not there.

Examples:
  zsas-gpu doctor
  zsas-gpu doctor --selftest --device 1";

/// Failed launches that are printed one by one.
const MAX_FAILURES_SHOWN: usize = 20;

/// Seed of the self-test's inputs.
const SEED: u64 = 11;

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct DoctorArgs {
    /// Run every kernel on the device against its f64 reference
    #[arg(long)]
    selftest: bool,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Findings of `doctor`; the object of `--json`.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    commit: Option<&'static str>,
    adapters: Vec<AdapterReport>,
    /// Position of the adapter that would be used.
    chosen: Option<usize>,
    device: Option<String>,
    tier: Option<Tier>,
    problems: Vec<String>,
    hints: Vec<String>,
    selftest: Option<Selftest>,
}

/// Counts of the self-test.
#[derive(Serialize, Default)]
struct Selftest {
    passed: usize,
    failed: usize,
    failures: Vec<String>,
}

/// Lists adapters, runs the self-test if asked to, and prints the findings.
pub fn run(args: &DoctorArgs) -> Result<Exit> {
    let adapters = adapters();
    // Options that contradict each other say nothing about this machine.
    args.device.options()?;
    let (device, refusal) = match args.device.open(true) {
        Ok(device) => (Some(device), None),
        Err(error) => (None, Some(error)),
    };
    let selftest = device.as_ref().filter(|_| args.selftest).map(selftest).transpose()?;
    let exit = match (&refusal, &selftest) {
        (Some(error), _) => Exit::of(error),
        (None, Some(test)) if test.failed > 0 => Exit::Failed,
        _ => Exit::Done,
    };
    let lacks_gpu = args.device.device == DeviceChoice::Auto && device.as_ref().is_some_and(Device::is_cpu);
    let findings = Findings::new(adapters, device.as_ref(), lacks_gpu, refusal.as_ref(), selftest);
    if args.json {
        talk::print_json(&findings)?
    } else {
        findings.print()?
    }
    if let Some(error) = refusal {
        talk::error(&error);
    }
    Ok(exit)
}

impl Findings {
    /// `lacks_gpu`: the CPU computes though nobody asked for it.
    fn new(
        mut adapters: Vec<AdapterReport>,
        device: Option<&Device>,
        lacks_gpu: bool,
        refusal: Option<&Error>,
        selftest: Option<Selftest>,
    ) -> Findings {
        let own = device.and_then(Device::adapter);
        let same =
            |other: &AdapterReport| own.is_some_and(|own| (&own.name, &own.backend, &own.pci) == (&other.name, &other.backend, &other.pci));
        let (mut problems, hints) = diagnose(own, lacks_gpu, refusal.map(|_| adapters.len()));
        let chosen = adapters.iter().position(same);
        // What the device found out when it was opened counts.
        if let (Some(own), Some(at)) = (own, chosen) {
            let listed = std::mem::replace(&mut adapters[at], own.clone());
            if let (None, Some(reason)) = (listed.no_matrix_units, &own.no_matrix_units) {
                problems.push(format!("matrix units are not used: {reason}"));
            }
        }
        Findings {
            version: zsas::VERSION,
            commit: zsas::COMMIT,
            chosen,
            adapters,
            device: device.map(Device::name),
            tier: own.map(|own| own.tier),
            problems,
            hints,
            selftest,
        }
    }

    fn print(&self) -> Result<()> {
        talk::print_line(format_args!("zsas-gpu {}", super::version()))?;
        for (at, adapter) in self.adapters.iter().enumerate() {
            let mark = if self.chosen == Some(at) { "*" } else { " " };
            talk::print(format_args!("{mark} {at}: {}", describe(adapter)))?;
        }
        match &self.device {
            Some(device) => talk::print_line(format_args!("device: {device}"))?,
            None => talk::print_line("device: none")?,
        }
        for problem in &self.problems {
            talk::print_line(format_args!("problem: {problem}"))?;
        }
        for hint in &self.hints {
            talk::print_line(format_args!("hint: {hint}"))?;
        }
        self.selftest.as_ref().map_or(Ok(()), Selftest::print)
    }
}

/// An adapter in five lines.
fn describe(adapter: &AdapterReport) -> String {
    let yes = |is_there| if is_there { "yes" } else { "no" };
    let units = adapter.no_matrix_units.as_ref().map_or("yes".to_owned(), |reason| format!("no, {reason}"));
    let subgroups = match adapter.subgroup_lanes {
        0 => "of no one size".to_owned(),
        lanes => format!("of {lanes} lanes"),
    };
    let mib = |bytes: u64| bytes >> 20;
    let pci = if adapter.pci.is_empty() { String::new() } else { format!(", pci:{}", adapter.pci) };
    format!(
        "{} ({}, {}{pci})\n     driver {}\n     tier {}, f16 {}, timestamps {}, \
         binding {} MiB, buffer {} MiB, workgroup {} KiB × {} lanes\n     subgroups {subgroups}\n     matrix units {units}\n",
        adapter.name,
        adapter.kind,
        adapter.backend,
        adapter.driver,
        adapter.tier,
        yes(adapter.f16),
        yes(adapter.timestamps),
        mib(adapter.max_binding_bytes),
        mib(adapter.max_buffer_bytes),
        adapter.max_workgroup_bytes >> 10,
        adapter.max_invocations,
    )
}

/// Problems of this machine, and hints to solve them. `refused` is the number of adapters where none could be opened as was asked for.
fn diagnose(adapter: Option<&AdapterReport>, lacks_gpu: bool, refused: Option<usize>) -> (Vec<String>, Vec<String>) {
    let (mut problems, mut hints) = (Vec::new(), Vec::new());
    match refused {
        Some(0) => {
            problems.push("there is no adapter, see the error".to_owned());
        }
        Some(_) => problems.push("the device cannot be opened with these options, see the error".to_owned()),
        None => {}
    }
    if lacks_gpu {
        hints.push("no GPU was found, so the CPU computes, in f32; a GPU is faster".to_owned());
    }
    if lacks_gpu || refused == Some(0) || adapter.is_some_and(AdapterReport::is_software) {
        hints.extend(hidden_adapters());
        if cfg!(target_os = "linux") {
            hints.extend(linux_hints());
        }
    }
    if let Some(adapter) = adapter {
        if adapter.is_software() {
            problems.push(format!("{} computes on the CPU: results are right, but slower than `--device cpu`", adapter.name));
        }
        if !adapter.f16 {
            problems.push("the adapter cannot store f16: `--precision f16` will be refused".to_owned());
        }
        if !adapter.timestamps {
            problems.push("the adapter has no timestamps: `profile` and `bench` measure by the wall clock".to_owned());
        }
    }
    (problems, hints)
}

/// Hints for common reasons why a GPU is not found.
fn linux_hints() -> Vec<String> {
    let exists = |path: &str| std::path::Path::new(path).exists();
    let mut hints = Vec::new();
    let is_container = exists("/.dockerenv") || exists("/run/.containerenv") || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if exists("/dev/nvidiactl") {
        hints.push(
            "an NVIDIA device is here: its Vulkan driver needs `NVIDIA_DRIVER_CAPABILITIES=graphics` in a container, or libnvidia-gl"
                .to_owned(),
        );
    } else if exists("/dev/dri") {
        hints.push(
            "a render node is here: it needs its Vulkan driver (`mesa-vulkan-drivers`) and the right to open /dev/dri/renderD*".to_owned(),
        );
    } else if exists("/dev/dxg") {
        hints.push("this is WSL: its GPU needs a Mesa with the `dzn` driver".to_owned());
    } else if is_container {
        hints.push(
            "in a container a GPU must be passed in: `--gpus all` with NVIDIA_DRIVER_CAPABILITIES=graphics, or `--device /dev/dri`"
                .to_owned(),
        );
    }
    hints
}

impl Selftest {
    fn print(&self) -> Result<()> {
        for failure in self.failures.iter().take(MAX_FAILURES_SHOWN) {
            talk::print_line(format_args!("wrong: {failure}"))?;
        }
        if self.failures.len() > MAX_FAILURES_SHOWN {
            talk::print_line(format_args!("… and {} more", self.failures.len() - MAX_FAILURES_SHOWN))?;
        }
        talk::print_line(format_args!("selftest: {} launches right, {} wrong", self.passed, self.failed))
    }
}

/// Runs every kernel in each storage type of the device and compares it with its reference.
fn selftest(device: &Device) -> Result<Selftest> {
    let has_f16 = device.adapter().is_some_and(|adapter| adapter.f16);
    let elems: &[DType] = if has_f16 { &[DType::F32, DType::F16] } else { &[DType::F32] };
    let kernels = every_kernel();
    let bar = talk::progress((kernels.len() * elems.len()) as u64, false);
    let mut test = Selftest::default();
    let mut seeded = Seeded::new(SEED);
    for kernel in &kernels {
        for &elem in elems {
            bar.inc(1);
            let implementation = device.implementation(&**kernel, elem);
            match device.check(&**kernel, &implementation, elem, &mut seeded)? {
                None => test.passed += 1,
                Some(miss) => {
                    test.failed += 1;
                    test.failures.push(format!("{kernel:?} by `{}` in {elem}: {miss}", implementation.file));
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(test)
}
