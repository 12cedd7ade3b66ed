//! The binary with methods that know words, on a tiny CLIP: what is told, remembered, cached, and refused.

mod common;

use std::fs;

use common::assert_golden;
use common::binary::{Place, Run, has_adapter};
use common::clip::{write_clipseg_snapshot, write_snapshot};

/// A folder with two photos, good ones, and weights.
fn place() -> Place {
    let place = Place::with_photos(&["a.png", "b.png", "good/1.png", "good/2.png"]);
    write_snapshot(&place.path("weights/clip"));
    place
}

/// `infer` on these weights with a cache of its own.
fn infer(place: &Place, arguments: &[&str]) -> Run {
    let mut command = place.command();
    command
        .env("ZSAS_CACHE", place.path("cache"))
        .args(["infer", "--output", "out", "--overwrite", "--weights", "weights"])
        .args(arguments);
    common::binary::finish(&mut command)
}

fn cached(place: &Place) -> usize {
    fs::read_dir(place.path("cache/prototypes")).map_or(0, Iterator::count)
}

#[test]
fn winclip_scores_photos_of_a_class_and_keeps_its_prototypes() {
    let place = place();
    infer(&place, &["a.png", "b.png", "--class", "Metal Nut"])
        .exits(0)
        .says("method: winclip on the weights");
    let first = place.records();
    assert_eq!((first[0]["method"].as_str(), first[0]["class"].as_str()), (Some("winclip"), Some("metal_nut")));
    assert!(first.iter().all(|record| (0.0..=1.0).contains(&record["score"].as_f64().unwrap())));
    let run = place.json("out/run.json");
    assert_eq!(run["parameters"]["reading"], "paper");
    assert_eq!(run["parameters"]["views"], "none");
    assert_eq!(cached(&place), 1);
    // The second run takes them from disk and scores the same; a damaged file is made anew.
    infer(&place, &["a.png", "b.png", "--class", "metal_nut", "-v"]).exits(0).says("prototypes: from `");
    let kept = fs::read_dir(place.path("cache/prototypes")).unwrap().next().unwrap().unwrap().path();
    fs::write(&kept, "damaged").unwrap();
    infer(&place, &["a.png", "b.png", "--class", "metal nut"])
        .exits(0)
        .says("prototypes are computed anew");
    assert_eq!(place.records()[0]["score"], first[0]["score"]);
    // Other words, other prototypes.
    infer(&place, &["a.png", "--class", "bottle"]).exits(0);
    infer(&place, &["a.png", "--class", "bottle", "--reading", "reproduction"]).exits(0);
    assert_eq!(cached(&place), 3);
    assert_ne!(place.records()[0]["score"], first[0]["score"]);
}

#[test]
fn winclip_plus_remembers_good_photos_and_can_be_given_the_memory() {
    let place = place();
    let scores = |place: &Place| place.records().iter().map(|record| record["score"].clone()).collect::<Vec<_>>();
    infer(&place, &["a.png", "b.png", "--normal", "good", "--save-memory", "good.memory"])
        .exits(0)
        .says("method: winclip+");
    let first = scores(&place);
    assert_eq!(place.json("out/run.json")["parameters"]["language"]["references"].as_array().unwrap().len(), 2);
    infer(&place, &["a.png", "b.png", "--memory", "good.memory"]).exits(0);
    assert_eq!(scores(&place), first);
    infer(&place, &["a.png", "b.png", "--normal", "good/2.png", "good/1.png"]).exits(0);
    assert_eq!(scores(&place), first, "order does not matter");
    // Features of other weights are no memory for these.
    infer(&place, &["a.png", "--memory", "good.memory", "--device", "cpu", "--precision", "f16"])
        .exits(5)
        .says("stores no f16");
    if has_adapter("winclip_plus_remembers_good_photos_and_can_be_given_the_memory, features in f16") {
        infer(&place, &["a.png", "--memory", "good.memory", "--device", "0", "--precision", "f16"])
            .exits(2)
            .says("holds features of");
    }
    infer(&place, &["a.png", "--memory", "a.png"]).exits(2).says("as a memory of reference images");
    // A memory is of one class.
    infer(&place, &["a.png", "--normal", "good", "--save-memory", "bottle.memory", "--class", "bottle"]).exits(0);
    infer(&place, &["a.png", "--memory", "bottle.memory", "--class", "cable"])
        .exits(2)
        .says("is a memory of `bottle`, and `cable` is inspected");
    // A memory is written over a memory only, and into a folder that is there.
    infer(&place, &["a.png", "--normal", "good", "--save-memory", "good.memory"]).exits(0);
    infer(&place, &["a.png", "--normal", "good", "--save-memory", "good/1.png"])
        .exits(2)
        .says("would overwrite a file that is no memory");
    infer(&place, &["a.png", "--normal", "good", "--save-memory", "nowhere/m"])
        .exits(2)
        .says("there is no folder `nowhere`");
}

#[test]
fn a_run_is_resumed_only_with_the_same_references_and_configuration() {
    let place = place();
    infer(&place, &["a.png", "--normal", "good"]).exits(0);
    let resume = |place: &Place| {
        let mut command = place.command();
        command.env("ZSAS_CACHE", "").args([
            "infer",
            "a.png",
            "b.png",
            "-o",
            "out",
            "--resume",
            "--weights",
            "weights",
            "--normal",
            "good",
            "--save-memory",
            "kept.memory",
        ]);
        common::binary::finish(&mut command)
    };
    resume(&place).exits(0).says("1 done before");
    let memory = || fs::read(place.path("kept.memory")).unwrap();
    let saved = memory();
    place.photo("good/1.png", true);
    resume(&place).exits(2).says("were made with other parameters: `references`");
    assert!(memory() == saved, "a run that is refused saves no memory");
    place.photo("good/1.png", false);
    let config = place.path("weights/clip/open_clip_config.json");
    let text = fs::read_to_string(&config).unwrap().replace("\"embed_dim\"", "\"quick_gelu\": true, \"embed_dim\"");
    fs::write(&config, text).unwrap();
    resume(&place).exits(2).says("were made with other weights");
}

#[test]
fn every_method_with_words_runs_under_its_own_name() {
    let place = place();
    write_clipseg_snapshot(&place.path("weights/clipseg"));
    let mut seen = Vec::new();
    for method in ["winclip", "clip-ac", "clip-ac-ensemble", "maskclip", "trans-mm", "patch-token", "image-tiling", "clipseg"] {
        infer(&place, &["a.png", "--method", method, "--class", "bottle"]).exits(0);
        let record = place.records().remove(0);
        assert_eq!(record["method"], method);
        seen.push((record["score"].to_string(), record["map"]["mean"].to_string()));
    }
    infer(&place, &["a.png", "--method", "maskclip", "--reading", "paper", "--class", "bottle"]).exits(0);
    seen.push((place.records()[0]["score"].to_string(), place.records()[0]["map"]["mean"].to_string()));
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
    assert!(place.path("cache/conditionals").is_dir());
}

#[test]
fn raw_clip_networks_run_from_arrays_and_are_compared_and_profiled() {
    let place = place();
    let golden = |name: &str| format!("{}/tests/golden/clip/{name}", env!("CARGO_MANIFEST_DIR"));
    let forward = |network: &str| {
        let (weights, inputs) = (golden("tiny"), golden("tiny_forward.safetensors"));
        place
            .run(&["forward", network, "--weights", &weights, "--inputs", &inputs, "--outputs", "out.safetensors"])
            .exits(0)
    };
    forward("clip-image").prints("image_embeds [2, 16]").prints("patch_tokens [2, 25, 24]");
    forward("clip-windows").prints("windows_2 [2, 16, 16]").prints("windows_3 [2, 9, 16]");
    forward("clip-text").prints("text_embeds [5, 16]");
    for network in ["clip-windows", "clip-text"] {
        place.run(&["diff", network, "--weights", "weights"]).exits(0).prints("are within their bounds");
        place.run(&["profile", network, "--weights", "weights"]).exits(0).prints("device memory: ");
    }
    place
        .run(&["diff", "clip-image", "--weights", "weights", "--size", "8x8"])
        .exits(2)
        .says("these weights are for 40×40");
    place
        .run(&["diff", "clip-text", "--weights", "weights", "--size", "8x8"])
        .exits(2)
        .says("takes no images");
}

#[test]
fn views_readings_and_profiles_change_what_they_should() {
    let place = place();
    place.write("p.toml", b"class = \"bottle\"\nanomalous = [\"{o} with a dent\"]\nthreshold = 0.001\n");
    infer(&place, &["a.png", "--profile", "p.toml", "--fail-on", "anomaly"])
        .exits(4)
        .says("1 anomalous at 0.001");
    let record = &place.records()[0];
    assert_eq!(record["threshold"]["source"], "profile");
    assert_eq!(place.json("out/run.json")["parameters"]["language"]["anomalous"][0], "{o} with a dent");
    infer(&place, &["a.png", "--profile", "p.toml", "--threshold", "2"]).exits(0);
    assert_eq!(place.records()[0]["threshold"]["source"], "flag");
    infer(&place, &["a.png", "--class", "bottle"]).exits(0);
    let plain = place.records()[0].clone();
    assert_ne!(plain["score"], record["score"]);
    infer(&place, &["a.png", "--class", "bottle", "--multi-crop", "five"]).exits(0);
    assert_ne!(place.records()[0]["score"], plain["score"]);
    assert_eq!(place.records()[0]["map"], plain["map"], "views decide the score, not the map");
}

#[test]
fn r8_missing_clip_weights_name_the_commands_that_fetch_them() {
    let place = Place::with_photos(&["a.png"]);
    assert_golden("cli/r8_no_clip.txt", &place.infer(&["a.png", "--method", "winclip"]).exits(1).stderr);
    place
        .infer(&["a.png", "--method", "winclip", "--weights", "nowhere"])
        .exits(1)
        .says("hint: ")
        .says("curl -fL");
}

#[test]
fn r9_and_r10_damaged_foreign_and_nonfinite_weights_are_refused() {
    let place = place();
    let weights = place.path("weights/clip/open_clip_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    infer(&place, &["a.png", "--method", "winclip"]).exits(1).says("the file is truncated");
    let mut nonfinite = whole.clone();
    let end = nonfinite.len();
    nonfinite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, &nonfinite).unwrap();
    infer(&place, &["a.png", "--method", "winclip"]).exits(1).says("holds NaN at");
    fs::remove_file(&weights).unwrap();
    fs::write(place.path("weights/clip/open_clip_pytorch_model.bin"), "PK").unwrap();
    infer(&place, &["a.png", "--method", "winclip"]).exits(1).says("may be a PyTorch checkpoint");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wide_resnet/tiny.safetensors");
    fs::copy(golden, &weights).unwrap();
    infer(&place, &["a.png", "--method", "winclip"])
        .exits(1)
        .says("holds weights of `wide-resnet`, not of `clip`");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/kernels/conv2d.safetensors");
    fs::copy(golden, &weights).unwrap();
    infer(&place, &["a.png", "--method", "winclip"])
        .exits(1)
        .says("tensor `visual.conv1.weight` is missing");
    assert!(!place.path("out/results.jsonl").exists());
    // The vocabulary of the golden is too small for real prompts, and heads must share the width.
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/clip/tiny");
    let run = place
        .run(&["infer", "a.png", "-o", "out", "--overwrite", "--weights", tiny, "--method", "winclip"])
        .exits(1);
    run.says("these weights have a vocabulary of 64, CLIP's tokenizer one of 49408");
    fs::write(&weights, &whole).unwrap();
    let config = place.path("weights/clip/open_clip_config.json");
    let text = fs::read_to_string(&config).unwrap();
    for wrong in ["0", "7"] {
        fs::write(&config, text.replace("\"head_width\": 8", &format!("\"head_width\": {wrong}"))).unwrap();
        infer(&place, &["a.png", "--method", "winclip"])
            .exits(1)
            .says(&format!("heads of width {wrong} do not divide the width 24"));
    }
}

#[test]
fn a_text_is_not_cut_for_weights_that_need_another_tokenizer_but_ids_run() {
    let place = place();
    let config = place.path("weights/clip/open_clip_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"text_cfg\": {", "\"text_cfg\": {\"hf_tokenizer_name\": \"facebook/xlm-v-base\",")).unwrap();
    infer(&place, &["a.png", "--class", "bottle"])
        .exits(1)
        .says("these weights need another tokenizer: `text_cfg.hf_tokenizer_name` `facebook/xlm-v-base`");
    let ids: Vec<u8> = [49_406_i64, 320, 49_407].iter().flat_map(|id| id.to_le_bytes()).collect();
    let file = |count: usize, bytes: &[u8]| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![1, count], bytes).unwrap();
        place.write("ids.safetensors", &safetensors::serialize([("input_ids", view)], None).unwrap());
        place.run(&["forward", "clip-text", "--weights", "weights", "--inputs", "ids.safetensors", "--outputs", "out.safetensors"])
    };
    file(3, &ids).exits(0).prints("text_embeds [1, 16]");
    file(78, &vec![0; 78 * 8]).exits(2).says("has 78 tokens a text, the tower takes 77");
    file(1, &49_408_i64.to_le_bytes()).exits(2).says("holds 49408, ids are 0 to 49407");
}

/// A folder as hubs have it: another library's file of the usual name beside the weights, which lie in two shards with their index.
#[test]
fn weights_are_found_among_others_and_a_changed_shard_is_another_network() {
    let place = place();
    let folder = place.path("weights/clip");
    let whole = zsas::Checkpoint::open(&folder).unwrap();
    let arrays: Vec<(String, zsas::Array)> = whole
        .names()
        .map(|name| (name.to_owned(), whole.root().weight(name, whole.shape(name).unwrap()).unwrap().to_array().unwrap()))
        .collect();
    let write = |file: &str, arrays: &[(String, zsas::Array)]| {
        let named = arrays.iter().map(|(name, array)| (name.as_str(), array));
        fs::write(folder.join(file), zsas::weights::to_safetensors(named, &[]).unwrap()).unwrap();
    };
    fs::remove_file(folder.join("open_clip_model.safetensors")).unwrap();
    let (first, second) = arrays.split_at(arrays.len() / 2);
    let shards = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"];
    write(shards[0], first);
    write(shards[1], second);
    let map = |arrays: &[(String, zsas::Array)], shard: &str| -> Vec<String> {
        arrays.iter().map(|(name, _)| format!("\"{name}\":\"{shard}\"")).collect()
    };
    let map = [map(first, shards[0]), map(second, shards[1])].concat().join(",");
    fs::write(folder.join("m.safetensors.index.json"), format!("{{\"weight_map\":{{{map}}}}}")).unwrap();
    let timm = zsas::Array::new([1], vec![1.0]);
    write("model.safetensors", &[("cls_token".to_owned(), timm)]);

    infer(&place, &["a.png", "--class", "bottle"]).exits(0).says("m.safetensors.index.json");
    let names: Vec<String> = place.json("out/run.json")["weights"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, [shards[0], shards[1], "m.safetensors.index.json", "open_clip_config.json"]);
    let mut changed = second.to_vec();
    changed[0].1 = zsas::Array::new(changed[0].1.shape(), changed[0].1.data().iter().map(|x| x * 0.5).collect());
    write(shards[1], &changed);
    let mut command = place.command();
    command.env("ZSAS_CACHE", place.path("cache"));
    let run =
        common::binary::finish(command.args(["infer", "a.png", "-o", "out", "--resume", "--weights", "weights", "--class", "bottle"]));
    run.exits(2).says("were made with other weights");
    fs::write(folder.join(shards[1]), [0; 9]).unwrap();
    infer(&place, &["a.png", "--class", "bottle"])
        .exits(1)
        .says("holds no weights of `clip` that can be used")
        .says("`model.safetensors`: tensors of no network");
}

#[test]
fn r12_any_name_of_a_class_gives_a_defined_result() {
    let place = place();
    let endless = "very ".repeat(500) + "long";
    for name in ["🔩 смазка 部品", &endless, "a", "<|endoftext|>", "&lt;b&gt;"] {
        infer(&place, &["a.png", "--class", name]).exits(0);
        assert!(place.records()[0]["score"].as_f64().unwrap().is_finite(), "{name}");
    }
    // The second run takes the prototypes from the cache, and warns all the same.
    for _ in 0..2 {
        infer(&place, &["a.png", "--class", &endless])
            .exits(0)
            .says("are longer than the text tower's 77 tokens and are cut");
    }
    for name in ["", "  ", "a\u{7}b"] {
        infer(&place, &["a.png", "--class", name]).exits(2);
    }
}

#[test]
fn r13_a_wrong_profile_names_file_line_and_the_nearest_key() {
    let place = place();
    place.write("p.toml", b"class = \"bottle\"\nanomalus = [\"{o} with a dent\"]\n");
    assert_golden("cli/r13_profile.txt", &infer(&place, &["a.png", "--profile", "p.toml"]).exits(2).stderr);
    infer(&place, &["a.png", "--profile", "none.toml"]).exits(2).says("there is no profile `none.toml`");
    place.write("p.toml", b"class = \"bottle\"\n");
    infer(&place, &["a.png", "--profile", "p.toml", "--fail-on", "anomaly"])
        .exits(2)
        .says("needs a threshold");
}

#[test]
fn r14_references_must_be_there_and_readable_but_may_be_of_any_size() {
    let place = place();
    infer(&place, &["a.png", "--method", "winclip+"])
        .exits(2)
        .says("compares with reference images, and none are given");
    infer(&place, &["a.png", "--normal", "-"]).exits(2).says("is for the photos to be scored");
    infer(&place, &["a.png", "--normal", "no.png"]).exits(2).says("`no.png` does not exist");
    fs::create_dir(place.path("empty")).unwrap();
    infer(&place, &["a.png", "--normal", "empty"]).exits(2).says("no images in `empty`");
    place.write("good/3.png", b"no photo");
    infer(&place, &["a.png", "--normal", "good"]).exits(2).says("as a reference image: `good/3.png`");
    place.write("good/3.png", &common::binary::png(31, 120, |x, y| (x * y) as u8));
    infer(&place, &["a.png", "--normal", "good"]).exits(0);
    assert!(!place.path("out/good").exists());
}

#[test]
fn options_of_words_are_refused_where_a_method_knows_none() {
    let place = place();
    infer(&place, &["a.png", "--method", "utad", "--class", "bottle"])
        .exits(2)
        .says("`utad` takes no text");
    infer(&place, &["a.png", "--method", "winclip", "--normal", "good"])
        .exits(2)
        .says("`--method winclip+` takes reference images");
    infer(&place, &["a.png", "--method", "saliency", "--multi-crop", "ten"])
        .exits(2)
        .says("`saliency` does not support the views `ten`");
    infer(&place, &["a.png", "--method", "winclip", "--reading", "released"])
        .exits(2)
        .says("it has `paper` and `reproduction`");
    infer(&place, &["a.png", "--class", "a", "--profile", "p.toml"])
        .exits(2)
        .says("cannot be used with");
}

#[test]
fn auto_without_weights_of_clip_takes_textures_but_never_drops_words() {
    let place = Place::with_photos(&["a.png"]);
    for words in [["--class", "bottle"], ["--normal", "a.png"], ["--multi-crop", "ten"]] {
        place
            .infer(&[&["a.png"], &words[..]].concat())
            .exits(1)
            .says("need weights of CLIP")
            .says("curl -fL")
            .says("`utad` needs none");
    }
    assert!(!place.path("out/results.jsonl").exists());
}

#[test]
fn a_lost_device_is_opened_again_with_what_was_remembered() {
    let place = place();
    infer(&place, &["a.png", "b.png", "--normal", "good"]).exits(0);
    let scores: Vec<_> = place.records().iter().map(|record| record["score"].clone()).collect();
    let mut command = place.command();
    command.env("ZSAS_LOSE_DEVICE_AT", "2").env("ZSAS_CACHE", "");
    let run = common::binary::finish(command.args(["infer", "a.png", "b.png", "-o", "again", "--weights", "weights", "--normal", "good"]));
    run.exits(0).says("the device is opened again");
    let again: Vec<_> = common::binary::records(&place.path("again")).iter().map(|record| record["score"].clone()).collect();
    assert_eq!(again, scores);
}

#[test]
fn an_error_of_the_observer_ends_the_embedding_of_prompts() {
    let place = place();
    let stop = |_| Err(zsas::Error::new(zsas::Code::Usage, "stopped"));
    let builder = zsas::inspect::Detector::builder().method("winclip").weights(place.path("weights"));
    let error = builder.observe_building(std::sync::Arc::new(stop)).open().err().unwrap();
    assert_eq!(error.message(), "stopped");
}
