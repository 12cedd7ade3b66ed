//! Whole methods with the embedded network, against plain PyTorch programs written from the specification (`tools/golden.py methods`).

mod common;

use common::{golden_array, photo, thinned};
use zsas::image::Rgb;
use zsas::methods::{Method, Reading, Saliency, Tiles, Utad};
use zsas::models::embedded;
use zsas::{Array, Device, Precision};

fn truth(name: &str) -> Array {
    golden_array("methods/textile.safetensors", name)
}

fn utad(device: &Device) -> Utad {
    Utad::new(device, &embedded::textures().unwrap(), Precision::F32).unwrap()
}

#[test]
fn utad_is_what_the_specification_computes() {
    let device = common::device();
    let scored = utad(device).score(&photo("textile")).unwrap();
    let score = truth("score").data()[0];
    // Both compute the network in f32 and the distances without cancellation.
    assert!((scored.score - score).abs() <= 1e-5 * score, "score {} for {score}", scored.score);
    let distance = thinned(&scored.map).relative_l2(&truth("map"));
    assert!(distance <= 1e-5, "the map is {distance} away");
}

#[test]
fn saliency_is_what_the_specification_computes_in_both_readings() {
    let device = common::device();
    for reading in [Reading::Released, Reading::Paper] {
        let method = Saliency::new(device, &embedded::textures().unwrap(), Precision::F32, reading).unwrap();
        let scored = method.score(&photo("textile")).unwrap();
        let name = format!("saliency_{}", reading.as_str());
        let difference = thinned(&scored.map).max_abs(&truth(&name));
        assert!(difference <= 1e-4, "{name} is {difference} away");
    }
}

#[test]
fn the_readings_of_saliency_differ() {
    assert!(truth("saliency_released").max_abs(&truth("saliency_paper")) > 0.01);
}

#[test]
fn a_photo_of_one_colour_has_a_flat_map() {
    let device = common::device();
    let scored = utad(device).score(&Rgb::new(64, 64, vec![90; 64 * 64 * 3])).unwrap();
    // The zeros around a photo reach 4 of the 40 cells of layer 2 and pooling one more; half a cell by interpolation and 16 pixels by the
    // Gaussian follow: 60 of 320 pixels.
    let margin = 64 * 60 / 320;
    let mut inside = (margin..64 - margin).flat_map(|y| (margin..64 - margin).map(move |x| y * 64 + x));
    assert!(inside.all(|at| scored.map.data()[at] < 1e-3), "{:?}", scored.map.data());
    // At the border they make no defect: the calmest of the nominal samples scores twice as much.
    assert!(scored.score < 0.65, "{}", scored.score);
}

#[test]
fn scores_are_bit_identical_from_run_to_run_and_after_a_new_start() {
    let device = common::device();
    let (method, photo) = (utad(device), photo("textile"));
    let first = method.score(&photo).unwrap();
    for again in [method.score(&photo).unwrap(), utad(device).score(&photo).unwrap()] {
        assert_eq!(first.score.to_bits(), again.score.to_bits());
        assert_eq!(first.map, again.map);
    }
}

#[test]
fn a_lost_device_is_an_error_and_not_a_panic() {
    let device = Device::open(&Default::default()).unwrap();
    let method = utad(&device);
    device.lose();
    assert_eq!(method.score(&photo("textile")).unwrap_err().code(), zsas::Code::DeviceLost);
    assert_eq!(Utad::new(&device, &embedded::textures().unwrap(), Precision::F32).err().unwrap().code(), zsas::Code::DeviceLost);
}

#[test]
fn tiles_of_utad_inspect_the_whole_image() {
    let device = common::device();
    let tiles = utad(device).with_tiles(Some(Tiles::new(1, None).unwrap()));
    // Of a square, too, the published method leaves out the margin.
    let (square, published) = (tiles.score(&photo("textile")).unwrap(), utad(device).score(&photo("textile")).unwrap());
    assert_eq!(square.map.shape(), published.map.shape());
    assert!(square.uninspected.is_empty() && (published.uninspected[0].share.unwrap() - 0.36).abs() < 1e-9);
    // A black square at the left end of a woven band of 4:1.
    let (width, height) = (640, 160);
    let is_defect = |x: usize, y: usize| (10..40).contains(&x) && (65..95).contains(&y);
    let weave = |x: usize, y: usize| 100 + 50 * u8::from((x / 8 + y / 8).is_multiple_of(2)) + ((7 * x + 13 * y) % 5) as u8;
    let data = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [if is_defect(x, y) { 0 } else { weave(x, y) }; 3]))
        .collect();
    let band = Rgb::new(width, height, data);
    let (centre, whole) = (utad(device).score(&band).unwrap(), tiles.score(&band).unwrap());
    assert!((centre.uninspected[0].share.unwrap() - 0.84).abs() < 1e-9, "{:?}", centre.uninspected);
    assert!(whole.uninspected.is_empty() && whole.map.is_finite());
    assert!(whole.score > 2.0 * centre.score, "{} found, {} in the centre", whole.score, centre.score);
    let hottest = whole.map.data().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    assert!(hottest % width < 60, "the hottest pixel is in column {}", hottest % width);
}
