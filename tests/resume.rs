//! The output folder through the binary: what is replaced, what a resumed run does again, and what it makes of an image that kills it.

mod common;

use std::fs;

use common::binary::{Place, finish};

/// The paths of the records, in their order.
fn paths(place: &Place) -> Vec<String> {
    place.records().iter().map(|record| record["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_file_that_no_earlier_run_wrote_is_never_replaced() {
    let place = Place::with_photos(&["lot/a.png"]);
    for file in ["lot/a.png.tiff", "report.html"] {
        place.write(file, b"mine");
        place
            .run(&["infer", "lot/a.png", "-o", ".", "--report"])
            .exits(2)
            .says("would be overwritten, and no earlier run wrote it");
        assert_eq!(fs::read(place.path(file)).unwrap(), b"mine");
        assert!(!place.path("results.jsonl").exists());
        fs::remove_file(place.path(file)).unwrap();
    }
    place.run(&["infer", "lot/a.png", "-o", ".", "--report"]).exits(0);
    // Its own files it replaces.
    place.run(&["infer", "lot/a.png", "-o", ".", "--report", "--overwrite"]).exits(0);
    assert!(place.path("lot/a.png.tiff").is_file() && place.path("lot/a.png").is_file());
}

#[test]
fn a_refused_run_leaves_no_folder_behind() {
    let place = Place::with_photos(&["a.png"]);
    place.infer(&["a.png", "--method", "winclip"]).exits(1);
    assert!(!place.path("out").exists());
}

#[test]
fn a_photo_that_changed_or_lost_a_picture_is_scored_again_in_its_place() {
    let place = Place::with_photos(&["p/a.png", "p/b.png", "p/c.png"]);
    let infer = |more: &[&str]| place.infer(&[&["p", "--method", "utad"], more].concat()).exits(0);
    infer(&[]);
    let first = place.records();
    infer(&["--resume"]).says("3 done before");
    assert_eq!(place.records(), first);
    // Another photo under the first name, and a map that is gone.
    place.photo("p/a.png", true);
    fs::remove_file(place.path("out/p/c.png.tiff")).unwrap();
    infer(&["--resume"]).says("2 scored").says("1 done before");
    let again = place.records();
    assert_eq!(paths(&place), ["p/a.png", "p/b.png", "p/c.png"]);
    assert_ne!(again[0]["score"], first[0]["score"]);
    assert_eq!(again[0]["score"], first[1]["score"], "the defective photo");
    assert_eq!(again[2]["score"], first[2]["score"]);
    assert!(place.path("out/p/c.png.tiff").is_file());
    // Nobody knows what records without a `run.json` were made with.
    fs::remove_file(place.path("out/run.json")).unwrap();
    place.infer(&["p", "--method", "utad", "--resume"]).exits(2).says("are not known");
}

#[test]
fn a_photo_that_kills_two_runs_is_given_up_and_the_rest_is_done() {
    let place = Place::with_photos(&["p/1.png", "p/2.png", "p/3.png", "p/4.png", "p/5.png"]);
    let infer = |more: &[&str]| {
        let mut command = place.command();
        command
            .env("ZSAS_ABORT_AT", "p/3.png")
            .args(["infer", "p", "-o", "out", "--method", "utad"])
            .args(more);
        finish(&mut command)
    };
    for more in [&[][..], &["--resume"]] {
        assert_eq!(infer(more).code, None, "the process is killed");
    }
    infer(&["--resume"])
        .exits(3)
        .says("failed: p/3.png: two runs were killed while this image was in work");
    assert_eq!(paths(&place), ["p/1.png", "p/2.png", "p/3.png", "p/4.png", "p/5.png"]);
    let records = place.records();
    assert_eq!(records[2]["error"]["code"], "crashed");
    assert!(records.iter().filter(|record| record["status"] == "ok").count() == 4, "{records:?}");
}

#[test]
fn records_that_are_removed_during_a_run_are_an_error() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    // The first photo is a folder's worth of work for the thread that removes the records as soon as they are there.
    let out = place.path("out");
    let remover = std::thread::spawn(move || {
        for _ in 0..60_000 {
            if out.join("results.jsonl").exists() {
                return fs::remove_file(out.join("results.jsonl")).is_ok();
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        false
    });
    let run = place.infer(&["a.png", "b.png", "--method", "utad"]);
    assert!(remover.join().unwrap());
    run.exits(1).says("was removed or replaced during the run");
    assert_eq!(place.json("out/run.json")["status"], "failed");
}

#[test]
#[cfg(unix)]
fn folders_and_links_where_pictures_were_to_be_are_one_photos_trouble() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    fs::create_dir_all(place.path("out/a.png.tiff")).unwrap();
    place
        .infer(&["a.png", "b.png", "--method", "utad"])
        .exits(3)
        .says("is a folder, and is not written to");
    let records = place.records();
    assert_eq!((records[0]["error"]["code"].as_str(), records[1]["status"].as_str()), (Some("output"), Some("ok")));
    // A link to a folder elsewhere is not followed.
    let place = Place::with_photos(&["p/a.png"]);
    fs::create_dir_all(place.path("elsewhere")).unwrap();
    fs::create_dir_all(place.path("out")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("out/p")).unwrap();
    place.infer(&["p/a.png", "--method", "utad"]).exits(3).says("is a link, and is not written to");
    assert_eq!(fs::read_dir(place.path("elsewhere")).unwrap().count(), 0);
}

#[test]
fn a_folder_in_the_place_of_the_records_is_refused_at_once() {
    let place = Place::with_photos(&["a.png"]);
    fs::create_dir_all(place.path("out/results.jsonl")).unwrap();
    place.infer(&["a.png"]).exits(2).says("is a folder");
}
