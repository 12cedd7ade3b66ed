//! Kernels on the default adapter, timed by its own timestamps: `cargo bench --bench kernels`. What matters is device time, not submission.

#[path = "variants/mod.rs"]
mod variants;

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use zsas::kernels::{Activation, Conv2d, Extreme, Kernel, LayerNorm, Matmul, NormalizeRows, Pairing, Softmax, TopMean, Unary, sample};
use zsas::tensor::Seeded;
use zsas::{DType, Device, DeviceOptions};

/// Times a kernel on numbers of either sign; throughput in operations where it computes, in bytes where it moves.
fn bench(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, name: &str, kernel: &dyn Kernel, is_traffic: bool) {
    let inputs = sample(kernel, DType::F32, &mut Seeded::new(1));
    let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let implementation = device.implementation(kernel);
    let work = kernel.work();
    group.throughput(if is_traffic { Throughput::Bytes(4 * work.elements) } else { Throughput::Elements(work.flops) });
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let timing = device
                .time(kernel, &implementation, DType::F32, &borrowed, iterations as usize)
                .expect("the kernel runs");
            Duration::from_nanos(timing.nanoseconds.iter().sum::<f64>() as u64)
        });
    });
}

fn matmul(rows: usize, cols: usize, inner: usize) -> Matmul {
    Matmul {
        rows,
        cols,
        inner,
        pairing: Pairing::Product,
        has_bias: false,
        has_residual: false,
        activation: Activation::Identity,
    }
}

fn kernels(criterion: &mut Criterion) {
    let Ok(device) = Device::open(&DeviceOptions::default()) else {
        eprintln!("skipped: the kernel benches need a Vulkan, Metal or DX12 adapter");
        return;
    };
    eprintln!("{}", device.name());

    let mut group = criterion.benchmark_group("matmul");
    group.sample_size(10);
    for size in [512, 1024] {
        bench(&mut group, &device, &format!("{size}³"), &matmul(size, size, size), false);
    }
    let lessons = variants::device().expect("the adapter opened before");
    for variant in variants::ladder(512, 512, 512) {
        bench(&mut group, &lessons, &format!("512³ {}", variant.name()), &variant, false);
    }
    let distances = Matmul { pairing: Pairing::SquaredDifference, activation: Activation::Sqrt, ..matmul(1600, 1600, 64) };
    bench(&mut group, &device, "distances 1600² of 64", &distances, false);
    group.finish();

    // WideResNet-50-2 at 256×256: size, channels in and out, kernel, stride.
    let mut group = criterion.benchmark_group("conv2d");
    group.sample_size(10);
    for (size, channels_in, channels_out, kernel, stride) in
        [(256, 4, 64, 7, 2), (64, 128, 128, 3, 1), (64, 256, 256, 3, 2), (16, 512, 512, 3, 1), (8, 1024, 1024, 3, 1), (32, 512, 1024, 1, 2)]
    {
        let conv = Conv2d {
            batch: 1,
            height: size,
            width: size,
            channels_in,
            channels_out,
            kernel: (kernel, kernel),
            stride,
            padding: kernel / 2,
            has_bias: true,
            has_residual: false,
            activation: Activation::Relu,
        };
        bench(&mut group, &device, &format!("{channels_in}→{channels_out} {kernel}×{kernel}/{stride} at {size}²"), &conv, false);
    }
    group.finish();

    let mut group = criterion.benchmark_group("rows");
    group.sample_size(10);
    let (rows, cols) = (4096, 1024);
    bench(&mut group, &device, "copy", &Unary { activation: Activation::Identity, scale: 1.0, offset: 0.0, len: rows * cols }, true);
    bench(&mut group, &device, "layer_norm", &LayerNorm { rows, cols, eps: 1e-6 }, true);
    bench(&mut group, &device, "softmax", &Softmax { rows, cols }, true);
    bench(&mut group, &device, "normalize_rows", &NormalizeRows { rows, cols, eps: 1e-12 }, true);
    let top_mean = TopMean { extreme: Extreme::Smallest, rows: 1600, cols: 1600, count: 400 };
    bench(&mut group, &device, "top_mean 400 of 1600", &top_mean, true);
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
