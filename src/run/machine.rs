//! The machine that the CPU as a device computes on: its processor, and how much of its memory is free.

/// Product name of the processor and the widest vectors that it has.
pub(super) fn processor() -> String {
    let kinds = sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing());
    let system = sysinfo::System::new_with_specifics(kinds).ok();
    let brand = system.as_ref().and_then(|system| system.cpus().first()).map(|cpu| cpu.brand().trim());
    let name = brand.filter(|name| !name.is_empty()).unwrap_or(std::env::consts::ARCH);
    vectors().map_or_else(|| name.to_owned(), |vectors| format!("{name} with {vectors}"))
}

/// The instruction set of the vectors that kernels use.
fn vectors() -> Option<&'static str> {
    match pulp::Arch::new() {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        pulp::Arch::V4(_) => Some("AVX-512"),
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        pulp::Arch::V3(_) => Some("AVX2"),
        _ => None,
    }
}

/// Bytes of memory that are free, in a container of what it may use; `None` where the system does not say.
pub(super) fn free_memory() -> Option<u64> {
    let kinds = sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let system = sysinfo::System::new_with_specifics(kinds).ok()?;
    let free = Some(system.available_memory()).filter(|&free| free > 0)?;
    // What is cached of files is free in a container too.
    let within = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    Some(within.map_or(free, |within| free.min(within)))
}
