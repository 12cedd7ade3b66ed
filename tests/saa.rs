//! SAA+ and SAA on tiny networks, from a photo to its map, against a PyTorch program of the public packages (`tools/golden_saa.py`).

mod common;

use std::fs;
use std::path::Path;

use common::binary::{Place, records};
use common::dino::snapshots_of_saa;
use common::{every, golden_file, thinned};
use serde_json::Value;
use zsas::image::{Channels, Mask, Rgb, resize_opencv_map};
use zsas::inspect::Detector;
use zsas::methods::saa::{Fate, RegionCandidate};
use zsas::methods::{Distance, Finding, Neighbours, SelfSimilarity, SelfSimilarityOptions};
use zsas::{Array, Checkpoint, Device, Precision};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// Probabilities of the tiny detector in f32 are some 1e-6 from those in f64, corners of a photo of some hundred pixels a hundred times that.
const SCORE: f32 = 2e-5;
const CORNER: f32 = 2e-3;

/// What is asked of saliency, and of mean saliencies.
const SALIENCY: f32 = 1e-4;

/// A case of the golden: what was found for each caption, that of the object first.
struct Case {
    text: Value,
    name: &'static str,
}

impl Case {
    fn open(name: &'static str) -> Case {
        let text = fs::read_to_string(format!("{GOLDEN}/saa/{name}.json")).expect("regenerate with: python tools/golden_saa.py");
        Case { text: serde_json::from_str(&text).unwrap(), name }
    }

    /// A tensor; `None` where it is empty or zero throughout.
    fn tensor(&self, name: &str) -> Option<Array> {
        let golden = golden_file(&format!("saa/{}.safetensors", self.name));
        let shape = golden.shape(name)?;
        Some(golden.root().weight(name, shape).unwrap().to_array().unwrap())
    }

    /// Numbers of the regions that make the map; the tensor is left out where it is zero throughout: one region, or none.
    fn best(&self) -> Vec<usize> {
        let golden = golden_file(&format!("saa/{}.safetensors", self.name));
        let regions = self.text["regions"].as_array().unwrap().len();
        let whole = golden.integers("best").unwrap();
        whole.map_or_else(|| (0..regions.min(1)).collect(), |best| best.into_iter().map(|number| number as usize).collect())
    }

    fn photo(&self) -> Rgb {
        Rgb::open(format!("{GOLDEN}/{}", self.text["photo"].as_str().unwrap())).unwrap()
    }

    fn captions(&self) -> &[Value] {
        self.text["captions"].as_array().unwrap()
    }

    /// The profile that says the same as the case.
    fn profile(&self) -> String {
        let text = &self.text;
        let is_general = |caption: &&Value| caption["filter"] == text["class"] && caption["prompt"].as_str().unwrap().contains(" on ");
        let defects = &self.captions()[1..];
        let general = defects.iter().filter(is_general).count();
        let own: Vec<String> = defects[general..].iter().map(|caption| caption["prompt"].to_string()).collect();
        format!(
            "class = {}\n[saa]\ngeneral = {}\ndefects = [{}]\nobject = {}\ncount = {}\nregions = {}\narea = {:?}\noverlap = {:?}\n\
             box_threshold = {:?}\ntext_threshold = {:?}\n",
            text["class"],
            general > 0,
            own.join(", "),
            self.captions()[0]["prompt"],
            text["object_number"],
            text["kept"],
            text["area_share"].as_f64().unwrap(),
            text["overlap"].as_f64().unwrap_or(0.0),
            text["box_threshold"].as_f64().unwrap(),
            text["text_threshold"].as_f64().unwrap(),
        )
    }

    fn inspect(&self, weights: &Path) -> Finding {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("profile.toml");
        fs::write(&profile, self.profile()).unwrap();
        let is_naive = !self.text["without"].as_array().unwrap().is_empty();
        let reading = if self.text["reading"] == "paper" { zsas::methods::Reading::Paper } else { zsas::methods::Reading::Released };
        let detector = Detector::builder()
            .method(if is_naive { "saa" } else { "saa+" })
            .reading(Some(reading))
            .profile(profile)
            .weights(weights)
            .precision(Precision::F32)
            .open()
            .unwrap();
        detector.inspect(&self.photo()).unwrap()
    }

    /// Queries of a caption that were probable enough, in their order, with what the golden says of them.
    fn queries(&self, caption: usize) -> Vec<(usize, &'static str)> {
        let of = |fate: &'static str| {
            let queries = self.captions()[caption][fate].as_array().unwrap();
            queries.iter().map(move |query| (query.as_u64().unwrap() as usize, fate))
        };
        let mut all: Vec<_> = of("kept").chain(of("area")).chain(of("phrase")).collect();
        all.sort_unstable();
        all
    }

    /// Corners of a query's box in pixels.
    fn corners(&self, caption: usize, query: usize) -> [f32; 4] {
        let boxes = self.tensor("boxes").unwrap();
        let queries = boxes.shape().sizes()[1];
        let share = |at: usize| boxes.data()[(caption * queries + query) * 4 + at];
        let photo = self.photo();
        let (width, height) = (photo.width() as f32, photo.height() as f32);
        let [x, y, w, h] = [share(0) * width, share(1) * height, share(2) * width, share(3) * height];
        [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Every `step`-th pixel of every `step`-th row of a map is within 1e-3 of the truth, but for one in a thousand.
fn is_near(map: &Array, truth: Option<Array>, step: usize, what: &str) {
    let found = every(map, step);
    let truth = truth.unwrap_or_else(|| Array::zeros(found.shape()));
    assert_eq!(found.shape(), truth.shape(), "{what}");
    let far = found.data().iter().zip(truth.data()).filter(|(a, b)| (**a - **b).abs() > 1e-3).count();
    println!("{what}: {far} of {} pixels are off, at most by {}", found.data().len(), largest_difference(found.data(), truth.data()));
    assert!(far * 1000 <= found.data().len(), "{what}: {far} of {} pixels are off", found.data().len());
}

fn check(name: &'static str, weights: &Path) {
    let case = Case::open(name);
    let found = case.inspect(weights);
    let candidates = found.candidates.as_ref().unwrap();
    // SAA looks for no object.
    let object_area = if name == "naive" { 1.0 } else { case.text["object_area"].as_f64().unwrap() as f32 };
    assert!((candidates.object_area - object_area).abs() < SCORE, "{name}: {} {object_area}", candidates.object_area);
    let scores = case.tensor("scores").unwrap();
    let queries = scores.shape().cols();
    let mut regions: &[RegionCandidate] = &candidates.regions;
    let mut cut_out = Vec::new();
    for caption in 1..case.captions().len() {
        let expected = case.queries(caption);
        let (own, others) = regions.split_at(expected.len().min(regions.len()));
        regions = others;
        for (candidate, &(query, fate)) in own.iter().zip(&expected) {
            let what = format!("{name}, caption {caption}, query {query}: {candidate:?}");
            assert!((candidate.score - scores.data()[caption * queries + query]).abs() < SCORE, "{what}");
            assert!(largest_difference(&candidate.corners, &case.corners(caption, query)) < CORNER, "{what}");
            match fate {
                "area" => assert_eq!(candidate.fate, Fate::TooLarge, "{what}"),
                "phrase" => assert_eq!(candidate.fate, Fate::NamesObject, "{what}"),
                _ => cut_out.push(candidate),
            }
        }
        assert_eq!(own.len(), expected.len(), "{name}, caption {caption}");
    }
    assert!(regions.is_empty(), "{name}: {} candidates more", regions.len());

    // What the regions decide: numbers of those that count, of the best among these.
    let whole = |value: &Value| value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect::<Vec<_>>();
    let counted: Vec<&RegionCandidate> = whole(&case.text["regions"]).into_iter().map(|number| cut_out[number]).collect();
    assert_eq!(cut_out.iter().filter(|one| one.fate == Fate::Kept || one.fate == Fate::NotAmongBest).count(), counted.len(), "{name}");
    let exponent = if case.text["reading"] == "paper" { 1.0 } else { 3.0 };
    let means = case.tensor("mean_saliency").map_or_else(|| vec![0.0; counted.len()], |means| means.data().to_vec());
    let rescored = case.tensor("rescored").map_or_else(Vec::new, |all| all.data().to_vec());
    assert_eq!((means.len(), rescored.len()), (counted.len(), counted.len()), "{name}");
    for ((candidate, mean), rescored) in counted.iter().zip(means).zip(rescored) {
        let own = candidate.rescored.map_or(0.0, |rescored| rescored.factor.ln() / exponent);
        assert!((own - mean).abs() < SALIENCY, "{name}: mean saliency {own}, not {mean}");
        assert!((candidate.final_score() - rescored).abs() < 1e-3, "{name}: {candidate:?}, not {rescored}");
    }
    let best = case.best();
    assert_eq!(candidates.regions.iter().filter(|one| one.fate == Fate::Kept).count(), best.len(), "{name}");
    for number in best {
        assert_eq!(counted[number].fate, Fate::Kept, "{name}: region {number}");
    }
    is_near(&found.map, case.tensor("fused"), 5, &format!("{name}, map"));
    is_near(&resize_opencv_map(&found.map, 400, 400), case.tensor("map"), 10, &format!("{name}, map at 400²"));
}

#[test]
fn a_photo_of_one_object_gets_the_map_of_the_public_packages() {
    check("single", snapshots_of_saa().path());
}

#[test]
fn several_objects_are_compared_with_each_other() {
    let weights = snapshots_of_saa();
    check("multi", weights.path());
    check("overlapping", weights.path());
}

#[test]
fn without_other_objects_or_candidates_there_is_still_a_map() {
    let weights = snapshots_of_saa();
    for name in ["alone", "none", "nothing"] {
        check(name, weights.path());
    }
}

#[test]
fn the_paper_filters_regions_and_saa_nothing() {
    let weights = snapshots_of_saa();
    check("paper", weights.path());
    check("naive", weights.path());
}

/// The regions of a golden: a picture of masks above one another, 255 inside.
fn masks(name: &str, size: (usize, usize)) -> Vec<Mask> {
    let picture = image::open(format!("{GOLDEN}/saa/{name}.png")).unwrap().to_luma8();
    picture
        .as_raw()
        .chunks_exact(size.0 * size.1)
        .map(|levels| Mask::new(size.1, size.0, levels.iter().map(|&level| level == 255).collect()))
        .collect()
}

#[test]
fn both_saliencies_are_those_of_the_public_packages() {
    let device = common::device();
    let weights = Checkpoint::open(format!("{GOLDEN}/wide_resnet/tiny.safetensors")).unwrap();
    let options = |channels, neighbours, distance| SelfSimilarityOptions { channels, neighbours, distance };
    let released = options(Channels::Bgr, Neighbours::Farthest, Distance::HalfCosine);
    let of = |device: &Device, options| SelfSimilarity::new(device, &weights, Precision::F32, options).unwrap();
    for (name, options) in [("single", released), ("paper", options(Channels::Rgb, Neighbours::Nearest, Distance::Cosine))] {
        let (case, similarity) = (Case::open(name), of(device, options));
        let found = similarity.of_image(&similarity.prepare(&case.photo())).unwrap();
        let far = largest_difference(found.data(), case.tensor("coarse_saliency").unwrap().data());
        println!("{name}: {far}");
        assert!(far < SALIENCY, "{name}: {far}");
    }
    let (case, similarity) = (Case::open("multi"), of(device, released));
    let photo = case.photo();
    let objects = masks("multi_objects", (photo.height(), photo.width()));
    let cells: Vec<Vec<bool>> = objects.iter().map(|object| similarity.cells(object)).collect();
    let found = similarity.of_objects(&photo, &cells).unwrap();
    let far = largest_difference(thinned(&found).data(), case.tensor("coarse_saliency").unwrap().data());
    println!("multi: {far}");
    assert!(far < SALIENCY, "multi: {far}");
}

/// Candidates are drawn and recorded; where nothing is found the map is 0 and the record says so.
#[test]
fn candidates_are_written_and_prompts_can_be_tried() {
    let (weights, place) = (snapshots_of_saa(), Place::with_photos(&["a.png", "b.png"]));
    let weights = weights.path().to_str().unwrap();
    let profile = |threshold: f32| {
        let text = format!("class = 'carpet'\n[saa]\ngeneral = false\ndefects = ['defect.']\nregions = 3\nbox_threshold = {threshold:?}\n");
        place.write("carpet.toml", text.as_bytes());
    };
    profile(0.5);
    let infer = |output: &str, more: &[&str]| {
        let fixed = ["infer", "a.png", "--output", output, "--method", "saa+", "--profile", "carpet.toml", "--weights", weights];
        place.run(&[&fixed[..], more].concat())
    };
    infer("out", &["--save", "map,candidates"]).exits(0);
    let record = &records(&place.path("out"))[0];
    let found = record["candidates"].as_array().unwrap();
    assert_eq!((found.len(), record["no_candidates"].as_bool()), (3, Some(false)), "{record}");
    let scores: Vec<f64> = found.iter().map(|one| one["final_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for one in found {
        let product = one["score"].as_f64().unwrap() * one["saliency_factor"].as_f64().unwrap();
        assert!((product - one["final_score"].as_f64().unwrap()).abs() < 1e-5, "{one}");
    }
    assert!(record["dropped"]["not_among_best"].as_u64().unwrap() > 0, "{record}");
    assert!(place.path("out/a.png.candidates.png").exists() && place.path("out/a.png.tiff").exists());

    // Another photo with the same prompts, and none of the same parts.
    infer("out", &["--resume", "--save", "map,candidates", "--without", "confidence"])
        .exits(2)
        .says("were made with other parameters");
    infer("other", &["--method", "winclip", "--without", "saliency"]).exits(2);
    place
        .run(&["infer", "a.png", "--output", "other", "--method", "utad", "--save", "candidates"])
        .exits(2)
        .says("have candidates to draw");

    place
        .run(&["prompts", "check", "carpet.toml", "a.png", "missing.png", "--weights", "nowhere"])
        .exits(2)
        .says("missing.png");
    place.write("broken.png", b"no picture");
    let checked = place
        .run(&["prompts", "check", "carpet.toml", "a.png", "broken.png", "--weights", weights])
        .exits(3);
    assert!(checked.stdout.contains("`defect.`: ") && checked.stdout.contains("not among the best, 3 kept"), "{}", checked.stdout);
    assert!(checked.stderr.contains("broken.png"), "{}", checked.stderr);

    profile(1.0);
    infer("none", &["--save", "map"]).exits(0);
    let record = &records(&place.path("none"))[0];
    assert_eq!(
        (record["no_candidates"].as_bool(), record["score"].as_f64(), record["map"]["max"].as_f64()),
        (Some(true), Some(0.0), Some(0.0))
    );
}

/// The networks do not fit together: they take turns, say so, and find the same.
#[test]
fn where_memory_is_short_the_networks_take_turns() {
    let (weights, place) = (snapshots_of_saa(), Place::with_photos(&["a.png", "b.png"]));
    place.write("carpet.toml", b"class = 'carpet'\n[saa]\ngeneral = false\ndefects = ['defect.']\nbox_threshold = 0.5\n");
    let builder = Detector::builder().method("saa+").weights(weights.path()).profile(place.path("carpet.toml"));
    let detector = builder.precision(Precision::F32).open().unwrap();
    let truth = detector.inspect(&Rgb::open(place.path("a.png")).unwrap()).unwrap();
    let megabytes = detector.device().allocated_bytes() / 1_000_000;

    // Less than all of them, more than the largest.
    let limit = (megabytes * 3 / 4).to_string();
    let fixed =
        ["infer", "a.png", "b.png", "--parallel", "2", "--output", "out", "--method", "saa+", "--profile", "carpet.toml", "--weights"];
    let run = common::binary::finish(place.command().env("ZSAS_GPU_MEMORY", limit).args(fixed).arg(weights.path())).exits(0);
    assert!(run.stderr.contains("the networks take turns on the device"), "{}", run.stderr);
    let record = &records(&place.path("out"))[0];
    assert!((record["score"].as_f64().unwrap() as f32 - truth.score).abs() < 1e-6, "{record}, not {}", truth.score);
    let best = &record["candidates"][0]["final_score"];
    let kept = truth
        .candidates
        .unwrap()
        .regions
        .iter()
        .filter(|one| one.fate == Fate::Kept)
        .map(RegionCandidate::final_score)
        .fold(0.0, f32::max);
    assert!((best.as_f64().unwrap() as f32 - kept).abs() < 1e-6, "{best}, not {kept}");
}
