//! Options for the device, the precision and the tier of kernels.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use zsas::kernels::Tier;
use zsas::run::{MAX_THREADS, hidden_adapters};
use zsas::shader::Library;
use zsas::{Device, DeviceChoice, DeviceOptions, Result};

use crate::cli::choice::{self, PrecisionChoice};
use crate::cli::{cache, env, talk, usage};

/// The options of every verb that runs something on a device.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// `auto` (discrete GPU, else integrated, else the CPU), `cpu`, `reference` (slow, f64 on the CPU), or an adapter: its index, part of its
    /// name, or `pci:0000:41:00.0`; `doctor` lists them
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Device")]
    pub device: DeviceChoice,

    /// Threads that compute where the CPU is the device; by default $RAYON_NUM_THREADS, else as many as the system lets this process use
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_THREADS as u64), help_heading = "Device")]
    pub threads: Option<usize>,

    /// How weights and activations are stored; sums are always f32
    #[arg(long, value_parser = choice::precision(), default_value = "auto", help_heading = "Device")]
    pub precision: PrecisionChoice,

    /// Force a tier of kernels, to avoid a driver's bug or to compare; by default the adapter's own, which `doctor` names
    #[arg(long = "tier", alias = "kernels", value_parser = choice::tier(), value_name = "TIER", help_heading = "Device")]
    pub kernels: Option<Tier>,
}

impl DeviceArgs {
    /// The options of the library for opening the device.
    ///
    /// Errors: options that contradict each other, a memory limit that is no number.
    pub fn options(&self) -> Result<DeviceOptions> {
        if self.device == DeviceChoice::Reference && self.kernels.is_some() {
            return Err(usage("`--tier` chooses kernels of an adapter, `--device reference` runs none").hint("leave one of the two out"));
        }
        if self.threads.is_some() && !matches!(self.device, DeviceChoice::Auto | DeviceChoice::Cpu) {
            return Err(usage("`--threads` is for the CPU as a device").hint("leave it out, or give `--device cpu`"));
        }
        Ok(DeviceOptions {
            choice: self.device.clone(),
            tier: self.kernels,
            library: library(),
            memory: memory()?,
            threads: self.threads,
            cache: cache::folder(),
            ..DeviceOptions::default()
        })
    }

    /// Opens the device and describes it.
    pub fn open(&self, is_quiet: bool) -> Result<Device> {
        let device = Device::open(&self.options()?)?;
        self.describe(&device, is_quiet);
        Ok(device)
    }

    /// Logs the device, and says unless `is_quiet` where the CPU computes though nobody asked for it, and what has no effect on the device.
    pub fn describe(&self, device: &Device, is_quiet: bool) {
        log::info!("device: {}", device.name());
        if is_quiet {
            return;
        }
        if device.is_cpu() && self.device == DeviceChoice::Auto {
            let reason = hidden_adapters().map_or_else(String::new, |reason| format!("; {reason}"));
            talk::say(format_args!("note: no GPU was found, so the CPU computes: {}{reason}", device.name()));
        }
        if let Some(adapter) = device.adapter().filter(|adapter| adapter.is_software()) {
            talk::say(format_args!("warning: {} computes on the CPU: right results, but slower than `--device cpu`", adapter.name));
        }
        if let Some(adapter) = device.adapter().filter(|adapter| adapter.is_software() && adapter.tier == Tier::Plain) {
            talk::say(format_args!(
                "warning: the tier `plain` is for GPUs; on {}, which may end long loops early, results of large networks may be wrong",
                adapter.name
            ));
        }
        if self.threads.is_some() && !device.is_cpu() {
            talk::say(format_args!("warning: `--threads` has no effect, as {} computes", device.name()));
        }
        if device.is_cpu() && edited_shaders().is_some() {
            talk::say(format_args!("warning: ${} has no effect, as the CPU runs no shaders", env::SHADERS));
        }
    }
}

/// The limit of `$ZSAS_GPU_MEMORY` in bytes, where it is set.
fn memory() -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(env::GPU_MEMORY).filter(|text| !text.is_empty()) else { return Ok(None) };
    let text = text.to_string_lossy();
    let megabytes: Option<u64> = text.trim().parse().ok();
    let bytes = megabytes.and_then(|megabytes| megabytes.checked_mul(1_000_000));
    bytes
        .map(Some)
        .ok_or_else(|| usage(format!("${} is `{text}`, it is a whole number of megabytes such as `4000`", env::GPU_MEMORY)))
}

fn edited_shaders() -> Option<OsString> {
    std::env::var_os(env::SHADERS).filter(|folder| !folder.is_empty())
}

/// The shader files: those of `$ZSAS_SHADERS` while they are being edited, else the embedded ones.
pub fn library() -> Library {
    edited_shaders().map_or_else(Library::embedded, Library::folder)
}

/// The attempts, counted from 1, before which the device is lost on purpose, from `$ZSAS_LOSE_DEVICE_AT`.
pub fn lose_at() -> Result<HashSet<usize>> {
    let Ok(text) = std::env::var(env::LOSE_DEVICE_AT) else { return Ok(HashSet::new()) };
    let numbers: std::result::Result<_, _> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect();
    numbers.map_err(|_| usage(format!("${} is `{text}`, it lists numbers of attempts such as `2,3`", env::LOSE_DEVICE_AT)))
}
