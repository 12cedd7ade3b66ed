//! ClipSeg at tiny sizes, network and method, against transformers and plain PyTorch (`tools/golden_clip.py clipseg`).

mod common;

use std::path::{Path, PathBuf};

use common::{golden_array, photo, thinned};
use zsas::methods::{ClipSegMethod, Method};
use zsas::models::ClipSeg;
use zsas::models::clip::until_end;
use zsas::run::diff;
use zsas::{Array, Checkpoint, Code, DType, Device, Graph, Precision, Program, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn open(path: impl AsRef<Path>) -> Checkpoint {
    Checkpoint::open(path).unwrap_or_else(|error| panic!("{error:?}\nregenerate with: python tools/golden_clip.py clipseg"))
}

fn forward_truth(name: &str) -> Array {
    golden_array("clip/clipseg_forward.safetensors", name)
}

/// Both snapshots and the golden logits of each.
const SNAPSHOTS: [(&str, &str); 2] = [("clip/clipseg_tiny", "logits"), ("clip/clipseg_tiny_refined", "logits_refined")];

fn network(folder: impl AsRef<Path>) -> ClipSeg {
    let checkpoint = open(folder);
    let network = ClipSeg::load(&checkpoint).unwrap();
    assert_eq!(checkpoint.finish(), Vec::<String>::new(), "every tensor is read");
    network
}

fn record<'g>(network: &ClipSeg, graph: &'g Graph, inputs: [&Array; 2]) -> Tensor<'g> {
    let [pixels, conditional] = inputs;
    let pixels = graph.input("pixel_values", pixels.shape());
    network.forward(pixels, graph.input("conditional", conditional.shape())).cast(DType::F32)
}

fn run(network: &ClipSeg, device: &Device, precision: Precision, inputs: [&Array; 2]) -> Array {
    let graph = Graph::new(precision);
    let logits = record(network, &graph, inputs);
    Program::compile(device, &graph, &[logits]).unwrap().run(&inputs).unwrap().remove(0)
}

/// Rows of a matrix.
fn rows(matrix: &Array, rows: &[usize]) -> Array {
    let cols = matrix.shape().cols();
    let data = rows.iter().flat_map(|row| &matrix.data()[row * cols..][..cols]).copied();
    Array::new([rows.len(), cols], data.collect())
}

/// transformers in f32 is 2.6e-6 away from itself in f64 (`tools/golden_clip.py clipseg` prints it): norms of few channels magnify what
/// is rounded. A second program that rounds as much elsewhere is √2 times as far from the first; twice is allowed.
const F32: f64 = 2.0 * 2.6e-6;

/// Maps of the method in f32 are as far as this from those in f64; few of their cells carry most of it, and both programs share much of it.
const MAP: f64 = 1.2e-5;

fn is_what_transformers_computes(device: &Device) {
    let (pixels, conditional) = (forward_truth("pixel_values"), forward_truth("conditional"));
    for (folder, logits) in SNAPSHOTS {
        let found = run(&network(golden(folder)), device, Precision::F32, [&pixels, &conditional]);
        let distance = found.relative_l2(&forward_truth(logits));
        println!("{folder}: {distance:e}");
        assert!(distance <= F32, "the logits of {folder} are {distance:e} away");
    }
}

#[test]
fn the_reference_is_what_transformers_computes() {
    is_what_transformers_computes(&Device::reference());
}

/// The adapter is held to the reference, and that to transformers: what both programs round adds up where they are compared directly.
#[test]
fn the_device_is_what_the_reference_computes() {
    let device = common::device();
    let inputs = (forward_truth("pixel_values"), forward_truth("conditional"));
    for (folder, _) in SNAPSHOTS {
        let network = network(golden(folder));
        let of = |device: &Device| run(&network, device, Precision::F32, [&inputs.0, &inputs.1]);
        let distance = of(device).relative_l2(&of(&Device::reference()));
        println!("{folder}: {distance:e}");
        assert!(distance <= F32, "the logits of {folder} are {distance:e} away");
    }
}

#[test]
fn f16_storage_stays_near_and_differs() {
    let Some(device) = common::adapter("f16_storage_stays_near_and_differs") else { return };
    if !common::has_f16("f16_storage_stays_near_and_differs", device) {
        return;
    }
    let (pixels, conditional) = (forward_truth("pixel_values"), forward_truth("conditional"));
    for (folder, logits) in SNAPSHOTS {
        let distance = run(&network(golden(folder)), device, Precision::Mixed, [&pixels, &conditional]).relative_l2(&forward_truth(logits));
        println!("{folder}: {distance:e}");
        // f16 rounds 2¹³ times as coarsely as f32, which alone is off by half of `F32`.
        assert!(distance > F32 && distance < 0.5 * F32 * 2f64.powi(13), "the logits of {folder} are {distance:e} away");
    }
}

#[test]
fn diff_finds_nothing_in_a_sound_recording() {
    let device = common::device();
    let (pixels, conditional) = (forward_truth("pixel_values"), forward_truth("conditional"));
    for (folder, _) in SNAPSHOTS {
        let graph = Graph::new(Precision::F32);
        let logits = record(&network(golden(folder)), &graph, [&pixels, &conditional]);
        let found = diff(device, &graph, &[logits], &[&pixels, &conditional], |_, _| {}).unwrap();
        assert!(found.is_none(), "{}", found.unwrap());
    }
}

/// A copy of a snapshot whose configuration reads otherwise.
fn reconfigured(folder: &str, from: &str, to: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(golden(folder).join("model.safetensors"), copy.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(golden(folder).join("config.json")).unwrap();
    assert!(config.contains(from), "{config}");
    std::fs::write(copy.path().join("config.json"), config.replace(from, to)).unwrap();
    copy
}

#[test]
fn the_condition_may_enter_before_a_later_layer() {
    let folder = reconfigured("clip/clipseg_tiny", r#""conditional_layer": 0"#, r#""conditional_layer": 1"#);
    let inputs = [&forward_truth("pixel_values"), &forward_truth("conditional")];
    let found = run(&network(folder.path()), &Device::reference(), Precision::F32, inputs);
    let distance = found.relative_l2(&forward_truth("logits_late"));
    println!("late: {distance:e}");
    assert!(distance <= F32, "{distance:e}");
}

#[test]
fn conditions_that_share_a_photo_give_the_logits_of_each_alone() {
    let network = network(golden("clip/clipseg_tiny"));
    let (pixels, texts, truth) = (forward_truth("pixel_values"), forward_truth("text_embeds"), forward_truth("logits"));
    // Photos 0 and 1 with texts 2 and 0, as in the golden, then with 1 and 1.
    let found = run(&network, &Device::reference(), Precision::F32, [&pixels, &rows(&texts, &[2, 0, 1, 1])]);
    assert_eq!(found.shape().sizes(), [4, 32, 32]);
    let (paired, others) = found.data().split_at(truth.shape().len());
    let distance = Array::new(truth.shape(), paired.to_vec()).relative_l2(&truth);
    assert!(distance <= F32, "{distance:e}");
    let alone = run(&network, &Device::reference(), Precision::F32, [&pixels, &rows(&texts, &[1, 1])]);
    assert_eq!(alone.data(), others);
}

/// What the bound must tell apart: each of these is a plausible mistake.
#[test]
fn a_wrong_condition_or_order_of_blocks_is_far_off() {
    let (pixels, conditional, truth) = (forward_truth("pixel_values"), forward_truth("conditional"), forward_truth("logits"));
    let far = |what: &str, found: Array| {
        let distance = found.relative_l2(&truth);
        assert!(distance > 1e-2, "{what} moves the logits by {distance:e} only");
    };
    let unit: Vec<f32> = conditional.data().chunks(conditional.shape().cols()).flat_map(unit).collect();
    let network = network(golden("clip/clipseg_tiny"));
    let device = Device::reference();
    far("a normalised condition", run(&network, &device, Precision::F32, [&pixels, &Array::new(conditional.shape(), unit)]));
    far("an exchanged condition", run(&network, &device, Precision::F32, [&pixels, &rows(&conditional, &[1, 0])]));
    let [first, second, third] = ["0,\n    1,\n    2", "2,\n    1,\n    0", "1,\n    2,\n    3"];
    for other in [second, third] {
        let folder = reconfigured("clip/clipseg_tiny", first, other);
        let network = ClipSeg::load(&open(folder.path())).unwrap();
        far("another order of blocks", run(&network, &device, Precision::F32, [&pixels, &conditional]));
    }
}

/// A row of length 1.
fn unit(row: &[f32]) -> Vec<f32> {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter().map(|x| x / length).collect()
}

#[test]
fn texts_under_transformers_names_are_embedded_as_by_transformers() {
    let text = network(golden("clip/clipseg_tiny")).clip.text;
    let checkpoint = open(golden("clip/clipseg_forward.safetensors"));
    let ids: Vec<u32> = checkpoint.integers("input_ids").unwrap().unwrap().iter().map(|&id| id as u32).collect();
    let texts: Vec<Vec<u32>> = ids.chunks(text.context()).map(until_end).collect();
    let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [4, 9, 16]);
    let graph = Graph::new(Precision::F32);
    let embeds = text.forward(&graph, &lengths);
    let tokens = text.embed_tokens(&texts).unwrap();
    for device in &[Device::reference(), common::device().clone()] {
        let found = Program::compile(device, &graph, &[embeds]).unwrap().run(&[&tokens]).unwrap().remove(0);
        let distance = found.relative_l2(&forward_truth("text_embeds"));
        println!("texts: {distance:e}");
        assert!(distance <= F32, "{distance:e}");
    }
}

#[test]
fn configurations_that_do_not_fit_are_refused_with_their_numbers() {
    for (from, to, message) in [
        ("0,\n    1,\n    2", "0,\n    1,\n    4", "`config.json` reads the blocks [0, 1, 4] of an image tower of 4"),
        (r#""conditional_layer": 0"#, r#""conditional_layer": 3"#, "`config.json` puts the condition before layer 3 of a decoder of 3"),
        (
            r#"decoder_num_attention_heads": 4"#,
            r#"decoder_num_attention_heads": 5"#,
            "the configuration's 5 heads do not divide the width 16 of the tensors",
        ),
    ] {
        let folder = reconfigured("clip/clipseg_tiny", from, to);
        let error = ClipSeg::load(&open(folder.path())).err().expect("refused");
        assert_eq!((error.code(), error.message()), (Code::WeightsMismatch, message));
    }
    let folder = reconfigured("clip/clipseg_tiny", "convolution\": false", "convolution\": true");
    let error = ClipSeg::load(&open(folder.path())).err().expect("refused");
    assert!(format!("{error:#}").contains("decoder.transposed_convolution.0.weight"), "{error:?}");
}

#[test]
fn the_method_is_what_the_specification_computes() {
    let device = common::device();
    let of_method = |name: &str| golden_array("methods/clipseg.safetensors", name);
    for (folder, suffix) in [("clip/clipseg_tiny", ""), ("clip/clipseg_tiny_refined", "_refined")] {
        let method = ClipSegMethod::new(device, &network(golden(folder)), of_method("conditionals"), Precision::F32).unwrap();
        assert_eq!(method.scale().range, [0.0, 1.0]);
        for name in ["textile", "wide"] {
            let photo = photo(name);
            let scored = method.score(&photo).unwrap();
            assert_eq!(scored.map.shape().axes(), [photo.height(), photo.width()]);
            let map = thinned(&scored.map).relative_l2(&of_method(&format!("{name}{suffix}_map")));
            let score = Array::new([1], vec![scored.score]).relative_l2(&of_method(&format!("{name}{suffix}_score")));
            println!("{name}{suffix}: map {map:e}, score {score:e}");
            assert!(map <= MAP, "the map of {name}{suffix} is {map:e} away");
            assert!(score <= MAP, "the score of {name}{suffix} is {score:e} away");
        }
    }
}

#[test]
fn embeddings_of_another_size_are_refused() {
    let network = network(golden("clip/clipseg_tiny"));
    for (shape, shown) in [([2, 19], "[2, 19]"), ([0, 20], "[0, 20]")] {
        let error = ClipSegMethod::new(&Device::reference(), &network, Array::zeros(shape), Precision::F32)
            .err()
            .expect("refused");
        assert_eq!(error.code(), Code::Usage);
        assert_eq!(error.message(), format!("the embeddings of the texts are {shown}; ClipSeg takes [texts, 20]"));
    }
}
