//! Which device, which precision, which shape of kernels.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use zsas::kernels::Tier;
use zsas::shader::Library;
use zsas::{Device, DeviceOptions, DeviceWish, Precision, Result};

use crate::cli::{env, talk, usage};

/// The options of every verb that runs something on a device.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// `auto` (discrete GPU, else integrated, else software), `reference` (slow CPU twin), an index, part of a name, or
    /// `pci:0000:41:00.0`; `doctor` lists them
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Device")]
    pub device: DeviceWish,

    /// How weights and activations are stored; sums are f32 always. `auto` is f32, the setting reported numbers are made with
    #[arg(long, value_enum, default_value_t, help_heading = "Device")]
    pub precision: PrecisionWish,

    /// Force a shape of kernels where a driver misbehaves, or to compare
    #[arg(long = "tier", alias = "kernels", value_enum, value_name = "TIER", help_heading = "Device")]
    pub kernels: Option<TierWish>,
}

/// Which storage is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionWish {
    /// f32.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, where the adapter stores them.
    F16,
}

impl PrecisionWish {
    /// The precision of the recording.
    pub fn precision(self) -> Precision {
        match self {
            PrecisionWish::Auto | PrecisionWish::F32 => Precision::F32,
            PrecisionWish::F16 => Precision::Mixed,
        }
    }

    /// The storage as records name it.
    pub fn as_str(self) -> &'static str {
        match self {
            PrecisionWish::Auto | PrecisionWish::F32 => "f32",
            PrecisionWish::F16 => "f16",
        }
    }
}

/// Which kernels are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierWish {
    /// Those for GPUs.
    Plain,
    /// Those for software adapters.
    #[value(alias = "cpu")]
    Software,
}

impl TierWish {
    /// The tier of the library.
    pub fn tier(self) -> Tier {
        match self {
            TierWish::Plain => Tier::Plain,
            TierWish::Software => Tier::Software,
        }
    }
}

impl DeviceArgs {
    /// Opens the device; one line warns of a software adapter unless `is_quiet`.
    pub fn open(&self, is_quiet: bool) -> Result<Device> {
        let options = DeviceOptions {
            wish: self.device.clone(),
            tier: self.kernels.map(TierWish::tier),
            library: library(),
            memory: memory()?,
            cache: cache_folder(),
            ..DeviceOptions::default()
        };
        let device = Device::open(&options)?;
        log::info!("device: {}", device.name());
        if let Some(adapter) = device.adapter().filter(|adapter| adapter.is_software() && !is_quiet) {
            talk::say(format_args!(
                "warning: {} computes on the CPU, as no GPU was {}: right results, but slow",
                adapter.name,
                if self.device == DeviceWish::Auto { "found" } else { "asked for" },
            ));
        }
        Ok(device)
    }
}

/// `$ZSAS_CACHE`, else a folder in the user's own cache; none where `$ZSAS_CACHE` is empty, or the user has none.
pub fn cache_folder() -> Option<PathBuf> {
    match std::env::var_os(env::CACHE) {
        Some(folder) if folder.is_empty() => None,
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("zsas-gpu")),
    }
}

/// The bytes that `$ZSAS_GPU_MEMORY` allows, if it does.
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

/// The attempts, counted from 1, before which `$ZSAS_LOSE_DEVICE_AT` has the device given up.
pub fn lose_at() -> Result<HashSet<usize>> {
    let Ok(text) = std::env::var(env::LOSE_DEVICE_AT) else { return Ok(HashSet::new()) };
    let numbers: std::result::Result<_, _> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect();
    numbers.map_err(|_| usage(format!("${} is `{text}`, it lists numbers of attempts such as `2,3`", env::LOSE_DEVICE_AT)))
}
