//! Kernels on the default adapter, timed by its own timestamps: `cargo bench --bench kernels`. Device time only, without submission.

#[path = "variants/mod.rs"]
mod variants;

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use zsas::kernels::{Kernel, representative, sample};
use zsas::tensor::Seeded;
use zsas::{DType, Device, DeviceOptions};

/// Times a kernel on numbers of either sign; its throughput is in operations, or in bytes for `is_traffic`.
fn bench(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, name: &str, kernel: &dyn Kernel, is_traffic: bool) {
    let inputs = sample(kernel, DType::F32, &mut Seeded::new(1));
    let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let implementation = device.implementation(kernel, DType::F32);
    let work = kernel.work();
    group.throughput(if is_traffic { Throughput::Bytes(4 * work.elements) } else { Throughput::Elements(work.flops) });
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            // Each repetition is many launches.
            let repetitions = iterations.min(9) as usize;
            let timing = device.time(kernel, &implementation, DType::F32, &borrowed, repetitions).expect("the kernel runs");
            Duration::from_nanos((iterations as f64 * timing.median()) as u64)
        });
    });
}

fn kernels(criterion: &mut Criterion) {
    let device = Device::open(&DeviceOptions::default()).expect("there is the CPU at least");
    eprintln!("{}", device.name());
    let mut group = criterion.benchmark_group("kernels");
    group.sample_size(10);
    for (name, kernel) in representative() {
        let computes = kernel.work().flops > kernel.work().elements;
        bench(&mut group, &device, &name, &*kernel, !computes);
    }
    let Ok(variant_device) = variants::device() else {
        eprintln!("skipped: the variants of shaders/matmul.wgsl need a Vulkan, Metal or DX12 adapter");
        return;
    };
    for variant in variants::all(512, 512, 512) {
        bench(&mut group, &variant_device, &format!("matmul 512³ {}", variant.name()), &variant, false);
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
