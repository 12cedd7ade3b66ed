//! `eval` through the binary: every layout end to end, in parts and in any order, killed and resumed, and maps of other programs.

mod common;

use std::fs;
use std::io::Cursor;

use common::binary::{Place, Run, finish};
use serde_json::Value;
use zsas::Array;
use zsas::image::encode_tiff;

/// Width and height of the photos of [`Place::photo`], and the square that its stain covers: x, y, side.
const SIZE: [u32; 2] = [96, 80];
const STAIN: [u32; 3] = [54, 34, 13];

fn is_stained(x: u32, y: u32) -> bool {
    let [left, top, side] = STAIN;
    (left..left + side).contains(&x) && (top..top + side).contains(&y)
}

/// A grey PNG of a mask, with this value where the stain is.
fn mask(value: u8) -> Vec<u8> {
    let mask = image::GrayImage::from_fn(SIZE[0], SIZE[1], |x, y| image::Luma([if is_stained(x, y) { value } else { 0 }]));
    let mut bytes = Cursor::new(Vec::new());
    mask.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The photo of [`Place::photo`] in the format of its ending.
fn photo(place: &Place, name: &str, is_defective: bool) {
    place.photo(name, is_defective);
    let format = image::ImageFormat::from_path(name).unwrap();
    if format != image::ImageFormat::Png {
        let photo = image::open(place.path(name).with_extension("png"))
            .or_else(|_| image::load_from_memory(&fs::read(place.path(name)).unwrap()))
            .unwrap();
        photo.save_with_format(place.path(name), format).unwrap();
    }
}

/// A data set of one class in a layout, with two good and two stained test photos, in the folder `data`; returns the options that name it, and
/// a test photo as records name it.
type Build = fn(&Place) -> (Vec<&'static str>, &'static str);

const LAYOUTS: [(&str, Build); 8] = [
    ("mvtec", |place| (mvtec_tree(place), "bottle/test/stain/1.png")),
    ("mpdd", |place| {
        mvtec_tree(place);
        (vec!["--dataset", "mpdd", "--root", "data"], "bottle/test/stain/1.png")
    }),
    ("visa", |place| {
        let mut table = "object,split,label,image,mask\n".to_owned();
        for (number, split, is_defective) in
            [(0, "train", false), (1, "train", false), (2, "test", false), (3, "test", false), (4, "test", true), (5, "test", true)]
        {
            let kind = if is_defective { "Anomaly" } else { "Normal" };
            photo(place, &format!("data/pcb1/Data/Images/{kind}/{number:03}.JPG"), is_defective);
            let mask_file = if is_defective { format!("pcb1/Data/Masks/Anomaly/{number:03}.png") } else { String::new() };
            if is_defective {
                // Class indices.
                place.write(&format!("data/{mask_file}"), &mask(2));
            }
            let label = if is_defective { "anomaly" } else { "normal" };
            table += &format!("pcb1,{split},{label},pcb1/Data/Images/{kind}/{number:03}.JPG,{mask_file}\n");
        }
        place.write("data/split_csv/1cls.csv", table.as_bytes());
        (vec!["--dataset", "visa", "--root", "data"], "pcb1/Data/Images/Anomaly/005.JPG")
    }),
    ("btad", |place| {
        for number in 0..2 {
            photo(place, &format!("data/01/train/ok/{number}.bmp"), false);
            photo(place, &format!("data/01/test/ok/{number}.bmp"), false);
            photo(place, &format!("data/01/test/ko/{number}.png"), true);
            place.write(&format!("data/01/ground_truth/ko/{number}.png"), &mask(255));
        }
        (vec!["--dataset", "btad", "--root", "data"], "01/test/ko/1.png")
    }),
    ("ksdd2", |place| {
        for split in ["train", "test"] {
            for number in 0..4 {
                photo(place, &format!("data/{split}/1000{number}.png"), number > 1);
                place.write(&format!("data/{split}/1000{number}_GT.png"), &mask(if number > 1 { 255 } else { 0 }));
            }
        }
        (vec!["--dataset", "ksdd2", "--root", "data"], "test/10003.png")
    }),
    ("mtd", |place| {
        for number in 0..4 {
            let folder = if number > 1 { "MT_Crack" } else { "MT_Free" };
            photo(place, &format!("data/{folder}/Imgs/exp{number}.jpg"), number > 1);
            place.write(&format!("data/{folder}/Imgs/exp{number}.png"), &mask(if number > 1 { 255 } else { 0 }));
        }
        (vec!["--dataset", "mtd", "--root", "data"], "MT_Crack/Imgs/exp3.jpg")
    }),
    ("folder", |place| {
        for number in 0..2 {
            photo(place, &format!("data/normal/{number}.png"), false);
            photo(place, &format!("data/more/{number}.png"), false);
            photo(place, &format!("data/abnormal/{number}.png"), true);
            place.write(&format!("data/masks/{number}.png"), &mask(255));
        }
        (vec!["--dataset", "folder", "--root", "data", "--masks", "masks", "--normal-test", "more"], "abnormal/1.png")
    }),
    ("manifest", |place| {
        let mut lines = String::new();
        for number in 0..6 {
            let is_defective = number > 3;
            photo(place, &format!("data/photos/{number}.png"), is_defective);
            let (label, mask_file) =
                if is_defective { ("anomalous", format!(r#""mask/{number}.png""#)) } else { ("normal", "null".to_owned()) };
            if is_defective {
                place.write(&format!("data/mask/{number}.png"), &mask(255));
            }
            let split = if number < 2 { "train" } else { "test" };
            lines +=
                &format!(r#"{{"image":"photos/{number}.png","label":"{label}","mask":{mask_file},"category":"nut","split":"{split}"}}"#);
            lines += "\n";
        }
        place.write("data/list.jsonl", lines.as_bytes());
        (vec!["--dataset", "manifest", "--root", "data/list.jsonl"], "photos/5.png")
    }),
];

/// A tree like MVTec AD's, with one class.
fn mvtec_tree(place: &Place) -> Vec<&'static str> {
    for number in 0..2 {
        photo(place, &format!("data/bottle/train/good/{number}.png"), false);
        photo(place, &format!("data/bottle/test/good/{number}.png"), false);
        photo(place, &format!("data/bottle/test/stain/{number}.png"), true);
        place.write(&format!("data/bottle/ground_truth/stain/{number}_mask.png"), &mask(255));
    }
    vec!["--dataset", "mvtec", "--root", "data"]
}

fn eval(place: &Place, data: &[&str], more: &[&str]) -> Run {
    place.run(&[&["eval"], data, more].concat())
}

fn evaluation(place: &Place, folder: &str) -> Vec<u8> {
    fs::read(place.path(folder).join("evaluation.json")).unwrap()
}

#[test]
fn every_layout_gives_the_same_bytes_whole_in_parts_and_killed_and_resumed() {
    for (layout, build) in LAYOUTS {
        let place = Place::new();
        let (data, killer) = build(&place);
        let whole = eval(&place, &data, &["--method", "utad", "-o", "whole"]).exits(0);
        assert!(whole.stdout.contains("image AUROC"), "{layout}: {}", whole.stdout);
        let json = evaluation(&place, "whole");
        let parsed: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(parsed["dataset"], layout);
        assert_eq!(parsed["classes"][0]["anomalous"], 2, "{layout}");
        assert_eq!(parsed["mean"]["values"]["image_auroc"]["value"], 1.0, "{layout}: stains are found");
        assert!(parsed["mean"]["values"]["pixel_auroc"]["value"].as_f64().unwrap() > 0.9, "{layout}: {parsed}");
        // Parts, the last first.
        for part in ["3/3", "1/3", "2/3"] {
            let folder = format!("part{}", &part[..1]);
            eval(&place, &data, &["--method", "utad", "--shard", part, "-o", &folder]).exits(0).says("--maps");
        }
        eval(&place, &data, &["--maps", "part2", "part3", "part1", "-o", "joined"]).exits(0);
        assert_eq!(evaluation(&place, "joined"), json, "{layout}: joined");
        // Killed at a photo, then resumed.
        let mut command = place.command();
        command
            .env("ZSAS_ABORT_AT", killer)
            .arg("eval")
            .args(&data)
            .args(["--method", "utad", "-o", "killed"]);
        assert_eq!(finish(&mut command).code, None, "{layout}: no photo `{killer}` killed it");
        assert!(!place.path("killed/evaluation.json").exists());
        eval(&place, &data, &["--method", "utad", "-o", "killed", "--resume"]).exits(0);
        assert_eq!(evaluation(&place, "killed"), json, "{layout}: resumed");
    }
}

/// The value of a metric, averaged over classes.
fn mean(place: &Place, folder: &str, metric: &str) -> Option<f64> {
    place.json(&format!("{folder}/evaluation.json"))["mean"]["values"][metric]["value"].as_f64()
}

/// A map of the size of the photos: this value where the stain is, 0.25 elsewhere.
fn map(stained: f32) -> Array {
    let pixels = (0..SIZE[1]).flat_map(|y| (0..SIZE[0]).map(move |x| if is_stained(x, y) { stained } else { 0.25 }));
    Array::new([SIZE[1] as usize, SIZE[0] as usize], pixels.collect())
}

#[test]
fn maps_of_another_program_are_measured_and_missing_ones_refused() {
    let place = Place::new();
    let data = mvtec_tree(&place);
    for photo in ["good/0", "good/1", "stain/0", "stain/1"] {
        let value = if photo.starts_with("stain") { 0.75 } else { 0.25 };
        place.write(&format!("maps/bottle/test/{photo}.tiff"), &encode_tiff(&map(value)).unwrap());
    }
    let text = eval(&place, &data, &["--maps", "maps", "-o", "out", "--exact", "--approximations"]).exits(0).stdout;
    assert!(text.contains("| bottle") && text.contains("| **mean**"), "{text}");
    for metric in ["image_auroc", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "pixel_aupr_trapezoid"] {
        assert_eq!(mean(&place, "out", metric), Some(1.0), "{metric}");
    }
    let found = place.json("out/evaluation.json");
    // 2 × 7,680 normal pixels do not resolve a rate of 1e-5.
    assert!(found["mean"]["values"]["aupimo"]["value"].is_null());
    assert!(
        found["classes"][0]["runs"][0]["values"]["aupimo"]["reason"]
            .as_str()
            .unwrap()
            .contains("too few normal pixels")
    );
    assert_eq!(found["classes"][0]["runs"][0]["pixel_threshold"], 0.75);
    for file in ["evaluation.md", "evaluation.csv", "evaluation.html", "curves/bottle.svg"] {
        assert!(place.path(&format!("out/{file}")).is_file(), "{file}");
    }
    let page = fs::read_to_string(place.path("out/evaluation.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64,") && !page.contains("{{"), "the page has its photos");
    // A map that is missing, one of another size, one with NaN.
    fs::remove_file(place.path("maps/bottle/test/good/1.tiff")).unwrap();
    eval(&place, &data, &["--maps", "maps", "-o", "less"])
        .exits(2)
        .says("`bottle/test/good/1.png` has no map")
        .says("a map is named `CLASS/PATH`");
    eval(&place, &data, &["--maps", "maps", "-o", "less", "--lenient"]).exits(3);
    assert_eq!(place.json("less/evaluation.json")["classes"][0]["not_scored"][0], "bottle/test/good/1.png");
    place.write("maps/bottle/test/good/1.tiff", &encode_tiff(&Array::new([40, 48], vec![0.25; 1920])).unwrap());
    eval(&place, &data, &["--maps", "maps", "-o", "small"])
        .exits(2)
        .says("is 48×40, but its photo 96×80")
        .says("--eval-size");
    eval(&place, &data, &["--maps", "maps", "-o", "small", "--eval-size", "40"]).exits(0);
    assert!(mean(&place, "small", "pixel_auroc").unwrap() > 0.99);
    let mut wrong = map(0.25);
    wrong.data_mut()[7] = f32::NAN;
    place.write("maps/bottle/test/good/1.tiff", &encode_tiff(&wrong).unwrap());
    let run = eval(&place, &data, &["--maps", "maps", "-o", "wrong"]);
    assert!(run.code != Some(0) && run.stderr.contains("NaN"), "{}", run.stderr);
}

#[test]
fn reference_images_are_drawn_for_each_seed() {
    let place = Place::new();
    let data = mvtec_tree(&place);
    eval(&place, &data, &["--method", "patchcore", "-o", "none"]).exits(2).says("--shots");
    eval(&place, &data, &["--method", "patchcore", "--shots", "3", "-o", "many"])
        .exits(2)
        .says("has 2 good training photos");
    eval(&place, &data, &["--method", "utad", "--shots", "1", "-o", "utad"])
        .exits(2)
        .says("takes no reference images");
    eval(&place, &data, &["--method", "patchcore", "--shots", "1", "--seeds", "3", "-o", "out"]).exits(0);
    let found = place.json("out/evaluation.json");
    let runs = found["classes"][0]["runs"].as_array().unwrap();
    assert_eq!(
        runs.iter().map(|run| (run["shots"].clone(), run["seed"].clone())).collect::<Vec<_>>(),
        [(1.into(), 0.into()), (1.into(), 1.into()), (1.into(), 2.into())]
    );
    assert!(found["mean"]["deviations"]["pixel_auroc"].is_number(), "{}", found["mean"]);
    assert!(place.path("out/runs/bottle/1-shot-seed-2/results.jsonl").is_file());
    eval(&place, &data, &["--maps", "out", "-o", "again"]).exits(0);
    assert_eq!(evaluation(&place, "again"), evaluation(&place, "out"));
    // Draws of another evaluation are not measured with these.
    for shots in [["--shots", "2"], ["--shots", "all"]] {
        eval(&place, &data, &[&["--method", "padim", "-o", "out", "--overwrite"], &shots[..]].concat())
            .exits(2)
            .says("is of an evaluation with other reference images");
    }
    eval(&place, &data, &["--method", "padim", "--shots", "2", "-o", "other"]).exits(0);
    eval(&place, &data, &["--maps", "out", "other", "-o", "both"])
        .exits(2)
        .says("maps of several evaluations lie together");
}

#[test]
fn parts_of_different_runs_do_not_join_and_nothing_is_overwritten_unasked() {
    let place = Place::new();
    let data = mvtec_tree(&place);
    eval(&place, &data, &["--method", "utad", "--shard", "1/2", "-o", "a"]).exits(0);
    eval(&place, &data, &["--method", "saliency", "--shard", "2/2", "-o", "b"]).exits(0);
    eval(&place, &data, &["--maps", "a", "b", "-o", "c"]).exits(2).says("was made with other");
    eval(&place, &data, &["--maps", "a", "-o", "c"])
        .exits(2)
        .says("2 of the 4 test photos of `bottle` have no map");
    eval(&place, &data, &["--method", "utad", "-o", "a"]).exits(2).says("already holds results");
    eval(&place, &data, &["--class", "botle", "--method", "utad", "-o", "d"]).exits(2).says("bottle");
    eval(&place, &data, &["-o", "d"]).exits(2).says("--method");
    eval(&place, &data, &["--method", "utad", "--normal", "good", "-o", "d"])
        .exits(2)
        .says("--dataset folder");
    eval(&place, &data, &["--maps", "a", "--roi", "m.png", "-o", "d"])
        .exits(2)
        .says("cannot be used with");
    eval(&place, &data, &["--maps", "nowhere", "-o", "d"]).exits(2).says("is no folder");
    // An evaluation, and a file that no evaluation wrote, are not replaced unasked.
    eval(&place, &data, &["--maps", "a", "-o", "e", "--lenient"]).exits(3);
    eval(&place, &data, &["--maps", "b", "-o", "e", "--lenient"])
        .exits(2)
        .says("already holds an evaluation");
    eval(&place, &data, &["--maps", "b", "-o", "e", "--lenient", "--overwrite"]).exits(3);
    place.write("f/evaluation.md", b"mine");
    eval(&place, &data, &["--maps", "a", "-o", "f", "--lenient", "--overwrite"])
        .exits(2)
        .says("no evaluation wrote it");
    assert!(!place.path("d").exists());
}

#[test]
fn neither_a_class_nor_a_photo_leads_out_of_the_output_folder() {
    let place = Place::new();
    for (number, is_defective) in [(0, false), (1, true)] {
        photo(&place, &format!("photos/{number}.png"), is_defective);
    }
    place.write("data/mask.png", &mask(255));
    let lines = r#"{"image":"../photos/0.png","label":"normal","category":"../../elsewhere"}
{"image":"../photos/1.png","label":"anomalous","mask":"mask.png","category":"../../elsewhere"}
"#;
    place.write("data/list.jsonl", lines.as_bytes());
    eval(&place, &["--dataset", "manifest", "--root", "data/list.jsonl"], &["--method", "utad", "-o", "deep/out"]).exits(0);
    assert_eq!(mean(&place, "deep/out", "image_auroc"), Some(1.0));
    let mut found: Vec<_> = fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, ["data", "deep", "photos"]);
    assert_eq!(fs::read_dir(place.path("deep")).unwrap().count(), 1);
}
