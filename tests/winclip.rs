//! WinCLIP and WinCLIP+ on a tiny tower against a plain PyTorch program written from the specification (`tools/golden_clip.py`).

mod common;

use common::{golden_array, photo, thinned, tiny};
use zsas::image::Rgb;
use zsas::methods::winclip::{MEMORY, WinClip, remember};
use zsas::methods::{Memory, Method, MultiCrop};
use zsas::{Array, Device, Precision};

fn truth(name: &str) -> Array {
    golden_array("methods/winclip.safetensors", name)
}

fn remembered(device: &Device, photos: &[Rgb]) -> Memory {
    remember(device, &tiny(), &mut photos.iter().cloned().map(Ok), Precision::F32, &mut |_| Ok(())).unwrap()
}

/// The method with the first `references` of the four reference photos.
fn method(device: &Device, references: usize, multi_crop: MultiCrop) -> WinClip {
    let clip = tiny();
    let photos: Vec<Rgb> = (1..=references).map(|number| photo(&format!("reference_{number}"))).collect();
    let memory = (references > 0).then(|| remembered(device, &photos));
    WinClip::new(device, &clip, &truth("prototypes"), memory.as_ref(), multi_crop, Precision::F32).unwrap()
}

/// PyTorch's own f32 is 4e-7 away from f64 on these maps, whose values are near 1.
const BOUND: f64 = 4e-6;

#[test]
fn maps_and_scores_are_what_the_specification_computes() {
    let device = common::device();
    for (name, query, references) in [
        ("winclip", "textile", 0),
        ("winclip_plus_1", "textile", 1),
        ("winclip_plus_4", "textile", 4),
        ("wide_winclip", "wide", 0),
        ("wide_winclip_plus_4", "wide", 4),
    ] {
        let scored = method(device, references, MultiCrop::None).score(&photo(query)).unwrap();
        let off = f64::from((scored.score - truth(&format!("{name}_score")).data()[0]).abs());
        assert!(off <= BOUND, "{name}: the score is {off} away");
        let off = thinned(&scored.map).max_abs(&truth(&format!("{name}_map")));
        assert!(off <= BOUND, "{name}: the map is {off} away");
    }
}

#[test]
fn the_reference_computes_the_same() {
    let scored = method(&Device::reference(), 1, MultiCrop::None).score(&photo("textile")).unwrap();
    assert!(thinned(&scored.map).max_abs(&truth("winclip_plus_1_map")) <= BOUND);
    let scored = method(&Device::reference(), 0, MultiCrop::None).score(&photo("textile")).unwrap();
    assert!(thinned(&scored.map).max_abs(&truth("winclip_map")) <= BOUND);
}

#[test]
fn views_of_an_elongated_photo_are_averaged() {
    let device = common::device();
    let whole = method(device, 0, MultiCrop::None).score(&photo("wide")).unwrap();
    for crop in [MultiCrop::Tile, MultiCrop::Five, MultiCrop::Ten] {
        let scored = method(device, 0, crop).score(&photo("wide")).unwrap();
        let truth = truth(&format!("crops_{}_score", crop.as_str())).data()[0];
        assert!(f64::from((scored.score - truth).abs()) <= BOUND, "{crop:?}: {} for {truth}", scored.score);
        assert_eq!(scored.map, whole.map, "the map is of the whole photo");
        assert_ne!(scored.score, whole.score);
    }
}

#[test]
fn a_reference_is_at_no_distance_from_itself_and_order_does_not_matter() {
    let device = common::device();
    let clip = tiny();
    let photos: Vec<Rgb> = [3, 1, 2].iter().map(|number| photo(&format!("reference_{number}"))).collect();
    let score = |order: &[usize], query: &Rgb| {
        let photos: Vec<Rgb> = order.iter().map(|&at| photos[at].clone()).collect();
        let memory = remembered(device, &photos);
        WinClip::new(device, &clip, &truth("prototypes"), Some(&memory), MultiCrop::None, Precision::F32)
            .unwrap()
            .score(query)
            .unwrap()
    };
    let query = photo("textile");
    assert_eq!(score(&[0, 1, 2], &query).map, score(&[2, 0, 1], &query).map);
    // ½ (language + 0): the cosine of a row with itself may miss 1 by a rounding.
    let language = method(device, 0, MultiCrop::None).score(&photos[0]).unwrap().score;
    let own = score(&[0, 1], &photos[0]).score;
    assert!((own - 0.5 * language).abs() < 1e-6, "{own} for {}", 0.5 * language);
}

/// More references than are compared at once: 25 patches each, 4096 rows a part.
#[test]
fn a_memory_in_several_parts_is_one_memory() {
    let device = common::device();
    let clip = tiny();
    let few: Vec<Rgb> = (1..=4).map(|number| photo(&format!("reference_{number}"))).collect();
    let one = remembered(device, &few);
    let repeated = MEMORY.arrays.iter().map(|kind| {
        let rows = one.array(kind.name);
        let [count, cols] = rows.shape().axes();
        Some(Array::new([50 * count, cols], rows.data().repeat(50)))
    });
    let many = Memory::new(&MEMORY, repeated);
    let score = |memory: &Memory| {
        WinClip::new(device, &clip, &truth("prototypes"), Some(memory), MultiCrop::None, Precision::F32)
            .unwrap()
            .score(&photo("textile"))
            .unwrap()
    };
    assert_eq!(score(&many).map, score(&one).map);
}

#[test]
fn runs_are_bit_identical() {
    let device = common::device();
    let query = photo("textile");
    assert_eq!(
        method(device, 2, MultiCrop::None).score(&query).unwrap().map,
        method(device, 2, MultiCrop::None).score(&query).unwrap().map
    );
}

#[test]
fn a_wrong_association_would_be_seen() {
    // The maps of one and of four references differ by far more than the bound.
    assert!(truth("winclip_plus_1_map").max_abs(&truth("winclip_plus_4_map")) > 0.05);
    assert!(truth("winclip_map").max_abs(&truth("winclip_plus_1_map")) > 0.05);
}
