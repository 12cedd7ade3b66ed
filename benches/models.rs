//! The embedded network and the methods on it, on the default device, by wall clock: `cargo bench --bench models`.

use criterion::{Criterion, criterion_group, criterion_main};
use zsas::image::Rgb;
use zsas::methods::{Method, Reading, Saliency, Utad};
use zsas::models::{WideResNet, embedded};
use zsas::{Array, Device, DeviceOptions, Graph, Precision, Program};

fn models(criterion: &mut Criterion) {
    let device = Device::open(&DeviceOptions::default()).expect("there is the CPU at least");
    eprintln!("{}", device.name());
    let weights = embedded::textures().expect("the embedded weights load");
    let mut group = criterion.benchmark_group("models");
    group.sample_size(10);

    let network = WideResNet::load(&weights.root()).expect("the embedded weights are a WideResNet");
    let graph = Graph::new(Precision::F32);
    let layers = network.forward(graph.input("pixels", [1, 3, 320, 320]));
    let program = Program::compile(&device, &graph, &layers[1..2]).expect("it compiles");
    let pixels = Array::zeros([1, 3, 320, 320]);
    group.bench_function("embedded WideResNet to layer 2 at 320²", |bencher| {
        bencher.iter(|| program.run(&[&pixels]).expect("it runs"));
    });

    let data = (0..250 * 250 * 3).map(|at| ((at * 7919) % 251) as u8);
    let image = Rgb::new(250, 250, data.collect());
    let utad = Utad::new(&device, &weights, Precision::F32).expect("UTAD is ready");
    group.bench_function("utad on 250×250", |bencher| bencher.iter(|| utad.score(&image).expect("it scores")));
    let saliency = Saliency::new(&device, &weights, Precision::F32, Reading::Released).expect("saliency is ready");
    group.bench_function("saliency on 250×250", |bencher| bencher.iter(|| saliency.score(&image).expect("it scores")));
    group.finish();
}

criterion_group!(benches, models);
criterion_main!(benches);
