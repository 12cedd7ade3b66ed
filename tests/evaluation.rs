//! `eval` through the binary: every layout end to end, in parts and in any order, killed and resumed, and maps of other programs.

mod common;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use common::binary::{Place, Run, finish, png};
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
        (vec!["--dataset", "ksdd2", "--root", "data"], "10003.png")
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
