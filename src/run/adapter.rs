//! Adapters of this machine: their list, the choice of one, and whether the kernels can run on it.

use std::fmt;

use crate::error::{Code, Error, Remedy, Result};
use crate::kernels::{MAX_GROUPS, MAX_INVOCATIONS, MAX_MATRIX_WORKGROUP_BYTES, MAX_WORKGROUP_BYTES, SOFTWARE_LANES, Tier};

/// Choice of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A discrete GPU, else an integrated one, else the CPU; never a software adapter.
    #[default]
    Auto,
    /// The CPU, by native kernels.
    Cpu,
    /// The reference executor: f64 on the CPU.
    Reference,
    /// The adapter with this position in [`adapters`].
    Index(usize),
    /// The adapter at this PCI address.
    Pci(String),
    /// The only adapter whose name contains this, case aside.
    Name(String),
}

impl std::str::FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    /// `auto`, `cpu`, `reference`, an index, `pci:0000:41:00.0`, else part of a name.
    fn from_str(text: &str) -> std::result::Result<DeviceChoice, Self::Err> {
        Ok(match text {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "reference" => DeviceChoice::Reference,
            _ => match (text.strip_prefix("pci:"), text.parse()) {
                (Some(address), _) => DeviceChoice::Pci(address.to_ascii_lowercase()),
                (None, Ok(index)) => DeviceChoice::Index(index),
                (None, Err(_)) => DeviceChoice::Name(text.to_owned()),
            },
        })
    }
}

/// Properties of an adapter.
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
    /// Tier of the kernels that it runs.
    pub tier: Tier,
    /// Whether kernels may store f16.
    pub f16: bool,
    /// Why kernels for matrix units are not used; `None` where they can be.
    pub no_matrix_units: Option<String>,
    /// Lanes of a subgroup, which share values; 0 where kernels cannot use subgroups or their size varies.
    pub subgroup_lanes: u32,
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

    /// Whether its subgroups have the lanes that kernels of [`Tier::Subgroup`] count on.
    pub fn has_subgroups(&self) -> bool {
        self.subgroup_lanes as usize == SOFTWARE_LANES
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// All adapters of this machine, in the order in which [`DeviceChoice::Index`] counts them.
pub fn adapters() -> Vec<AdapterReport> {
    found().iter().map(|adapter| report(adapter, None)).collect()
}

/// All adapters, in the driver's order.
pub(super) fn found() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY)))
}

/// Properties of an adapter, with a tier to use instead of its own.
pub(super) fn report(adapter: &wgpu::Adapter, tier: Option<Tier>) -> AdapterReport {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let is_software = info.device_type == wgpu::DeviceType::Cpu;
    let no_matrix_units = no_matrix_units(adapter);
    let is_fixed = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
    let subgroup_lanes = if is_fixed { info.subgroup_max_size } else { 0 };
    AdapterReport {
        name: info.name,
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind: format!("{:?}", info.device_type),
        pci: info.device_pci_bus_id,
        tier: tier.unwrap_or(own_tier(is_software, no_matrix_units.is_none(), subgroup_lanes as usize == SOFTWARE_LANES)),
        no_matrix_units,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroup_lanes,
        timestamps: features.contains(timestamps()),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
    }
}

/// Tier that suits an adapter.
fn own_tier(is_software: bool, has_matrix_units: bool, has_subgroups: bool) -> Tier {
    match (is_software, has_matrix_units, has_subgroups) {
        (true, _, true) => Tier::Subgroup,
        (true, _, false) => Tier::Software,
        (false, true, _) => Tier::Matrix,
        (false, false, _) => Tier::Plain,
    }
}

/// What an adapter lacks for kernels on matrix units, if anything.
fn no_matrix_units(adapter: &wgpu::Adapter) -> Option<String> {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    if !features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return Some("the driver offers none through this interface".to_owned());
    }
    if !features.contains(wgpu::Features::SHADER_F16) {
        return Some("the adapter cannot store f16".to_owned());
    }
    let (f16, f32) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
    let has_shape = adapter.cooperative_matrix_properties().iter().any(|one| {
        (one.m_size, one.n_size, one.k_size) == (MATRIX_SIDE, MATRIX_SIDE, MATRIX_SIDE) && one.ab_type == f16 && one.cr_type == f32
    });
    if !has_shape {
        return Some(format!("none multiplies {MATRIX_SIDE}×{MATRIX_SIDE} blocks of f16 with sums in f32"));
    }
    let lanes = (info.subgroup_min_size, info.subgroup_max_size);
    if lanes != (MATRIX_LANES, MATRIX_LANES) {
        return Some(format!("subgroups have {} to {} lanes, the kernels need {MATRIX_LANES}", lanes.0, lanes.1));
    }
    if limits.max_compute_workgroup_storage_size < MAX_MATRIX_WORKGROUP_BYTES {
        let offered = limits.max_compute_workgroup_storage_size;
        return Some(format!("a workgroup has {offered} bytes of memory, the kernels need {MAX_MATRIX_WORKGROUP_BYTES}"));
    }
    None
}

/// Rows and columns of the blocks that kernels for matrix units multiply.
const MATRIX_SIDE: u32 = 16;

/// Lanes of a subgroup that kernels for matrix units count on.
const MATRIX_LANES: u32 = 32;

/// Optional features, which are used where an adapter has them.
pub(super) fn wanted_features(tier: Tier) -> wgpu::Features {
    let always = wgpu::Features::SHADER_F16 | timestamps() | wgpu::Features::PIPELINE_CACHE;
    match tier {
        Tier::Plain | Tier::Software => always,
        Tier::Matrix => always | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        Tier::Subgroup => always | wgpu::Features::SUBGROUP,
    }
}

fn timestamps() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
}

/// Refuses an adapter whose limits are below what the kernels need.
pub(super) fn check_limits(report: &AdapterReport, limits: &wgpu::Limits) -> Result<()> {
    let needs = [
        ("invocations per workgroup", u64::from(MAX_INVOCATIONS), u64::from(limits.max_compute_invocations_per_workgroup)),
        ("bytes of workgroup memory", u64::from(MAX_WORKGROUP_BYTES), u64::from(limits.max_compute_workgroup_storage_size)),
        ("storage buffers per stage", 8, u64::from(limits.max_storage_buffers_per_shader_stage)),
        ("workgroups along an axis", MAX_GROUPS as u64, u64::from(limits.max_compute_workgroups_per_dimension)),
    ];
    for (what, needed, offered) in needs {
        if offered < needed {
            let message = format!("{report} offers {offered} {what}, the kernels need {needed}");
            return Err(Error::new(Code::NoAdapter, message).hint(Remedy::UseAnotherDevice));
        }
    }
    Ok(())
}

/// Environment variables that choose which drivers the Vulkan loader offers.
const DRIVER_VARIABLES: [&str; 4] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE"];

/// Names in `WGPU_BACKEND` of the graphics interfaces that are searched for adapters.
const OUR_BACKENDS: [&str; 6] = ["vulkan", "vk", "metal", "mtl", "dx12", "d3d12"];

/// Says which environment variable may hide adapters, if one does.
pub fn hidden_adapters() -> Option<String> {
    hidden_by(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

fn hidden_by(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let names_ours = |value: &str| value.split(',').any(|one| OUR_BACKENDS.contains(&one.trim().to_lowercase().as_str()));
    if let Some(value) = set("WGPU_BACKEND").filter(|value| !names_ours(value)) {
        return Some(format!("`$WGPU_BACKEND` is `{value}`, which leaves all of them out"));
    }
    let (name, value) = DRIVER_VARIABLES.into_iter().find_map(|name| Some((name, set(name)?)))?;
    Some(format!("the Vulkan drivers that are offered are chosen by `${name}`, which is `{value}`"))
}

/// Position of the best GPU; `None` where there are software adapters at most.
pub(super) fn best_gpu(reports: &[AdapterReport]) -> Option<usize> {
    let rank = |report: &AdapterReport| match report.kind.as_str() {
        "DiscreteGpu" => 0,
        "IntegratedGpu" => 1,
        "VirtualGpu" => 2,
        _ => 3,
    };
    // The first of equals: the driver's own order.
    (0..reports.len()).filter(|&at| !reports[at].is_software()).min_by_key(|&at| rank(&reports[at]))
}

/// Position of the adapter that a choice names.
///
/// Panics on one that names no adapter.
pub(super) fn named(choice: &DeviceChoice, reports: &[AdapterReport]) -> Result<usize> {
    let listing = || {
        let lines: Vec<String> = reports.iter().enumerate().map(|(at, one)| format!("{at}: {one}")).collect();
        format!("the adapters are\n  {}", lines.join("\n  "))
    };
    let none = |what: String| match reports {
        [] => no_adapter(),
        _ => Error::new(Code::NoAdapter, format!("no adapter {what}")).hint(listing()),
    };
    match choice {
        DeviceChoice::Index(at) if *at < reports.len() => Ok(*at),
        DeviceChoice::Index(at) => Err(none(format!("has the index {at}"))),
        DeviceChoice::Pci(address) => {
            let matches = |report: &AdapterReport| !report.pci.is_empty() && report.pci.eq_ignore_ascii_case(address);
            reports.iter().position(matches).ok_or_else(|| none(format!("is at PCI address {address}")))
        }
        DeviceChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let hits: Vec<usize> = (0..reports.len()).filter(|&at| reports[at].name.to_lowercase().contains(&wanted)).collect();
            match hits[..] {
                [at] => Ok(at),
                [] => Err(none(format!("has `{name}` in its name"))),
                _ => Err(Error::new(Code::Usage, format!("{} adapters have `{name}` in their name", hits.len())).hint(listing())),
            }
        }
        DeviceChoice::Auto | DeviceChoice::Cpu | DeviceChoice::Reference => unreachable!("{choice:?} names no adapter"),
    }
}

/// The error that no adapter was found, with its likely reason.
fn no_adapter() -> Error {
    let message = "no Vulkan, Metal or DX12 adapter was found";
    if let Some(reason) = hidden_adapters() {
        return Error::new(Code::NoAdapter, format!("{message}: {reason}")).hint("unset it, or name what is installed");
    }
    Error::new(Code::NoAdapter, message).hint(
        "install the vendor's driver, or `mesa-vulkan-drivers` and `libvulkan1` for a software one; in a container set \
         NVIDIA_DRIVER_CAPABILITIES=graphics; under WSL use `mesa-vulkan-drivers`; the CPU needs no adapter",
    )
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
            tier: Tier::Plain,
            no_matrix_units: None,
            f16: true,
            subgroup_lanes: 0,
            timestamps: true,
            max_binding_bytes: 1,
            max_buffer_bytes: 1,
            max_workgroup_bytes: 1,
            max_invocations: 1,
        }
    }

    #[test]
    fn a_variable_that_leaves_adapters_out_is_named() {
        let of = |name: &'static str, value: &'static str| hidden_by(move |asked| (asked == name).then(|| value.to_owned()));
        for value in ["gl", "primary", "cuda"] {
            assert!(of("WGPU_BACKEND", value).unwrap().starts_with(&format!("`$WGPU_BACKEND` is `{value}`")));
        }
        assert_eq!(of("WGPU_BACKEND", "gl, Vulkan"), None);
        for name in DRIVER_VARIABLES {
            assert!(of(name, "/none.json").unwrap().ends_with(&format!("`${name}`, which is `/none.json`")));
        }
        assert_eq!((of("WGPU_BACKEND", ""), of("HOME", "/")), (None, None));
    }

    #[test]
    fn subgroups_count_on_software_adapters_and_matrix_units_on_others() {
        let tiers = [false, true].map(|is_software| {
            [(false, false), (false, true), (true, false), (true, true)].map(|(units, subgroups)| own_tier(is_software, units, subgroups))
        });
        assert_eq!(tiers[0], [Tier::Plain, Tier::Plain, Tier::Matrix, Tier::Matrix]);
        assert_eq!(tiers[1], [Tier::Software, Tier::Subgroup, Tier::Software, Tier::Subgroup]);
    }

    #[test]
    fn a_choice_picks_one_adapter_or_says_why_not() {
        let all =
            [report("llvmpipe", "Cpu"), report("Arc A", "IntegratedGpu"), report("RTX B", "DiscreteGpu"), report("RTX C", "DiscreteGpu")];
        let pick = |text: &str| named(&text.parse().unwrap_or_default(), &all);
        assert_eq!(best_gpu(&all), Some(2));
        assert_eq!(best_gpu(&all[..1]), None, "the CPU rather than a software adapter");
        assert_eq!(pick("0").unwrap(), 0, "a software adapter that is asked for");
        assert_eq!(pick("1").unwrap(), 1);
        assert_eq!(pick("arc").unwrap(), 1);
        assert_eq!(pick("pci:0000:RTX C:00.0").unwrap(), 3);
        assert_eq!(pick("rtx").unwrap_err().code(), Code::Usage);
        assert_eq!(pick("9").unwrap_err().code(), Code::NoAdapter);
        assert_eq!(pick("quadro").unwrap_err().code(), Code::NoAdapter);
        assert_eq!(named(&DeviceChoice::Index(0), &[]).unwrap_err().code(), Code::NoAdapter);
    }
}
