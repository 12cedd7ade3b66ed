//! Inputs through the binary: how they are found, what is left out or inspected in part, and who is told.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::binary::{Place, Run, finish, png};
use serde_json::{Value, json};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

/// A place that holds cases under their own names.
fn with_cases(names: &[&str]) -> Place {
    let place = Place::new();
    for name in names {
        place.write(name, &std::fs::read(case(name)).unwrap());
    }
    place
}

/// `infer -` into `out`, with a list on standard input.
fn infer_list(place: &Place, list: &[u8], arguments: &[&str]) -> Run {
    let mut command = place.command();
    command.args(["infer", "-", "--output", "out", "--save", "none"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(list).unwrap();
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn paths(place: &Place) -> Vec<String> {
    place.records().iter().map(|record| record["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_that_powershell_writes_name_the_same_photos() {
    let place = with_cases(&["ycck.jpg", "associated_alpha_128.tif"]);
    for list in ["list_utf16.txt", "list_bom.txt"] {
        infer_list(&place, &std::fs::read(case(list)).unwrap(), &["--overwrite"]).exits(0);
        assert_eq!(paths(&place), ["ycck.jpg", "associated_alpha_128.tif"], "{list}");
    }
}

#[test]
fn a_list_that_cannot_be_read_ends_with_2_and_shows_no_megabytes() {
    let place = Place::with_photos(&["a.png"]);
    let bare: Vec<u8> = "/\na.png\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    infer_list(&place, &bare, &[]).exits(2).says("looks like UTF-16 without a byte order mark");
    let huge = [vec![b'x'; 5_000_000], b".png\n".to_vec()].concat();
    let run = infer_list(&place, &huge, &[]).exits(2).says("xxx");
    assert!(run.stderr.len() < 10_000, "{} bytes", run.stderr.len());
}

#[test]
#[cfg(unix)]
fn what_a_folder_holds_beside_photos_is_told_and_counted() {
    let place = Place::with_photos(&["lot/a.png", "elsewhere.png"]);
    place.write("lot/e.heic", b"");
    std::os::unix::fs::symlink(place.path("elsewhere.png"), place.path("lot/link.png")).unwrap();
    place
        .infer(&["lot", "--save", "none", "--report"])
        .exits(0)
        .says("warning: left out of the inputs: 1 .heic, 1 link");
    assert_eq!(place.json("out/run.json")["uninspected"]["inputs"], json!({ ".heic": 1, "link": 1 }));
    let report = std::fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(report.contains("left out of the inputs: 1 .heic, 1 link"));
    let failing = ["lot", "--save", "none", "--overwrite", "--quiet", "--fail-on"];
    assert_eq!(place.infer(&[&failing[..], &["uninspected"]].concat()).exits(3).stderr, "");
    place.infer(&[&failing[..], &["anomaly,uninspected", "--threshold=-1e9"]].concat()).exits(4);
    place.infer(&[&failing[..], &["anomaly", "--threshold", "1e9"]].concat()).exits(0);
}

#[test]
fn a_photo_inspected_in_part_is_never_plainly_normal() {
    let place = with_cases(&["wide_defect_at_end.jpg", "two_pages.tif"]);
    place
        .infer(&["wide_defect_at_end.jpg", "two_pages.tif", "--threshold", "1e6", "--save", "none", "--report", "--fail-on", "uninspected"])
        .exits(3)
        .says("1 image was inspected in part: further pages are left out")
        .says("2 images were inspected in part: what lies outside the part that decides the score is left out, up to 84 % of one")
        .says("`--tiles 1` inspects the whole of each photo");
    let records = place.records();
    for (record, reason) in records.iter().zip(["outside_crop", "page"]) {
        assert_eq!((&record["decision"], &record["uninspected"][0]["reason"]), (&Value::from("normal_in_part"), &Value::from(reason)));
    }
    assert!((records[0]["uninspected"][0]["share"].as_f64().unwrap() - 0.84).abs() < 0.01, "{}", records[0]);
    let run = place.json("out/run.json");
    assert_eq!((&run["counts"]["in_part"], &run["uninspected"]["in_part"]["page"]["images"]), (&Value::from(2), &Value::from(1)));
    assert!(std::fs::read_to_string(place.path("out/report.html")).unwrap().contains("inspected in part"));

    // Squares over all of the photo see the defect at its end.
    let centre = records[0]["score"].as_f64().unwrap();
    place
        .infer(&["wide_defect_at_end.jpg", "--tiles", "1", "--threshold", "1e6", "--save", "none", "--overwrite"])
        .exits(0);
    let record = &place.records()[0];
    assert_eq!(record["decision"], "normal");
    assert!(record["score"].as_f64().unwrap() > centre, "{record}");
}

#[test]
fn what_was_done_to_samples_is_said_once_and_recorded_always() {
    let place = with_cases(&["sixteen_bit_grey.png"]);
    std::fs::copy(case("sixteen_bit_grey.png"), place.path("another.png")).unwrap();
    let run = place.infer(&["sixteen_bit_grey.png", "another.png", "--save", "none"]).exits(0);
    assert_eq!(run.stderr.matches("16 bits per sample, reduced to the upper 8").count(), 1, "{}", run.stderr);
    for record in place.records() {
        assert_eq!(record["warnings"], json!(["16 bits per sample, reduced to the upper 8"]));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_differ_in_a_byte_are_two_photos() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let add = |name: &[u8], level: u8| {
        std::fs::create_dir_all(place.path("lot")).unwrap();
        let photo = png(40, 40, |x, y| level * u8::from((x / 4 + y / 4) % 2 == 0));
        std::fs::write(place.path("lot").join(OsStr::from_bytes(name)), photo).unwrap();
    };
    add(b"p\xe4.png", 200);
    place.infer(&["lot"]).exits(0);
    let first = place.records().remove(0);
    assert_eq!(first["path"], r"lot/p\xe4.png");
    add(b"p\xf6.png", 30);
    place.infer(&["lot", "--resume"]).exits(0).says("1 done before");
    let records = place.records();
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0], &records[1]["path"]), (&first, &Value::from(r"lot/p\xf6.png")));
    assert_ne!(records[1]["score"], first["score"]);
    assert!(place.outputs().contains(&r"lot/p\xf6.png.tiff".to_owned()), "{:?}", place.outputs());
}

#[test]
fn quiet_silences_logged_warnings_too() {
    let place = Place::with_photos(&["a.png"]);
    let infer = |more: &[&str]| {
        let mut command = place.command();
        command
            .env("ZSAS_LOSE_DEVICE_AT", "1")
            .args(["infer", "a.png", "--output", "out", "--overwrite", "--save", "none"]);
        finish(command.args(more)).exits(0)
    };
    infer(&[]).says("the device is opened again");
    assert_eq!(infer(&["--quiet"]).stderr, "");
}
