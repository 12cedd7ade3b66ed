//! Data sets in every layout, generated with the traps of the public ones: classes, counts, pairs, and each kind of mismatch.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageFormat, Luma, RgbImage};
use serde_json::json;
use tempfile::TempDir;
use zsas::Code;
use zsas::datasets::{Category, Dataset, Folders, Ksdd2Split, Layout, Maps, Options, Sample, SampleMap, VisaSplit};
use zsas::image::{Mask, encode_tiff, read_map};

const WIDTH: u32 = 12;
const HEIGHT: u32 = 10;

/// A folder that is removed again.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> &Place {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// Photos of 12×10, encoded as their endings say.
    fn photos(&self, names: &[&str]) -> &Place {
        names
            .iter()
            .fold(self, |place, name| place.write(name, &encode(&RgbImage::new(WIDTH, HEIGHT).into(), name)))
    }

    /// Masks of 12×10 with this value at the positions `x + 12 y`.
    fn masks(&self, names: &[&str], value: u8, marks: &[u32]) -> &Place {
        names.iter().fold(self, |place, name| place.write(name, &mask(name, (WIDTH, HEIGHT), value, marks)))
    }

    fn remove(&self, name: &str) -> &Place {
        let path = self.path(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    fn rename(&self, from: &str, to: &str) -> &Place {
        fs::create_dir_all(self.path(to).parent().unwrap()).unwrap();
        fs::rename(self.path(from), self.path(to)).unwrap();
        self
    }

    fn open(&self, layout: Layout) -> zsas::Result<Dataset> {
        Dataset::open(layout, self.0.path(), &Options::default())
    }

    /// Opens leniently, which fails for no mismatch.
    fn lenient(&self, layout: Layout) -> Dataset {
        Dataset::open(layout, self.0.path(), &Options { is_lenient: true, ..Options::default() }).unwrap()
    }
}

fn encode(image: &DynamicImage, name: &str) -> Vec<u8> {
    let format = match name.rsplit('.').next().unwrap().to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => ImageFormat::Jpeg,
        "bmp" => ImageFormat::Bmp,
        _ => ImageFormat::Png,
    };
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn mask(name: &str, (width, height): (u32, u32), value: u8, marks: &[u32]) -> Vec<u8> {
    let image = GrayImage::from_fn(width, height, |x, y| Luma([if marks.contains(&(x + WIDTH * y)) { value } else { 0 }]));
    encode(&image.into(), name)
}

/// A JPEG of 12×10 that is to be turned by 90°, 10×12 when upright.
fn lying_photo() -> Vec<u8> {
    let jpeg = encode(&RgbImage::new(WIDTH, HEIGHT).into(), "a.jpg");
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, exif, &jpeg[2..]].concat()
}

/// MVTec AD: two classes, `bottle` with two kinds of defects.
fn mvtec() -> Place {
    let place = Place::new();
    place
        .photos(&["bottle/train/good/000.png", "bottle/train/good/001.PNG", "cable/train/good/000.png"])
        .photos(&["bottle/test/good/000.png", "bottle/test/crack/000.png", "bottle/test/crack/001.png", "bottle/test/hole/000.png"])
        .masks(&["bottle/ground_truth/crack/000_mask.png", "bottle/ground_truth/hole/000_mask.png"], 255, &[13])
        .masks(&["bottle/ground_truth/crack/001_mask.PNG"], 255, &[14])
        .photos(&["cable/test/good/000.png", "cable/test/bent/000.png"])
        .masks(&["cable/ground_truth/bent/000_mask.png"], 255, &[15]);
    place.write("readme.txt", b"not a photo");
    place
}

/// A line for each test photo: path, label, kind, and whether its pixels are known.
fn summary(class: &Category) -> Vec<String> {
    let line = |sample: &Sample| {
        let label = if sample.is_anomalous { "anomalous" } else { "normal" };
        let pixels = if sample.are_pixels_known { "" } else { ", pixels unknown" };
        format!("{} {label} {} {}{pixels}", sample.path, sample.defect, sample.masks.len())
    };
    class.test.iter().map(line).collect()
}

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.classes.iter().map(|class| class.name.as_str()).collect()
}

/// Positions that a mask marks.
fn marked(mask: &Mask) -> Vec<usize> {
    (0..mask.data().len()).filter(|&at| mask.data()[at]).collect()
}

/// The whole text of the error that refuses a data set.
fn refusal(found: zsas::Result<Dataset>) -> String {
    let error = found.unwrap_err();
    assert_eq!(error.code(), Code::Dataset, "{error:#}");
    format!("{error:#}")
}

#[test]
fn layouts_have_names_and_a_line_each() {
    let names: BTreeSet<&str> = Layout::ALL.iter().map(|layout| layout.as_str()).collect();
    assert_eq!(names.len(), 8);
    assert!(Layout::ALL.iter().all(|layout| !layout.about().contains('\n') && !layout.about().is_empty()));
}

#[test]
fn mvtec_has_its_classes_sorted_and_each_photo_its_mask() {
    let place = mvtec();
    let dataset = place.open(Layout::Mvtec).unwrap();
    assert_eq!((dataset.root.as_path(), names(&dataset)), (place.0.path(), vec!["bottle", "cable"]));
    assert_eq!(dataset.notes, [""; 0]);
    let bottle = &dataset.classes[0];
    assert_eq!(bottle.normal, [place.path("bottle/train/good/000.png"), place.path("bottle/train/good/001.PNG")]);
    assert_eq!(
        summary(bottle),
        [
            "bottle/test/crack/000.png anomalous crack 1",
            "bottle/test/crack/001.png anomalous crack 1",
            "bottle/test/good/000.png normal good 0",
            "bottle/test/hole/000.png anomalous hole 1"
        ]
    );
    assert_eq!(bottle.test[1].masks, [place.path("bottle/ground_truth/crack/001_mask.PNG")]);
    assert_eq!(marked(&bottle.test[1].mask_of_size(12, 10).unwrap().unwrap()), [14]);
    assert_eq!(bottle.test[2].mask_of_size(12, 10).unwrap(), None);
    assert_eq!(bottle.test[1].mask_of_size(10, 12).unwrap_err().code(), Code::Dataset);
    assert_eq!(place.open(Layout::Mpdd).unwrap().classes, dataset.classes);
}

#[test]
fn classes_are_chosen_by_name_and_an_unknown_one_is_told_its_neighbour() {
    let place = mvtec();
    let open = |classes: &[&str]| {
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        Dataset::open(Layout::Mvtec, place.0.path(), &Options { classes, ..Options::default() })
    };
    assert_eq!(names(&open(&["cable"]).unwrap()), ["cable"]);
    assert_eq!(names(&open(&["cable", "bottle"]).unwrap()), ["bottle", "cable"]);
    let error = open(&["botle"]).unwrap_err();
    assert_eq!(error.code(), Code::Usage);
    assert_eq!(format!("{error:#}"), "the data set has no class `botle`\n\nhint: did you mean `bottle`? the classes are bottle, cable");
    // What is wrong in a class that is not asked for is of no interest.
    place
        .remove("cable/ground_truth/bent/000_mask.png")
        .masks(&["cable/ground_truth/bent/009_mask.png"], 255, &[1]);
    assert!(open(&["bottle"]).is_ok() && open(&["cable"]).is_err());
}

#[test]
fn a_root_that_is_one_level_off_is_found_and_named() {
    let place = mvtec();
    let expected = place.open(Layout::Mvtec).unwrap().classes;
    let class = Dataset::open(Layout::Mvtec, &place.path("bottle"), &Options::default()).unwrap();
    assert_eq!((&class.root, &class.classes[..]), (&place.0.path().to_owned(), &expected[..1]));
    assert_eq!(class.notes, ["the folder that was named is the class `bottle`, which is inspected alone"]);

    for name in ["bottle", "cable"] {
        place.rename(name, &format!("mvtec_anomaly_detection/{name}"));
    }
    let below = place.open(Layout::Mvtec).unwrap();
    assert_eq!((&below.root, names(&below)), (&place.path("mvtec_anomaly_detection"), vec!["bottle", "cable"]));
    assert!(below.notes[0].ends_with("mvtec_anomaly_detection`, one level below the folder that was named"), "{:?}", below.notes);

    place.rename("mvtec_anomaly_detection/cable", "other/cable");
    assert!(
        refusal(place.open(Layout::Mvtec)).contains("holds several data sets of the layout `mvtec`: `mvtec_anomaly_detection`, `other`")
    );
    let empty = Place::new();
    empty.photos(&["a/b/c/d.png", "e.png"]);
    let text = refusal(empty.open(Layout::Mvtec));
    assert!(text.contains("is no data set of the layout `mvtec`") && text.contains("looked for `CLASS/train/good` and"), "{text}");
    assert!(text.ends_with("it holds `a`, `e.png`"), "{text}");
    assert_eq!(Dataset::open(Layout::Mvtec, &empty.path("no"), &Options::default()).unwrap_err().code(), Code::NotFound);
}

#[test]
#[cfg(unix)]
fn hidden_files_thumbnails_and_links_are_left_out_and_odd_names_are_not() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = mvtec();
    place.photos(&["bottle/test/crack/.000.png", "bottle/test/.ipynb_checkpoints/000.png", "bottle/test/crack/@eaDir/000.png"]);
    place.write("bottle/test/crack/Thumbs.db", b"\xd0\xcf");
    std::os::unix::fs::symlink(place.path("cable/test/bent/000.png"), place.path("bottle/test/crack/link.png")).unwrap();
    std::os::unix::fs::symlink(place.path("cable"), place.path("linked")).unwrap();
    place.masks(&["bottle/ground_truth/crack/.hidden_mask.png"], 255, &[1]);
    for (folder, bytes) in [("bottle/test/crack", &b"p\xe4.png"[..]), ("bottle/ground_truth/crack", b"p\xe4_mask.png")] {
        place.write(Path::new(folder).join(OsStr::from_bytes(bytes)), &mask("a.png", (WIDTH, HEIGHT), 255, &[3]));
    }
    let dataset = place.open(Layout::Mvtec).unwrap();
    let bottle = &dataset.classes[0];
    assert_eq!(bottle.test.len(), 5);
    assert_eq!(bottle.test[2].path, r"bottle/test/crack/p\xe4.png");
    assert_eq!(marked(&bottle.test[2].mask_of_size(12, 10).unwrap().unwrap()), [3]);
    assert!(dataset.notes.iter().any(|note| note.ends_with("`: 1 link")), "{:?}", dataset.notes);
    assert!(dataset.notes.contains(&"left out of `bottle`: 3 hidden, 1 link, 1 thumbnail".to_owned()), "{:?}", dataset.notes);
}

#[test]
fn each_mismatch_is_listed_and_leniently_counted() {
    // What is done to the data set; the line in the error; the note; the sample that remains.
    type Case = (for<'a> fn(&'a Place) -> &'a Place, &'static str, &'static str, Option<&'static str>);
    const IMAGE_ALONE: Option<&str> = Some("bottle/test/crack/000.png anomalous crack 0, pixels unknown");
    let cases: [Case; 17] = [
        (
            |place| place.remove("bottle/ground_truth/crack/000_mask.png"),
            "`bottle/test/crack/000.png` is anomalous and has no mask",
            "1 anomalous photo without a mask, counted for metrics of images alone: `bottle/test/crack/000.png`",
            IMAGE_ALONE,
        ),
        (
            |place| place.masks(&["bottle/ground_truth/crack/777_mask.png"], 255, &[1]),
            "`bottle/ground_truth/crack/777_mask.png` is a mask without a photo",
            "1 mask without a photo, not used: ",
            None,
        ),
        (
            // The form of another layout.
            |place| place.rename("bottle/ground_truth/crack/000_mask.png", "bottle/ground_truth/crack/000.png"),
            "`bottle/ground_truth/crack/000.png` is a mask without a photo",
            "1 anomalous photo without a mask",
            IMAGE_ALONE,
        ),
        (
            |place| place.masks(&["bottle/ground_truth/crack/000_mask.bmp"], 255, &[1]),
            "`bottle/test/crack/000.png` fits several masks: `bottle/ground_truth/crack/000_mask.bmp`, `bottle/ground_truth/crack/000_mask.png`",
            "1 photo whose name fits several masks",
            IMAGE_ALONE,
        ),
        (
            |place| place.write("bottle/ground_truth/crack/000_mask.png", &mask("a.png", (6, 5), 255, &[1])),
            "`bottle/ground_truth/crack/000_mask.png` is 6×5, but `bottle/test/crack/000.png` is 12×10",
            "1 mask of another size than its photo",
            IMAGE_ALONE,
        ),
        (
            |place| {
                let grey = GrayImage::from_fn(WIDTH, HEIGHT, |x, _| Luma([if x == 0 { 0 } else { 100 + x as u8 % 2 }]));
                place.write("bottle/ground_truth/crack/000_mask.png", &encode(&grey.into(), "a.png"))
            },
            "`bottle/ground_truth/crack/000_mask.png` is not binary: it has 2 different values beside 0",
            "1 mask that is not binary, every pixel that is not 0 counted as a defect",
            Some("bottle/test/crack/000.png anomalous crack 1"),
        ),
        (
            |place| {
                let clear = image::RgbaImage::from_fn(WIDTH, HEIGHT, |x, _| image::Rgba([255, 255, 255, if x == 0 { 255 } else { 0 }]));
                place.write("bottle/ground_truth/crack/000_mask.png", &encode(&clear.into(), "a.png"))
            },
            "`bottle/ground_truth/crack/000_mask.png` has 110 pixels that are transparent and not 0",
            "1 mask with marks that are transparent",
            IMAGE_ALONE,
        ),
        (
            |place| place.masks(&["bottle/ground_truth/crack/000_mask.png"], 255, &[]),
            "`bottle/test/crack/000.png` is anomalous and its mask is empty",
            "1 anomalous photo whose mask is empty",
            IMAGE_ALONE,
        ),
        (
            |place| place.masks(&["bottle/ground_truth/good/000_mask.png"], 255, &[5]),
            "`bottle/test/good/000.png` is normal and its mask marks a defect",
            "1 normal photo whose mask marks a defect",
            Some("bottle/test/good/000.png normal good 0, pixels unknown"),
        ),
        (
            |place| place.write("bottle/ground_truth/crack/000_mask.png", b"version https://git-lfs.github.com/spec/v1\n"),
            "`bottle/ground_truth/crack/000_mask.png` cannot be read: it is a Git LFS pointer",
            "1 unreadable mask",
            IMAGE_ALONE,
        ),
        (
            |place| place.write("bottle/test/good/000.png", b"<!doctype html><html>not found"),
            "`bottle/test/good/000.png` cannot be read: it is HTML, not an image",
            "1 unreadable photo, left out",
            None,
        ),
        (
            |place| place.write("bottle/train/good/000.png", b""),
            "`bottle/train/good/000.png` cannot be read: the file is empty",
            "1 unreadable photo, left out",
            None,
        ),
        (
            |place| place.photos(&["bottle/test/009.png"]),
            "`bottle/test/009.png` lies in no folder of good or defective photos",
            "1 photo outside of the folders of good and defective ones, left out",
            None,
        ),
        (
            |place| place.photos(&["bottle/test/crack/000.bmp"]),
            // The bytes of `.bmp` come first.
            "`bottle/test/crack/000.png` differs from `bottle/test/crack/000.bmp` in its ending alone",
            "1 photo that differs from another in its ending alone, left out",
            Some("bottle/test/crack/000.bmp anomalous crack 1"),
        ),
        (|place| place.remove("bottle/train"), "`bottle` has no good training photo", "1 class without a good training photo", None),
        (
            |place| place.remove("cable/test").remove("cable/ground_truth"),
            "`cable` has no test photo",
            "1 class without a test photo, left out: `cable`",
            None,
        ),
        (
            |place| place.write("bottle/test/crack/000.png", &lying_photo()),
            "`bottle/ground_truth/crack/000_mask.png` is 12×10, but `bottle/test/crack/000.png` is 10×12 when it is turned upright",
            "1 mask of another size than its photo",
            IMAGE_ALONE,
        ),
    ];
    for (spoil, line, note, sample) in cases {
        let place = mvtec();
        spoil(&place);
        let text = refusal(place.open(Layout::Mvtec));
        assert!(text.contains(line), "{line}:\n{text}");
        assert!(text.contains("\n\nhint: correct them, or open it with `is_lenient`"), "{text}");
        let dataset = place.lenient(Layout::Mvtec);
        assert!(dataset.notes.iter().any(|found| found.starts_with(note)), "{note}:\n{:#?}", dataset.notes);
        if let Some(sample) = sample {
            assert!(summary(&dataset.classes[0]).contains(&sample.to_owned()), "{sample}:\n{:#?}", summary(&dataset.classes[0]));
        }
    }
}

#[test]
fn all_mismatches_are_listed_together() {
    let place = mvtec();
    place
        .remove("bottle/ground_truth/hole/000_mask.png")
        .remove("cable/train")
        .photos(&["cable/test/stray.png"]);
    let text = refusal(place.open(Layout::Mvtec));
    assert!(text.contains("says: 3 mismatches\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  `")).count(), 3, "{text}");
    let dataset = place.lenient(Layout::Mvtec);
    assert_eq!((dataset.notes.len(), dataset.classes[1].normal.len(), dataset.classes[1].test.len()), (3, 0, 2));
}

#[test]
fn a_lying_photo_needs_a_mask_of_its_upright_size() {
    let place = mvtec();
    place.write("bottle/test/crack/000.jpg", &lying_photo());
    place.remove("bottle/test/crack/000.png");
    place.write("bottle/ground_truth/crack/000_mask.png", &mask("a.png", (HEIGHT, WIDTH), 255, &[0]));
    let dataset = place.open(Layout::Mvtec).unwrap();
    assert_eq!(
        dataset.notes,
        ["1 photo with a mask is turned upright, as EXIF orientations say; masks are taken to lie on the upright photo"]
    );
    let mut options = Options::default();
    options.read.ignore_orientation = true;
    let text = refusal(Dataset::open(Layout::Mvtec, place.0.path(), &options));
    assert!(text.contains("is 10×12, but `bottle/test/crack/000.jpg` is 12×10\n"), "{text}");
}

#[test]
fn a_class_without_masks_is_a_note() {
    let place = mvtec();
    place.remove("bottle/ground_truth");
    let dataset = place.open(Layout::Mvtec).unwrap();
    assert_eq!(dataset.notes, ["`bottle` has no masks, so that metrics of pixels are undefined"]);
    assert!(dataset.classes[0].test.iter().all(|sample| sample.are_pixels_known != sample.is_anomalous));
    assert!(dataset.classes[1].test.iter().all(|sample| sample.are_pixels_known));
}

#[test]
fn an_empty_mask_of_a_normal_photo_is_as_good_as_none() {
    let place = mvtec();
    place.masks(&["bottle/ground_truth/good/000_mask.png"], 255, &[]);
    let dataset = place.open(Layout::Mvtec).unwrap();
    let good = &dataset.classes[0].test[2];
    assert!(!good.is_anomalous && good.are_pixels_known);
    assert_eq!(good.mask_of_size(12, 10).unwrap().map(|mask| mask.area()), Some(0));
}

#[test]
fn btad_pairs_stems_over_bmp_and_png() {
    let place = Place::new();
    let root = "BTech_Dataset_transformed";
    for (class, photo, mask) in [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")] {
        let at = |name: &str, ending: &str| format!("{root}/{class}/{name}.{ending}");
        place.photos(&[&at("train/ok/0000", photo), &at("test/ok/0000", photo), &at("test/ko/0000", photo)]);
        place.masks(&[&at("ground_truth/ko/0000", mask)], 255, &[7]);
    }
    let dataset = place.open(Layout::Btad).unwrap();
    assert_eq!((names(&dataset), dataset.root.clone()), (vec!["01", "02", "03"], place.path(root)));
    assert_eq!(summary(&dataset.classes[2]), ["03/test/ko/0000.bmp anomalous ko 1", "03/test/ok/0000.bmp normal ok 0"]);
    for class in &dataset.classes {
        assert_eq!((class.normal.len(), marked(&class.test[0].mask_of_size(12, 10).unwrap().unwrap())), (1, vec![7]), "{}", class.name);
    }
    // As downloaded and as rewritten by a program, both at once.
    place.photos(&[&format!("{root}/01/test/ko/0000.png")]);
    assert!(refusal(place.open(Layout::Btad)).contains("`01/test/ko/0000.png` differs from `01/test/ko/0000.bmp` in its ending alone"));
}

/// VisA as published, with masks of class indices.
fn visa() -> Place {
    let place = Place::new();
    place
        .photos(&["candle/Data/Images/Normal/0000.JPG", "candle/Data/Images/Normal/0001.JPG", "candle/Data/Images/Anomaly/000.JPG"])
        .photos(&["pcb1/Data/Images/Normal/0000.JPG", "pcb1/Data/Images/Normal/0001.JPG", "pcb1/Data/Images/Anomaly/000.JPG"])
        .photos(&["pcb1/Data/Images/Anomaly/001.JPG"]);
    // Kinds of defects 1 and 2 in one mask, far below half of white.
    let kinds = GrayImage::from_fn(WIDTH, HEIGHT, |x, y| Luma([if y > 0 { 0 } else { x as u8 % 3 }]));
    place.write("candle/Data/Masks/Anomaly/000.png", &encode(&kinds.into(), "a.png"));
    place.masks(&["pcb1/Data/Masks/Anomaly/000.png", "pcb1/Data/Masks/Anomaly/001.png"], 1, &[9]);
    let head = "object,split,label,image,mask\n";
    let candle = "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\ncandle,test,normal,candle/Data/Images/Normal/0001.JPG,\n\
                  candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n";
    let pcb1 = |first: &str| {
        format!(
            "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\npcb1,test,normal,pcb1/Data/Images/Normal/0001.JPG,\n\
             pcb1,{first},anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png\n\
             pcb1,test,anomaly,pcb1/Data/Images/Anomaly/001.JPG,pcb1/Data/Masks/Anomaly/001.png\n"
        )
    };
    // Rows in any order, as published.
    place.write("split_csv/1cls.csv", format!("{head}{}{candle}", pcb1("test")).as_bytes());
    place.write("split_csv/2cls_fewshot.csv", format!("{head}{candle}{}", pcb1("train")).as_bytes());
    place
}

#[test]
fn visa_as_published_follows_its_list_and_takes_indices_of_defects() {
    let place = visa();
    let dataset = place.open(Layout::Visa).unwrap();
    assert_eq!(names(&dataset), ["candle", "pcb1"]);
    assert_eq!(dataset.notes, ["photos, labels and masks are those of `split_csv/1cls.csv`"]);
    let candle = &dataset.classes[0];
    assert_eq!(candle.normal, [place.path("candle/Data/Images/Normal/0000.JPG")]);
    assert_eq!(summary(candle), ["candle/Data/Images/Anomaly/000.JPG anomalous bad 1", "candle/Data/Images/Normal/0001.JPG normal good 0"]);
    // Columns 0, 3, 6 and 9 of the first row hold 0.
    assert_eq!(marked(&candle.test[0].mask_of_size(12, 10).unwrap().unwrap()), [1, 2, 4, 5, 7, 8, 10, 11]);

    let few =
        Dataset::open(Layout::Visa, place.0.path(), &Options { visa_split: VisaSplit::TwoClassFewShot, ..Options::default() }).unwrap();
    assert_eq!((few.classes[1].normal.len(), few.classes[1].test.len()), (1, 2));
    assert_eq!(few.notes[1], "1 defective training photo of `pcb1` not used");
    let high = Dataset::open(Layout::Visa, place.0.path(), &Options { visa_split: VisaSplit::TwoClassHighShot, ..Options::default() });
    assert_eq!(high.unwrap_err().code(), Code::NotFound);

    let class = Dataset::open(Layout::Visa, &place.path("pcb1"), &Options::default()).unwrap();
    assert_eq!((names(&class), class.classes[0].test.len()), (vec!["pcb1"], 3));
}

#[test]
fn visa_lists_what_its_list_names_and_is_not_there() {
    let place = visa();
    place.remove("pcb1/Data/Images/Normal/0001.JPG").remove("candle/Data/Masks/Anomaly/000.png");
    let list = fs::read_to_string(place.path("split_csv/1cls.csv")).unwrap();
    place.write("split_csv/1cls.csv", format!("{list}pcb1,test,odd,x.JPG,\npcb1,val,normal,y.JPG,\n,test,normal,z.JPG,\n").as_bytes());
    let text = refusal(place.open(Layout::Visa));
    for line in [
        "5 mismatches",
        "`pcb1/Data/Images/Normal/0001.JPG` does not exist",
        "`candle/Data/Masks/Anomaly/000.png` cannot be read: it does not exist",
        "`split_csv/1cls.csv, line 9` is labelled `odd`, neither `normal` nor `anomaly`",
        "`split_csv/1cls.csv, line 10` is of the split `val`",
        "`split_csv/1cls.csv, line 11` names no object or image",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let dataset = place.lenient(Layout::Visa);
    assert_eq!(summary(&dataset.classes[0])[0], "candle/Data/Images/Anomaly/000.JPG anomalous bad 0, pixels unknown");
    place.write("split_csv/1cls.csv", b"object,split,label,image\n");
    assert!(refusal(place.open(Layout::Visa)).starts_with("the list has no column `mask`, but `object`, `split`, `label`, `image`\n"));
    place.write("split_csv/1cls.csv", b"object,split,label,image,mask\na,b\n");
    assert!(refusal(place.open(Layout::Visa)).contains("line: 2"));
}

#[test]
fn visa_as_prepared_is_found_with_and_without_the_folder_of_its_split() {
    for (root, has_note) in [("VisA_pytorch/1cls", true), ("visa_pytorch", true), ("", false)] {
        let place = Place::new();
        let at = |name: &str| if root.is_empty() { name.to_owned() } else { format!("{root}/{name}") };
        place
            .photos(&[&at("candle/train/good/0000.JPG"), &at("candle/test/good/0001.JPG"), &at("candle/test/bad/000.JPG")])
            .masks(&[&at("candle/ground_truth/bad/000.png")], 255, &[20]);
        let dataset = place.open(Layout::Visa).unwrap();
        assert_eq!(summary(&dataset.classes[0]), ["candle/test/bad/000.JPG anomalous bad 1", "candle/test/good/0001.JPG normal good 0"]);
        assert_eq!((dataset.root.clone(), !dataset.notes.is_empty()), (place.0.path().join(root), has_note), "{:?}", dataset.notes);
        let few = Options { visa_split: VisaSplit::TwoClassFewShot, ..Options::default() };
        assert!(refusal(Dataset::open(Layout::Visa, place.0.path(), &few)).contains("neither `split_csv/2cls_fewshot.csv` nor a prepared"));
    }
}

#[test]
fn ksdd2_labels_photos_by_their_masks_and_evaluates_the_folder_that_is_asked_for() {
    let place = Place::new();
    place
        .photos(&["train/10000.png", "train/10001.png", "train/10002.png", "test/20000.png", "test/20001.png"])
        .masks(&["train/10000_GT.png", "train/10002_GT.png", "test/20000_GT.png"], 255, &[])
        .masks(&["train/10001_GT.png", "test/20001_GT.png"], 255, &[50, 51]);
    let dataset = place.open(Layout::Ksdd2).unwrap();
    assert_eq!(names(&dataset), ["ksdd2"]);
    assert_eq!(dataset.classes[0].normal, [place.path("train/10000.png"), place.path("train/10002.png")]);
    assert_eq!(summary(&dataset.classes[0]), ["test/20000.png normal normal 1", "test/20001.png anomalous anomalous 1"]);
    assert_eq!(dataset.notes, ["1 defective training photo of `ksdd2` not used"]);
    let as_saa = Dataset::open(Layout::Ksdd2, place.0.path(), &Options { ksdd2_split: Ksdd2Split::Train, ..Options::default() }).unwrap();
    assert_eq!((as_saa.classes[0].test.len(), as_saa.classes[0].normal.len()), (3, 1));

    place.remove("test/20001_GT.png");
    assert!(refusal(place.open(Layout::Ksdd2)).contains("`test/20001.png` has no mask, which labels it"));
    let dataset = place.lenient(Layout::Ksdd2);
    assert_eq!(summary(&dataset.classes[0]), ["test/20000.png normal normal 1"]);
    assert!(
        dataset
            .notes
            .contains(&"`ksdd2` has no anomalous test photo, so that metrics are undefined".to_owned())
    );
}

#[test]
fn mtd_takes_every_photo_for_testing_and_its_mask_for_the_label() {
    let place = Place::new();
    place
        .photos(&["MT_Blowhole/Imgs/exp1_num_1.jpg", "MT_Crack/Imgs/exp1_num_2.jpg", "MT_Free/Imgs/exp1_num_3.jpg", "other/a.jpg"])
        .masks(&["MT_Blowhole/Imgs/exp1_num_1.png"], 255, &[30])
        .masks(&["MT_Crack/Imgs/exp1_num_2.png", "MT_Free/Imgs/exp1_num_3.png"], 255, &[]);
    let dataset = place.open(Layout::Mtd).unwrap();
    assert!(dataset.classes[0].normal.is_empty());
    assert_eq!(
        summary(&dataset.classes[0]),
        [
            "MT_Blowhole/Imgs/exp1_num_1.jpg anomalous blowhole 1",
            "MT_Crack/Imgs/exp1_num_2.jpg normal normal 1",
            "MT_Free/Imgs/exp1_num_3.jpg normal free 1"
        ]
    );
    assert_eq!(dataset.notes, ["1 photo of `mtd` labelled by the mask, and otherwise by the folder"]);
    place.masks(&["MT_Free/Imgs/exp9_num_9.png"], 255, &[]);
    assert!(refusal(place.open(Layout::Mtd)).contains("`MT_Free/Imgs/exp9_num_9.png` is a mask without a photo"));
}

/// Options for folders: normal, abnormal, masks and normal for testing.
fn folders(masks: Option<&str>, normal_test: Option<&str>) -> Options {
    let folders = Folders {
        normal: "good".into(),
        abnormal: "bad".into(),
        masks: masks.map(Into::into),
        normal_test: normal_test.map(Into::into),
    };
    Options { folders, ..Options::default() }
}

#[test]
fn folders_of_ones_own_are_one_class() {
    let place = Place::new();
    place
        .photos(&["lot/good/a.png", "lot/good/b.jpg", "lot/more/c.png", "lot/bad/d.png", "lot/bad/scratch/deep/e.JPG"])
        .masks(&["lot/masks/d.bmp", "lot/masks/scratch/deep/e_mask.png"], 1, &[99]);
    let open = |options: &Options| Dataset::open(Layout::Folder, &place.path("lot"), options);
    let dataset = open(&folders(Some("masks"), Some("more"))).unwrap();
    assert_eq!((names(&dataset), dataset.classes[0].normal.len(), dataset.notes.len()), (vec!["lot"], 2, 0));
    assert_eq!(
        summary(&dataset.classes[0]),
        ["bad/d.png anomalous abnormal 1", "bad/scratch/deep/e.JPG anomalous scratch 1", "more/c.png normal normal 0"]
    );
    let alone = open(&folders(None, None)).unwrap();
    assert_eq!(
        alone.notes,
        [
            "`lot` has no normal test photo, so that metrics of images are undefined",
            "`lot` has no masks, so that metrics of pixels are undefined"
        ]
    );
    let whole = place.path("lot/more");
    let elsewhere = Dataset::open(
        Layout::Folder,
        &place.path("lot/good"),
        &Options {
            folders: Folders { normal: "".into(), abnormal: place.path("lot/bad"), masks: None, normal_test: Some(whole) },
            ..Options::default()
        },
    );
    assert_eq!(summary(&elsewhere.unwrap().classes[0])[2], "normal_test/c.png normal normal 0");

    assert_eq!(open(&Options::default()).unwrap_err().code(), Code::NotFound);
    assert_eq!(open(&folders(None, Some("good/../good"))).unwrap_err().code(), Code::Usage);
}

#[test]
fn a_folder_inside_another_keeps_its_photos_and_a_name_that_fits_two_masks_is_refused() {
    let place = Place::new();
    place.photos(&["good/a.png", "good/test/b.png", "bad/c.png"]).masks(&["bad/masks/c.png"], 255, &[4]);
    let options = folders(Some("bad/masks"), Some("good/test"));
    let open = || Dataset::open(Layout::Folder, place.0.path(), &options);
    let dataset = open().unwrap();
    assert_eq!(dataset.classes[0].normal, [place.path("good/a.png")]);
    assert_eq!(summary(&dataset.classes[0]), ["bad/c.png anomalous abnormal 1", "good/test/b.png normal normal 0"]);
    place.masks(&["bad/masks/c_mask.png"], 255, &[5]);
    assert!(refusal(open()).contains("`bad/c.png` fits several masks: `bad/masks/c_mask.png`, `bad/masks/c.png`"));
}

/// A manifest in JSONL with two classes; a photo of `bottle` has two masks.
fn manifest() -> Place {
    let place = Place::new();
    place
        .photos(&["lot7/good.png", "lot7/a.png", "lot7/b.png", "lot8/c.png"])
        .masks(&["lot7/a_1.png"], 255, &[40, 41])
        .masks(&["lot7/a_2.png"], 9, &[41, 42])
        .masks(&["c.png"], 1, &[0]);
    let lines = [
        json!({"image": "lot7/good.png", "label": "normal", "category": "bottle", "split": "train"}),
        json!({"image": "./lot7/b.png", "label": "normal", "category": "bottle", "mask": null, "mak": "x"}),
        json!({"image": "lot7/a.png", "label": "anomalous", "mask": ["lot7/a_1.png", "lot7/a_2.png"], "category": "bottle",
            "split": "test", "group": "lot7", "defect": "crack"}),
        json!({"image": place.path("lot8/c.png"), "label": "anomalous", "mask": "c.png"}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\r\n\n")).collect();
    place.write("parts.jsonl", format!("\u{feff}{text}").as_bytes());
    place
}

fn open_manifest(place: &Place, name: &str, is_lenient: bool) -> zsas::Result<Dataset> {
    Dataset::open(Layout::Manifest, &place.path(name), &Options { is_lenient, ..Options::default() })
}

#[test]
fn a_manifest_names_photos_labels_classes_and_several_masks() {
    let place = manifest();
    let dataset = open_manifest(&place, "parts.jsonl", false).unwrap();
    assert_eq!((names(&dataset), dataset.classes[0].normal.len()), (vec!["bottle", "parts"], 1));
    assert_eq!(summary(&dataset.classes[0]), ["lot7/a.png anomalous crack 2", "lot7/b.png normal normal 0"]);
    let sample = &dataset.classes[0].test[0];
    assert_eq!((sample.group.as_deref(), marked(&sample.mask_of_size(12, 10).unwrap().unwrap())), (Some("lot7"), vec![40, 41, 42]));
    assert_eq!(summary(&dataset.classes[1]), ["lot8/c.png anomalous anomalous 1"]);
    assert!(dataset.notes.contains(&"not used of the manifest: `mak` (did you mean `mask`?)".to_owned()), "{:?}", dataset.notes);
}

#[test]
fn a_manifest_in_csv_says_the_same() {
    let place = manifest();
    place.write(
        "manifest.csv",
        "label,image,category,split,mask,group\nanomalous,lot7/a.png,bottle,test,lot7/a_1.png,007\nnormal,\"lot7/b.png\", bottle,,,\nnormal,lot7/good.png,bottle,train,,\n"
            .as_bytes(),
    );
    // The only manifest of this name in its folder.
    let dataset = place.open(Layout::Manifest).unwrap();
    assert_eq!((dataset.classes[0].normal.len(), dataset.classes[0].test[0].group.as_deref()), (1, Some("007")));
    assert_eq!(summary(&dataset.classes[0]), ["lot7/a.png anomalous anomalous 1", "lot7/b.png normal normal 0"]);
    place.write("manifest.jsonl", b"");
    assert!(refusal(place.open(Layout::Manifest)).contains("holds `manifest.jsonl` and `manifest.csv`"));
    place.write("list.txt", b"");
    assert!(refusal(open_manifest(&place, "list.txt", false)).contains("ends in neither"));
}

#[test]
fn what_a_manifest_says_wrongly_is_listed_by_its_line() {
    let place = manifest();
    let text = fs::read_to_string(place.path("parts.jsonl")).unwrap();
    let wrong = [
        "{\"image\": \"lot7/a.png\", \"label\":",
        "{\"label\": \"normal\"}",
        "{\"image\": \"x.png\", \"label\": \"broken\"}",
        "{\"image\": \"x.png\", \"label\": \"normal\", \"split\": \"valid\"}",
        "{\"image\": \"x.png\", \"label\": {}}",
        "{\"image\": \"no.png\", \"label\": \"normal\"}",
        "{\"image\": \"lot7/good.png\", \"label\": \"normal\", \"category\": \"bottle\"}",
        "{\"image\": \"lot8/../lot7/b.png\", \"label\": \"anomalous\", \"category\": \"bottle\", \"mask\": \"gone.png\"}",
    ];
    place.write("parts.jsonl", format!("{text}{}", wrong.join("\n")).as_bytes());
    let shown = refusal(open_manifest(&place, "parts.jsonl", false));
    for line in [
        "8 mismatches",
        "`line 9` is no JSON object",
        "`line 10` names no `image`",
        "`line 11` is labelled `broken`, neither `normal` nor `anomalous`",
        "`line 12` is of the split `valid`",
        "`line 13` has a `label` that is neither a text nor a list of texts",
        "`no.png` does not exist",
        // A training photo that is tested too.
        "`lot7/good.png` is listed twice",
        "`gone.png` cannot be read: it does not exist",
    ] {
        assert!(shown.contains(line), "{line}:\n{shown}");
    }
    let dataset = open_manifest(&place, "parts.jsonl", true).unwrap();
    assert_eq!((dataset.classes[0].normal.len(), dataset.classes[0].test.len()), (0, 4));
}

/// Writes maps of 12×10 whose values are all this number.
fn write_map(place: &Place, name: &str, value: f32) {
    place.write(name, &encode_tiff(&zsas::Array::new([10, 12], vec![value; 120])).unwrap());
}

/// The maps of all photos in a folder, class by class.
fn found(maps: &Path, dataset: &Dataset) -> zsas::Result<Vec<Vec<SampleMap>>> {
    let found = Maps::open(&[maps.to_owned()])?.of(dataset, false)?;
    Ok(found.into_iter().map(|maps| maps.into_iter().map(Option::unwrap).collect()).collect())
}

/// The values of the maps that are found, class by class.
fn values(maps: &Path, dataset: &Dataset) -> Vec<Vec<f32>> {
    let found = found(maps, dataset).unwrap();
    found
        .iter()
        .map(|maps| maps.iter().map(|map| read_map(&map.file).unwrap().data()[0]).collect())
        .collect()
}

#[test]
fn maps_are_found_by_class_and_place_whatever_their_ending() {
    let (place, maps) = (mvtec(), Place::new());
    place.rename("bottle", "mvtec/bottle").rename("cable", "mvtec/cable");
    let dataset = Dataset::open(Layout::Mvtec, &place.path("mvtec"), &Options::default()).unwrap();
    write_map(&maps, "bottle/test/crack/000.tiff", 1.0);
    write_map(&maps, "bottle/test/crack/001.png.TIF", 2.0);
    write_map(&maps, "mvtec/bottle/test/good/000.tif", 3.0);
    maps.write("bottle/test/hole/000.png", &mask("a.png", (WIDTH, HEIGHT), 51, &[0]));
    write_map(&maps, "cable/test/bent/000.png.tiff", 4.0);
    write_map(&maps, "cable/test/good/000.tiff", 5.0);
    // Other pictures of the same photo are no maps.
    maps.photos(&["cable/test/good/000.png.overlay.png", "cable/test/good/000.png.mask.png"]);
    assert_eq!(values(maps.0.path(), &dataset), [vec![1.0, 2.0, 3.0, 0.2], vec![4.0, 5.0]]);

    write_map(&maps, "cable/test/good/000.png.tiff", 6.0);
    maps.remove("bottle/test/crack/000.tiff");
    let error = found(maps.0.path(), &dataset).unwrap_err();
    assert_eq!(error.code(), Code::Dataset);
    let text = format!("{error:#}");
    assert!(
        text.contains(
            "for 2 photos\n  `bottle/test/crack/000.png` has no map: looked for `bottle/test/crack/000.*`, `mvtec/bottle/test/crack/000.*`"
        ),
        "{text}"
    );
    assert!(
        text.contains("`cable/test/good/000.png` fits several maps: `cable/test/good/000.tiff`, `cable/test/good/000.png.tiff`"),
        "{text}"
    );
    // A photo is not its own map.
    assert!(found(&place.path("mvtec"), &dataset).unwrap_err().message().ends_with("for 6 photos"));
    assert_eq!(found(&maps.path("no"), &dataset).unwrap_err().code(), Code::NotFound);
    // What is missing may be left out, what is ambiguous not.
    let lenient = || Maps::open(&[maps.0.path().to_owned()])?.of(&dataset, true);
    assert_eq!(format!("{:#}", lenient().unwrap_err()).matches("fits several maps").count(), 1);
    maps.remove("cable/test/good/000.tiff");
    assert_eq!(lenient().unwrap()[0].iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true, true]);
    // One of two folders holds the map of a photo, never both.
    let more = Place::new();
    write_map(&more, "bottle/test/crack/000.tiff", 7.0);
    let both = || Maps::open(&[maps.0.path().to_owned(), more.0.path().to_owned()])?.of(&dataset, false);
    assert!(both().is_ok());
    write_map(&more, "bottle/test/crack/001.tiff", 8.0);
    assert!(format!("{:#}", both().unwrap_err()).contains("`bottle/test/crack/001.png` has a map in 2 of the folders"));
}

#[test]
fn maps_of_one_class_need_no_folder_for_it() {
    let (place, maps) = (mvtec(), Place::new());
    write_map(&maps, "test/bent/000.png.tiff", 1.0);
    write_map(&maps, "test/good/000.tiff", 2.0);
    let cable = Dataset::open(Layout::Mvtec, &place.path("cable"), &Options::default()).unwrap();
    assert_eq!(values(maps.0.path(), &cable), [[1.0, 2.0]]);
    assert!(found(maps.0.path(), &place.open(Layout::Mvtec).unwrap()).is_err());
}

/// Records of a run that scored photos under these paths, with maps of the values 1, 2, ….
fn write_run(maps: &Place, folder: &str, paths: &[&str]) {
    let mut lines = String::new();
    for (at, path) in paths.iter().enumerate() {
        let file = format!("m{at}.tiff");
        write_map(maps, &format!("{folder}{file}"), 1.0 + at as f32);
        let record = json!({"v": 1, "path": path, "status": "ok", "score": 0.5 + at as f64, "map": {"file": file}});
        lines += &format!("{record}\n");
    }
    maps.write(format!("{folder}results.jsonl"), format!("{lines}{{\"v\":1,\"pa").as_bytes());
    maps.write(format!("{folder}run.json"), b"{}");
}

#[test]
fn the_records_of_a_run_say_which_map_is_whose_and_its_score() {
    let (place, maps) = (mvtec(), Place::new());
    let dataset = Dataset::open(Layout::Mvtec, place.0.path(), &Options { classes: vec!["cable".into()], ..Options::default() }).unwrap();
    // Both classes were scored, by paths from elsewhere; the other class has a photo of the same place.
    write_run(&maps, "", &["../data/cable/test/good/000.png", "/x/bottle/test/good/000.png", "../data/cable/test/bent/000.png"]);
    let found = found(maps.0.path(), &dataset).unwrap();
    assert_eq!(values(maps.0.path(), &dataset), [[3.0, 1.0]]);
    assert_eq!(found[0].iter().map(|map| map.score).collect::<Vec<_>>(), [Some(2.5), Some(0.5)]);

    let refused = |lines: &str| {
        maps.write("results.jsonl", lines.as_bytes());
        format!("{:#}", self::found(maps.0.path(), &dataset).unwrap_err())
    };
    let text = refused(
        "{\"v\":1,\"path\":\"cable/test/good/000.png\",\"status\":\"ok\",\"score\":1,\"map\":{\"file\":null}}\n\
         {\"v\":1,\"path\":\"cable/test/bent/000.png\",\"status\":\"error\",\"error\":{\"code\":\"decode\",\"message\":\"is torn\"}}\n",
    );
    assert!(text.contains("`cable/test/good/000.png` has a record, but its map was not saved"), "{text}");
    assert!(text.contains("`cable/test/bent/000.png` failed in that run: is torn"), "{text}");
    let text = refused("{\"v\":1,\"path\":\"a/cable/test/good/000.png\"}\n{\"v\":1,\"path\":\"b/cable/test/good/000.png\"}\n");
    assert!(text.contains("fits several records: `a/cable/test/good/000.png`, `b/cable/test/good/000.png`"), "{text}");
    assert!(text.contains("`cable/test/bent/000.png` has no record in `"), "{text}");
    assert!(refused("{\"v\":2,\"path\":\"a\"}\n").contains("records of version 2"));
}

#[test]
fn a_run_for_each_class_in_a_folder_of_its_name_is_read() {
    let (place, maps) = (mvtec(), Place::new());
    let dataset = place.open(Layout::Mvtec).unwrap();
    write_run(&maps, "cable/", &["test/bent/000.png", "test/good/000.png"]);
    write_run(&maps, "bottle/", &["test/crack/000.png", "test/crack/001.png", "test/good/000.png", "test/hole/000.png"]);
    assert_eq!(values(maps.0.path(), &dataset), [vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 2.0]]);
}
