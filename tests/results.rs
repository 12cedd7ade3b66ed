//! The output folder through the library and the binary: names of files, the format of records, writes that fail.

mod common;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use unicode_normalization::UnicodeNormalization;
use zsas::inputs::Input;
use zsas::results::{Existing, Named, Output, Picture, thumbs};

use common::Seeded;
use common::binary::{BINARY, Place, finish};

#[test]
#[cfg(unix)]
fn a_limit_of_file_sizes_is_an_error_of_writing() {
    let place = Place::with_photos(&["a.png"]);
    // Blocks of 512 or 1024 bytes: less than the 30 KiB of the float map, more than `run.json`.
    let script = r#"ulimit -f 16; exec "$0" infer a.png --output out"#;
    let command = place.command();
    let environment: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(command.get_current_dir().unwrap()).args(["-c", script, BINARY]);
    for (name, value) in environment {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    drop(command);
    finish(&mut shell).exits(1).says("out/a.png.tiff").says("`ulimit -f` shows the limit");
    assert_eq!(place.json("out/run.json")["status"], "failed");
    place.infer(&["a.png", "--resume"]).exits(0);
}

/// Pieces of names that come near each other: case, accents coded in two ways, our own endings, numbers and folders, lengths at the limit.
const PIECES: [&str; 26] = [
    "a",
    "A",
    "a.png",
    "A.PNG",
    "\u{e4}",
    "a\u{308}",
    "\u{c4}",
    "\u{df}",
    "\u{1e9e}",
    "SS",
    "s",
    "\u{17f}",
    "K",
    "\u{212a}",
    "\u{130}",
    "i\u{307}",
    ".tiff",
    ".mask.png",
    ".heatmap.png",
    ".overlay.png",
    ".photo.jpg",
    ".heat.jpg",
    "~2",
    "~3",
    "report",
    "long",
];

/// Inputs with few, similar names, each with a path of its own.
fn similar_inputs(seed: u64, count: usize) -> Vec<Input> {
    let mut numbers = Seeded::new(seed);
    let mut below = |end: usize| (numbers.bits() % end as u64) as usize;
    let input = |at: usize| {
        let mut parts = Vec::new();
        for _ in 0..=below(2) {
            let mut part: String = (0..=below(2)).map(|_| PIECES[below(PIECES.len())]).collect();
            if below(8) == 0 {
                part = part.repeat(1 + 255 / part.len());
            }
            parts.push(part);
        }
        if below(50) == 0 {
            parts.extend(vec!["d".to_owned(); 600]);
        }
        Input { file: PathBuf::from("nowhere"), path: format!("{seed}/{at}"), name: parts.join("/") }
    };
    (0..count).map(input).collect()
}

/// All files that an input may get.
fn files(name: &str) -> Vec<String> {
    Picture::ALL.into_iter().map(|picture| picture.file(name)).chain(thumbs(name)).collect()
}

/// What file systems may take two names for the same by.
fn views(file: &str) -> [String; 4] {
    [file.to_lowercase(), file.to_uppercase(), file.nfc().collect(), file.to_lowercase().nfd().collect()]
}

/// Asserts that no two of these names, by their paths, share a file.
fn assert_apart(names: &HashMap<String, String>) {
    for view in 0..4 {
        let own = ["results.jsonl", "run.json", "report.html", ".zsas.lock", ".zsas.journal"];
        let mut seen: HashSet<String> = own.iter().map(|file| views(file)[view].clone()).collect();
        for file in names.values().flat_map(|name| files(name)) {
            assert!(file.split('/').all(|part| part.len() <= 255) && file.len() < 2048, "{file}");
            assert!(seen.insert(views(&file)[view].clone()), "two inputs share `{file}`");
        }
    }
}

fn by_path(named: &[Named]) -> HashMap<String, String> {
    named.iter().map(|input| (input.path.clone(), input.name.clone())).collect()
}

#[test]
fn two_inputs_never_share_a_file_whatever_their_names() {
    for seed in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path(), Existing::Refuse).unwrap();
        let named = output.name(similar_inputs(seed, 200));
        assert_eq!(named.len(), 200);
        assert_apart(&by_path(&named));
    }
}

#[test]
fn inputs_of_a_resumed_run_share_no_file_with_results_that_stay() {
    for seed in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path(), Existing::Refuse).unwrap();
        let first = output.name(similar_inputs(seed, 60));
        drop(output);
        // Every other input was scored.
        let kept: Vec<&Named> = first.iter().step_by(2).collect();
        let record = |input: &&Named| {
            serde_json::json!({"v": 1, "path": input.path, "output": input.name, "status": "ok", "score": 1.0}).to_string() + "\n"
        };
        fs::write(folder.path().join("results.jsonl"), kept.iter().map(record).collect::<String>()).unwrap();
        // The second run has some of them, and others, in another order.
        let mut inputs = similar_inputs(seed, 60);
        inputs.rotate_left(17);
        inputs.truncate(40);
        inputs.extend(similar_inputs(seed + 1000, 60));
        inputs.rotate_left(31);
        let output = Output::open(folder.path(), Existing::Resume).unwrap();
        let second = output.name(inputs);
        let mut names = by_path(&second);
        for input in kept {
            let name = names.insert(input.path.clone(), input.name.clone());
            assert!(name.is_none_or(|name| name == input.name), "`{}` has another name than before", input.path);
        }
        assert_apart(&names);
    }
}
