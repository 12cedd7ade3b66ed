//! The whole photo and no more of it: tiles find defects that the published crop leaves out, a region of interest reports none outside.

mod common;

use std::path::Path;

use serde_json::{Value, json};

use common::binary::{Place, png};
use zsas::image::{Mask, Rgb, encode_mask_png, encode_rgb_png};
use zsas::inspect::{Detector, RegionOfInterest};
use zsas::methods::{Finding, Method, Reference, Tiles, Utad};
use zsas::models::{embedded, store};
use zsas::{Code, Precision};

/// Side of a painted defect, in pixels: the features of the published crop do not reach it at the border.
const DEFECT: usize = 8;

/// A good textile photo without the white line that all of them have in their last row and column.
fn textile() -> Rgb {
    let photo = Rgb::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/photos/textile/nominal_033.jpg")).unwrap();
    photo.crop(0, 0, photo.width() - 2, photo.height() - 2)
}

/// The photo with a black and white chequered square whose upper left corner is here.
fn with_defect(photo: &Rgb, (left, top): (usize, usize)) -> Rgb {
    let mut data = photo.data().to_vec();
    for (row, column) in (0..DEFECT).flat_map(|row| (0..DEFECT).map(move |column| (row, column))) {
        let value = if (row / 2 + column / 2) % 2 == 0 { 0 } else { 255 };
        data[((top + row) * photo.width() + left + column) * 3..][..3].fill(value);
    }
    Rgb::new(photo.width(), photo.height(), data)
}

fn utad(tiles: Option<usize>) -> Utad {
    let method = Utad::new(common::device(), &embedded::textures().unwrap(), Precision::F32).unwrap();
    method.with_tiles(tiles.map(|count| Tiles::new(count, None).unwrap()))
}

fn hottest(found: &Finding) -> (usize, usize) {
    let [_, width]: [usize; 2] = found.map.shape().axes();
    let at = found.map.data().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    (at % width, at / width)
}

#[test]
fn a_defect_in_a_corner_or_at_a_border_is_found_with_tiles_alone() {
    let (published, tiles, smaller) = (utad(None), utad(Some(1)), utad(Some(2)));
    let good = textile();
    let of_good = [&published, &tiles, &smaller].map(|method| method.score(&good).unwrap().score);
    let end = good.width() - DEFECT;
    let middle = end / 2;
    for place in [(0, 0), (end, 0), (0, end), (end, end), (middle, 0), (middle, end), (0, middle), (end, middle)] {
        let bad = with_defect(&good, place);
        let found = tiles.score(&bad).unwrap();
        assert!(found.score > 1.5 * of_good[1], "{place:?}: {} of {}", found.score, of_good[1]);
        assert!(found.uninspected.is_empty());
        let (column, row) = hottest(&found);
        // Within a cell of the map, 6 pixels, and the Gaussian's σ, 3, of the defect.
        let is_near = |at: usize, start: usize| at + 9 >= start && at <= start + DEFECT + 9;
        assert!(is_near(column, place.0) && is_near(row, place.1), "{place:?}: hottest at {column}, {row}");
        let missed = published.score(&bad).unwrap();
        assert!(missed.score < 1.1 * of_good[0], "{place:?}: {} of {} without tiles", missed.score, of_good[0]);
    }
    let small = smaller.score(&with_defect(&good, (0, 0))).unwrap();
    assert!(small.score > 1.5 * of_good[2] && hottest(&small).0 < 20, "{} of {}", small.score, of_good[2]);
    // In the middle nobody misses it.
    assert!(published.score(&with_defect(&good, (middle, middle))).unwrap().score > 1.5 * of_good[0]);
}

#[test]
fn a_defect_at_the_end_of_a_long_photo_is_found_with_tiles_alone() {
    let photo = Rgb::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/wide_defect_at_end.jpg")).unwrap();
    let centre = utad(None).score(&photo).unwrap();
    assert!((centre.uninspected[0].share.unwrap() - 0.84).abs() < 0.01);
    for count in [1, 2] {
        let whole = utad(Some(count)).score(&photo).unwrap();
        assert!(whole.score > 2.0 * centre.score, "{count}: {} of {}", whole.score, centre.score);
        assert!(hottest(&whole).0 < photo.width() / 8 && whole.uninspected.is_empty());
    }
}

#[test]
fn methods_that_compare_with_good_photos_find_a_defect_in_a_corner_with_tiles_alone() {
    let good = textile();
    let bad = with_defect(&good, (0, 0));
    let reference = Rgb::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/photos/textile/nominal_077.jpg")).unwrap();
    let reference = reference.crop(0, 0, good.width(), good.height());
    for method in ["patchcore", "spade", "padim"] {
        let builder = |tiles: Option<usize>| {
            let tiles = tiles.map(|count| Tiles::new(count, None).unwrap());
            Detector::builder().method(method).weights(store::EMBEDDED).tiles(tiles)
        };
        let open = |tiles| builder(tiles).references([Reference::image("good", reference.clone())]).open().unwrap();
        let (published, tiles) = (open(None), open(Some(1)));
        let peak = |detector: &Detector, photo: &Rgb| {
            let found = detector.inspect(photo).unwrap();
            let largest = found.map.data().iter().copied().fold(f32::NEG_INFINITY, f32::max);
            (largest, hottest(&found), found.uninspected.is_empty())
        };
        let [of_good, of_bad] = [&good, &bad].map(|photo| peak(&tiles, photo));
        assert!(of_bad.0 > 1.2 * of_good.0, "{method}: {} of {}", of_bad.0, of_good.0);
        // Within the Gaussian and a cell of the coarsest layer.
        assert!(of_bad.1.0 < 24 && of_bad.1.1 < 24 && of_bad.2, "{method}: hottest at {:?}", of_bad.1);
        assert_eq!(peak(&published, &bad).0, peak(&published, &good).0, "{method}: the crop does not see the corner");
        assert!(!peak(&published, &bad).2, "{method}: and says so");
        // A memory is of the tiles it was made with.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory");
        std::fs::write(&file, tiles.memory_file().unwrap().unwrap()).unwrap();
        let again = builder(Some(1)).memory(&file).open().unwrap();
        assert_eq!(peak(&again, &bad), of_bad, "{method}");
        let error = builder(None).memory(&file).open().map(drop).unwrap_err();
        assert!(error.code() == Code::Reference && error.message().contains("1 tiles along the shorter side"), "{method}: {error}");
    }
}

#[test]
fn a_photo_of_one_colour_has_no_seams_where_tiles_meet() {
    let photo = Rgb::new(300, 130, vec![90; 300 * 130 * 3]);
    for count in [1, 2, 3] {
        let found = utad(Some(count)).score(&photo).unwrap();
        let most = found.map.data().iter().copied().fold(found.score, f32::max);
        assert!(most < 1e-3, "{count} tiles: {most}");
    }
    // The published crop shows where the network pads with zeros.
    assert!(utad(None).score(&photo).unwrap().score > 0.3);
}

/// A mask of the size of a photo that marks these columns.
fn columns(photo: &Rgb, marked: std::ops::Range<usize>) -> Mask {
    Mask::new(photo.width(), photo.height(), (0..photo.width() * photo.height()).map(|at| marked.contains(&(at % photo.width()))).collect())
}

fn detector(region: Option<Mask>, tiles: Option<usize>) -> Detector {
    let builder = Detector::builder().method("utad").weights(store::EMBEDDED);
    let region = region.map(|mask| RegionOfInterest::new(mask).unwrap());
    builder
        .region_of_interest(region)
        .tiles(tiles.map(|count| Tiles::new(count, Some(0.5)).unwrap()))
        .open()
        .unwrap()
}

#[test]
fn a_region_of_interest_reports_a_defect_inside_and_none_outside() {
    let good = textile();
    let bad = with_defect(&good, (70, 110));
    let level = 1.2 * detector(None, None).inspect(&good).unwrap().score;
    let regions = |found: &Finding| found.regions(level).len();
    let of = |region: Option<Mask>, tiles| detector(region, tiles).inspect(&bad).unwrap();
    let whole = of(None, None);
    assert!(whole.score > level && regions(&whole) == 1, "{} of {level}", whole.score);
    let (left, right) = (of(Some(columns(&bad, 0..124)), None), of(Some(columns(&bad, 124..248)), None));
    assert!((left.score - whole.score).abs() < 0.02 * whole.score, "{} of {}", left.score, whole.score);
    assert!(left.score > level && regions(&left) == 1);
    assert!(right.score < level && regions(&right) == 0, "{} of {level}", right.score);
    assert!(right.map.data().iter().enumerate().all(|(at, &value)| at % 248 >= 124 || value == 0.0));
    // Of the left half a tenth of the square lies in the margin, and a tenth of the rest above and below: 1 − 0.8 · 0.8.
    assert!((left.uninspected[0].share.unwrap() - 0.36).abs() < 0.01, "{:?}", left.uninspected);
    let centre = Mask::new(
        248,
        248,
        (0..248 * 248)
            .map(|at| (60..100).contains(&(at % 248)) && (60..200).contains(&(at / 248)))
            .collect(),
    );
    assert!(of(Some(centre), None).uninspected.is_empty());
    let edge = of(Some(columns(&bad, 0..20)), None);
    assert_eq!((edge.score, edge.uninspected[0].share), (0.0, Some(1.0)));
    assert!(of(Some(columns(&bad, 0..20)), Some(1)).uninspected.is_empty());
}

#[test]
fn an_image_of_another_size_than_the_region_is_an_error_of_its_own() {
    let photo = textile();
    let detector = detector(Some(columns(&photo, 0..9)), None);
    let other = detector.inspect(&photo.crop(0, 0, 100, 248)).unwrap_err();
    assert_eq!((other.code(), other.message()), (Code::Region, "the image is 100×248, but the region of interest 248×248"));
    assert!(detector.inspect(&photo).is_ok());
}

/// Writes a mask of 96×80, the size of [`Place::photo`], that marks the columns from `first` on.
fn write_mask(place: &Place, name: &str, first: usize) {
    let mask = Mask::new(96, 80, (0..96 * 80).map(|at| at % 96 >= first).collect());
    place.write(name, &encode_mask_png(&mask).unwrap());
}

fn pixels(path: &Path) -> image::RgbImage {
    image::open(path).unwrap().into_rgb8()
}

#[test]
fn the_files_of_a_run_mark_nothing_outside_the_region() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    write_mask(&place, "right.png", 48);
    // A threshold that every value reaches, and a range whose coldest colour lies below every value.
    place.infer(&["b.png", "--roi", "right.png", "--threshold=-1", "--range=-5,5", "--report"]).exits(0);
    let record = &place.records()[0];
    assert_eq!(record["regions"][0]["bbox"], json!([48, 0, 48, 80]), "{record}");
    let [mask, heat, overlay] = ["mask", "heatmap", "overlay"].map(|kind| pixels(&place.path(&format!("out/b.png.{kind}.png"))));
    let photo = pixels(&place.path("b.png"));
    for (x, y) in [(0, 0), (47, 79), (20, 40)] {
        assert_eq!((mask.get_pixel(x, y).0, heat.get_pixel(x, y).0), ([0; 3], [0, 0, 4]), "{x}, {y}");
        assert_eq!(overlay.get_pixel(x, y), photo.get_pixel(x, y));
    }
    assert_eq!((mask.get_pixel(48, 0).0, overlay.get_pixel(48, 40).0), ([255; 3], [0, 200, 255]), "the border is drawn inside");
    assert_ne!(heat.get_pixel(60, 40).0, [0, 0, 4]);
    let roi = &place.json("out/run.json")["parameters"]["roi"];
    assert_eq!((&roi["path"], &roi["share"], &roi["size"]), (&json!("right.png"), &json!(0.5), &json!([96, 80])));
    assert!(
        std::fs::read_to_string(place.path("out/report.html"))
            .unwrap()
            .contains("a region of interest of 50.0 % of the frame")
    );

    // The stain is at 60, 40: in the right half, and not in the last columns.
    let score = |arguments: &[&str]| {
        place.infer(&[&["b.png", "--save", "none", "--overwrite"], arguments].concat()).exits(0);
        place.records()[0]["score"].as_f64().unwrap()
    };
    let [with, without] = [score(&["--roi", "right.png"]), score(&[])];
    assert!((with - without).abs() < 0.02 * without, "{with} of {without}");
    write_mask(&place, "edge.png", 80);
    let edge = score(&["--roi", "edge.png", "--tiles", "1"]);
    assert!(edge < 0.7 * without, "{edge} of {without}");
    assert_eq!(place.records()[0]["uninspected"], json!([]));
    assert_eq!(place.json("out/run.json")["parameters"]["tiles"], json!({"count": 1, "overlap": 0.25}));
}

#[test]
fn a_run_is_not_resumed_with_another_region_or_other_tiles() {
    let place = Place::with_photos(&["a.png"]);
    write_mask(&place, "right.png", 48);
    place.infer(&["a.png", "--save", "none", "--roi", "right.png", "--tiles", "1"]).exits(0);
    let resumed = |arguments: &[&str]| place.infer(&[&["a.png", "--save", "none", "--resume"], arguments].concat());
    resumed(&["--roi", "right.png", "--tiles", "1"]).exits(0);
    resumed(&["--roi", "right.png"]).exits(2).says("other parameters: `tiles`");
    resumed(&["--tiles", "1"]).exits(2).says("other parameters: `roi`");
    write_mask(&place, "right.png", 50);
    resumed(&["--roi", "right.png", "--tiles", "1"]).exits(2).says("other parameters: `sha256`");
}

#[test]
fn a_mask_that_fits_no_photo_ends_the_run_and_one_that_fits_some_does_not() {
    let place = Place::with_photos(&["lot/a.png"]);
    place.write("lot/small.png", &png(60, 50, |x, y| (x * y) as u8));
    write_mask(&place, "mask.png", 48);
    place.infer(&["lot", "--roi", "mask.png", "--save", "none"]).exits(3);
    let records = place.records();
    assert_eq!((&records[0]["status"], &records[1]["error"]["code"]), (&json!("ok"), &json!("region")));
    assert_eq!(records[1]["error"]["message"], "the image is 60×50, but the region of interest 96×80");
    let refused = |arguments: &[&str]| place.run(&[&["infer", "-o", "new", "--weights", "nowhere"], arguments].concat()).exits(2);
    refused(&["lot/small.png", "--roi", "mask.png"]).says("no image is of its size; the first is `lot/small.png`");
    write_mask(&place, "empty.png", 96);
    refused(&["lot", "--roi", "empty.png"]).says("no pixel of its mask is marked");
    refused(&["lot", "--roi", "nowhere.png"]);
    place.write("photo.jpg", include_bytes!("cases/ycck.jpg"));
    refused(&["lot", "--roi", "photo.jpg"]).says("values beside black, and one is wanted");
    // A photo that is turned upright, which its header says in EXIF: the mask is upright.
    place.write("turned.jpg", include_bytes!("cases/orientation6_xmp.jpg"));
    let upright = Mask::new(88, 96, vec![true; 88 * 96]);
    place.write("upright.png", &encode_mask_png(&upright).unwrap());
    place.infer(&["turned.jpg", "--roi", "upright.png", "--save", "none", "--overwrite"]).exits(0);
    place
        .infer(&["turned.jpg", "--roi", "upright.png", "--save", "none", "--overwrite", "--ignore-exif"])
        .exits(2)
        .says("no image is of its size");
}

#[test]
fn what_a_method_cannot_do_is_refused_before_weights_are_looked_for() {
    let place = Place::with_photos(&["a.png"]);
    write_mask(&place, "mask.png", 48);
    let refused = |arguments: &[&str]| place.infer(&[&["a.png", "--weights", "nowhere"], arguments].concat()).exits(2);
    for method in ["winclip", "clip-ac", "clip-ac-ensemble", "image-tiling"] {
        refused(&["--method", method, "--roi", "mask.png"]).says(&format!("the score of `{method}` is of the whole image"));
    }
    for method in ["saliency", "winclip", "saa+", "clipseg"] {
        refused(&["--method", method, "--tiles", "1"]).says("cannot inspect it in tiles");
    }
    refused(&["--method", "utad", "--tiles", "1", "--tile-overlap", "0.2"]).says("leave gaps");
    refused(&["--method", "utad", "--tiles", "1", "--tile-overlap", "1"]).says("cannot overlap by 1");
    refused(&["--method", "utad", "--tiles", "31"]).says("from 1 to 30");
    refused(&["--tile-overlap", "0.3"]).says("--tiles");
    refused(&["--method", "utad", "--multi-crop", "tile"]).says("utad inspects the whole photo with `--tiles 1`");
    // Without a name, a method is chosen that can do it.
    place.infer(&["a.png", "--tiles", "2", "--roi", "mask.png", "--save", "none"]).exits(0);
    assert_eq!(place.json("out/run.json")["parameters"]["method"], Value::from("utad"));
    place
        .infer(&["a.png", "--tiles", "2", "--class", "bottle", "--save", "none", "--overwrite"])
        .exits(2)
        .says("takes text or reference images and inspects tiles");
    place.write("line.png", &encode_rgb_png(&Rgb::new(4000, 10, vec![7; 120_000])).unwrap());
    place.infer(&["line.png", "--tiles", "3", "--save", "none", "--overwrite"]).exits(3);
    assert_eq!(place.records()[0]["error"]["code"], "too_large");
}
