//! Journal of a run: which images are in work, so that after a crash the next run knows which image may have caused it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::results::owned::regular_file;

/// Name of the file in the output folder.
pub(super) const FILE: &str = ".zsas.journal";

/// Number of killed runs after which an image that was in work is given up.
const KILLS: usize = 2;

/// Line of the journal: a run starts, or an image is begun or finished.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run,
    Begin(String),
    End(String),
}

/// The images that killed runs had in work.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Number of killed runs that had an image in work, by its name.
    in_work: BTreeMap<String, usize>,
    /// Names of all images that were begun since the last run that ended properly.
    begun: BTreeSet<String>,
}

impl Journal {
    /// The journal of an output folder; empty where there is none.
    pub(super) fn read(root: &Path) -> Journal {
        let text = regular_file(root, FILE).and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let Journal { mut in_work, mut begun } = Journal::default();
        let mut open: Vec<String> = Vec::new();
        let mut count = |open: &mut Vec<String>| open.drain(..).for_each(|name| *in_work.entry(name).or_default() += 1);
        for line in String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            match line {
                Line::Run => count(&mut open),
                Line::Begin(name) => {
                    begun.insert(name.clone());
                    open.push(name);
                }
                Line::End(name) => open.retain(|other| *other != name),
            }
        }
        count(&mut open);
        Journal { in_work, begun }
    }

    /// Images that were begun by a run that was killed: their files may exist without a record.
    pub(super) fn begun(&self) -> impl Iterator<Item = &str> {
        self.begun.iter().map(String::as_str)
    }

    /// Whether as many runs as [`KILLS`] were killed with this image in work.
    pub(super) fn has_crashed(&self, name: &str) -> bool {
        self.in_work.get(name).is_some_and(|&runs| runs >= KILLS)
    }

    /// Whether a run was killed with this image in work. Such images are tried one at a time, so that the next kill tells which it was.
    pub(super) fn is_suspect(&self, name: &str) -> bool {
        self.in_work.contains_key(name)
    }
}

/// The journal of this run, written to by several threads.
pub(super) struct Writer {
    file: Mutex<File>,
}

impl Writer {
    /// Opens the journal for appending to that of earlier runs.
    pub(super) fn open(root: &Path) -> Result<Writer> {
        let path = root.join(FILE);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(|error| Error::io(format!("opening `{}`", path.display()), &error))?;
        let writer = Writer { file: Mutex::new(file) };
        writer.write(&Line::Run);
        Ok(writer)
    }

    /// Notes that an image is begun.
    pub(super) fn begin(&self, name: &str) {
        self.write(&Line::Begin(name.to_owned()));
    }

    /// Notes that an image is finished, scored or failed.
    pub(super) fn end(&self, name: &str) {
        self.write(&Line::End(name.to_owned()));
    }

    /// Appends a line. An error is only logged: without the journal the next run does not know which image killed this one, nothing else.
    fn write(&self, line: &Line) {
        let text = super::to_json(line) + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text.as_bytes()) {
            log::debug!("the journal is not written: {error}");
        }
    }
}

/// Removes the journal at the proper end of a run.
pub(super) fn remove(root: &Path) {
    let _ = fs::remove_file(root.join(FILE));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_in_work_in_two_killed_runs_has_crashed() {
        let folder = tempfile::tempdir().unwrap();
        for run in [["a", "b", "c"], ["b", "c", "d"]] {
            let writer = Writer::open(folder.path()).unwrap();
            run.iter().for_each(|name| writer.begin(name));
            writer.end("c");
        }
        let journal = Journal::read(folder.path());
        let crashed: Vec<&str> = journal.begun().filter(|name| journal.has_crashed(name)).collect();
        assert_eq!(crashed, ["b"]);
        assert_eq!(journal.begun().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert!(journal.is_suspect("a") && journal.is_suspect("d") && !journal.is_suspect("c"));
        remove(folder.path());
        assert!(!Journal::read(folder.path()).is_suspect("a"));
    }
}
