//! An open adapter: the wgpu device with the memory, the pipelines and the faults that its programs share.

use crate::error::{Code, Error, Remedy, Result};
use crate::kernels::{SOFTWARE_LANES, Tier};
use crate::run::adapter::{self, AdapterReport};
use crate::run::faults::Faults;
use crate::run::memory::DeviceMemory;
use crate::run::options::DeviceOptions;
use crate::run::pipeline_cache::PipelineCache;
use crate::run::pipelines::Pipelines;
use crate::run::schedule::SubmitLimits;

/// Runs of one program in flight by default: on a GPU one is prepared and one read back while one computes; a software adapter shares its
/// cores with the host.
const RUNS_ON_GPU: usize = 3;
const RUNS_ON_SOFTWARE: usize = 2;

/// An open adapter.
pub(super) struct Gpu {
    pub(super) adapter: AdapterReport,
    pub(super) tier: Tier,
    pub(super) submit_limits: SubmitLimits,
    /// Largest number of runs of one program in flight.
    pub(super) runs_at_once: usize,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) faults: Faults,
    pub(super) memory: DeviceMemory,
    pub(super) pipelines: Pipelines,
}

impl Gpu {
    pub(super) fn open(adapter: &wgpu::Adapter, options: &DeviceOptions) -> Result<Gpu> {
        let report = adapter::report(adapter, options.tier);
        let limits = adapter.limits();
        adapter::check_limits(&report, &limits)?;
        let tier = report.tier;
        if let (Tier::Matrix, Some(reason)) = (tier, &report.no_matrix_units) {
            let message = format!("{report} has no matrix units for kernels of the tier `{tier}`: {reason}");
            return Err(Error::new(Code::NoAdapter, message).hint(Remedy::UseOwnTier));
        }
        if tier == Tier::Subgroup && !report.has_subgroups() {
            let message = format!("{report} has no subgroups of {SOFTWARE_LANES} lanes for kernels of the tier `{tier}`");
            return Err(Error::new(Code::NoAdapter, message).hint(Remedy::UseAnotherDevice));
        }
        let experimental_features = match tier {
            // SAFETY: cooperative matrices are the one experimental feature that is asked for, in kernels that stay within their buffers. naga
            // 30 declares Vulkan's memory model for them without making workgroup memory visible at barriers, which drivers do all the same;
            // one that does not shows in the trial of `Device::open`, or in `doctor --selftest` where the tier is forced.
            Tier::Matrix => unsafe { wgpu::ExperimentalFeatures::enabled() },
            Tier::Plain | Tier::Software | Tier::Subgroup => wgpu::ExperimentalFeatures::disabled(),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("zsas"),
            required_features: adapter.features() & adapter::wanted_features(tier),
            required_limits: limits,
            experimental_features,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error::new(Code::NoAdapter, format!("{report} cannot be opened: {error}")))?;
        let faults = Faults::watch(&device, &report);
        let cache = options
            .cache
            .as_deref()
            .and_then(|folder| PipelineCache::open(&device, &adapter.get_info(), folder));
        if cache.is_none() {
            log::info!("compiled kernels are kept by the driver alone, if at all");
        }
        let is_software = report.is_software();
        let (submit_limits, runs) = if is_software { (SubmitLimits::SOFTWARE, RUNS_ON_SOFTWARE) } else { (SubmitLimits::GPU, RUNS_ON_GPU) };
        Ok(Gpu {
            tier,
            submit_limits: options.submit_limits.unwrap_or(submit_limits),
            runs_at_once: options.runs_at_once.unwrap_or(runs).max(1),
            memory: DeviceMemory::new(&device, &queue, &faults, &report.name, options.memory),
            pipelines: Pipelines::new(&device, &faults, &options.library, report.to_string(), cache),
            faults,
            adapter: report,
            device,
            queue,
        })
    }
}
