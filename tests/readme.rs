//! The README's commands exist as printed: the two scripts, and every verb and flag of the binary.

use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../README.md");

/// Lines of the README's code blocks, without comments.
fn commands() -> Vec<String> {
    let blocks = README.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(|line| line.split('#').next().unwrap_or("").trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_two_commands_of_the_quick_start_are_scripts_that_can_be_run() {
    let scripts: Vec<String> = commands().into_iter().filter(|line| line.starts_with("./")).collect();
    assert_eq!(scripts, ["./tools/demo", "./tools/test"]);
    for script in scripts {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let checked = Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(checked.success(), "{} does not parse", path.display());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{} cannot be executed", path.display());
        }
    }
}

#[test]
fn every_verb_and_flag_that_is_shown_is_known() {
    let shown: Vec<String> = commands().into_iter().filter(|line| line.starts_with("zsas-gpu ")).collect();
    assert!(shown.len() >= 8, "{shown:?}");
    for line in shown {
        let words: Vec<&str> = line.split_whitespace().collect();
        let help = Command::new(env!("CARGO_BIN_EXE_zsas-gpu")).args([words[1], "--help"]).output().unwrap();
        assert!(help.status.success(), "`{line}`: there is no verb `{}`", words[1]);
        let text = String::from_utf8(help.stdout).unwrap();
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(text.contains(flag), "`{line}`: `{}` does not know `{flag}`", words[1]);
        }
    }
}

#[test]
fn every_file_that_is_linked_is_there() {
    for link in README.split("](").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target}");
    }
}
