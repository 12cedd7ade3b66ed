//! Weights as users have them: folders of two libraries, shards, configurations that ask for another function.

mod common;

use std::fs;
use std::path::Path;

use common::binary::Place;
use zsas::models::clip::{self, Clip};
use zsas::models::{store, wide_resnet};
use zsas::{Array, Checkpoint};

/// A folder as hubs have it, with the outputs of open_clip 3.3 (`tools/golden_clip_hub.py`).
const HUB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/clip_hub");

/// What f32 may differ after two blocks: a hundred roundings of 2⁻²⁴, far below the effect of any key.
const BOUND: f64 = 100.0 / (1 << 24) as f64;

/// Copies files of the hub folder.
fn copy(place: &Place, files: &[&str]) {
    fs::create_dir_all(place.path("w")).unwrap();
    for file in files {
        fs::copy(Path::new(HUB).join(file), place.path("w").join(file)).unwrap();
    }
}

fn expected(truth: &str, name: &str) -> Array {
    let checkpoint = Checkpoint::open(Path::new(HUB).join(truth)).unwrap();
    checkpoint.root().weight(name, checkpoint.shape(name).unwrap()).unwrap().to_array().unwrap()
}

/// Runs both towers on the weights in `w` and holds them to a file of truths.
fn assert_embeds(place: &Place, truth: &str) {
    let inputs = format!("{HUB}/inputs.safetensors");
    for (network, output) in [("clip-image", "image_embeds"), ("clip-text", "text_embeds")] {
        let arguments =
            ["forward", network, "--weights", "w", "--inputs", &inputs, "--outputs", "out.safetensors", "--device", "reference"];
        place.run(&arguments).exits(0);
        let written = Checkpoint::open(place.path("out.safetensors")).unwrap();
        let expected = expected(truth, output);
        let found = written.root().weight(output, expected.shape()).unwrap().to_array().unwrap();
        let distance = found.relative_l2(&expected);
        assert!(distance <= BOUND, "{network} on {truth}: {distance}");
    }
}

#[test]
fn a_folder_of_two_libraries_runs_under_either_name_and_epsilon_is_heeded() {
    let place = Place::new();
    copy(&place, &["model.safetensors", "config.json", "open_clip_model.safetensors", "open_clip_config.json"]);
    assert_embeds(&place, "usual.safetensors");
    fs::remove_file(place.path("w/config.json")).unwrap();
    assert_embeds(&place, "usual.safetensors");
    fs::remove_file(place.path("w/model.safetensors")).unwrap();
    let config = place.path("w/open_clip_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"layers\": 2", "\"layers\": 2, \"norm_kwargs\": {\"eps\": 0.01}")).unwrap();
    assert_embeds(&place, "eps.safetensors");
    let moved = expected("eps.safetensors", "image_embeds").relative_l2(&expected("usual.safetensors", "image_embeds"));
    assert!(moved > 100.0 * BOUND, "the truths would not tell: {moved}");

    copy(&place, &["model.safetensors", "config.json"]);
    fs::remove_file(place.path("w/open_clip_model.safetensors")).unwrap();
    let config = place.path("w/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"layer_norm_eps\": 1e-05", "\"layer_norm_eps\": 0.01")).unwrap();
    assert_embeds(&place, "eps.safetensors");
}

#[test]
fn keys_that_ask_for_another_function_are_refused_by_name() {
    let place = Place::new();
    copy(&place, &["open_clip_model.safetensors", "open_clip_config.json"]);
    let config = place.path("w/open_clip_config.json");
    let text = fs::read_to_string(&config).unwrap();
    let refused = |to: &str| {
        fs::write(&config, text.replacen("\"layers\": 2", to, 1)).unwrap();
        let error = Clip::load(&Checkpoint::open(place.path("w")).unwrap()).err().expect("refused");
        error.message().to_owned()
    };
    let set =
        |key: &str, value: &str| format!("`open_clip_config.json` sets `model_cfg.vision_cfg.{key}` to `{value}`, which is not supported");
    assert_eq!(refused(r#""layers": 2, "pool_type": "avg""#), set("pool_type", "\"avg\""));
    assert_eq!(refused(r#""layers": 2, "act_kwargs": {"approximate": "tanh"}"#), set("act_kwargs.approximate", "\"tanh\""));
    assert_eq!(refused(r#""layers": 1"#), "the configuration has 1 layers, the tensors 2");
    fs::write(&config, text.replace("\"image_size\": 24", "\"image_size\": 32")).unwrap();
    let error = Clip::load(&Checkpoint::open(place.path("w")).unwrap()).err().expect("refused");
    assert_eq!(error.message(), "the configuration is for images of 32 pixels, the tensors are for 24");
}

#[test]
fn missing_tensors_are_listed_together() {
    let conv = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/kernels/conv2d.safetensors");
    let place = Place::new();
    copy(&place, &["open_clip_config.json"]);
    fs::copy(conv, place.path("w/open_clip_model.safetensors")).unwrap();
    let error = Clip::load(&Checkpoint::open(place.path("w")).unwrap()).err().expect("refused");
    let text = format!("{error:#}");
    assert_eq!(text.matches(" is missing").count(), 5, "{text}");
    assert!(text.contains("tensor `visual.conv1.weight` is missing"), "{text}");
}

#[test]
fn a_class_needs_weights_and_is_told_why_those_that_are_there_will_not_do() {
    let place = Place::with_photos(&["a.png"]);
    copy(&place, &["model.safetensors", "open_clip_model.safetensors"]);
    let whole = fs::read(place.path("w/model.safetensors")).unwrap();
    fs::write(place.path("w/model.safetensors"), &whole[..whole.len() - 1]).unwrap();
    let infer = || {
        place
            .run(&["infer", "a.png", "-o", "out", "--overwrite", "--weights", "w", "--class", "bottle"])
            .exits(1)
            .stderr
    };
    let text = infer();
    assert!(text.contains("there is no `open_clip_config.json`"), "{text}");
    fs::remove_file(place.path("w/open_clip_model.safetensors")).unwrap();
    let text = infer();
    assert!(text.contains("the file is truncated") && !text.contains("none are here"), "{text}");
}

/// What a run reads again after a lost device is what it read at first, or an error.
#[test]
fn weights_that_change_during_a_run_are_an_error() {
    let place = Place::new();
    copy(&place, &["open_clip_model.safetensors", "open_clip_config.json"]);
    let path = place.path("w/open_clip_model.safetensors");
    let found = store::find(&clip::NETWORK, Some(&place.path("w"))).unwrap();
    let identity = found.identity().unwrap();
    let network = Clip::load(&found.checkpoint).unwrap();
    assert!(network.image.proj.to_array().is_ok());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(2000).unwrap();
    let error = network.image.proj.to_array().unwrap_err();
    assert_eq!(error.message(), "the weights changed during the run");
    assert!(format!("{error:#}").contains("open_clip_model.safetensors"));
    assert!(found.identity().is_err(), "{identity:?}");
    assert!(Clip::load(&found.checkpoint).unwrap().image.proj.to_array().is_err());
    assert!(!store::is_there(&wide_resnet::NETWORK, Some(&place.path("w"))));
}
