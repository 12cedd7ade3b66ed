//! The output folder: checked before anything is computed, locked while a run writes, resumable after a kill.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Code, Error, Remedy, Result};
use crate::files::{short_hash, write_whole};

use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

use crate::inputs::Input;
use crate::results::journal::{self, Journal};
use crate::results::{Earlier, RESULTS, RUN, owned, to_json};

/// The report: a page of all images by score.
pub const REPORT: &str = "report.html";
/// Folder of the page's small pictures.
const THUMBS: &str = "report";

const LOCK: &str = ".zsas.lock";

/// Most bytes of a file name on every common file system.
const MAX_NAME_BYTES: usize = 255;

/// Bytes kept for what is appended to a name: `~999` and `.heatmap.png`.
const RESERVED_BYTES: usize = 20;

/// Longest relative path, so that it fits below any sensible folder.
const MAX_PATH_BYTES: usize = 1024;

/// Names of the small pictures of a photo: the photo, and the photo with its map.
pub fn thumbs(name: &str) -> [String; 2] {
    ["photo", "heat"].map(|what| format!("{THUMBS}/{name}.{what}.jpg"))
}

/// What to do with results that are already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Keep what was scored, score the rest.
    Resume,
    /// Remove and start anew.
    Overwrite,
}

/// A folder that only this run writes to.
pub struct Output {
    root: PathBuf,
    existing: Existing,
    /// Open from [`Output::begin`] on.
    results: Option<Mutex<File>>,
    journal: Option<journal::Writer>,
    /// Scored inputs of earlier runs: name of the files → record.
    kept: HashMap<String, Earlier>,
    /// Inputs that failed in earlier runs: path → name of the files they would have had.
    failed: HashMap<String, String>,
    /// What killed runs had in work.
    killed: Journal,
    /// Files of earlier runs.
    own: HashSet<String>,
    /// Whether this run made the folder.
    is_new: bool,
    /// Held until the run ends, however it ends.
    _lock: File,
}

impl Output {
    /// Creates the folder, or looks at what it holds; changes nothing in it but the lock.
    ///
    /// Fails with [`Code::Output`] where the folder cannot serve or be written to, [`Code::Locked`] where another run writes to it.
    pub fn open(root: &Path, existing: Existing) -> Result<Output> {
        let refused = |what: String, remedy| Err(Error::new(Code::Output, what).hint(remedy));
        if root.exists() && !root.is_dir() {
            return refused(format!("`{}` is not a folder", root.display()), Remedy::ChooseOtherOutput);
        }
        [RESULTS, RUN, REPORT, LOCK, journal::FILE]
            .iter()
            .try_for_each(|file| refuse_irregular(&root.join(file)))?;
        let is_new = !root.exists();
        fs::create_dir_all(root).map_err(|error| unwritable(root, &error))?;
        let lock = lock(root)?;
        let mut output = Output {
            root: root.to_owned(),
            existing,
            results: None,
            journal: None,
            kept: HashMap::new(),
            failed: HashMap::new(),
            killed: Journal::read(root),
            own: owned::own_files(root),
            is_new,
            _lock: lock,
        };
        let has_results = root.join(RESULTS).exists() || root.join(RUN).exists();
        if has_results && existing == Existing::Refuse {
            return refused(format!("`{}` already holds results", root.display()), Remedy::ResumeOrOverwrite);
        }
        if existing == Existing::Resume {
            let text = read_results(root)?;
            if let Some(version) = text.lines().find_map(Earlier::foreign_version) {
                let message = format!("`{}` holds records of version {version}, which this program cannot go on from", root.display());
                return refused(message, Remedy::ChooseOtherOutput);
            }
            output.kept = scored(&text);
            let failures = text
                .lines()
                .filter_map(Earlier::parse)
                .filter(|earlier| !earlier.is_ok() && owned::is_inside(earlier.name()));
            output.failed = failures.map(|earlier| (earlier.path.clone(), earlier.name().to_owned())).collect();
        }
        Ok(output)
    }

    /// Makes room for this run's results; called once everything else is ready, so that a run that cannot start costs nothing.
    ///
    /// The record of an earlier run is kept where its input is still the same file and its pictures are there.
    pub fn begin(&mut self, inputs: &[Named]) -> Result<()> {
        if self.existing == Existing::Resume {
            let stale = self.forget_changed(inputs);
            rewrite(&self.root, &self.kept, inputs)?;
            stale.iter().try_for_each(|file| owned::remove(&self.root, file))?;
        }
        let root = &self.root;
        remove_leftovers(root);
        if self.existing == Existing::Overwrite {
            self.own.iter().try_for_each(|file| owned::remove(root, file))?;
            journal::remove(root);
        }
        let path = owned::below(root, RESULTS)?;
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        self.results = Some(opened.map(Mutex::new).map_err(|error| Error::io(format!("opening `{}`", path.display()), &error))?);
        self.journal = Some(journal::Writer::open(root)?);
        Ok(())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The record of an earlier run that stands for this input.
    pub fn earlier(&self, input: &Named) -> Option<&Earlier> {
        self.kept.get(&input.name)
    }

    /// Drops the records of inputs whose file is not the one that was scored, or whose pictures are not all there; returns their pictures.
    fn forget_changed(&mut self, inputs: &[Named]) -> Vec<String> {
        let mut stale = Vec::new();
        for input in inputs {
            let Some(earlier) = self.kept.get(&input.name).filter(|earlier| !self.is_current(earlier, input)) else { continue };
            stale.extend(earlier.files.iter().filter(|file| owned::may_be_own(file, Some(&input.name))).cloned());
            self.kept.remove(&input.name);
        }
        stale
    }

    fn is_current(&self, earlier: &Earlier, input: &Named) -> bool {
        let is_same = earlier.input.as_ref().is_some_and(|source| source.is(&input.file));
        is_same && earlier.files.iter().all(|file| owned::regular_file(&self.root, file).is_some())
    }

    /// Whether this image killed enough runs to be given up.
    pub fn has_crashed(&self, input: &Named) -> bool {
        self.existing == Existing::Resume && self.killed.has_crashed(&input.name)
    }

    /// Whether a run was killed with this image in work: such images are to be tried one at a time.
    pub fn is_suspect(&self, input: &Named) -> bool {
        self.existing == Existing::Resume && self.killed.is_suspect(&input.name)
    }

    /// Notes that an image is in work, until the value is dropped.
    pub fn in_work<'a>(&'a self, input: &'a Named) -> InWork<'a> {
        if let Some(journal) = &self.journal {
            journal.begin(&input.name);
        }
        InWork { journal: self.journal.as_ref(), name: &input.name }
    }

    /// Refuses files that are there and that no earlier run wrote: they are the user's.
    ///
    /// Fails with [`Code::Output`] naming the first.
    pub fn refuse_foreign<'a>(&self, files: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for file in files.into_iter().chain([RESULTS, RUN, REPORT]) {
            let path = self.root.join(file);
            let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_dir());
            if is_file && !self.own.contains(file) {
                let message = format!("`{}` would be overwritten, and no earlier run wrote it", path.display());
                return Err(Error::new(Code::Output, message).hint(Remedy::ChooseOtherOutput));
            }
        }
        Ok(())
    }

    /// Refuses files of the run where something else has their names, before it costs a run to find out.
    ///
    /// Fails with [`Code::Output`] naming the first.
    pub fn refuse_irregular<'a>(&self, files: impl IntoIterator<Item = &'a str>) -> Result<()> {
        files.into_iter().try_for_each(|file| refuse_irregular(&self.root.join(file)))
    }

    /// Removes the journal of images in work: the run came to its end, and none of them killed it.
    pub fn forget_kills(&self) {
        journal::remove(&self.root);
    }

    /// Puts the records into the order of the inputs, those of other inputs behind. Only a resumed run appends them in another order.
    pub fn sort_records(&self, inputs: &[Named]) -> Result<()> {
        if self.existing != Existing::Resume {
            return Ok(());
        }
        let place: HashMap<&str, usize> = inputs.iter().enumerate().map(|(at, input)| (input.name.as_str(), at)).collect();
        let text = read_results(&self.root)?;
        let mut lines: Vec<(usize, &str)> = text
            .lines()
            .map(|line| (Earlier::parse(line).and_then(|earlier| place.get(earlier.name()).copied()).unwrap_or(usize::MAX), line))
            .collect();
        if lines.is_sorted_by_key(|(at, _)| *at) {
            return Ok(());
        }
        lines.sort_by_key(|(at, _)| *at);
        let sorted = lines.iter().fold(String::with_capacity(text.len()), |text, (_, line)| text + line + "\n");
        write_whole(&owned::below(&self.root, RESULTS)?, sorted.as_bytes())
    }

    /// Gives each input a name that no other input has, now or among the results that stay; one that has such a result keeps its name.
    ///
    /// Names differ in more than case and the way accents are coded, which not every file system tells.
    pub fn name(&self, inputs: Vec<Input>) -> Vec<Named> {
        let mut earlier: HashMap<&str, &str> = self.failed.iter().map(|(path, name)| (path.as_str(), name.as_str())).collect();
        earlier.extend(self.kept.values().map(|earlier| (earlier.path.as_str(), earlier.name())));
        let mut taken: HashSet<String> = self.kept.keys().chain(self.failed.values()).map(|name| fold(name)).collect();
        let mut next: HashMap<String, usize> = HashMap::new();
        let mut fresh = |preferred: &str| {
            let preferred = fit(preferred);
            let at = next.entry(fold(&preferred)).or_insert(1);
            loop {
                let name = if *at == 1 { preferred.clone() } else { format!("{preferred}~{at}") };
                *at += 1;
                if taken.insert(fold(&name)) {
                    return name;
                }
            }
        };
        let name = |input: Input| {
            let name = earlier.remove(input.path.as_str()).map_or_else(|| fresh(&input.name), str::to_owned);
            Named { file: input.file, path: input.path, name }
        };
        inputs.into_iter().map(name).collect()
    }

    /// Writes a file of an input or of the run, whole or not at all; returns its path within the folder.
    ///
    /// Fails with [`Code::Output`] where a link or a folder is in the way, with [`Code::Io`] where writing fails.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<String> {
        if !self.root.is_dir() {
            return Err(Error::new(Code::Io, format!("the output folder `{}` was removed", self.root.display())));
        }
        let path = owned::below(&self.root, name)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::io(format!("creating `{}`", folder.display()), &error))?;
        }
        write_whole(&path, bytes)?;
        Ok(name.to_owned())
    }

    /// Appends a record and hands it to the system before the next one.
    ///
    /// Fails with [`Code::Io`] where writing fails, or the file is no longer where it was opened.
    pub fn append(&self, record: &impl Serialize) -> Result<String> {
        let line = to_json(record);
        self.append_line(&line).map(|()| line)
    }

    /// Appends a record that is a line of JSON already, as [`Output::append`] does.
    pub fn append_line(&self, line: &str) -> Result<()> {
        let path = self.root.join(RESULTS);
        // One write: a kill leaves the line whole, missing, or torn at the end of the file, where resuming drops it.
        let results = self.results.as_ref().expect("`begin` comes before the first record");
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_at(&results, &path) {
            return Err(Error::new(Code::Io, format!("`{}` was removed or replaced during the run", path.display())));
        }
        let written = results.write_all(format!("{line}\n").as_bytes()).and_then(|()| results.flush());
        written.map_err(|error| Error::io(format!("writing `{}`", path.display()), &error))
    }

    /// All records of the folder.
    pub fn records(&self) -> Result<Vec<Earlier>> {
        let text = read_results(&self.root)?;
        Ok(text.lines().filter_map(Earlier::parse).collect())
    }
}

impl Drop for Output {
    /// A run that was refused leaves no folder behind that holds nothing but its lock.
    fn drop(&mut self) {
        if self.is_new && self.results.is_none() {
            let _ = fs::remove_file(self.root.join(LOCK));
            let _ = fs::remove_dir(&self.root);
        }
    }
}

/// An image in work, as the journal notes it.
pub struct InWork<'a> {
    journal: Option<&'a journal::Writer>,
    name: &'a str,
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        if let Some(journal) = self.journal {
            journal.end(self.name);
        }
    }
}

/// Whether a path leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata().map(identity), fs::metadata(path).map(identity)) {
        (Ok(open), Ok(there)) => open == there,
        _ => false,
    }
}

/// Whether a path leads to a file that may be the open one.
#[cfg(not(unix))]
fn is_at(file: &File, path: &Path) -> bool {
    let len = |metadata: fs::Metadata| metadata.len();
    matches!((file.metadata().map(len), fs::metadata(path).map(len)), (Ok(open), Ok(there)) if open == there)
}

/// Refuses a folder, a link, which would be followed, and a pipe, which would be waited for.
fn refuse_irregular(path: &Path) -> Result<()> {
    let Some(kind) = fs::symlink_metadata(path).ok().map(|metadata| metadata.file_type()).filter(|kind| !kind.is_file()) else {
        return Ok(());
    };
    let what = if kind.is_dir() { "a folder" } else { "no regular file" };
    Err(Error::new(Code::Output, format!("`{}` is {what}", path.display())).hint(Remedy::ChooseOtherOutput))
}

fn unwritable(root: &Path, error: &io::Error) -> Error {
    let message = format!("the output folder `{}` cannot be written to: {error}", root.display());
    Error::new(Code::Output, message).hint(Remedy::ChooseOtherOutput)
}

/// An input with the name of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where to read it.
    pub file: PathBuf,
    /// The path as given.
    pub path: String,
    /// Name of its files, to which endings are added.
    pub name: String,
}

impl Named {
    /// The name, where a record must state it because the path does not.
    pub fn output(&self) -> Option<&str> {
        (self.name != self.path).then_some(&self.name)
    }
}

/// A name whose every component leaves room for endings: the name itself, or its start with a hash of the whole.
fn fit(name: &str) -> String {
    if name.len() > MAX_PATH_BYTES {
        let last = name.rsplit('/').next().unwrap_or(name);
        return format!("long/{}~{}", shorten(last, MAX_NAME_BYTES - RESERVED_BYTES - 13), short_hash(name));
    }
    let parts = name.split('/').map(|part| {
        if part.len() + RESERVED_BYTES <= MAX_NAME_BYTES {
            part.to_owned()
        } else {
            format!("{}~{}", shorten(part, MAX_NAME_BYTES - RESERVED_BYTES - 13), short_hash(part))
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A name without what some file systems do not tell: case, and whether an accent is a character of its own.
fn fold(name: &str) -> String {
    // Three times: `ſ` is an `S`, `K` (Kelvin) a `k`, `ẞ` an `SS`.
    name.to_lowercase().to_uppercase().to_lowercase().nfd().collect()
}

/// At most `len` bytes of a text, cut between characters.
fn shorten(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

/// Takes the lock of the folder. The system lets go of it when the process ends, so a killed run leaves nothing behind.
fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    let file = opened.map_err(|error| unwritable(root, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(
                Error::new(Code::Locked, format!("another run is writing to `{}`", root.display())).hint(Remedy::WaitOrChooseOtherOutput)
            );
        }
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            log::warn!("this file system has no locks: do not start a second run into `{}`", root.display());
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(format!("locking `{}`", path.display()), &error)),
    }
    Ok(file)
}

fn read_results(root: &Path) -> Result<String> {
    let path = root.join(RESULTS);
    match fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io(format!("reading `{}`", path.display()), &error)),
    }
}

/// The records of scored inputs by the names of their files: torn lines go, failed inputs get another try.
fn scored(text: &str) -> HashMap<String, Earlier> {
    let mut kept = HashMap::new();
    for line in text.lines() {
        match Earlier::parse(line) {
            None => log::warn!("a torn line of `{RESULTS}` is dropped"),
            Some(earlier) if earlier.is_ok() => {
                kept.insert(earlier.name().to_owned(), earlier);
            }
            Some(_) => {}
        }
    }
    kept
}

/// Leaves the records that are kept, and the failures of images that are not among these inputs; of each name the last.
fn rewrite(root: &Path, kept: &HashMap<String, Earlier>, inputs: &[Named]) -> Result<()> {
    let text = read_results(root)?;
    let tried_again: HashSet<&str> = inputs.iter().map(|input| input.path.as_str()).collect();
    let stays = |earlier: &Earlier| match earlier.is_ok() {
        true => kept.contains_key(earlier.name()),
        false => !tried_again.contains(earlier.path.as_str()),
    };
    let mut last: HashMap<String, usize> = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(earlier) = Earlier::parse(line).filter(stays) {
            last.insert(earlier.name().to_owned(), at);
        }
    }
    let stays: HashSet<usize> = last.into_values().collect();
    let lines = text.lines().enumerate().filter(|(at, _)| stays.contains(at));
    let lines = lines.fold(String::with_capacity(text.len()), |text, (_, line)| text + line + "\n");
    if lines == text { Ok(()) } else { write_whole(&owned::below(root, RESULTS)?, lines.as_bytes()) }
}

/// Removes what a killed run was writing. Best effort: such files harm nobody.
fn remove_leftovers(root: &Path) {
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() && name.starts_with(".zsas-") && name.ends_with(".tmp") => drop(fs::remove_file(entry.path())),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, name: &str) -> Input {
        Input { file: PathBuf::from(path), path: path.to_owned(), name: name.to_owned() }
    }

    fn names(output: &Output, inputs: &[(&str, &str)]) -> Vec<String> {
        let inputs = inputs.iter().map(|(path, name)| input(path, name)).collect();
        output.name(inputs).into_iter().map(|named| named.name).collect()
    }

    #[test]
    fn two_inputs_never_share_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(&folder.path().join("new/out"), Existing::Refuse).unwrap();
        let inputs = [("/1/p/a.png", "p/a.png"), ("/2/p/a.png", "p/a.png"), ("/3/P/A.png", "P/A.png"), ("x", "p/a.png~2")];
        assert_eq!(names(&output, &inputs), ["p/a.png", "p/a.png~2", "P/A.png~3", "p/a.png~2~2"]);
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let (long, other) = ("ä".repeat(127), "ä".repeat(126) + "b");
        assert!(fit(&long).len() + RESERVED_BYTES <= MAX_NAME_BYTES);
        assert_ne!(fit(&long), fit(&other));
        assert_eq!(fit("a/b.png"), "a/b.png");
        let deep = "d/".repeat(2000) + "a.png";
        assert!(fit(&deep).starts_with("long/a.png~"));
    }

    #[test]
    fn results_are_neither_overwritten_nor_shared_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Output::open(folder.path(), Existing::Refuse).unwrap();
        first.begin(&[]).unwrap();
        assert_eq!(Output::open(folder.path(), Existing::Resume).err().map(|error| error.code()), Some(Code::Locked));
        drop(first);
        assert_eq!(Output::open(folder.path(), Existing::Refuse).err().map(|error| error.code()), Some(Code::Output));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(Output::open(&file, Existing::Refuse).err().map(|error| error.code()), Some(Code::Output));
        assert_eq!(Output::open(&file.join("below"), Existing::Refuse).err().map(|error| error.code()), Some(Code::Output));
    }

    const OK: &str =
        r#"{"v":1,"path":"a.png","status":"ok","score":1.5,"decision":null,"files":["a.png.tiff","a.png.overlay.png","own.png"]}"#;

    #[test]
    fn resuming_keeps_scored_inputs_and_drops_torn_lines_and_failures() {
        let folder = tempfile::tempdir().unwrap();
        let failed = r#"{"v":1,"path":"b.png","status":"error","error":{"code":"decode","message":""}}"#;
        let others = failed.replace("b.png", "of_another_run.png");
        fs::write(folder.path().join(RESULTS), format!("{OK}\n{failed}\n{others}\n{}", &OK[..20])).unwrap();
        let mut output = Output::open(folder.path(), Existing::Resume).unwrap();
        let named = output.name(vec![input("a.png", "a.png"), input("b.png", "b.png"), input("/x/a.png", "a.png")]);
        output.begin(&named[1..2]).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(RESULTS)).unwrap(), format!("{OK}\n{others}\n"));
        assert_eq!(output.name(vec![input("/x/of_another_run.png", "of_another_run.png")])[0].name, "of_another_run.png~2");
        assert!(output.earlier(&named[0]).is_some() && output.earlier(&named[1]).is_none());
        // Its record does not say which file was scored, so it does not stand for one.
        assert!(!output.is_current(&output.kept["a.png"], &named[0]));
        // The third may not take over the files of the first, even if the first were not given again.
        assert_eq!(output.name(vec![input("/x/a.png", "a.png")])[0].name, "a.png~2");
    }

    #[test]
    fn records_of_another_version_are_not_gone_on_from() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RESULTS), OK.replace(r#""v":1"#, r#""v":7"#)).unwrap();
        let error = Output::open(folder.path(), Existing::Resume).err().unwrap();
        assert!(error.code() == Code::Output && error.message().contains("records of version 7"), "{error}");
    }

    #[test]
    fn overwriting_removes_the_files_the_records_name_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir(&root).unwrap();
        let evil = r#"{"v":1,"path":"x","output":"../own","status":"ok","files":["../own.tiff"]}"#;
        fs::write(root.join(RESULTS), format!("{OK}\n{evil}\n")).unwrap();
        for file in ["a.png.tiff", "a.png.overlay.png", "own.png", ".zsas-x.tmp", "../own.tiff"] {
            fs::write(root.join(file), "").unwrap();
        }
        let mut output = Output::open(&root, Existing::Overwrite).unwrap();
        assert!(root.join("a.png.tiff").exists(), "opening alone removes nothing");
        output.begin(&[]).unwrap();
        drop(output);
        let mut left: Vec<String> = fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [journal::FILE, LOCK, "own.png", RESULTS]);
        assert!(folder.path().join("own.tiff").exists());
    }

    #[test]
    fn a_changed_input_loses_its_record_before_it_gets_another() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir(&root).unwrap();
        let photos = ["same.png", "changed.png", "lost.png"].map(|name| {
            fs::write(folder.path().join(name), name).unwrap();
            input(folder.path().join(name).to_str().unwrap(), name)
        });
        let line = |input: &Input| {
            let source = crate::results::SourceFile::of(&input.file);
            let files = [format!("{}.tiff", input.name)];
            fs::write(root.join(&files[0]), "").unwrap();
            let record = serde_json::json!({"v": 1, "path": input.path, "output": input.name, "status": "ok", "score": 1, "files": files, "input": source});
            format!("{record}\n")
        };
        let lines = photos.each_ref().map(line);
        fs::write(root.join(RESULTS), lines.concat()).unwrap();
        fs::write(&photos[1].file, "changed").unwrap();
        fs::remove_file(root.join("lost.png.tiff")).unwrap();
        let mut output = Output::open(&root, Existing::Resume).unwrap();
        let named = output.name(photos.to_vec());
        output.begin(&named).unwrap();
        assert_eq!(named.iter().map(|input| output.earlier(input).is_some()).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(fs::read_to_string(root.join(RESULTS)).unwrap(), lines[0]);
        assert!(root.join("same.png.tiff").exists() && !root.join("changed.png.tiff").exists());
    }

    #[test]
    fn files_of_images_begun_by_a_killed_run_are_ours() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), Existing::Refuse).unwrap();
        let named = output.name(vec![input("a.png", "a.png"), input("b.png", "b.png")]);
        output.begin(&[]).unwrap();
        // Its pictures are written, but it waits for the record of another image.
        drop(output.in_work(&named[0]));
        output.write("a.png.tiff", b"").unwrap();
        drop(output);
        fs::write(folder.path().join("b.png.tiff"), "mine").unwrap();
        let output = Output::open(folder.path(), Existing::Resume).unwrap();
        assert!(output.refuse_foreign(["a.png.tiff"]).is_ok());
        assert_eq!(output.refuse_foreign(["b.png.tiff"]).unwrap_err().code(), Code::Output);
    }

    #[test]
    #[cfg(unix)]
    fn records_that_are_a_link_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), root.join(RESULTS)).unwrap();
        for existing in [Existing::Refuse, Existing::Resume, Existing::Overwrite] {
            let error = Output::open(&root, existing).err().unwrap();
            assert!(error.code() == Code::Output && error.message().ends_with("is no regular file"), "{error}");
        }
    }
}
