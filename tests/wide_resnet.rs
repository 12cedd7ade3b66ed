//! Whole networks at tiny sizes: recorded, run on both executors, and compared with PyTorch's output.

mod common;

use zsas::models::WideResNet;
use zsas::run::diff;
use zsas::weights::Checkpoint;
use zsas::{Array, DType, Device, Graph, Precision, Program, Tensor};

fn golden(name: &str) -> Checkpoint {
    let path = format!("{}/tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error:?}\nregenerate with: python tools/golden.py"))
}

fn tensor(checkpoint: &Checkpoint, name: &str) -> Array {
    checkpoint.root().weight(name, checkpoint.shape(name).unwrap()).unwrap().to_array().unwrap()
}

struct Tiny {
    network: WideResNet,
    pixels: Array,
}

impl Tiny {
    fn load() -> Tiny {
        let weights = golden("wide_resnet/tiny");
        let network = WideResNet::load(&weights.root()).unwrap();
        assert_eq!(weights.finish(), Vec::<String>::new(), "every tensor is read");
        Tiny { network, pixels: tensor(&golden("wide_resnet/tiny_input"), "pixel_values") }
    }

    fn outputs<'g>(&self, graph: &'g Graph) -> Vec<Tensor<'g>> {
        let pixels = graph.input("pixel_values", self.pixels.shape());
        self.network
            .forward(pixels)
            .into_iter()
            .map(|layer| layer.cast(DType::F32).channels_first())
            .collect()
    }

    fn run(&self, device: &Device, precision: Precision) -> Vec<Array> {
        let graph = Graph::new(precision);
        let outputs = self.outputs(&graph);
        Program::compile(device, &graph, &outputs).unwrap().run(&[&self.pixels]).unwrap()
    }

    fn distances(&self, layers: &[Array]) -> Vec<f64> {
        let truth = golden("wide_resnet/tiny_output");
        layers
            .iter()
            .zip(1..)
            .map(|(layer, number)| layer.relative_l2(&tensor(&truth, &format!("layer{number}"))))
            .collect()
    }
}

/// PyTorch computes in f32 with folded sums of at most 108 terms and some ten layers: 2e-6 is what its own rounding leaves.
const F32: f64 = 2e-6;

#[test]
fn the_reference_is_what_pytorch_computes() {
    let tiny = Tiny::load();
    let distances = tiny.distances(&tiny.run(&Device::reference(), Precision::F32));
    assert_eq!(distances.len(), 4);
    assert!(distances.iter().all(|&distance| distance <= F32), "{distances:?}");
}

#[test]
fn the_device_is_what_pytorch_computes() {
    let device = common::device();
    let tiny = Tiny::load();
    let distances = tiny.distances(&tiny.run(device, Precision::F32));
    assert!(distances.iter().all(|&distance| distance <= F32), "{distances:?}");
}

#[test]
fn f16_storage_stays_near_and_differs() {
    let Some(device) = common::adapter("f16_storage_stays_near_and_differs") else { return };
    if !common::has_f16("f16_storage_stays_near_and_differs", device) {
        return;
    }
    let tiny = Tiny::load();
    let distances = tiny.distances(&tiny.run(device, Precision::Mixed));
    // Each of some ten layers rounds weights and activations to 2⁻¹¹.
    assert!(distances.iter().all(|&distance| distance > F32 && distance < 10.0 * 2f64.powi(-11)), "{distances:?}");
}

#[test]
fn two_runs_are_bit_identical() {
    let device = common::device();
    let tiny = Tiny::load();
    assert_eq!(tiny.run(device, Precision::F32), tiny.run(device, Precision::F32));
}

#[test]
fn diff_finds_nothing_in_a_sound_recording() {
    let device = common::device();
    let tiny = Tiny::load();
    let graph = Graph::new(Precision::F32);
    let outputs = tiny.outputs(&graph);
    let found = diff(device, &graph, &outputs, &[&tiny.pixels], |_, _| {}).unwrap();
    assert!(found.is_none(), "{}", found.unwrap());
}

/// An epilogue that forgets the bias, edited on disk, is found at its first launch with the model's line.
#[test]
fn diff_finds_the_first_launch_that_leaves_the_truth() {
    let Some(_) = common::adapter("diff_finds_the_first_launch_that_leaves_the_truth") else { return };
    let folder = tempfile::tempdir().unwrap();
    let shaders = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    std::fs::create_dir(folder.path().join("lib")).unwrap();
    for part in ["", "lib"] {
        for entry in std::fs::read_dir(std::path::Path::new(shaders).join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path).unwrap().replace("HAS_BIAS == 1u", "HAS_BIAS == 2u");
                std::fs::write(folder.path().join(part).join(path.file_name().unwrap()), text).unwrap();
            }
        }
    }
    let options = zsas::DeviceOptions { library: zsas::shader::Library::folder(folder.path()), ..Default::default() };
    let device = common::open_adapter(options);
    let tiny = Tiny::load();
    let graph = Graph::new(Precision::F32);
    let outputs = tiny.outputs(&graph);
    let found = diff(&device, &graph, &outputs, &[&tiny.pixels], |_, _| {}).unwrap().expect("the fault is found");
    assert!(found.node.contains("conv1.weight") && found.node.contains("wide_resnet.rs"), "{found}");
    assert_eq!(found.launch, 1, "after the layout change comes the stem: {found}");
}

#[test]
fn a_plan_needs_little_more_than_the_live_tensors() {
    let tiny = Tiny::load();
    let graph = Graph::new(Precision::F32);
    let outputs = tiny.outputs(&graph);
    let plan = zsas::graph::Plan::new(&graph, &outputs);
    let ratio = plan.slot_bytes() as f64 / plan.live_bytes() as f64;
    assert!((1.0..=1.3).contains(&ratio), "slots hold {ratio} × the live tensors");
}

#[test]
fn foreign_weights_are_refused_with_the_tensors_that_miss() {
    let error = WideResNet::load(&golden("kernels/conv2d").root()).err().expect("refused");
    assert_eq!(error.code(), zsas::Code::WeightsMismatch);
    assert!(format!("{error:#}").contains("conv1.weight"), "{error:?}");
}
