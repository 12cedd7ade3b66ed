//! Metrics against scikit-learn, SciPy, scikit-image, anomalib and plain programs from the definitions (`tools/golden_metrics.py`).

mod common;

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use common::Seeded;
use serde_json::Value;
use zsas::error::{Code, Error, Result};
use zsas::image::Mask;
use zsas::metrics::*;
use zsas::tensor::Array;

/// How far f64 arithmetic in another order may be.
const CLOSE: f64 = 1e-9;

fn golden() -> &'static Value {
    static GOLDEN: OnceLock<Value> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    })
}

/// The cases of maps, each with its maps.
fn cases() -> Vec<(&'static Value, Vec<(Array, Mask)>)> {
    golden()["maps"].as_array().unwrap().iter().map(|case| (case, maps(case))).collect()
}

fn case(name: &str) -> (&'static Value, Vec<(Array, Mask)>) {
    let case = golden()["maps"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    (case, maps(case))
}

/// The maps and masks of a case, as the script makes them.
fn maps(case: &Value) -> Vec<(Array, Mask)> {
    let [lift, levels, offset] = ["lift", "levels", "offset"].map(|name| case[name].as_f64().unwrap());
    let [seed, squares, lift_squares] = ["seed", "squares", "lift_squares"].map(|name| case[name].as_u64().unwrap());
    let mut random = Seeded::new(seed);
    let squared = |number: f64, times: u64| (0..times).fold(number, |number, _| number * number);
    let mut made = Vec::new();
    for image in case["images"].as_array().unwrap() {
        let [height, width] = [0, 1].map(|at| image[at].as_u64().unwrap() as usize);
        let mask = mask(height, width, &image[2]);
        let scores = mask.data().iter().map(|&is_marked| {
            let (u, r) = (random.uniform(), random.uniform());
            let mut v = squared(u, squares);
            if is_marked {
                v = 1.0 - (1.0 - v) * squared(1.0 - r * lift, lift_squares);
            }
            if levels > 0.0 {
                v = (v * levels).floor() / levels;
            }
            (v - offset) as f32
        });
        made.push((Array::new([height, width], scores.collect()), mask));
    }
    let sum: f64 = made.iter().flat_map(|(map, _)| map.data()).map(|&score| f64::from(score)).sum();
    close("the sum of scores", Some(sum), &case["sum"], CLOSE * sum.abs().max(1.0));
    made
}

fn mask(height: usize, width: usize, rectangles: &Value) -> Mask {
    let mut marks = vec![false; height * width];
    for rectangle in rectangles.as_array().unwrap() {
        let [x, y, w, h, mark] = [0, 1, 2, 3, 4].map(|at| rectangle[at].as_u64().unwrap() as usize);
        (y..y + h).for_each(|row| marks[row * width + x..][..w].fill(mark == 1));
    }
    Mask::new(width, height, marks)
}

#[track_caller]
fn close(what: &str, found: Option<f64>, expected: &Value, bound: f64) {
    match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => assert!((found - expected).abs() <= bound, "{what} is {found}, not {expected}"),
        (found, expected) => assert!(found.is_none() && expected.is_none(), "{what} is {found:?}, not {expected:?}"),
    }
}

#[track_caller]
fn exactly(what: &str, found: Measured, expected: &Value) {
    assert_eq!(found.error, 0.0, "{what}");
    assert_eq!(found.value.is_none(), found.reason.is_some(), "{what}");
    close(what, found.value, expected, CLOSE);
}

/// Holds a value with its error to the exact one, and says how large the error is.
#[track_caller]
fn bracketed(what: &str, found: Measured, expected: &Value) -> f64 {
    close(what, found.value, expected, found.error + CLOSE);
    found.error
}

fn compute(maps: &[(Array, Mask)], options: &PixelOptions) -> Result<PixelMetrics> {
    let load = |at: usize| {
        let (map, mask) = &maps[at];
        // An unmarked mask and none are the same.
        Ok(Scored { map: map.clone(), mask: (mask.area() > 0 || at.is_multiple_of(2)).then(|| mask.clone()) })
    };
    pixel_metrics(maps.len(), &load, options, &|_| Ok(()))
}

fn everything() -> PixelOptions {
    PixelOptions { is_exact: true, approximations: true, ..PixelOptions::default() }
}

fn ranking_is(what: &str, found: &Ranking, expected: &Value) {
    exactly(&format!("{what}: AUROC"), found.auroc, &expected["auroc"]);
    exactly(&format!("{what}: AP"), found.ap, &expected["ap"]);
    exactly(&format!("{what}: AUPR"), found.aupr_trapezoid, &expected["aupr_trapezoid"]);
    exactly(&format!("{what}: F1"), found.f1_max, &expected["f1_max"]);
    assert_eq!(found.f1_threshold, expected["f1_threshold"].as_f64().map(|threshold| threshold as f32), "{what}");
}

#[test]
fn image_metrics_are_those_of_scikit_learn() {
    for case in golden()["images"].as_array().unwrap() {
        let labels = case["labels"].as_array().unwrap().iter().map(|label| label.as_bool().unwrap());
        let scores = case["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap() as f32);
        let scores: Vec<(f32, bool)> = scores.zip(labels).collect();
        let name = case["name"].as_str().unwrap();
        ranking_is(name, &image_metrics(&scores).unwrap(), case);
        exactly(name, tnr_at_fnr(&scores, 0.05).unwrap(), &case["tnr_at_fnr"]);
        exactly(name, tpr_at_fpr(&scores, 0.05).unwrap(), &case["tpr_at_fpr"]);
    }
}

#[test]
fn exact_pixel_metrics_are_those_of_scikit_learn_and_the_definitions() {
    for (case, maps) in cases() {
        let name = case["name"].as_str().unwrap();
        let threshold = Some(case["threshold"].as_f64().unwrap() as f32);
        let found = compute(&maps, &PixelOptions { is_exact: true, threshold, ..PixelOptions::default() }).unwrap();
        ranking_is(name, &found.ranking, &case["ranking"]);
        let decisions = found.at_threshold.unwrap();
        let counts = [decisions.true_positives, decisions.false_positives, decisions.false_negatives, decisions.true_negatives];
        assert_eq!(serde_json::json!(counts), case["decisions"]["counts"], "{name}");
        if decisions.f1().value.is_some() {
            exactly(name, decisions.f1(), &case["decisions"]["f1"]);
            exactly(name, decisions.iou(), &case["decisions"]["iou"]);
        }
        if found.totals.images < 13 {
            exactly(&format!("{name}: AUPRO"), found.aupro, &case["overlap"]["aupro"]);
            exactly(&format!("{name}: AUPRO up to 0.05"), found.aupro_005, &case["overlap"]["aupro_005"]);
            assert_eq!(found.aupimo.mean.value, None, "{name}");
        }
    }
}

#[test]
fn aupro_is_that_of_anomalib_within_its_f32() {
    let mut compared = 0;
    for (case, maps) in cases() {
        let expected = &case["overlap"];
        if expected.get("anomalib_aupro").is_some() {
            let found = compute(&maps, &everything()).unwrap();
            close("AUPRO", found.aupro.value, &expected["anomalib_aupro"], 1e-6);
            close("AUPRO up to 0.05", found.aupro_005.value, &expected["anomalib_aupro_005"], 1e-6);
            compared += 1;
        }
    }
    assert_eq!(compared, 4);
}

#[test]
fn aupimo_is_that_of_the_exact_curve_and_of_anomalib_on_a_fine_grid() {
    let (case, maps) = case("pimo");
    let found = compute(&maps, &PixelOptions::default()).unwrap().aupimo;
    let expected = case["pimo"]["per_image"].as_array().unwrap();
    let mut values = Vec::new();
    for (at, (found, expected)) in found.per_image.iter().zip(expected).enumerate() {
        close("AUPIMO", *found, expected, CLOSE);
        if let Some(found) = found {
            // Thresholds a 1,000,000th apart miss what happens between them: at the lower bound, where normal scores are 1e-6 apart, one point.
            close("AUPIMO by anomalib", Some(*found), &case["pimo"]["anomalib"][at], 5e-3);
            values.push(*found);
        }
    }
    assert_eq!(found.per_image.len(), 13);
    assert!(values.len() == 3 && values.iter().all(|value| (0.1..0.9).contains(value)), "{values:?}");
    values.sort_by(f64::total_cmp);
    assert_eq!(found.median, Measured::exact(values[1]));
    // A normal image less, and the rates are others.
    let rest = compute(&maps[1..], &PixelOptions::default()).unwrap().aupimo;
    assert!((rest.mean.value.unwrap() - found.mean.value.unwrap()).abs() > 1e-4);
}

#[test]
fn approximations_are_those_of_the_programs_that_papers_used() {
    for (case, maps) in cases().into_iter().filter(|(_, maps)| maps.len() < 13) {
        let (name, expected) = (case["name"].as_str().unwrap(), &case["approximations"]);
        let found = compute(&maps, &everything()).unwrap().approximations.unwrap();
        exactly(&format!("{name}: 200 steps"), found.aupro_200, &expected["aupro_200"]);
        exactly(&format!("{name}: 200 steps by SAA"), found.aupro_200_saa, &expected["aupro_200_saa"]);
        if expected.is_object() {
            exactly(&format!("{name}: F1 of regions"), found.region_f1_saa, &expected["region_f1_saa"]);
            // An approximation is not the thing, nor are the two the same.
            let exact = case["overlap"]["aupro"].as_f64().unwrap();
            let [common, saa] = [found.aupro_200, found.aupro_200_saa].map(|measured| measured.value.unwrap());
            assert!((common - exact).abs() > 1e-5 && (common - saa).abs() > 1e-5, "{name}");
        }
    }
}

#[test]
fn brackets_hold_the_exact_value_for_any_width_of_bins() {
    for (case, maps) in cases() {
        let name = case["name"].as_str().unwrap();
        let errors = [12, 16, 20, 24].map(|bits| {
            let mut counts = PixelCounts::with_bits(bits);
            for (map, mask) in &maps {
                counts.add(&Scored { map: map.clone(), mask: Some(mask.clone()) }).unwrap();
            }
            let (ranking, overlap, expected) = (counts.ranking(), counts.overlap(), &case["ranking"]);
            let what = |metric: &str| format!("{name}, {bits} bits: {metric}");
            let mut errors = vec![
                bracketed(&what("AUROC"), ranking.auroc, &expected["auroc"]),
                bracketed(&what("AP"), ranking.ap, &expected["ap"]),
                bracketed(&what("AUPR"), ranking.aupr_trapezoid, &expected["aupr_trapezoid"]),
                bracketed(&what("F1"), ranking.f1_max, &expected["f1_max"]),
            ];
            if maps.len() < 13 {
                errors.push(bracketed(&what("AUPRO"), overlap.aupro, &case["overlap"]["aupro"]));
                errors.push(bracketed(&what("AUPRO up to 0.05"), overlap.aupro_005, &case["overlap"]["aupro_005"]));
            }
            errors.into_iter().fold(0.0, f64::max)
        });
        assert!(errors.is_sorted_by(|a, b| a >= b), "{name}: {errors:?}");
        // Tied scores have bins of their own even where these are wide. Otherwise bins 1/4096 as wide leave at most 1/100 of the error.
        if case["ranking"].is_object() && name != "ties" {
            assert!(errors[0] > 1e-3 && errors[3] < errors[0] / 100.0, "{name}: {errors:?}");
        }
    }
}

#[test]
fn few_distinct_values_are_exact_in_one_pass() {
    for name in ["ties", "bytes"] {
        let (case, maps) = case(name);
        let found = compute(&maps, &PixelOptions::default()).unwrap();
        ranking_is(name, &found.ranking, &case["ranking"]);
        exactly(name, found.aupro, &case["overlap"]["aupro"]);
    }
    let (_, maps) = case("skewed");
    // As f16, the scores of any map.
    let halves: Vec<(Array, Mask)> = maps
        .into_iter()
        .map(|(map, mask)| {
            (Array::new(map.shape(), map.data().iter().map(|&score| f32::from_bits(score.to_bits() & !0x1fff)).collect()), mask)
        })
        .collect();
    let one_pass = compute(&halves, &PixelOptions::default()).unwrap();
    assert_eq!((one_pass.ranking.ap.error, one_pass.aupro.error), (0.0, 0.0));
    assert_eq!(one_pass, compute(&halves, &PixelOptions { is_exact: true, ..PixelOptions::default() }).unwrap());
}

#[test]
fn the_result_is_the_same_for_any_number_of_threads_order_and_memory() {
    for name in ["plain", "skewed", "sizes"] {
        let (_, maps) = case(name);
        let text = |maps: &[(Array, Mask)], threads: usize, memory: u64| {
            let options = PixelOptions { threads: NonZeroUsize::new(threads), memory, threshold: Some(0.3), ..everything() };
            serde_json::to_string(&compute(maps, &options).unwrap()).unwrap()
        };
        let first = text(&maps, 1, 1 << 20);
        for (threads, memory) in [(2, 1 << 20), (5, 1 << 20), (2, 1000), (5, 0)] {
            assert_eq!(text(&maps, threads, memory), first, "{name}: {threads} threads, {memory} bytes");
        }
        let shuffled: Vec<(Array, Mask)> = maps.iter().rev().cloned().collect();
        assert_eq!(text(&shuffled, 2, 1 << 20), first);
    }
}

#[test]
fn plausible_mistakes_would_be_seen() {
    for (case, maps) in cases().into_iter().filter(|(_, maps)| maps.len() < 13) {
        let found = compute(&maps, &everything()).unwrap();
        for mistake in ["wrong_without_a_normal_image", "wrong_by_splitting_ties"] {
            // Only tied scores can be split.
            if let Some(wrong) = case[mistake].as_f64()
                && (mistake == "wrong_without_a_normal_image" || case["name"] == "ties")
            {
                assert!((found.ranking.auroc.value.unwrap() - wrong).abs() > 1e-4, "{mistake} of {}", case["name"]);
            }
        }
        if ["plain", "skewed"].contains(&case["name"].as_str().unwrap()) {
            let wrong = case["overlap"]["wrong_by_four_neighbours"].as_f64().unwrap();
            assert!((found.aupro.value.unwrap() - wrong).abs() > 1e-4, "{}", case["name"]);
        }
    }
}

#[test]
fn what_cannot_be_ranked_is_an_error_that_names_the_map() {
    let (_, mut maps) = case("plain");
    maps[2].0.data_mut()[40] = f32::NAN;
    let error = compute(&maps, &everything()).unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Nonfinite, "the map is NaN at x 8, y 1"));
    assert!(format!("{error:#}").contains("\n  map 3"), "{error:#}");
    let (_, mut maps) = case("plain");
    maps[1].1 = Mask::new(3, 2, vec![true; 6]);
    assert_eq!(compute(&maps, &everything()).unwrap_err().message(), "the mask is 3×2 but the map is 32×24");
}

#[test]
fn maps_that_change_between_passes_are_an_error() {
    let loads = std::sync::atomic::AtomicU64::new(0);
    let load = |_: usize| {
        let mut random = Seeded::new(loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        // All in one bin, so that there are exact passes.
        let scores = (0..400).map(|_| 1.0 + 1e-5 * random.uniform() as f32).collect();
        Ok(Scored { map: Array::new([20, 20], scores), mask: Some(mask(20, 20, &serde_json::json!([[3, 3, 4, 4, 1]]))) })
    };
    let error = pixel_metrics(3, &load, &everything(), &|_| Ok(())).unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Io, "maps or masks changed while they were evaluated"));
}

#[test]
fn an_error_of_a_map_or_of_progress_ends_it() {
    let fail = |at: usize| Err(Error::new(Code::Decode, format!("map {at} cannot be read")));
    assert_eq!(pixel_metrics(3, &fail, &everything(), &|_| Ok(())).unwrap_err().message(), "map 0 cannot be read");
    let (_, maps) = case("plain");
    let load = |at: usize| Ok(Scored { map: maps[at].0.clone(), mask: Some(maps[at].1.clone()) });
    let stop = |done: usize| if done == 2 { Err(Error::new(Code::Usage, "stopped")) } else { Ok(()) };
    assert_eq!(pixel_metrics(4, &load, &everything(), &stop).unwrap_err().message(), "stopped");
}

#[test]
fn curves_begin_and_end_where_they_should_and_nothing_at_all_has_reasons() {
    let (_, maps) = case("plain");
    let found = compute(&maps, &everything()).unwrap();
    let ends = |curve: &[[f64; 2]]| [curve[0], curve[curve.len() - 1]];
    assert_eq!(ends(&found.ranking.roc), [[0.0, 0.0], [1.0, 1.0]]);
    assert_eq!((found.ranking.pr[0], ends(&found.ranking.pr)[1][0]), ([0.0, 1.0], 1.0));
    let [start, end] = ends(&found.pro);
    assert!(start == [0.0, 0.0] && end[0] == 1.0 && (end[1] - 1.0).abs() < 1e-12);
    assert!(found.ranking.roc.len() > 100 && found.ranking.roc.len() <= 500 && found.ranking.pr.len() <= 500 && found.pro.len() <= 500);
    let nothing = compute(&[], &everything()).unwrap();
    assert!(nothing.ranking.auroc.reason.is_some() && nothing.aupro.reason.is_some() && nothing.aupimo.mean.reason.is_some());
    assert!(nothing.approximations.unwrap().region_f1_saa.reason.is_some());
}
