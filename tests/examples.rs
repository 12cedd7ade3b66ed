//! The programs in `examples/` run and print what they promise.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The example of a name, which `cargo test` builds beside the tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let program: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("ZSAS_WEIGHTS");
    command
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn one_photo_is_scored_by_texture_and_by_language() {
    let photo = "tests/photos/textile/local_033.jpg";
    let by_texture = printed(example("one_photo").arg(photo));
    assert!(by_texture.starts_with("2.78") && by_texture.contains("Region"), "{by_texture}");
    let weights = tempfile::tempdir().unwrap();
    common::clip::write_snapshot(&weights.path().join("clip"));
    let by_language = printed(example("one_photo").arg(photo).arg(weights.path()).arg("bottle"));
    let score: f32 = by_language.split(' ').next().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&score), "{by_language}");
}

#[test]
fn captions_share_a_photo() {
    let weights = common::dino::snapshot_of_all_words();
    let printed = printed(
        example("captions")
            .arg("tests/photos/textile/local_033.jpg")
            .arg(weights.path())
            .args(["Crack", "hole. thread"]),
    );
    assert_eq!(printed.matches("crack.: Some(").count(), 2, "{printed}");
    assert_eq!(printed.matches("hole. thread.: Some(").count(), 2, "{printed}");
}

#[test]
fn a_folder_gets_records_and_a_report() {
    let output = tempfile::tempdir().unwrap();
    let printed = printed(example("folder").arg("tests/photos/textile").arg(output.path()));
    assert!(printed.starts_with("6 scored, 0 failed"), "{printed}");
    for file in ["results.jsonl", "run.json", "report.html"] {
        assert!(output.path().join(file).is_file(), "{file}");
    }
    assert_eq!(common::binary::records(output.path()).len(), 6);
}

#[test]
fn a_raw_network_runs_on_arrays() {
    let printed = printed(&mut example("raw_network"));
    assert!(printed.contains("layer1 [1, 72, 16, 24]") && printed.contains("layer2 [1, 64, 8, 12]"), "{printed}");
}

#[test]
fn the_examples_are_as_short_as_promised() {
    let lines_of = |file: &str, function: &str| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file)).unwrap();
        let body = text.split(&format!("fn {function}(")).nth(1).unwrap().split("\n}").next().unwrap().to_owned();
        body.lines().count() - 1
    };
    assert!(lines_of("one_photo.rs", "with_utad") <= 10 && lines_of("one_photo.rs", "with_winclip") <= 10);
    assert!(lines_of("folder.rs", "main") <= 20);
}
