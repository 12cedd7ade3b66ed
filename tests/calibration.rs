//! Calibration on good photos, from the command line and in Rust: what it decides, and what it is refused for.

mod common;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use common::binary::{Place, Run, finish, png, records};
use common::clip::write_snapshot;
use zsas::Code;
use zsas::files::sha256;
use zsas::image::Rgb;
use zsas::inspect::{CalibrationJob, CalibrationOptions, Detector, JobObserver, ScoreOptions, Scoring, Unobserved};
use zsas::results::{Calibration, Decision, Rule};

/// A photo of the textile, as it lies in `tests/photos`.
fn textile(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/photos/textile/{name}.jpg", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Good and bad photos of the textile.
fn textiles() -> Place {
    let place = Place::new();
    for number in ["033", "077", "120"] {
        place.write(&format!("good/{number}.jpg"), &textile(&format!("nominal_{number}")));
    }
    for number in ["008", "033", "077"] {
        place.write(&format!("bad/{number}.jpg"), &textile(&format!("local_{number}")));
    }
    place
}

/// So many different woven textures.
fn weaves(count: u32) -> Place {
    let place = Place::new();
    for at in 0..count {
        weave(&place, &format!("good/{at:02}.png"), at);
    }
    place
}

/// A woven texture with a speck that tells it from others.
fn weave(place: &Place, name: &str, at: u32) {
    let speck = |x, y| 20 * u8::from(x == at && y == 3);
    place.write(name, &png(96, 80, |x, y| 90 + 40 * u8::from((x / 4 + y / 4) % 2 == 0) + ((7 * x + 13 * y) % 11) as u8 + speck(x, y)));
}

/// A run of the binary with a cache of its own.
fn run(place: &Place, arguments: &[&str]) -> Run {
    finish(place.command().env("ZSAS_CACHE", place.path("cache")).args(arguments))
}

fn decisions(place: &Place) -> Vec<(String, String)> {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    place.records().iter().map(|record| (text(record, "path"), text(record, "decision"))).collect()
}

#[test]
fn a_threshold_from_good_photos_decides_on_photos_and_pixels() {
    let place = textiles();
    let calibrate = ["calibrate", "good", "-o", "c.toml", "--method", "utad"];
    run(&place, &calibrate)
        .exits(0)
        .says("warning: only 3 good photos: fewer than 10")
        .says("3 good photos, all below the threshold: with 95 % confidence at most 63 % of good parts are called anomalous")
        .says("calibration: c.toml");
    let calibration = Calibration::read(&place.path("c.toml")).unwrap();
    assert_eq!((calibration.rule, calibration.photos, calibration.scores.below), (Rule::Quantile(0.995), 3, 3));
    assert_eq!(calibration.threshold, calibration.scores.max.next_up());
    assert_eq!(calibration.level, calibration.maxima.max.next_up());

    // The method is that of the calibration.
    let report = ["infer", "good", "bad", "-o", "out", "--calibration", "c.toml", "--report", "--fail-on", "anomaly"];
    run(&place, &report).exits(4).says("3 anomalous at").says("calibration: 3 good photos, all below");
    let expected = ["good/033", "good/077", "good/120", "bad/008", "bad/033", "bad/077"];
    let expected =
        expected.map(|name| (format!("{name}.jpg"), if name.starts_with("good") { "normal_in_part" } else { "anomalous" }.to_owned()));
    assert_eq!(decisions(&place), expected);
    for record in place.records() {
        assert_eq!((record["method"].as_str(), record["threshold"]["source"].as_str()), (Some("utad"), Some("calibration:q0.995")));
        let [threshold, level] = [&record["threshold"]["value"], &record["level"]].map(|value| value.as_f64().unwrap() as f32);
        assert_eq!((threshold, level), (calibration.threshold, calibration.level));
        let has_regions = !record["regions"].as_array().unwrap().is_empty();
        assert_eq!(has_regions, record["decision"] == "anomalous", "{record}");
    }
    let made_of = &place.json("out/run.json")["parameters"]["calibration"];
    assert_eq!(made_of["sha256"], sha256(&fs::read(place.path("c.toml")).unwrap()));
    assert_eq!((made_of["path"].as_str(), made_of["rule"].as_str()), (Some("c.toml"), Some("quantile 0.995")));
    let page = fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(page.contains(&format!(r#"step="any" value="{}""#, calibration.threshold)), "the slider starts elsewhere");
    assert!(page.contains("It starts at the threshold of the calibration. 3 good photos, all below the threshold"));

    // A run is resumed by the same calibration only.
    run(&place, &["infer", "good", "bad", "-o", "out", "--calibration", "c.toml", "--report", "--resume"])
        .exits(0)
        .says("6 done before");
    run(&place, &[&calibrate[..], &["--rule", "max", "--overwrite"]].concat()).exits(0);
    run(&place, &["infer", "good", "bad", "-o", "out", "--calibration", "c.toml", "--resume"])
        .exits(2)
        .says("made with other parameters");
}

#[test]
fn a_calibration_is_refused_for_another_method_precision_view_reading_of_photos_or_weights() {
    let place = weaves(12);
    let quiet = run(&place, &["calibrate", "good", "-o", "c.toml", "--method", "utad"]).exits(0);
    assert!(!quiet.stderr.contains("fewer than 10"), "{}", quiet.stderr);
    let infer = |more: &[&str]| run(&place, &[&["infer", "good", "-o", "out", "--save", "none", "--calibration", "c.toml"], more].concat());
    let weights = format!("{}/tests/golden/wide_resnet/tiny.safetensors", env!("CARGO_MANIFEST_DIR"));
    for (option, differing) in [
        (["--method", "saliency"], "`method` was `utad`, now `saliency`"),
        (["--tiles", "1"], "`tiles` was nothing, now `{ count = 1, overlap = 0.25 }`"),
        (["--precision", "f16"], "`precision` was `f32`, now `f16`"),
        (["--weights", &weights], "the weights `textures (embedded)` were "),
        (["--sixteen-bit", "clip"], "`read.sixteen_bit` was `scale`, now `clip`"),
        (["--ignore-exif", "--quiet"], "`read.ignore_orientation` was `false`, now `true`"),
    ] {
        infer(&option)
            .exits(2)
            .says(&format!("the calibration `c.toml` does not fit: {differing}"))
            .says("zsas-gpu calibrate GOOD_PHOTOS --output c.toml --overwrite");
        assert!(!place.path("out").exists(), "{option:?}");
    }
    infer(&["--threshold", "2"]).exits(2).says("cannot be used with");
    run(&place, &["calibrate", "good", "-o", "d.toml", "--method", "patchcore", "--normal", "good", "--save-memory", "d.toml"])
        .exits(2)
        .says("both write `d.toml`");
    infer(&["--min-size", "9", "--method", "utad"]).exits(0);
    let records = place.records();
    assert!(records.len() == 12 && records.iter().all(|record| record["decision"] == "normal_in_part"), "{records:?}");

    // A damaged file, none, and one of something else.
    let text = fs::read_to_string(place.path("c.toml")).unwrap();
    for (name, text, said) in [
        ("key.toml", text.replacen("\nphotos", "\nfotos", 1), "unknown field `fotos`"),
        ("nan.toml", text.replacen("threshold = ", "threshold = nan # ", 1), "`threshold` is NaN"),
        ("low.toml", text.replacen("threshold = ", "threshold = 0.5 # ", 1), "follows from the scores by the rule"),
        ("method.toml", text.replacen("method = \"utad\"", "method = \"utat\"", 1), "the method `utat`, which is not known here"),
        ("profile.toml", "class = \"bottle\"".to_owned(), "the file is no calibration"),
    ] {
        place.write(name, text.as_bytes());
        run(&place, &["infer", "good", "-o", "bad", "--calibration", name]).exits(2).says(said);
    }
    run(&place, &["infer", "good", "-o", "bad", "--calibration", "no.toml"])
        .exits(2)
        .says("there is no calibration `no.toml`");
    assert!(!place.path("bad").exists());
}

#[test]
fn class_phrases_and_reference_images_are_part_of_a_calibration() {
    let place = weaves(10);
    weave(&place, "ref/1.png", 50);
    weave(&place, "other/1.png", 51);
    write_snapshot(&place.path("weights/clip"));
    let fixed = ["calibrate", "good", "-o", "c.toml", "--weights", "weights", "--class", "bottle", "--device", "cpu"];
    run(&place, &[&fixed[..], &["--normal", "ref", "--save-memory", "bottle.mem"]].concat()).exits(0);
    let infer = |output: &str, more: &[&str]| {
        let fixed = ["infer", "good", "-o", output, "--weights", "weights", "--calibration", "c.toml", "--save", "none", "--device", "cpu"];
        run(&place, &[&fixed[..], more].concat())
    };
    infer("no", &[]).exits(2).says("`winclip+` compares with reference images, and none are given");
    infer("by_photos", &["--normal", "ref"]).exits(0);
    infer("by_memory", &["--memory", "bottle.mem", "--class", "bottle", "--method", "winclip+"]).exits(0);
    for folder in ["by_photos", "by_memory"] {
        let records = records(&place.path(folder));
        assert_eq!((records.len(), &records[0]["method"], &records[0]["class"]), (10, &"winclip+".into(), &"bottle".into()));
        assert!(records.iter().all(|record| record["decision"] == "normal"), "{folder}: {records:?}");
    }
    place.write("threshold.toml", b"class = 'bottle'\nthreshold = 0.1");
    infer("by_profile", &["--normal", "ref", "--profile", "threshold.toml"])
        .exits(0)
        .says("the threshold 0.1 of the profile does not count: the calibration decides");
    assert_eq!(records(&place.path("by_profile"))[0]["threshold"]["source"], "calibration:q0.995");

    place.write("phrases.toml", b"class = 'bottle'\nanomalous = ['{o} with a dent']");
    for (option, differing) in [
        (["--normal", "other", "--class", "bottle"], "reference image 1 was "),
        (["--normal", "ref", "--class", "cable"], "`language.class` was `bottle`, now `cable`"),
        (["--normal", "ref", "--profile", "phrases.toml"], "`language.anomalous` was `[]`, now `["),
        (["--normal", "ref", "--reading", "reproduction"], "`reading` was `paper`, now `reproduction`"),
    ] {
        infer("no", &option).exits(2).says(&format!("the calibration `c.toml` does not fit: {differing}"));
    }
    run(&place, &[&fixed[..], &["--normal", "other", "--save-memory", "other.mem", "--overwrite", "--quiet"]].concat()).exits(0);
    infer("no", &["--memory", "bottle.mem"]).exits(2).says("the memory of reference images was ");
    infer("by_other_memory", &["--memory", "other.mem"]).exits(0);

    // The distance of a reference to itself says nothing of the next part.
    run(&place, &[&fixed[..], &["ref/1.png", "--normal", "ref", "--overwrite"]].concat())
        .exits(2)
        .says("the good photo `ref/1.png` is the reference image `ref/1.png` too");
}

#[test]
fn phrases_come_from_the_calibration_alone() {
    let place = weaves(2);
    write_snapshot(&place.path("weights/clip"));
    place.write("phrases.toml", b"class = 'bottle'\nanomalous = ['{o} with a dent']");
    let fixed = ["--weights", "weights", "--device", "cpu"];
    let calibrate = ["calibrate", "good", "-o", "c.toml", "--method", "winclip", "--profile", "phrases.toml", "--multi-crop", "five"];
    run(&place, &[&calibrate[..], &fixed].concat()).exits(0);
    run(&place, &[&["infer", "good", "-o", "out", "--calibration", "c.toml", "--save", "none"], &fixed[..]].concat()).exits(0);
    let run_file = place.json("out/run.json");
    let language = &run_file["parameters"]["language"];
    assert_eq!(language["anomalous"].as_array().unwrap().last().unwrap(), "{o} with a dent");
    assert_eq!(run_file["parameters"]["views"], "five");
    assert!(place.records().iter().all(|record| record["decision"] == "normal"), "{:?}", place.records());
}

#[test]
fn nothing_but_a_calibration_is_overwritten_and_no_photo_is_left_out_in_silence() {
    let place = weaves(3);
    let calibrate = |more: &[&str]| run(&place, &[&["calibrate", "good", "--method", "utad"], more].concat());
    place.write("mine.toml", b"class = 'mine'");
    calibrate(&["-o", "mine.toml", "--overwrite"])
        .exits(2)
        .says("is there and no calibration; it is not overwritten");
    assert_eq!(fs::read(place.path("mine.toml")).unwrap(), b"class = 'mine'");
    calibrate(&["-o", "good"]).exits(2).says("is there and no calibration");
    calibrate(&["-o", "no/c.toml"]).exits(2).says("there is no folder `no`");
    calibrate(&["-o", "-"]).exits(2).says("the calibration goes into a file");
    calibrate(&["-o", "c.toml"]).exits(0);
    calibrate(&["-o", "c.toml"]).exits(2).says("`--overwrite` replaces it");
    let printed = calibrate(&["-o", "c.toml", "--overwrite", "--json", "--quiet", "--sigma", "2"]).exits(0);
    assert_eq!(printed.stderr, "");
    let json: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!((json["rule"].as_str(), json["photos"].as_u64()), (Some("mean + 2 sigma"), Some(3)));

    for (arguments, said) in [
        (&["--rule", "max", "--sigma", "3"][..], "`--sigma` is for `--rule sigma`"),
        (&["--rule", "sigma", "--quantile", "0.9"], "`--quantile` is for `--rule quantile`"),
        (&["--quantile", "1.5"], "there is no rule `quantile 1.5`"),
        (&["--quantile", "0.9", "--sigma", "3"], "cannot be used with"),
    ] {
        calibrate(&[&["-o", "x.toml"], arguments].concat()).exits(2).says(said);
    }

    place.write("empty/readme.txt", b"");
    run(&place, &["calibrate", "empty", "-o", "x.toml"]).exits(2).says("as photos of good parts");
    place.write("good/broken.png", b"no photo");
    place.write("good/copy.png", &fs::read(place.path("good/01.png")).unwrap());
    calibrate(&["-o", "x.toml"])
        .exits(2)
        .says("failed: good/broken.png")
        .says("1 of 5 good photos could not be scored")
        .says("`--lenient`");
    assert!(!place.path("x.toml").exists());
    calibrate(&["-o", "x.toml", "--lenient"])
        .exits(3)
        .says("1 good photos could not be scored and are left out")
        .says("1 good photos are copies of others");
    let calibration = Calibration::read(&place.path("x.toml")).unwrap();
    assert_eq!((calibration.photos, calibration.failed, calibration.copies), (3, 1, 1));
    run(&place, &["calibrate", "good/broken.png", "-o", "y.toml", "--lenient"])
        .exits(2)
        .says("there is no good photo to calibrate on");
}

/// An observer that stops a job after so many photos.
struct StopsAfter(usize, AtomicUsize);

impl JobObserver for StopsAfter {
    fn recorded(&self, _line: &str) -> zsas::Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn stopped(&self) -> Option<u8> {
        (self.1.load(Ordering::SeqCst) >= self.0).then_some(2)
    }
}

#[test]
fn in_rust_a_detector_is_calibrated_and_opened_by_its_calibration() {
    let place = textiles();
    let detector = Detector::builder().method("utad").open().unwrap();
    let options = CalibrationOptions { rule: Rule::Max, ..CalibrationOptions::default() };
    let job = CalibrationJob::new(&[place.path("good")], options).unwrap();
    assert!(job.run(&detector, &StopsAfter(1, AtomicUsize::new(0))).unwrap().is_none());
    let made = job.run(&detector, &Unobserved).unwrap().unwrap();
    assert_eq!(made.uninspected.in_part.len(), 1, "the margin of each photo");
    let (calibration, threshold) = (made.calibration.clone(), made.calibration.threshold());
    // The same numbers on one thread.
    let alone = CalibrationJob::new(&[place.path("good")], CalibrationOptions { threads: Some(1), ..options }).unwrap();
    assert_eq!(alone.run(&detector, &Unobserved).unwrap().unwrap().calibration, calibration);

    let detector = Detector::builder().calibration(calibration.clone()).open().unwrap();
    let decide = |file: &str| {
        let found = detector.inspect(&Rgb::open(place.path(file)).unwrap()).unwrap();
        (threshold.decide(found.score, &found.uninspected), found.regions(calibration.level).is_empty())
    };
    assert_eq!(decide("good/077.jpg"), (Decision::NormalInPart, true), "the photo that the threshold was found on");
    assert_eq!(decide("bad/008.jpg"), (Decision::Anomalous, false));
    let refused = Scoring::new(&detector, ScoreOptions { threshold: Some(1.0), ..ScoreOptions::default() });
    assert_eq!(refused.err().map(|error| error.code()), Some(Code::Usage));
    let other = Detector::builder().method("saliency").calibration(calibration).plan();
    assert_eq!(other.err().map(|error| error.code()), Some(Code::CalibrationMismatch));
    let wrong = CalibrationOptions { rule: Rule::Sigma(f64::NAN), ..options };
    assert_eq!(CalibrationJob::new(&[place.path("good")], wrong).err().map(|error| error.code()), Some(Code::Usage));
    assert_eq!(CalibrationJob::new(&[place.path("none")], options).err().map(|error| error.code()), Some(Code::NotFound));
}
