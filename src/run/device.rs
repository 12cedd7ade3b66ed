//! Devices: an opened adapter, the CPU, or the reference, with what is shared between programs.

use std::sync::Arc;

use crate::error::{Code, Error, Remedy, Result};
use crate::kernels::{Tier, matrix_units_trial};
use crate::run::adapter::{self, AdapterReport, DeviceChoice};
use crate::run::cpu::Cpu;
use crate::run::gpu::Gpu;
use crate::run::options::DeviceOptions;
use crate::run::progress::{Observed, Observer};
use crate::tensor::{DType, Seeded};

/// A device that runs programs. Cheap to clone; weights are uploaded once and shared by all programs on it.
#[derive(Clone)]
pub struct Device {
    pub(super) backend: Backend,
    pub(super) observed: Observed,
}

#[derive(Clone)]
pub(super) enum Backend {
    Gpu(Arc<Gpu>),
    Cpu(Arc<Cpu>),
    Reference,
}

impl Device {
    /// Opens the chosen device; an error says why that is not possible. [`DeviceChoice::Auto`] takes the CPU where there is no GPU.
    ///
    /// Matrix units are used where the adapter has them and they get small launches right; else [`AdapterReport::no_matrix_units`] says why
    /// not.
    pub fn open(options: &DeviceOptions) -> Result<Device> {
        match options.choice {
            DeviceChoice::Reference => return Ok(Device::reference()),
            DeviceChoice::Cpu => return Device::cpu(options),
            _ => {}
        }
        let found = adapter::found();
        let reports: Vec<AdapterReport> = found.iter().map(|one| adapter::report(one, None)).collect();
        let at = match (&options.choice, adapter::best_gpu(&reports)) {
            (DeviceChoice::Auto, Some(gpu)) => gpu,
            (DeviceChoice::Auto, None) => return Device::cpu(options),
            (named, _) => adapter::named(named, &reports)?,
        };
        let opened = |gpu| Device { backend: Backend::Gpu(Arc::new(gpu)), observed: Observed::default() };
        let device = opened(Gpu::open(&found[at], options)?);
        let is_on_trial = options.tier.is_none() && device.adapter().is_some_and(|adapter| adapter.tier == Tier::Matrix);
        let miss = if is_on_trial { device.try_matrix_units()? } else { None };
        let Some(miss) = miss else { return Ok(device) };
        log::warn!("matrix units are not used: {miss}");
        let mut gpu = Gpu::open(&found[at], &DeviceOptions { tier: Some(Tier::Plain), ..options.clone() })?;
        gpu.adapter.no_matrix_units = Some(format!("a trial was wrong: {miss}"));
        Ok(opened(gpu))
    }

    /// What the matrix units get wrong in small launches, if anything. A kernel file that is wrong is an error, not a reason against them.
    fn try_matrix_units(&self) -> Result<Option<String>> {
        let mut random = Seeded::new(1);
        for kernel in matrix_units_trial() {
            let implementation = self.implementation(&*kernel, DType::F16);
            match self.check(&*kernel, &implementation, DType::F16, &mut random) {
                Ok(None) => {}
                Ok(Some(miss)) => return Ok(Some(miss)),
                Err(error) if error.code() == Code::Shader => return Err(error),
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
        Ok(None)
    }

    /// The CPU, by the native forms of the kernels. Results do not depend on the number of threads.
    ///
    /// Errors: a tier, which is for adapters; threads that cannot be started.
    fn cpu(options: &DeviceOptions) -> Result<Device> {
        if let Some(tier) = options.tier {
            let message = format!("`{tier}` is a tier of kernels for adapters, the CPU runs its own");
            return Err(Error::new(Code::Usage, message).hint(Remedy::UseAnAdapter));
        }
        Ok(Device { backend: Backend::Cpu(Arc::new(Cpu::open(options)?)), observed: Observed::default() })
    }

    /// The reference executor: f64 on the CPU, slow, deterministic.
    pub fn reference() -> Device {
        Device { backend: Backend::Reference, observed: Observed::default() }
    }

    /// The adapter; `None` for the CPU and the reference.
    pub fn adapter(&self) -> Option<&AdapterReport> {
        match &self.backend {
            Backend::Gpu(gpu) => Some(&gpu.adapter),
            Backend::Cpu(_) | Backend::Reference => None,
        }
    }

    /// Name and driver in a line.
    pub fn name(&self) -> String {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.adapter.to_string(),
            Backend::Cpu(cpu) => format!("{}, {} thread{}", cpu.processor(), cpu.threads(), if cpu.threads() == 1 { "" } else { "s" }),
            Backend::Reference => "reference (f64 on the CPU)".to_owned(),
        }
    }

    /// What its results depend on to the last bit, beside the tier of kernels: on the CPU not the number of threads.
    pub fn identity(&self) -> String {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.processor().to_owned(),
            Backend::Gpu(_) | Backend::Reference => self.name(),
        }
    }

    /// Whether it is the CPU, by native kernels.
    pub fn is_cpu(&self) -> bool {
        matches!(self.backend, Backend::Cpu(_))
    }

    /// Bytes held by weights and programs on the device; 0 for the reference.
    pub fn allocated_bytes(&self) -> u64 {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.memory.held(),
            Backend::Cpu(cpu) => cpu.held(),
            Backend::Reference => 0,
        }
    }

    /// Sets the callback that receives the progress of each program on this device, after each submission, on the CPU and the reference after
    /// each launch; `None` removes it. Clones share it. It must not run the program that it is told of.
    pub fn observe(&self, observer: Option<Observer>) {
        self.observed.set(observer);
    }

    /// The fault after which this device runs nothing any more, if there was one; it must be opened again.
    pub fn fault(&self) -> Option<Error> {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.faults.check().err(),
            Backend::Cpu(cpu) => cpu.check().err(),
            Backend::Reference => None,
        }
    }

    /// Makes the device lost, as a driver reset does, to test the handling of a lost device. The reference cannot be lost.
    pub fn lose(&self) {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.faults.lose(),
            Backend::Cpu(cpu) => cpu.lose(),
            Backend::Reference => {}
        }
    }
}
