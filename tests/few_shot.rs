//! PatchCore, PaDiM and SPADE on a tiny network against plain PyTorch programs in f64 (`tools/golden_few_shot.py`), and the memories of
//! reference images that they keep.

mod common;

use std::sync::Arc;

use common::{golden_array, golden_file, photo, thinned};
use zsas::image::Rgb;
use zsas::inspect::Detector;
use zsas::methods::few_shot::{Padim, PatchCore, Spade};
use zsas::methods::{Finding, Memory, Method, MethodInfo, Reference, named};
use zsas::weights::to_safetensors;
use zsas::{Array, Checkpoint, Code, Device, DeviceChoice, DeviceOptions, Precision};

const METHODS: [&str; 3] = ["patchcore", "padim", "spade"];

/// Largest difference from PyTorch's f64, as a share of the largest value. The features of the tiny network are up to 2e-6 away (see
/// `tests/wide_resnet.rs`), their distances as much, squares twice that; the rest is the rounding of the map.
const BOUND: f64 = 5e-6;

fn truth(name: &str) -> Array {
    golden_array("methods/few_shot.safetensors", name)
}

fn weights() -> Checkpoint {
    golden_file("wide_resnet/tiny.safetensors")
}

/// Four photos of other sizes, an elongated one, and the photo that is inspected upside down.
fn references() -> Vec<Rgb> {
    let upside_down = |image: Rgb| {
        let pixels: Vec<[u8; 3]> = image.data().chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Rgb::new(image.width(), image.height(), pixels.into_iter().rev().flatten().collect())
    };
    let names = ["reference_1", "reference_2", "reference_3", "reference_4", "wide"];
    names.into_iter().map(photo).chain([upside_down(photo("textile"))]).collect()
}

/// Columns moved to the right in a circle.
fn rolled(image: &Rgb, shift: usize) -> Rgb {
    let mut data = image.data().to_vec();
    data.chunks_exact_mut(3 * image.width()).for_each(|row| row.rotate_right(3 * shift % row.len()));
    Rgb::new(image.width(), image.height(), data)
}

fn remember(device: &Device, method: &str, references: &[Rgb]) -> Memory {
    let (weights, images, done) = (weights(), &mut references.iter().cloned().map(Ok), &mut |_| Ok(()));
    let precision = Precision::F32;
    let memory = match method {
        "patchcore" => PatchCore::remember(device, &PatchCore::network(&weights).unwrap(), images, precision, done),
        "padim" => Padim::remember(device, &Padim::network(&weights).unwrap(), images, precision, done),
        _ => Spade::remember(device, &Spade::network(&weights).unwrap(), images, precision, done),
    };
    memory.unwrap()
}

fn built(device: &Device, method: &str, memory: Memory) -> zsas::Result<Box<dyn Method>> {
    let weights = weights();
    Ok(match method {
        "patchcore" => Box::new(PatchCore::new(device, &PatchCore::network(&weights)?, &memory, Precision::F32)?),
        "padim" => Box::new(Padim::new(device, &Padim::network(&weights)?, &memory, Precision::F32)?),
        _ => Box::new(Spade::new(device, &Spade::network(&weights)?, Arc::new(memory), Precision::F32)?),
    })
}

fn found(device: &Device, method: &str, references: &[Rgb], image: &Rgb) -> Finding {
    built(device, method, remember(device, method, references)).unwrap().score(image).unwrap()
}

/// How far a map is from PyTorch's, as a share of its largest value.
fn distance(finding: &Finding, name: &str) -> f64 {
    let truth = truth(&format!("{name}_map"));
    thinned(&finding.map).max_abs(&truth) / f64::from(truth.data().iter().copied().fold(0.0, f32::max))
}

fn score_distance(finding: &Finding, name: &str) -> f64 {
    let truth = f64::from(truth(&format!("{name}_score")).data()[0]);
    (f64::from(finding.score) - truth).abs() / truth
}

#[track_caller]
fn is_near(finding: &Finding, name: &str) {
    let [map, score] = [distance(finding, name), score_distance(finding, name)];
    eprintln!("{name}: map {map:.1e}, score {score:.1e}");
    assert!(map <= BOUND && score <= BOUND, "{name}: the map is {map} away, the score {score}");
}

#[test]
fn maps_and_scores_are_those_of_plain_programs() {
    let (device, query, references) = (common::device(), photo("textile"), references());
    for method in METHODS {
        // One; fewer than all are kept of; more than are kept of, and more than are compared.
        for count in [1, 2, 4, 6] {
            is_near(&found(device, method, &references[..count], &query), &format!("{method}_{count}"));
        }
    }
}

#[test]
fn of_an_elongated_photo_the_central_square_is_inspected() {
    let (device, references) = (common::device(), references());
    for (method, count) in [("patchcore", 1), ("padim", 2), ("spade", 2)] {
        let finding = found(device, method, &references[..count], &photo("wide"));
        is_near(&finding, &format!("{method}_wide"));
        // 150 × 60 is scaled to 640 × 256, of which 224 × 224 are seen.
        let share = finding.uninspected[0].share.unwrap();
        assert!((share - (1.0 - 224.0 * 224.0 / (640.0 * 256.0))).abs() < 1e-9, "{method}: {share}");
    }
}

#[test]
fn with_more_references_than_channels_the_covariance_is_inverted_as_it_is() {
    let (device, query) = (common::device(), photo("textile"));
    let references: Vec<Rgb> = (1..=32).map(|at| rolled(&query, 7 * at)).collect();
    let memory = remember(device, "padim", &references);
    assert!(memory.optional("basis").is_none());
    is_near(&built(device, "padim", memory).unwrap().score(&query).unwrap(), "padim_32");
}

#[test]
fn plausible_mistakes_would_be_seen() {
    let (device, query, references) = (common::device(), photo("textile"), references());
    let [four, six] = [&references[..4], &references[..]];
    for (method, references, mistakes) in [
        ("patchcore", four, &["plain", "padding", "bins", "order"][..]),
        ("padim", four, &["ddof", "regularization", "filter", "channels"]),
        ("spade", six, &["joined", "nearest", "filter"]),
    ] {
        let finding = found(device, method, references, &query);
        for mistake in mistakes {
            let distance = distance(&finding, &format!("wrong_{method}_{mistake}"));
            assert!(distance > 200.0 * BOUND, "{method} with the wrong {mistake} is {distance} away");
        }
    }
}

#[test]
fn a_tenth_of_the_patches_of_many_references_is_kept() {
    let memory = remember(common::device(), "patchcore", &references());
    assert_eq!(memory.array("patches").shape().sizes(), [470, 1024]);
    let expected = truth("patchcore_6_rows");
    // Two rows whose distances differ by less than rounding may change places.
    let same = memory.array("rows").data().iter().filter(|row| expected.data().contains(row)).count();
    assert!(same >= 468, "{same} of 470 rows are those of PyTorch");
}

#[test]
fn an_image_that_is_a_reference_has_no_distance() {
    let (device, query) = (common::device(), photo("textile"));
    let references = [query.clone(), photo("reference_1")];
    assert_eq!(found(device, "patchcore", &references, &query).score, 0.0);
    let spade = found(device, "spade", &references[..1], &query);
    // √c · 1e-6 for each layer, c ≤ 12, and what adding 1e-6 to a feature of up to 16 is rounded by.
    assert!(spade.score == 0.0 && spade.map.data().iter().all(|&x| x < 1e-5), "{}", spade.score);
    assert_eq!(found(device, "padim", &references[..1], &query).score, 0.0);
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let (query, references) = (photo("textile"), references());
    let on = |threads: usize, method: &str| {
        let options = DeviceOptions { choice: DeviceChoice::Cpu, threads: Some(threads), ..DeviceOptions::default() };
        let device = Device::open(&options).unwrap();
        let memory = remember(&device, method, &references);
        let finding = built(&device, method, memory.clone()).unwrap().score(&query).unwrap();
        (memory, finding.map, finding.score.to_bits())
    };
    for method in METHODS {
        let one = on(1, method);
        assert!([2, 5].into_iter().all(|threads| on(threads, method) == one), "{method}");
    }
}

/// A detector on the tiny weights, with the references or the memory of an earlier one.
fn detector(method: &str, folder: &std::path::Path) -> zsas::inspect::DetectorBuilder {
    let weights = folder.join("wide-resnet");
    std::fs::create_dir_all(&weights).unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wide_resnet/tiny.safetensors");
    std::fs::copy(golden, weights.join("model.safetensors")).unwrap();
    let options = DeviceOptions { choice: DeviceChoice::Cpu, ..DeviceOptions::default() };
    Detector::builder().method(method).weights(folder).device(options)
}

fn given(references: &[Rgb]) -> impl Iterator<Item = Reference> {
    references.iter().zip(1..).map(|(image, at)| Reference::image(format!("{at}.png"), image.clone()))
}

#[test]
fn a_memory_that_was_saved_gives_the_same_bytes_and_fits_its_own_method_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (query, references) = (photo("textile"), references());
    for method in METHODS {
        let first = detector(method, folder.path()).references(given(&references)).open().unwrap();
        let file = folder.path().join(format!("{method}.memory"));
        std::fs::write(&file, first.memory_file().unwrap().unwrap()).unwrap();
        let again = detector(method, folder.path()).memory(&file).open().unwrap();
        let [first, again] = [&first, &again].map(|detector| (detector.inspect(&query).unwrap(), detector.scale()));
        assert_eq!((first.0.map, first.0.score, first.1), (again.0.map, again.0.score, again.1), "{method}");
        // The file says which method reads it.
        let plan = detector("auto", folder.path()).memory(&file).plan().unwrap();
        assert_eq!(plan.method().name, method);
        for other in METHODS.into_iter().filter(|other| *other != method) {
            let error = detector(other, folder.path()).memory(&file).plan().err().unwrap();
            assert_eq!(error.code(), Code::Reference);
            let message = format!("`{}` is a memory of `{method}`, not of `{other}`", file.display());
            assert_eq!(error.message(), message);
        }
    }
}

/// The same arrays but for one, which another network made.
fn changed(method: &MethodInfo, memory: &Memory, name: &str, array: &Array) -> zsas::Result<Memory> {
    let kind = method.inputs.memory.unwrap();
    let arrays = kind.arrays.iter().filter_map(|one| Some((one.name, memory.optional(one.name)?)));
    let arrays = arrays.map(|(known, own)| (known, if known == name { array } else { own }));
    let format = format!("zsas-gpu {} memory 1", method.name);
    let bytes = to_safetensors(arrays, &[("format", &format), ("features", "same")]).unwrap();
    Memory::read(&Checkpoint::from_bytes("m", bytes).unwrap(), kind, "same")
}

#[test]
fn arrays_of_other_sizes_are_refused_and_do_not_panic() {
    let device = common::device();
    let cases: [(&str, &str, Array, &str); 9] = [
        ("patchcore", "patches", Array::zeros([784, 1000]), "`patches` of `m` has rows of 1000 numbers, not 1024"),
        ("patchcore", "rows", Array::zeros([3]), "`rows` of `m` names 3 of 784 patches"),
        ("padim", "channels", Array::new([2], vec![1.0, 0.5]), "`channels` of `m` are no ascending whole numbers"),
        ("padim", "mean", Array::zeros([3136, 27]), "`mean` of `m` is not [3136, 28]"),
        ("padim", "inverse", Array::zeros([3136, 2, 1]), "`inverse` of `m` is not [3136, 1, 1]"),
        ("padim", "channels", Array::new([28], (1..29).map(|x| x as f32).collect()), "`channels` of the memory is [28, 29]"),
        ("spade", "hottest", Array::zeros([1]), "`hottest` of `m` is not one positive number"),
        ("spade", "pooled", Array::zeros([2, 16]), "`layer1` of `m` is of 1 references, the pooled features are of 2"),
        ("spade", "layer2", Array::zeros([1, 8, 783]), "`layer2` of the memory is [8, 783], these weights make [8, 784]"),
    ];
    for (method, name, array, message) in cases {
        let info = named(method).unwrap();
        let memory = remember(device, method, &references()[..1]);
        let error = changed(info, &memory, name, &array)
            .and_then(|memory| built(device, method, memory))
            .err()
            .expect(name);
        assert_eq!(error.code(), Code::Reference);
        assert!(error.message().starts_with(message), "{}", error.message());
    }
}

#[test]
fn weights_that_are_not_finite_or_have_too_few_layers_are_refused() {
    let weights = weights();
    let arrays: Vec<(String, Array)> = weights
        .names()
        .map(|name| (name.to_owned(), weights.root().weight(name, weights.shape(name).unwrap()).unwrap().to_array().unwrap()))
        .collect();
    let file = |arrays: &[(String, Array)]| {
        let named = arrays.iter().map(|(name, array)| (name.as_str(), array));
        Checkpoint::from_bytes("w", to_safetensors(named, &[]).unwrap()).unwrap()
    };
    let mut broken = arrays.clone();
    broken.iter_mut().find(|(name, _)| name == "layer3.0.conv2.weight").unwrap().1.data_mut()[5] = f32::NAN;
    let network = PatchCore::network(&file(&broken)).unwrap();
    let mut images = references().into_iter().map(Ok);
    let error = PatchCore::remember(common::device(), &network, &mut images, Precision::F32, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.code(), Code::WeightsNonfinite);
    let shallow: Vec<_> = arrays
        .into_iter()
        .filter(|(name, _)| !name.starts_with("layer3") && !name.starts_with("layer4"))
        .collect();
    for refused in [PatchCore::network(&file(&shallow)), Padim::network(&file(&shallow)), Spade::network(&file(&shallow))] {
        let error = refused.err().unwrap();
        assert_eq!(error.code(), Code::WeightsMismatch);
        assert!(error.message().ends_with("reads layers up to 3, w holds 2"), "{}", error.message());
    }
}
