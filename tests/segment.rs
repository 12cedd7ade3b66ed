//! `segment` on a tiny Segment Anything, against the masks of the official package (`tools/golden_sam.py`), and what it refuses.

mod common;

use common::binary::{Place, records};
use common::{golden_array, photo, thinned};
use serde_json::Value;
use zsas::graph::{Graph, Plan};
use zsas::image::{BoundingBox, Channels, Rgb};
use zsas::kernels::UNIT_ROUNDOFF;
use zsas::methods::{Segment, Segmenter};
use zsas::models::Sam;
use zsas::{Array, Checkpoint, Device, DeviceOptions, Precision};

/// A snapshot that `tools/convert.py` made of the official naming.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/sam/official");

/// Landscape, portrait and 3:1, each with three boxes.
const PHOTOS: [&str; 3] = ["landscape", "portrait", "strip"];

/// The logits of a box, 4,096 numbers and more, in f32 by the official code are up to LOGITS / 2 (relative) away from those in f64
/// (`tools/golden_sam.py` prints it); another program that rounds as much elsewhere is √2 times as far from it; twice is allowed.
const LOGITS: f64 = 2.0 * 2.0e-6;

/// How far an estimated overlap, a single number of the order of 1, may be from one computed in another order.
///
/// A sum of n products of f32 is off by √n roundings where these are independent (Higham & Mary 2019, the worst case being n), and launches
/// that follow each other add their squares; norms between them keep errors from growing. Both programs round: √2.
fn overlap_bound(network: &Sam) -> f64 {
    let graph = Graph::new(Precision::F32);
    let side = network.image_encoder.image_size();
    let embedding = network.image_encoder.forward(graph.input("pixels", [1, 3, side, side]));
    let tokens = graph.input("tokens", [1, network.tokens_of_box(), embedding.shape().cols()]);
    let masks = network.decode(embedding, tokens);
    let plan = Plan::new(&graph, &[masks.iou_scores]);
    let terms: u64 = plan.nodes.iter().map(|node| node.kernel.work().flops / (2 * node.shape.len() as u64)).sum();
    let bound = (2.0 * terms as f64).sqrt() * UNIT_ROUNDOFF;
    println!("overlap bound {bound:e} of {terms} terms in {} launches", plan.nodes.len());
    bound
}

fn golden_path(name: &str) -> String {
    format!("{}/tests/golden/sam/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn truth(photo: &str, name: &str) -> Array {
    golden_array(&format!("sam/segment_{photo}.safetensors"), name)
}

fn boxes(photo: &str) -> Vec<BoundingBox> {
    truth(photo, "boxes")
        .data()
        .chunks(4)
        .map(|corners| BoundingBox::new(corners.try_into().unwrap()).unwrap())
        .collect()
}

fn sam() -> Sam {
    Sam::load(&Checkpoint::open(SNAPSHOT).unwrap()).unwrap()
}

/// The first channel of a PNG.
fn levels(path: &std::path::Path) -> Vec<u8> {
    Rgb::open(path).unwrap().data().iter().step_by(3).copied().collect()
}

fn segment(place: &Place, photo: &str, arguments: &[&str]) -> Value {
    let path = golden_path(&format!("{photo}.png"));
    let boxes: Vec<String> = boxes(photo)
        .iter()
        .map(|bounds| bounds.corners().map(|corner| corner.to_string()).join(","))
        .collect();
    let boxes = boxes.iter().flat_map(|text| ["--box", text]);
    let fixed = ["segment", &path, "--weights", SNAPSHOT, "--output", photo];
    place
        .run(&fixed.into_iter().chain(boxes).chain(arguments.iter().copied()).collect::<Vec<_>>())
        .exits(0);
    let mut records = records(&place.path(photo));
    assert_eq!(records.len(), 1);
    records.remove(0)
}

#[test]
fn masks_are_those_of_the_official_package() {
    let (place, overlap) = (Place::new(), overlap_bound(&sam()));
    for photo in PHOTOS {
        let record = segment(&place, photo, &["--save", "mask,logits,overlay"]);
        let (scores, logits) = (truth(photo, "iou"), truth(photo, "logits"));
        let length = logits.data().len() / 3;
        for (at, mask) in record["masks"].as_array().unwrap().iter().enumerate() {
            let what = format!("{photo}, box {at}");
            let file = |key: &str| place.path(photo).join(mask[key].as_str().unwrap());
            let (found, truth) = (levels(&file("file")), levels(golden_path(&format!("{photo}_{}.png", at + 1)).as_ref()));
            assert!(found.iter().all(|level| [0, 255].contains(level)), "{what}");
            let wrong = found.iter().zip(&truth).filter(|(found, truth)| **truth != 128 && found != truth).count();
            assert_eq!((found.len(), wrong), (truth.len(), 0), "{what}");
            let others = levels(golden_path(&format!("{photo}_{}.png", (at + 1) % 3 + 1)).as_ref());
            assert!(found.iter().zip(&others).any(|(found, other)| *other != 128 && found != other), "{what}: the masks are all alike");

            let area = found.iter().filter(|&&level| level == 255).count();
            assert_eq!(mask["area"].as_u64(), Some(area as u64), "{what}");
            let off = (mask["iou"].as_f64().unwrap() - f64::from(scores.data()[at])).abs();
            assert!(off <= overlap, "{what}: {off:e}");
            let found = thinned(&tiff(&file("logits")));
            let off = found.relative_l2(&Array::new(found.shape(), logits.data()[at * length..][..length].to_vec()));
            assert!(off <= LOGITS, "{what}: {off:e}");
        }
        assert!(place.path(photo).join(record["overlay"].as_str().unwrap()).is_file());
    }
}

/// A float map as it was written.
fn tiff(path: &std::path::Path) -> Array {
    let mut decoder = tiff::decoder::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let tiff::decoder::DecodingResult::F32(data) = decoder.read_image().unwrap() else { panic!("not of f32") };
    Array::new([height as usize, width as usize], data)
}

fn found(device: &Device, photo: &Rgb, boxes: &[BoundingBox]) -> Vec<Segment> {
    let segmenter = Segmenter::new(device, sam(), Precision::F32).unwrap();
    let encoded = segmenter.encode(&segmenter.prepare(photo, Channels::Rgb)).unwrap();
    segmenter.segment(&encoded, boxes).unwrap()
}

fn landscape() -> Rgb {
    Rgb::open(golden_path("landscape.png")).unwrap()
}

/// The released SAA+ shows SAM blue, green, red: that must make a difference, and a plausible mistake must not pass for the truth.
#[test]
fn other_colours_and_shifted_boxes_are_far_off() {
    let device = Device::reference();
    let segmenter = Segmenter::new(&device, sam(), Precision::F32).unwrap();
    let truth = truth("landscape", "logits");
    let length = truth.data().len() / 3;
    let distance = |channels, boxes: &[BoundingBox]| {
        let encoded = segmenter.encode(&segmenter.prepare(&landscape(), channels)).unwrap();
        let logits = thinned(&segmenter.segment(&encoded, boxes).unwrap()[0].logits());
        logits.relative_l2(&Array::new(logits.shape(), truth.data()[..length].to_vec()))
    };
    let own = boxes("landscape");
    let shifted = own[0].corners().map(|corner| corner + 1.0);
    assert!(distance(Channels::Rgb, &own) <= LOGITS);
    assert!(distance(Channels::Bgr, &own) > 1e-3);
    assert!(distance(Channels::Rgb, &[BoundingBox::new(shifted).unwrap()]) > 1e-3);
}

/// Fewer boxes at a time, in a fixed order, and the same masks; only where a single box does not fit is there an error.
#[test]
fn where_memory_is_short_boxes_are_decoded_fewer_at_a_time() {
    let device = common::device();
    let all: Vec<BoundingBox> = boxes("landscape").into_iter().cycle().take(11).collect();
    let (truth, overlap) = (found(device, &landscape(), &all), overlap_bound(&sam()));
    // What a device holds with the encoder, and with the decoder of so many boxes beside it.
    let held = |count: usize| {
        let fresh = Device::open(&DeviceOptions::default()).unwrap();
        let segmenter = Segmenter::new(&fresh, sam(), Precision::F32).unwrap();
        let encoded = segmenter.encode(&segmenter.prepare(&landscape(), Channels::Rgb)).unwrap();
        segmenter.segment(&encoded, &all[..count]).unwrap();
        fresh.allocated_bytes()
    };
    let allowing = |memory| Device::open(&DeviceOptions { memory: Some(memory), ..DeviceOptions::default() }).unwrap();
    assert!(held(2) < held(4) && held(4) < held(8));
    for memory in [held(2), held(4)] {
        let fewer = found(&allowing(memory), &landscape(), &all);
        assert_eq!(fewer.len(), truth.len());
        for (fewer, truth) in fewer.iter().zip(&truth) {
            assert!(fewer.logits().relative_l2(&truth.logits()) <= LOGITS && f64::from(fewer.iou - truth.iou).abs() <= overlap);
        }
    }
    let none = allowing(held(0));
    let segmenter = Segmenter::new(&none, sam(), Precision::F32).unwrap();
    let encoded = segmenter.encode(&segmenter.prepare(&landscape(), Channels::Rgb)).unwrap();
    assert_eq!(segmenter.segment(&encoded, &all).err().map(|error| error.code()), Some(zsas::Code::GpuMemory));
}

#[test]
fn a_lost_device_is_opened_anew_once() {
    let place = Place::new();
    let path = golden_path("landscape.png");
    let attempt = |lost: &str| {
        let arguments = ["segment", &path, "--weights", SNAPSHOT, "--box", "5,5,40,40", "--output", "out", "--overwrite"];
        common::binary::finish(place.command().args(arguments).env("ZSAS_LOSE_DEVICE_AT", lost))
    };
    attempt("1").exits(0).says("is opened again");
    attempt("1,2").exits(1);
}

#[test]
fn weights_of_another_network_are_named() {
    let place = Place::with_photos(&["a.png"]);
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/clip/tiny");
    let run = |weights: &str| place.run(&["segment", "a.png", "--box", "1,2,30,40", "--output", "out", "--weights", weights]);
    run(clip).exits(1).says("holds weights of `clip`, not of `sam`").says("facebook/sam-vit-base");
    place.write("sam.pth", b"PK\x03\x04\0\0");
    run(place.path("sam.pth").to_str().unwrap()).exits(1).says("tools/convert.py");
}

#[test]
fn wrong_wishes_are_refused_before_weights_are_read() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    let run = |arguments: &[&str]| place.run(&[&["segment", "--output", "out", "--weights", "none"], arguments].concat());
    run(&["a.png"]).exits(2).says("--box");
    run(&["a.png", "--box", "1,2,3"]).exits(2).says("expected four numbers");
    run(&["a.png", "--box", "9,2,3,4"]).exits(2).says("the box 9,2,3,4 is empty");
    run(&["missing.png", "--box", "1,2,3,4"]).exits(2).says("missing.png");
    run(&[".", "--box", "1,2,3,4"]).exits(2).says("`.` is a folder, and a single image file is wanted");
    run(&["*.png", "--box", "1,2,3,4"]).exits(2).says("`*.png` is a pattern");
    run(&["-", "--box", "1,2,3,4"]).exits(2).says("`-` is a list");
    // Reading it fails, even for those who may read everything.
    #[cfg(target_os = "linux")]
    run(&["/proc/self/mem", "--box", "1,2,3,4"]).exits(2).says("/proc/self/mem");
    run(&["a.png", "--box", "96,0,99,9"]).exits(2).says("lies outside the image, which is 96×80");
    run(&["a.png", "--box", "1,2,3,4", "--save", "none,mask"]).exits(2).says("stands alone");
    place.write("torn.png", b"\x89PNG\r\n\x1a\n");
    run(&["torn.png", "--box", "1,2,3,4"]).exits(2).says("torn.png");
    assert!(!place.path("out").exists());
    run(&["a.png", "--box", "1,2,3,4"]).exits(1).says("none");
    assert!(!place.path("out").exists());
}

#[test]
fn results_are_refused_overwritten_and_told() {
    let place = Place::with_photos(&["ä b.png"]);
    let run = |arguments: &[&str]| place.run(&[&["segment", "ä b.png", "--weights", SNAPSHOT, "--output", "out"], arguments].concat());
    run(&["--box", "1,2,30.5,40", "--box", "-3,0,200,40"])
        .exits(0)
        .says("warning: the box -3,0,200,40 reaches beyond the image")
        .says("mask 2: ");
    let files = ["results.jsonl", "run.json", "ä b.png.1.mask.png", "ä b.png.2.mask.png", "ä b.png.overlay.png"];
    assert_eq!(place.outputs(), files);
    let record = &place.records()[0];
    assert_eq!(record["masks"][0]["box"], serde_json::json!([1.0, 2.0, 30.5, 40.0]));
    assert_eq!((&record["size"], &record["status"]), (&serde_json::json!([96, 80]), &Value::from("ok")));
    assert_eq!(place.json("out/run.json")["status"], "done");
    assert_eq!(place.json("out/run.json")["files"], serde_json::json!(&files[2..]));
    run(&["--box", "1,2,30,40"])
        .exits(2)
        .says("already holds results")
        .says("`--overwrite` starts anew");
    let again = run(&["--box", "1,2,30,40", "--overwrite", "--quiet", "--json", "--save", "logits"]).exits(0);
    assert_eq!(again.stderr, "");
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap()["masks"][0]["file"], Value::Null);
    assert_eq!(place.outputs(), ["results.jsonl", "run.json", "ä b.png.1.tiff"]);

    place.write("out/ä b.png.overlay.png", b"the user's own");
    run(&["--box", "1,2,30,40", "--overwrite"]).exits(2).says("no earlier run wrote it");
    std::fs::remove_file(place.path("out/ä b.png.overlay.png")).unwrap();

    // As a run leaves it that is killed before its record.
    std::fs::write(place.path("out/results.jsonl"), "").unwrap();
    run(&["--box", "1,2,30,40", "--overwrite", "--save", "none"]).exits(0);
    assert_eq!(place.outputs(), ["results.jsonl", "run.json"]);
}

#[test]
fn fractions_and_further_pages_are_warned_of() {
    let place = Place::new();
    place.write("pages.tif", &std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/two_pages.tif")).unwrap());
    let run = |arguments: &[&str]| place.run(&[&["segment", "pages.tif", "--weights", SNAPSHOT, "--output", "out"], arguments].concat());
    run(&["--box", "0.1,0.2,0.7,0.9", "--save", "none"])
        .exits(0)
        .says("warning: the box 0.1,0.2,0.7,0.9 lies within one pixel: boxes are in pixels");
    assert_eq!(place.records()[0]["uninspected"], serde_json::json!([{ "reason": "page", "count": 1, "share": null }]));
    assert_eq!(place.json("out/run.json")["uninspected"]["in_part"]["page"]["images"], 1);
    assert_eq!(run(&["--box", "0.1,0.2,0.7,0.9", "--overwrite", "--quiet"]).exits(0).stderr, "");
}

/// The first file that is written is the sign that a signal has to be told in `run.json`; many boxes on a large photo leave time for it.
#[test]
#[cfg(unix)]
fn a_signal_leaves_a_run_that_was_interrupted() {
    let place = Place::new();
    place.write("a.png", &common::binary::png(1500, 1200, |x, y| (x * y) as u8));
    let boxes = [["--box", "10,10,1400,1100"]; 150].concat();
    let mut child = place
        .command()
        .args(["segment", "a.png", "--weights", SNAPSHOT, "--output", "out"])
        .args(boxes)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !place.path("out/a.png.1.mask.png").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first mask");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let run = place.json("out/run.json");
    assert_eq!((&run["status"], &run["counts"]["scored"]), (&Value::from("interrupted"), &Value::from(0)));
    assert!(place.records().is_empty());
    // What it left is known to be its own.
    place
        .run(&["segment", "a.png", "--weights", SNAPSHOT, "--output", "out", "--overwrite", "--save", "none", "--box", "1,2,30,40"])
        .exits(0);
    assert_eq!(place.outputs(), ["results.jsonl", "run.json"]);
}

/// Proportions at the end of what there is: rows of the frame that hold the photo, and of the mask, come down to one.
#[test]
fn the_thinnest_photo_has_a_mask() {
    let thin = Rgb::new(1, 200, photo("textile").data()[..600].to_vec());
    let found = found(&Device::reference(), &thin, &[BoundingBox::new([0.0, 20.0, 1.0, 90.0]).unwrap()]);
    assert_eq!(found[0].logits().shape().axes(), [200, 1]);
    assert!(found[0].logits().is_finite());
}

/// Five masks in batches of two on an image whose width 16 does not divide.
#[test]
fn masks_enlarged_on_the_device_are_those_of_their_logits() {
    let device = common::device();
    let photo = Rgb::open(golden_path("landscape.png")).unwrap();
    assert_ne!(photo.width() % 16, 0);
    let segmenter = Segmenter::new(device, sam(), Precision::F32).unwrap();
    let encoded = segmenter.encode(&segmenter.prepare(&photo, Channels::Rgb)).unwrap();
    let boxes: Vec<BoundingBox> = boxes("landscape").into_iter().cycle().take(5).collect();
    let segments = segmenter.segment(&encoded, &boxes).unwrap();
    assert_eq!(segments.len(), 5);
    let coarse = 8 * segments[0].logits().data().len().max(64 * 64);
    let segmenter = segmenter.enlarging_at_once(2 * coarse);
    let mut seen = Vec::new();
    let check = |at: usize, mask: &zsas::image::Mask| {
        seen.push(at);
        let logits = segments[at].logits();
        let differing = logits.data().iter().zip(mask.data()).filter(|(logit, inside)| (**logit > 0.0) != **inside);
        let far = differing.map(|(logit, _)| logit.abs()).fold(0.0, f32::max);
        assert!(mask.area() > 0 && far < 1e-4, "mask {at} differs at a logit of {far}");
    };
    segmenter.masks(&segments.iter().collect::<Vec<_>>(), check).unwrap();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}
