//! Segment Anything at a tiny size against transformers (`tools/golden_sam.py`), on both executors.

mod common;

use std::path::Path;

use common::binary::Place;
use common::golden_array;
use zsas::graph::Plan;
use zsas::models::Sam;
use zsas::run::diff;
use zsas::weights::to_safetensors;
use zsas::{Array, Checkpoint, Code, DType, Device, Graph, Precision, Program, Tensor};

/// Windows of 7 × 7 on a grid of 9 × 9, blocks 1 and 3 global.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/sam/tiny");

/// transformers in f32 is 5e-7 (embeddings) and 1.3e-6 (masks, scores) away from itself in f64 (`tools/golden_sam.py` prints it). A second
/// program that rounds as much elsewhere is √2 times as far from the first; twice is allowed.
const BOUNDS: [(&str, f64); 3] = [("image_embeddings", 2.0 * 5e-7), ("pred_masks", 2.0 * 1.3e-6), ("iou_scores", 2.0 * 1.3e-6)];

fn truth(name: &str) -> Array {
    golden_array("sam/forward.safetensors", name)
}

fn network(folder: impl AsRef<Path>) -> Sam {
    let checkpoint = Checkpoint::open(folder).unwrap_or_else(|error| panic!("{error:?}\nregenerate with: python tools/golden_sam.py"));
    let network = Sam::load(&checkpoint).unwrap();
    assert_eq!(checkpoint.finish(), Vec::<String>::new(), "every tensor is read");
    network
}

/// The golden boxes `[n, 4]`.
fn boxes() -> Array {
    let boxes = truth("input_boxes");
    let [_, count, _] = boxes.shape().axes();
    boxes.reshape([count, 4])
}

/// Embedding, masks and scores, as transformers lays them out.
fn record<'g>(network: &Sam, graph: &'g Graph, tokens: &Array) -> [Tensor<'g>; 3] {
    let embedding = network.image_encoder.forward(graph.input("pixel_values", truth("pixel_values").shape()));
    let masks = network.decode(embedding, graph.input("tokens", tokens.shape()));
    [embedding.cast(DType::F32).channels_first(), masks.logits.cast(DType::F32), masks.iou_scores.cast(DType::F32)]
}

fn run(network: &Sam, device: &Device, precision: Precision, boxes: &Array) -> Vec<Array> {
    let tokens = network.embed_boxes(boxes).unwrap();
    let graph = Graph::new(precision);
    let outputs = record(network, &graph, &tokens);
    Program::compile(device, &graph, &outputs).unwrap().run(&[&truth("pixel_values"), &tokens]).unwrap()
}

/// Relative distances to transformers, by output.
fn distances(found: Vec<Array>) -> Vec<(&'static str, f64)> {
    let distance = |((name, _), array): (&(&'static str, f64), Array)| {
        let truth = truth(name);
        (*name, array.reshape(truth.shape()).relative_l2(&truth))
    };
    BOUNDS.iter().zip(found).map(distance).collect()
}

fn is_what_transformers_computes(device: &Device) {
    let distances = distances(run(&network(SNAPSHOT), device, Precision::F32, &boxes()));
    println!("{distances:?}");
    assert!(distances.iter().zip(BOUNDS).all(|(found, bound)| found.1 <= bound.1), "{distances:?}");
}

#[test]
fn the_reference_is_what_transformers_computes() {
    is_what_transformers_computes(&Device::reference());
}

#[test]
fn the_device_is_what_transformers_computes() {
    let device = common::device();
    is_what_transformers_computes(device);
}

#[test]
fn f16_storage_stays_near_and_differs() {
    let Some(device) = common::adapter("f16_storage_stays_near_and_differs") else { return };
    if !common::has_f16("f16_storage_stays_near_and_differs", device) {
        return;
    }
    let distances = distances(run(&network(SNAPSHOT), device, Precision::Mixed, &boxes()));
    println!("{distances:?}");
    // f16 rounds 2¹³ times as coarsely as f32, which alone is off by half of each bound.
    let is_near = |(found, bound): (&(&str, f64), (&str, f64))| found.1 > bound.1 && found.1 < 0.5 * bound.1 * 2f64.powi(13);
    assert!(distances.iter().zip(BOUNDS).all(is_near), "{distances:?}");
}

#[test]
fn diff_finds_nothing_in_a_sound_recording() {
    let device = common::device();
    let network = network(SNAPSHOT);
    let tokens = network.embed_boxes(&boxes()).unwrap();
    let graph = Graph::new(Precision::F32);
    let outputs = record(&network, &graph, &tokens);
    let found = diff(device, &graph, &outputs, &[&truth("pixel_values"), &tokens], |_, _| {}).unwrap();
    assert!(found.is_none(), "{}", found.unwrap());
}

/// Nine boxes are two batches; each mask is that of its box alone.
#[test]
fn boxes_do_not_see_each_other_nor_the_edge_of_a_batch() {
    let (network, boxes) = (network(SNAPSHOT), boxes());
    let many = Array::new([9, 4], boxes.data().iter().cycle().take(36).copied().collect());
    let found = run(&network, &Device::reference(), Precision::F32, &many);
    let alone = run(&network, &Device::reference(), Precision::F32, &Array::new([1, 4], boxes.data()[..4].to_vec()));
    for (many, alone) in found.iter().zip(&alone).skip(1) {
        let length = alone.data().len();
        for copy in [0, 4, 8] {
            assert_eq!(many.data()[copy * length..][..length], *alone.data());
        }
    }
}

/// A copy of the snapshot whose configuration reads otherwise.
fn reconfigured(from: &str, to: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(SNAPSHOT).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let config = std::fs::read_to_string(copy.path().join("config.json")).unwrap();
    assert!(config.contains(from), "{config}");
    std::fs::write(copy.path().join("config.json"), config.replace(from, to)).unwrap();
    copy
}

/// What the bounds must tell apart: each of these is a plausible mistake.
#[test]
fn other_heads_or_boxes_are_far_off() {
    let far = |what: &str, outputs: &[usize], found: Vec<Array>| {
        let distances = distances(found);
        assert!(outputs.iter().all(|&at| distances[at].1 > 1e-3), "{what}: {distances:?}");
    };
    let device = Device::reference();
    let folder = reconfigured(r#""num_attention_heads": 4"#, r#""num_attention_heads": 2"#);
    far("other heads", &[1, 2], run(&network(folder.path()), &device, Precision::F32, &boxes()));
    let network = network(SNAPSHOT);
    let shifted = Array::new(boxes().shape(), boxes().data().iter().map(|x| x - 0.5).collect());
    far("corners of pixels, not their middles", &[1, 2], run(&network, &device, Precision::F32, &shifted));
    let exchanged: Vec<f32> = boxes()
        .data()
        .chunks(4)
        .flat_map(|corners| [corners[2], corners[3], corners[0], corners[1]])
        .collect();
    far("exchanged corners", &[1, 2], run(&network, &device, Precision::F32, &Array::new(boxes().shape(), exchanged)));
}

#[test]
fn a_block_takes_ten_launches_and_a_plan_little_more_than_the_live_tensors() {
    let network = network(SNAPSHOT);
    let ratio = |plan: &Plan| plan.slot_bytes() as f64 / plan.live_bytes() as f64;
    let graph = Graph::new(Precision::F32);
    let embedding = network.image_encoder.forward(graph.input("pixel_values", truth("pixel_values").shape()));
    let plan = Plan::new(&graph, &[embedding]);
    let first_of = |layer: usize| {
        let name = format!("vision_encoder.layers.{layer}.");
        let is_of = |at: &usize| plan.nodes[*at].weight.as_ref().is_some_and(|weight| weight.contains(&name));
        (0..plan.nodes.len()).find(is_of).unwrap()
    };
    assert_eq!([first_of(1) - first_of(0), first_of(2) - first_of(1)], [10, 10], "a windowed block and a global one");
    let encoder = ratio(&plan);

    let graph = Graph::new(Precision::F32);
    let tokens = network.embed_boxes(&boxes()).unwrap();
    let masks = network.decode(graph.input("embedding", embedding.shape()), graph.input("tokens", tokens.shape()));
    let decoder = ratio(&Plan::new(&graph, &[masks.logits, masks.iou_scores]));
    println!("{encoder} {decoder}");
    assert!((1.0..=1.3).contains(&encoder), "slots hold {encoder} × the live tensors");
    // A slot holds one value at a time: those of the few large features at the end are too wide for the many keys before.
    assert!((1.0..=1.5).contains(&decoder), "slots hold {decoder} × the live tensors");
}

#[test]
fn configurations_that_are_missing_or_do_not_fit_are_refused() {
    let refused = |folder: &Path| Sam::load(&Checkpoint::open(folder).unwrap()).err().expect("refused");
    let folder = reconfigured("sam", "sam");
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert_eq!(refused(folder.path()).code(), Code::WeightsMissing);
    let windows = |size: &str| format!("`config.json` sets `vision_config.window_size` to {size}, the tensors are for windows of 7");
    let value = |key: &str, value: &str| format!("`config.json` sets `vision_config.{key}` to `{value}`, which is not supported");
    for (from, to, message) in [
        (
            r#""num_attention_heads": 2"#,
            r#""num_attention_heads": 3"#,
            "the configuration's 3 heads do not divide the width 16 of the tensors".to_owned(),
        ),
        (r#""window_size": 7"#, r#""window_size": 0"#, windows("0")),
        (r#""window_size": 7"#, r#""window_size": 8"#, windows("8")),
        (r#""window_size": 7"#, r#""window_size": 1000000000"#, windows("1000000000")),
        (r#""window_size": 7"#, r#""window_size": 9223372036854775808"#, windows("9223372036854775808")),
        ("1,\n      3", "1,\n      2", "`config.json` sets `vision_config.window_size` to 7, the tensors are for windows of 9".to_owned()),
        (r#""use_rel_pos": true"#, r#""use_rel_pos": false"#, value("use_rel_pos", "false")),
        (r#""qkv_bias": true"#, r#""qkv_bias": false"#, value("qkv_bias", "false")),
        (
            r#""hidden_act": "gelu",
    "hidden_size": 16"#,
            r#""hidden_act": "relu",
    "hidden_size": 16"#,
            value("hidden_act", "\"relu\""),
        ),
        (
            r#""num_hidden_layers": 4"#,
            r#""num_hidden_layers": 3"#,
            "`config.json` has 3 layers in `vision_config`, the tensors 4".to_owned(),
        ),
        (
            r#""use_abs_pos""#,
            r#""use_absolute_pos""#,
            "`config.json` sets `vision_config.use_absolute_pos` to `true`, which is not known here".to_owned(),
        ),
        (
            r#""model_type": "sam""#,
            r#""model_type": "sam_hq""#,
            "`config.json` sets `model_type` to `\"sam_hq\"`, which is not supported".to_owned(),
        ),
    ] {
        let error = refused(reconfigured(from, to).path());
        assert_eq!((error.code(), error.message()), (Code::WeightsMismatch, message.as_str()));
    }
    for (from, to) in [(r#""window_size": 7"#, r#""window_size": -7"#), (r#""window_size": 7"#, r#""window_size": 1e30"#)] {
        assert_eq!(refused(reconfigured(from, to).path()).code(), Code::WeightsFormat);
    }
}

#[test]
fn forward_and_diff_take_pixels_and_boxes() {
    let place = Place::new();
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/sam/forward.safetensors");
    let forward = |inputs: &str| place.run(&["forward", "sam", "--weights", SNAPSHOT, "--inputs", inputs, "--outputs", "out.safetensors"]);
    forward(inputs)
        .exits(0)
        .prints("image_embeddings [1, 32, 9, 9]")
        .prints("pred_masks [1, 4, 1, 36, 36]")
        .prints("iou_scores [1, 4, 1]");
    let written = Checkpoint::open(place.path("out.safetensors")).unwrap();
    for (name, bound) in BOUNDS {
        let truth = truth(name);
        let found = written.root().weight(name, truth.shape()).unwrap().to_array().unwrap();
        assert!(found.relative_l2(&truth) <= bound, "{name}");
    }
    let boxes = [1, 130_000, 4];
    let many = to_safetensors([("pixel_values", &truth("pixel_values")), ("input_boxes", &Array::new(boxes, vec![1.0; 520_000]))], &[]);
    place.write("many.safetensors", &many.unwrap());
    forward("many.safetensors").exits(2).says("holds 130000 boxes, more than 25890 at a time");
    let stages = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/sam/encoder_stages.safetensors");
    forward(stages).exits(2).says("holds no `pixel_values`");
    place
        .run(&["diff", "sam", "--weights", SNAPSHOT])
        .exits(0)
        .prints("launches are within their bounds");
    place
        .run(&["forward", "sam", "--inputs", inputs, "--outputs", "out.safetensors"])
        .exits(1)
        .says("facebook/sam-vit-base");
}
