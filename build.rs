//! Tells the binary which commit it is built from, where git knows: `$ZSAS_COMMIT` if it is set, else `git rev-parse`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ZSAS_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // This file changes with each commit and each checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| std::path::Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = std::env::var("ZSAS_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
        println!("cargo::rustc-env=ZSAS_COMMIT={commit}");
    }
}

/// What git answers; `None` without git, without a repository, or without a commit.
fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned())
}
