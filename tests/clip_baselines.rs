//! The baselines on CLIP's features on a tiny tower against plain PyTorch programs written from the specification (`tools/golden_clip.py`).

mod common;

use common::{golden_array, photo, thinned, tiny};
use zsas::image::Rgb;
use zsas::kernels::Activation;
use zsas::methods::{ClipAc, Finding, ImageTiling, MaskClip, Method, PatchToken, Reading, TransMm};
use zsas::models::clip::{Block, Clip};
use zsas::{Array, Code, Device, Precision};

fn truth(name: &str) -> Array {
    golden_array("methods/clip_baselines.safetensors", name)
}

/// A method by the name of its golden.
fn method_with(device: &Device, clip: &Clip, golden: &str, precision: Precision) -> Box<dyn Method> {
    let prototypes = &truth("prototypes");
    match golden {
        "clip_ac" => Box::new(ClipAc::new(device, clip, prototypes, precision).unwrap()),
        "maskclip_released" => Box::new(MaskClip::new(device, clip, prototypes, Reading::Released, precision).unwrap()),
        "maskclip_paper" => Box::new(MaskClip::new(device, clip, prototypes, Reading::Paper, precision).unwrap()),
        "trans_mm" => Box::new(TransMm::new(device, clip, prototypes, precision).unwrap()),
        "patch_token" => Box::new(PatchToken::new(device, clip, prototypes, precision).unwrap()),
        "image_tiling" => Box::new(ImageTiling::new(device, clip, prototypes, precision).unwrap()),
        other => panic!("no method `{other}`"),
    }
}

fn method(device: &Device, golden: &str) -> Box<dyn Method> {
    method_with(device, &tiny(), golden, Precision::F32)
}

fn score(device: &Device, golden: &str, photo: &Rgb) -> Finding {
    method(device, golden).score(photo).unwrap()
}

/// The methods, and how far they may be from PyTorch, whose own f32 is 4e-7 away from f64 on probabilities. Relevance is no
/// probability: it reaches 2.6 here, and the bound grows with it.
const METHODS: [(&str, f64); 6] = [
    ("clip_ac", BOUND),
    ("maskclip_released", BOUND),
    ("maskclip_paper", BOUND),
    ("trans_mm", 2.6 * BOUND),
    ("patch_token", BOUND),
    ("image_tiling", BOUND),
];

const BOUND: f64 = 4e-6;

/// How far the score or any pixel of the map is from its golden.
fn distance(scored: &Finding, golden: &str) -> f64 {
    let of_score = f64::from((scored.score - truth(&format!("{golden}_score")).data()[0]).abs());
    if golden == "clip_ac" {
        assert!(scored.map.data().iter().all(|&value| value == scored.score), "it localises nothing");
        return of_score;
    }
    of_score.max(thinned(&scored.map).max_abs(&truth(&format!("{golden}_map"))))
}

#[test]
fn maps_and_scores_are_what_the_specification_computes() {
    let device = common::device();
    for (golden, bound) in METHODS {
        let method = method(device, golden);
        let scored = method.score(&photo("textile")).unwrap();
        let off = distance(&scored, golden);
        assert!(off <= bound, "{golden} is {off} away");
        assert_eq!(scored.map.shape().sizes(), [250, 250]);
        let [coldest, hottest] = method.scale().range;
        assert!(coldest == 0.0 && scored.map.data().iter().all(|value| (coldest..=hottest).contains(value)), "{golden}: its scale fits");
    }
    let off = distance(&score(device, "image_tiling", &photo("wide")), "wide_image_tiling");
    assert!(off <= BOUND, "image tiling of a wide photo is {off} away");
}

#[test]
fn the_reference_computes_the_same() {
    for (golden, bound) in METHODS {
        let off = distance(&score(&Device::reference(), golden, &photo("textile")), golden);
        assert!(off <= bound, "{golden} is {off} away");
    }
}

#[test]
fn f16_storage_stays_near_and_differs() {
    let Some(device) = common::adapter("f16_storage_stays_near_and_differs") else { return };
    if !common::has_f16("f16_storage_stays_near_and_differs", device) {
        return;
    }
    for (golden, bound) in METHODS {
        let scored = method_with(device, &tiny(), golden, Precision::Mixed).score(&photo("textile")).unwrap();
        let off = distance(&scored, golden);
        // Some twenty launches round what they store to 2⁻¹¹.
        assert!(off > bound && off < 20.0 * 2f64.powi(-11), "{golden} is {off} away");
    }
}

#[test]
fn the_readings_of_maskclip_differ() {
    assert!(truth("maskclip_released_map").max_abs(&truth("maskclip_paper_map")) > 0.1);
    let device = Device::reference();
    let scored = score(&device, "maskclip_paper", &photo("textile"));
    assert!(distance(&scored, "maskclip_released") > 0.1);
}

#[test]
fn a_wrong_activation_or_head_count_of_the_last_block_would_be_seen() {
    let device = Device::reference();
    let with = |change: fn(&mut Block)| {
        let mut clip = tiny();
        change(clip.image.transformer.resblocks.last_mut().unwrap());
        let scored = method_with(&device, &clip, "trans_mm", Precision::F32).score(&photo("textile")).unwrap();
        distance(&scored, "trans_mm")
    };
    assert!(with(|_| {}) <= 2.6 * BOUND);
    assert!(with(|block| block.mlp.activation = Activation::QuickGelu) > 1e-3);
    assert!(with(|block| block.attn.heads = 1) > 1e-3);
}

#[test]
fn image_tiling_takes_its_score_from_the_whole_photo_and_refuses_the_smallest() {
    let device = common::device();
    let tiling = method(device, "image_tiling");
    let photo = photo("wide");
    assert_eq!(tiling.score(&photo).unwrap().score, score(device, "clip_ac", &photo).score);
    let error = tiling.score(&Rgb::new(5, 9, vec![0; 135])).unwrap_err();
    assert_eq!(error.code(), Code::TooSmall);
}

#[test]
fn runs_are_bit_identical() {
    let device = common::device();
    let photo = photo("textile");
    for (golden, ..) in METHODS {
        let method = method(device, golden);
        let first = method.score(&photo).unwrap();
        for again in [method.score(&photo).unwrap(), score(device, golden, &photo)] {
            assert_eq!((first.score, &first.map), (again.score, &again.map), "{golden}");
        }
    }
}
