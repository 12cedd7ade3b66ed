use super::*;
use crate::weights::FileHash;

fn conditions() -> Conditions {
    let tables = "[detector]\nmethod = \"winclip+\"\nprecision = \"f32\"\nviews = \"none\"\n[detector.language]\nclass = \"bottle\"\n\
                  normal = []\n[read]\nsixteen_bit = \"scale\"\n";
    let tables: toml::Table = toml::from_str(tables).unwrap();
    let table = |key: &str| tables[key].as_table().unwrap().clone();
    let weights = vec![FileHash { file: "model.safetensors".to_owned(), sha256: "0123456789abcdef".to_owned() }];
    Conditions {
        references: vec!["a1".into(), "b2".into()],
        memory: Some("c3".into()),
        detector: table("detector"),
        read: table("read"),
        weights,
    }
}

fn photos(scores: &[f32]) -> Vec<GoodPhoto> {
    let photo = |(at, &score): (usize, &f32)| GoodPhoto { path: format!("good/{at}.png"), score, maximum: 2.0 * score };
    scores.iter().enumerate().map(photo).collect()
}

fn calibration(rule: Rule, scores: &[f32]) -> Calibration {
    Calibration::new(rule, photos(scores), [0, 0], conditions(), Made::by("a device".into(), "weights".into())).unwrap()
}

/// 40 scores from 0.1 to 0.49.
fn forty() -> Vec<f32> {
    (10..50).map(|hundredths| hundredths as f32 / 100.0).collect()
}

#[test]
fn forty_good_photos_bound_false_alarms_by_7_in_100() {
    let found = calibration(Rule::Max, &forty());
    assert_eq!((found.threshold, found.level), (0.49_f32.next_up(), 0.98_f32.next_up()), "maxima of the maps are twice the scores");
    assert_eq!((found.photos, found.scores.below, found.maxima.below), (40, 40, 40));
    assert_eq!(
        found.confidence(),
        "40 good photos, all below the threshold: with 95 % confidence at most 7.2 % of good parts are called anomalous; \
         for 1 % it takes 299, all below"
    );
    // ⌈0.9 · 40⌉ = 36
    let ninety = calibration(Rule::Quantile(0.9), &forty());
    assert_eq!((ninety.threshold, ninety.scores.below), (0.45_f32.next_up(), 36));
    assert!(
        ninety
            .confidence()
            .starts_with("40 good photos, 36 below the threshold: with 95 % confidence at most 21 %"),
        "{}",
        ninety.confidence()
    );
    let sigma = calibration(Rule::Sigma(1.0), &forty());
    assert!(
        sigma
            .confidence()
            .ends_with("approximately, as this rule follows the scores themselves and not their order")
    );
    let many: Vec<f32> = (0..400).map(|x| x as f32).collect();
    assert!(
        calibration(Rule::Max, &many)
            .confidence()
            .ends_with("at most 0.75 % of good parts are called anomalous")
    );
}

#[test]
fn good_photos_are_normal_and_what_scores_more_is_not() {
    use crate::results::Decision::{Anomalous, Normal};
    let threshold = calibration(Rule::default(), &forty()).threshold();
    assert!(forty().iter().all(|&score| threshold.decide(score, &[]) == Normal));
    assert_eq!(threshold.decide(0.49_f32.next_up(), &[]), Anomalous);
    assert_eq!(threshold.source, "calibration:q0.995");
    assert_eq!(calibration(Rule::Sigma(3.0), &forty()).threshold().source, "calibration:mean+3sigma");
    assert_eq!(calibration(Rule::Max, &forty()).threshold().source, "calibration:max");
}

#[test]
fn the_highest_are_named_and_those_far_out_warned_of() {
    let mut scores = forty();
    scores[7] = 3.0;
    let found = calibration(Rule::default(), &scores);
    let highest: Vec<&str> = found.highest.iter().map(|photo| photo.path.as_str()).collect();
    assert_eq!(highest, ["good/7.png", "good/39.png", "good/38.png", "good/37.png", "good/36.png"]);
    assert_eq!(found.warnings(), ["good/7.png scores 3.0000, far above the others (median 0.3050): look whether it shows a defect"]);
    assert_eq!(calibration(Rule::default(), &forty()).warnings(), [""; 0]);
    assert_eq!(calibration(Rule::default(), &forty()[..9]).warnings(), ["only 9 good photos: fewer than 10 say little about the next one"]);
    assert_eq!(
        calibration(Rule::default(), &[0.0; 10]).warnings(),
        ["all good photos have the score 0: whatever exceeds it is called anomalous"]
    );
    let left_out = Calibration { failed: 2, copies: 1, ..calibration(Rule::default(), &forty()) };
    assert_eq!(left_out.warnings().len(), 2);
}

#[test]
fn a_file_comes_back_as_it_was_written_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    let mut scores = forty();
    // Floats whose shortest decimals are long, tiny, huge, negative.
    scores.extend([0.1 + 0.2, f32::MIN_POSITIVE, 1e-45, -0.0, -1.7e38, 1.6e38, 16_777_217.0]);
    for rule in [Rule::default(), Rule::Sigma(0.5), Rule::Max] {
        let mut made = calibration(rule, &scores);
        made.write(&file).unwrap();
        let read = Calibration::read(&file).unwrap();
        assert!(read.summary().path.is_some_and(|path| path.ends_with("c.toml")));
        assert_eq!(read.summary().sha256, sha256(&std::fs::read(&file).unwrap()));
        assert_eq!(made.summary().sha256, read.summary().sha256);
        made.file = read.file.clone();
        assert_eq!(read, made);
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# Calibration of zsas-gpu: ") && text.contains("with 95 % confidence at most 6.2 %"), "{text}");
    assert!(Calibration::is_one(&file));
    let without_a_mean = Calibration::new(Rule::Max, photos(&[1.0]), [0, 0], conditions(), Made::by(String::new(), String::new())).unwrap();
    assert_eq!(Calibration::parse(&without_a_mean.to_toml(), "").unwrap(), without_a_mean);
    let thousand_and_one: Vec<f32> = (0..1001).map(|x| x as f32).collect();
    let many = calibration(Rule::default(), &thousand_and_one);
    assert_eq!(Calibration::parse(&many.to_toml(), "").unwrap(), many);
}

/// The refusal of a text.
fn refusal(text: &str) -> String {
    let error = Calibration::parse(text, "c.toml").unwrap_err();
    assert_eq!(error.code(), Code::Calibration);
    assert!(error.is_user());
    format!("{error:#}")
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = calibration(Rule::default(), &forty()).to_toml();
    let line = 1 + text.lines().position(|line| line.starts_with("photos")).unwrap();
    let refused = refusal(&text.replacen("photos = 40", "photo = 40", 1));
    assert!(refused.contains("unknown field `photo`") && refused.contains(&format!("in `c.toml`, line {line}\n")), "{refused}");
    for (known, unknown) in
        [("below = ", "above = 1\nbelow = "), ("[conditions.read]", "[conditions.write]\n[conditions.read]"), ("device =", "place =")]
    {
        assert!(refusal(&text.replacen(known, unknown, 1)).contains("unknown field"), "{unknown}");
    }
    assert!(refusal("calibration = 1\nrule = ").contains("in `c.toml`, line 2"));
}

#[test]
fn a_file_whose_numbers_do_not_follow_from_each_other_is_refused() {
    let text = calibration(Rule::Max, &forty()).to_toml();
    assert!(Calibration::parse(&text, "c.toml").is_ok());
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        refusal(&text.replacen(from, to, 1))
    };
    let threshold = format!("threshold = {}", 0.49_f32.next_up());
    assert!(changed(&threshold, "threshold = nan").contains("`threshold` is NaN"));
    assert!(changed(&threshold, "threshold = inf").contains("`threshold` is inf"));
    assert!(
        changed(&threshold, "threshold = 0.6").contains("`threshold` is 0.6, but 0.49000004 follows from the scores by the rule `max`")
    );
    assert!(changed("rule = \"max\"", "rule = \"quantile 0.5\"").contains("statistics and values"));
    assert!(changed("rule = \"max\"", "rule = \"most\"").contains("there is no rule `most`"));
    assert!(changed("photos = 40", "photos = 400").contains("number and values of the good photos contradict each other"));
    assert!(changed("photos = 40", "photos = -40").contains("in `c.toml`, line "));
    assert!(changed("failed = 0", "failed = -1").contains("in `c.toml`, line "));
    assert!(changed("bound = 0.07", "bound = 0.02").contains("statistics and values"));
    assert!(changed("values = [0.1, 0.11", "values = [0.11, 0.1").contains("number and values"));
    assert!(changed("values = [0.1,", "values = [nan,").contains("number and values"));
    assert!(changed("calibration = 1", "calibration = 2").contains("of version 2, and this program reads 1"));
    assert!(changed("calibration = 1", "calibration = \"1\"").contains("is no calibration"));
    let profile = refusal("class = \"bottle\"");
    assert!(profile.contains("the file is no calibration") && profile.contains("make it again from good photos"), "{profile}");
}

#[test]
fn a_file_that_is_no_calibration_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    for (text, is_one) in [("calibration = 7", true), ("class = 'x'", false), ("calibration", false), ("\u{0}", false)] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(Calibration::is_one(&file), is_one, "{text}");
    }
    assert!(!Calibration::is_one(folder.path()));
    assert_eq!(Calibration::read(&folder.path().join("b")).unwrap_err().code(), Code::NotFound);
    assert_eq!(Calibration::read(folder.path()).unwrap_err().code(), Code::Calibration);
}

#[test]
fn what_differs_first_is_named_with_both_values() {
    let before = conditions();
    assert_eq!(before.differing_detector(&before.clone()), None);
    let with = |change: fn(&mut Conditions)| {
        let mut now = conditions();
        change(&mut now);
        now
    };
    let detector = |change: fn(&mut Conditions)| before.differing_detector(&with(change)).unwrap();
    let set = |table: &mut toml::Table, key: &str, value: &str| drop(table.insert(key.to_owned(), value.into()));
    let both = detector(|now| {
        now.detector.insert("language".into(), 1.into());
        now.detector.insert("method".into(), "utad".into());
    });
    assert_eq!(both, "`method` was `winclip+`, now `utad`", "from which the language follows");
    assert_eq!(detector(|now| drop(now.detector.remove("language"))), "`language` was `{ class = \"bottle\", normal = [] }`, now nothing");
    let class = detector(|now| drop(now.detector["language"].as_table_mut().unwrap().insert("class".into(), "cable".into())));
    assert_eq!(class, "`language.class` was `bottle`, now `cable`");
    assert_eq!(detector(|now| drop(now.detector.insert("tiles".into(), 256.into()))), "`tiles` was nothing, now `256`");
    let weights = detector(|now| now.weights[0].sha256 = "fedcba9876543210".to_owned());
    assert_eq!(weights, "the weights `model.safetensors` were 0123456789ab…, now `model.safetensors` is fedcba987654…");
    let mut now = conditions();
    now.weights[0].file = "other.safetensors".to_owned();
    assert_eq!(before.differing_detector(&now), None, "the same bytes under another name");
    set(&mut now.read, "sixteen_bit", "clip");
    assert_eq!(before.differing_read(&now).unwrap(), "`read.sixteen_bit` was `scale`, now `clip`");
    let error = calibration(Rule::Max, &forty()).mismatch("x");
    assert_eq!((error.code(), error.message()), (Code::CalibrationMismatch, "the calibration does not fit: x"));
}

#[test]
fn references_are_the_same_by_their_pixels_or_by_their_features() {
    let before = conditions();
    let now = |references: &[&str], memory: Option<&str>| {
        let references = references.iter().map(|&hash| hash.to_owned()).collect();
        Conditions { references, memory: memory.map(str::to_owned), ..conditions() }
    };
    let differing = |references: &[&str], memory| before.differing_references(&now(references, memory));
    assert_eq!(differing(&["a1", "b2"], None), None, "features of another device");
    assert_eq!(differing(&[], Some("c3")), None, "a memory that was saved");
    assert_eq!(differing(&["a1", "x"], None).unwrap(), "reference image 2 was b2…, now x…");
    assert_eq!(differing(&["a1"], None).unwrap(), "there were 2 reference images, now 1");
    assert_eq!(differing(&[], Some("x")).unwrap(), "the memory of reference images was c3…, now x…");
    assert_eq!(differing(&[], None).unwrap(), "the memory of reference images was c3…, now nothing");
    let none = now(&[], None);
    assert_eq!(none.differing_references(&none), None);
    assert!(none.differing_references(&before).is_some());
}
