//! `docs/records.md` holds every key that a run writes, and no other.

mod common;

use std::collections::BTreeSet;

use serde_json::Value;

use common::binary::{Place, Run, finish, needs_adapter, records};
use common::clip::write_snapshot;
use common::dino::{snapshot_of_all_words, snapshots_of_saa};

const DOCUMENT: &str = include_str!("../docs/records.md");

/// Objects whose keys depend on the run.
const FREE: [&str; 4] = ["dropped", "uninspected.inputs", "uninspected.references", "uninspected.in_part"];

/// What the first column of the table below a heading names.
#[track_caller]
fn documented(heading: &str) -> BTreeSet<String> {
    let (_, rest) = DOCUMENT
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading `{heading}`"));
    let section = rest.split("\n## ").next().unwrap();
    let keys: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(key, _)| key)
        .collect();
    let set: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(set.len(), keys.len(), "a key of `{heading}` is documented twice");
    set
}

/// Adds the keys of a value, those of its parts included: `map.max`, `regions[].area`.
fn add_keys(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = if FREE.contains(&path) { "*" } else { key };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                add_keys(value, &path, keys);
                keys.insert(path);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| add_keys(element, &format!("{path}[]"), keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn keys_of<'a>(values: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    values.into_iter().for_each(|value| add_keys(value, "", &mut keys));
    keys
}

#[track_caller]
fn assert_documented(heading: &str, written: &BTreeSet<String>) {
    let documented = documented(heading);
    let unknown: Vec<_> = written.difference(&documented).collect();
    let missing: Vec<_> = documented.difference(written).collect();
    assert!(unknown.is_empty(), "docs/records.md, `{heading}`, says nothing of {unknown:?}");
    assert!(missing.is_empty(), "docs/records.md, `{heading}`, has keys that no run here wrote: {missing:?}");
}

fn run(place: &Place, arguments: &[&str]) -> Run {
    finish(place.command().env("ZSAS_CACHE", place.path("cache")).args(arguments))
}

#[test]
fn keys_of_infer_are_the_documented_ones() {
    needs_adapter!("keys_of_infer_are_the_documented_ones");
    let place = Place::with_photos(&["lot/good.png", "lot/bad.png", "good/1.png"]);
    place.write("lot/wide.png", &common::binary::png(320, 64, |x, y| (x * y) as u8));
    for file in ["lot/broken.png", "lot/phone.heic", "good/phone.heic"] {
        place.write(file, b"");
    }
    let cases = format!("{}/tests/cases", env!("CARGO_MANIFEST_DIR"));
    for file in ["sixteen_bit_grey.png", "two_pages.tif"] {
        place.write(&format!("good/{file}"), &std::fs::read(format!("{cases}/{file}")).unwrap());
    }
    write_snapshot(&place.path("weights/clip"));
    let lot = place.path("lot");
    // An absolute path, so that records name their files; a threshold below most values, so that there are regions.
    run(&place, &["infer", lot.to_str().unwrap(), "-o", "texture", "--method", "utad", "--threshold", "1", "--report", "--device", "0"])
        .exits(3);
    // The photos of `lot` are 96×80 or wider.
    let right = zsas::image::Mask::new(96, 80, (0..96 * 80).map(|at| at % 96 > 47).collect());
    place.write("right.png", &zsas::image::encode_mask_png(&right).unwrap());
    run(&place, &["infer", "lot/good.png", "-o", "region", "--method", "utad", "--roi", "right.png", "--tiles", "1"]).exits(0);
    let clip = |output, more: &[&str]| {
        let fixed = ["infer", "lot/good.png", "-o", output, "--weights", "weights", "--class", "bottle"];
        run(&place, &[&fixed[..], more].concat()).exits(0);
    };
    clip("references", &["--normal", "good", "--save-memory", "bottle.mem"]);
    clip("memory", &["--memory", "bottle.mem"]);

    let weights = snapshots_of_saa();
    // An object and a defect, each some hundredths of the photo in size, one of which is too large.
    let prompts = "class = 'carpet'\n[saa]\ngeneral = false\ndefects = ['defect.']\nbox_threshold = 0.5\nregions = 2\n";
    place.write("carpet.toml", prompts.as_bytes());
    let saa =
        ["infer", "lot/good.png", "-o", "candidates", "--profile", "carpet.toml", "--save", "candidates", "--method", "saa+", "--weights"];
    run(&place, &[&saa[..], &[weights.path().to_str().unwrap()]].concat()).exits(0);

    run(&place, &["calibrate", "lot/good.png", "-o", "c.toml", "--method", "utad"]).exits(0);
    run(&place, &["infer", "lot/good.png", "-o", "calibrated", "--calibration", "c.toml"]).exits(0);

    let folders = ["texture", "region", "references", "memory", "candidates", "calibrated"];
    let lines: Vec<Value> = folders.iter().flat_map(|folder| records(&place.path(folder))).collect();
    let (scored, failed): (Vec<&Value>, Vec<&Value>) = lines.iter().partition(|line| line["status"] == "ok");
    assert_documented("A scored image", &keys_of(scored));
    assert_documented("An image that was not scored", &keys_of(failed));
    let runs = folders.map(|folder| place.json(&format!("{folder}/run.json")));
    assert_documented("run.json of infer", &keys_of(&runs));
    assert_eq!(runs[2]["uninspected"]["references"], serde_json::json!({".heic": 1, "page": 1}));
    assert!(runs[2]["warnings"][0].as_str().unwrap().contains("sixteen_bit_grey.png: 16 bits"), "{}", runs[2]["warnings"]);
}

#[test]
fn keys_of_a_calibration_are_the_documented_ones() {
    let place = Place::new();
    for at in 0..6 {
        place.write(&format!("good/{at}.png"), &common::binary::png(64, 64, |x, y| (x * y + at * x) as u8));
    }
    write_snapshot(&place.path("weights/clip"));
    let more = ["good/1.png", "good/2.png", "good/3.png", "good/4.png", "good/5.png", "-o", "c.toml", "--json", "--device", "cpu"];
    let printed = run(&place, &[&["calibrate", "--normal", "good/0.png", "--weights", "weights"], &more[..]].concat())
        .exits(0)
        .stdout;
    let mut calibration: Value = serde_json::from_str(&printed).unwrap();
    // The keys of `parameters` that decide a score, which have a table of their own.
    assert_eq!(calibration["conditions"]["detector"]["method"], "winclip+");
    calibration["conditions"]["detector"] = Value::Null;
    assert_documented("A calibration", &keys_of([&calibration]));
    let file: toml::Table = toml::from_str(&std::fs::read_to_string(place.path("c.toml")).unwrap()).unwrap();
    assert_eq!(file["threshold"].as_float().unwrap() as f32, calibration["threshold"].as_f64().unwrap() as f32);
}

#[test]
fn keys_of_segment_are_the_documented_ones() {
    let place = Place::new();
    let file = |name: &str| format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"));
    let weights = file("golden/sam/official");
    for (photo, output) in [("golden/sam/landscape.png", "one_page"), ("cases/two_pages.tif", "two_pages")] {
        run(&place, &["segment", &file(photo), "--weights", &weights, "--box", "5,5,40,40", "--output", output]).exits(0);
    }
    let lines = ["one_page", "two_pages"].map(|folder| records(&place.path(folder)).remove(0));
    assert_documented("A segmented image", &keys_of(&lines));
    let of_infer = |key: &String| !key.starts_with("parameters.") && !key.starts_with("invocation.");
    let shared: BTreeSet<String> = documented("run.json of infer").into_iter().filter(of_infer).collect();
    // What this run has no value for has no keys: the rest is held by the test of `infer`.
    let own: BTreeSet<String> = keys_of([&place.json("two_pages/run.json")]).difference(&shared).cloned().collect();
    assert_documented("run.json of segment", &own);
}

#[test]
fn keys_of_detect_are_the_documented_ones() {
    let place = Place::with_photos(&["a.png"]);
    let file = |name: &str| format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"));
    let weights = snapshot_of_all_words();
    let [photo, pages] = [place.path("a.png").to_str().unwrap().to_owned(), file("cases/two_pages.tif")];
    let text = ["--text", "crack, hole, crack", "--box-threshold", "0.2", "--nms", "0.9", "--format", "coco", "--report"];
    let fixed = ["detect", &photo, &pages, "--output", "found", "--weights", weights.path().to_str().unwrap()];
    run(&place, &[&fixed[..], &text].concat()).exits(0);
    assert_documented("An image with boxes", &keys_of(&records(&place.path("found"))));
    let of_infer = |key: &String| !key.starts_with("parameters.");
    let shared: BTreeSet<String> = documented("run.json of infer").into_iter().filter(of_infer).collect();
    let own: BTreeSet<String> = keys_of([&place.json("found/run.json")]).difference(&shared).cloned().collect();
    assert_documented("run.json of detect", &own);
}

#[test]
fn codes_of_errors_are_the_documented_ones() {
    let source = include_str!("../src/error.rs");
    let code = |line: &str| Some(line.trim().strip_prefix("Code::")?.split_once(" => \"")?.1.trim_end_matches("\",").to_owned());
    let codes: BTreeSet<String> = source.lines().filter_map(code).collect();
    assert!(codes.len() > 20, "{codes:?}");
    assert_documented("Codes of errors", &codes);
}
