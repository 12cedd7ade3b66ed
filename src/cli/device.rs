//! Options for the device, the precision and the tier of kernels.

use std::collections::HashSet;

use clap::Args;
use zsas::kernels::Tier;
use zsas::shader::Library;
use zsas::{Device, DeviceChoice, DeviceOptions, Result};

use crate::cli::choice::{self, PrecisionChoice};
use crate::cli::{cache, env, talk, usage};

/// The options of every verb that runs something on a device.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// `auto` (discrete GPU, else integrated, else software), `reference` (slow, f64 on the CPU), an index, part of a name, or
    /// `pci:0000:41:00.0`; `doctor` lists them
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Device")]
    pub device: DeviceChoice,

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
        Ok(DeviceOptions {
            choice: self.device.clone(),
            tier: self.kernels,
            library: library(),
            memory: memory()?,
            cache: cache::folder(),
            ..DeviceOptions::default()
        })
    }

    /// Opens the device; one line warns of a software adapter unless `is_quiet`.
    pub fn open(&self, is_quiet: bool) -> Result<Device> {
        let device = Device::open(&self.options()?)?;
        self.describe(&device, is_quiet);
        Ok(device)
    }

    /// Logs the device; one line warns of a software adapter unless `is_quiet`.
    pub fn describe(&self, device: &Device, is_quiet: bool) {
        log::info!("device: {}", device.name());
        if let Some(adapter) = device.adapter().filter(|adapter| adapter.is_software() && !is_quiet) {
            talk::say(format_args!(
                "warning: {} computes on the CPU, as no GPU was {}: right results, but slow",
                adapter.name,
                if self.device == DeviceChoice::Auto { "found" } else { "asked for" },
            ));
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

/// The shader files: those of `$ZSAS_SHADERS` while they are being edited, else the embedded ones.
pub fn library() -> Library {
    match std::env::var_os(env::SHADERS) {
        Some(folder) if !folder.is_empty() => Library::folder(folder),
        _ => Library::embedded(),
    }
}

/// The attempts, counted from 1, before which the device is lost on purpose, from `$ZSAS_LOSE_DEVICE_AT`.
pub fn lose_at() -> Result<HashSet<usize>> {
    let Ok(text) = std::env::var(env::LOSE_DEVICE_AT) else { return Ok(HashSet::new()) };
    let numbers: std::result::Result<_, _> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect();
    numbers.map_err(|_| usage(format!("${} is `{text}`, it lists numbers of attempts such as `2,3`", env::LOSE_DEVICE_AT)))
}
