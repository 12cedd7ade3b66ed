//! Where recordings run: adapter choice, limits, features, and what is shared between programs.

use std::fmt;
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::kernels::Tier;
use crate::run::gpu::Gpu;
use crate::run::progress::{Observed, Observer};
use crate::run::schedule::Pace;
use crate::shader::Library;

/// Which device a user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceWish {
    /// A discrete GPU, else an integrated one, else a software adapter.
    #[default]
    Auto,
    /// The f64 CPU twins.
    Reference,
    /// The adapter with this position in [`adapters`].
    Index(usize),
    /// The adapter at this PCI address.
    Pci(String),
    /// The only adapter whose name contains this, case aside.
    Name(String),
}

impl std::str::FromStr for DeviceWish {
    type Err = std::convert::Infallible;

    /// `auto`, `reference`, an index, `pci:0000:41:00.0`, else part of a name.
    fn from_str(text: &str) -> std::result::Result<DeviceWish, Self::Err> {
        Ok(match text {
            "auto" => DeviceWish::Auto,
            "reference" => DeviceWish::Reference,
            _ => match (text.strip_prefix("pci:"), text.parse()) {
                (Some(address), _) => DeviceWish::Pci(address.to_ascii_lowercase()),
                (None, Ok(index)) => DeviceWish::Index(index),
                (None, Err(_)) => DeviceWish::Name(text.to_owned()),
            },
        })
    }
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Which one.
    pub wish: DeviceWish,
    /// A tier to use instead of the adapter's own, where a driver misbehaves or for comparison.
    pub tier: Option<Tier>,
    /// Shader files to use instead of the embedded ones.
    pub library: Library,
    /// How much work goes out at once; without it what suits the adapter.
    pub pace: Option<Pace>,
    /// Most bytes to hold on the device, for who shares it; a program that needs more is refused before anything of it is allocated. Without
    /// it, what the driver gives.
    pub memory: Option<u64>,
}

/// What is known of an adapter.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterReport {
    /// Product name.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `Cpu` …
    pub kind: String,
    /// PCI address where known.
    pub pci: String,
    /// The shape of kernels chosen for it.
    pub tier: String,
    /// Whether kernels may store f16.
    pub f16: bool,
    /// Whether timestamps can be written between launches.
    pub timestamps: bool,
    /// Largest storage binding in bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub max_invocations: u32,
}

impl AdapterReport {
    /// True for lavapipe, SwiftShader, WARP.
    pub fn is_software(&self) -> bool {
        self.kind == "Cpu"
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// A device that runs programs; cheap to clone, weights uploaded once are shared by all programs on it.
#[derive(Clone)]
pub struct Device {
    pub(super) backend: Backend,
    pub(super) observed: Observed,
}

#[derive(Clone)]
pub(super) enum Backend {
    Gpu(Arc<Gpu>),
    Reference,
}

/// All adapters of this machine, in the order `--device INDEX` counts them.
pub fn adapters() -> Vec<AdapterReport> {
    let found = Gpu::adapters();
    found.iter().map(|adapter| Gpu::report(adapter, None)).collect()
}

impl Device {
    /// Opens the device a user wants, or says why there is none.
    pub fn open(options: &DeviceOptions) -> Result<Device> {
        if options.wish == DeviceWish::Reference {
            return Ok(Device::reference());
        }
        let found = Gpu::adapters();
        let reports: Vec<AdapterReport> = found.iter().map(|adapter| Gpu::report(adapter, None)).collect();
        let at = choose(&options.wish, &reports)?;
        let gpu = Gpu::open(&found[at], options)?;
        Ok(Device { backend: Backend::Gpu(Arc::new(gpu)), observed: Observed::default() })
    }

    /// The CPU twins: slow, deterministic, no GPU.
    pub fn reference() -> Device {
        Device { backend: Backend::Reference, observed: Observed::default() }
    }

    /// The adapter; `None` for the reference.
    pub fn adapter(&self) -> Option<&AdapterReport> {
        match &self.backend {
            Backend::Gpu(gpu) => Some(&gpu.adapter),
            Backend::Reference => None,
        }
    }

    /// Name and driver in a line.
    pub fn name(&self) -> String {
        self.adapter().map_or_else(|| "reference (f64 on the CPU)".to_owned(), ToString::to_string)
    }

    /// Bytes held by weights and programs on the device; 0 for the reference.
    pub fn allocated_bytes(&self) -> u64 {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.allocated_bytes(),
            Backend::Reference => 0,
        }
    }

    /// Has the observer told how far each program on this device is, after each submission of its work; `None` ends that. Clones share it.
    pub fn observe(&self, observer: Option<Observer>) {
        self.observed.set(observer);
    }

    /// What ended this device, if anything did: it runs nothing any more and must be opened anew.
    pub fn fault(&self) -> Option<Error> {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.check().err(),
            Backend::Reference => None,
        }
    }

    /// Gives the device up, as a driver reset would, so that the handling of a lost device can be tried.
    pub fn lose(&self) {
        if let Backend::Gpu(gpu) = &self.backend {
            gpu.lose();
        }
    }
}

fn choose(wish: &DeviceWish, reports: &[AdapterReport]) -> Result<usize> {
    let listing = || {
        let lines: Vec<String> = reports.iter().enumerate().map(|(at, one)| format!("{at}: {one}")).collect();
        format!("the adapters are\n  {}", lines.join("\n  "))
    };
    if reports.is_empty() {
        return Err(Error::new(Code::NoAdapter, "no Vulkan, Metal or DX12 adapter was found").hint(
            "install the vendor's driver, or `mesa-vulkan-drivers` and `libvulkan1` for a software one; in a container set \
             NVIDIA_DRIVER_CAPABILITIES=graphics; under WSL use `mesa-vulkan-drivers`; the reference device needs no adapter and is slow",
        ));
    }
    let none = |what: String| Error::new(Code::NoAdapter, format!("no adapter {what}")).hint(listing());
    match wish {
        DeviceWish::Auto | DeviceWish::Reference => {
            let rank = |report: &AdapterReport| match report.kind.as_str() {
                "DiscreteGpu" => 0,
                "IntegratedGpu" => 1,
                "VirtualGpu" => 2,
                "Other" => 3,
                _ => 4,
            };
            // The first of equals: the driver's own order.
            let best = (0..reports.len()).min_by_key(|&at| rank(&reports[at]));
            best.ok_or_else(|| none("was found".to_owned()))
        }
        DeviceWish::Index(at) if *at < reports.len() => Ok(*at),
        DeviceWish::Index(at) => Err(none(format!("has the index {at}"))),
        DeviceWish::Pci(address) => {
            let matches = |report: &AdapterReport| !report.pci.is_empty() && report.pci.eq_ignore_ascii_case(address);
            reports.iter().position(matches).ok_or_else(|| none(format!("is at PCI address {address}")))
        }
        DeviceWish::Name(name) => {
            let wanted = name.to_lowercase();
            let hits: Vec<usize> = (0..reports.len()).filter(|&at| reports[at].name.to_lowercase().contains(&wanted)).collect();
            match hits[..] {
                [at] => Ok(at),
                [] => Err(none(format!("has `{name}` in its name"))),
                _ => Err(Error::new(Code::Usage, format!("{} adapters have `{name}` in their name", hits.len())).hint(listing())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, kind: &str) -> AdapterReport {
        AdapterReport {
            name: name.to_owned(),
            backend: "Vulkan".to_owned(),
            driver: "test".to_owned(),
            kind: kind.to_owned(),
            pci: format!("0000:{name}:00.0"),
            tier: "plain".to_owned(),
            f16: true,
            timestamps: true,
            max_binding_bytes: 1,
            max_buffer_bytes: 1,
            max_workgroup_bytes: 1,
            max_invocations: 1,
        }
    }

    #[test]
    fn a_wish_picks_one_adapter_or_says_why_not() {
        let all =
            [report("llvmpipe", "Cpu"), report("Arc A", "IntegratedGpu"), report("RTX B", "DiscreteGpu"), report("RTX C", "DiscreteGpu")];
        let pick = |wish: &str| choose(&wish.parse().unwrap_or_default(), &all);
        assert_eq!(pick("auto").unwrap(), 2);
        assert_eq!(pick("1").unwrap(), 1);
        assert_eq!(pick("arc").unwrap(), 1);
        assert_eq!(pick("pci:0000:RTX C:00.0").unwrap(), 3);
        assert_eq!(pick("rtx").unwrap_err().code(), Code::Usage);
        assert_eq!(pick("9").unwrap_err().code(), Code::NoAdapter);
        assert_eq!(pick("quadro").unwrap_err().code(), Code::NoAdapter);
        assert_eq!(choose(&DeviceWish::Auto, &[]).unwrap_err().code(), Code::NoAdapter);
    }
}
