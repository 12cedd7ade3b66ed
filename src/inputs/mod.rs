//! Finding image files: files, folders, globs, a list on standard input. Nothing is decoded while they are found.

mod shard;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use crate::error::{Code, Error, Remedy, Result};
use crate::image::EXTENSIONS;
use globset::{GlobBuilder, GlobMatcher};

pub use shard::Shard;

/// File of the records in a folder of results.
pub const RESULTS: &str = "results.jsonl";

/// File of the parameters and counts of a run in a folder of results.
pub const RUN: &str = "run.json";

/// Missing inputs that an error names.
const MOST_NAMED: usize = 5;

/// A photo to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where to read it.
    pub file: PathBuf,
    /// The path as given, with `/`, without `./`; bytes that are no text are replaced.
    pub path: String,
    /// Name under which its outputs are to appear, before clashes are settled: a clean relative path.
    pub name: String,
}

/// Finds all inputs in the order given; what lies in a folder or matches a glob is sorted by its bytes. A path given twice counts once.
///
/// `output` and folders of earlier results are left out of folders. Fails with [`Code::NotFound`] or [`Code::NoInputs`], saying which
/// argument and what was looked for.
pub fn find(arguments: &[PathBuf], output: &Path) -> Result<Vec<Input>> {
    let mut finder = Finder { output: output.canonicalize().ok(), found: Vec::new(), seen: HashSet::new(), missing: Vec::new() };
    for argument in arguments {
        if argument.as_os_str() == "-" {
            finder.add_list(&read_list(io::stdin())?)?;
        } else {
            finder.add(argument)?;
        }
    }
    finder.finish()
}

/// Reads a list of paths, one a line, or separated by NUL if there is one.
fn read_list(mut source: impl Read) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    source
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("reading the list of inputs from standard input", &error))?;
    let separator = if bytes.contains(&0) { 0 } else { b'\n' };
    let lines = bytes.split(|&byte| byte == separator).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(path_of_bytes).collect())
}

#[cfg(unix)]
fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

struct Finder {
    /// The output folder, if it exists yet.
    output: Option<PathBuf>,
    found: Vec<Input>,
    seen: HashSet<PathBuf>,
    missing: Vec<PathBuf>,
}

/// What a walk through a folder met.
#[derive(Default)]
struct Walk {
    photos: Vec<PathBuf>,
    /// Links, pipes, sockets, devices.
    special: usize,
    others: usize,
}

impl Finder {
    fn add_list(&mut self, list: &[PathBuf]) -> Result<()> {
        if list.is_empty() {
            return Err(Error::new(Code::NoInputs, "the list on standard input is empty").hint("`-` reads one path a line"));
        }
        list.iter().try_for_each(|path| self.add(path))
    }

    fn add(&mut self, argument: &Path) -> Result<()> {
        match fs::metadata(argument) {
            Ok(metadata) if metadata.is_dir() => self.add_folder(argument),
            Ok(_) => {
                self.push(argument.to_owned(), 2);
                Ok(())
            }
            Err(_) if is_pattern(argument) => self.add_matches(argument),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.push(argument.to_owned());
                Ok(())
            }
            Err(error) => Err(Error::io(format!("looking at `{}`", argument.display()), &error)),
        }
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        if self.output.is_some() && folder.canonicalize().ok() == self.output {
            let message = format!("`{}` is searched for photos and is the output folder too", folder.display());
            return Err(Error::new(Code::Usage, message).hint(Remedy::ChooseOtherOutput));
        }
        let mut walk = Walk::default();
        self.walk(folder, &mut walk, &|file| is_photo(file))?;
        if walk.photos.is_empty() {
            let message = format!("no images in `{}`", folder.display());
            let hint = format!(
                "looked for .{} in it and below; other files: {}; links, pipes and devices, which are not followed: {}",
                EXTENSIONS.join(", ."),
                walk.others,
                walk.special
            );
            return Err(Error::new(Code::NoInputs, message).hint(hint));
        }
        self.push_sorted(walk.photos, folder);
        Ok(())
    }

    fn add_matches(&mut self, pattern: &Path) -> Result<()> {
        let (base, matcher) = split_pattern(pattern)?;
        let mut walk = Walk::default();
        let start = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
        if start.is_dir() {
            self.walk(start, &mut walk, &|file| matcher.is_match(clean(file)))?;
        }
        if walk.photos.is_empty() {
            return Err(Error::new(Code::NoInputs, format!("no file matches `{}`", pattern.display()))
                .hint(format!("searched `{}`; `**` crosses folders, `*` does not", start.display())));
        }
        self.push_sorted(walk.photos, start);
        Ok(())
    }

    /// Collects the regular files below a folder that are wanted. Hidden files, links, pipes and devices are left out, and so are the
    /// output folder and the results of earlier runs.
    fn walk(&self, folder: &Path, walk: &mut Walk, is_wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
        let mut pending = vec![folder.to_owned()];
        while let Some(current) = pending.pop() {
            let entries = match fs::read_dir(&current) {
                Ok(entries) => entries,
                Err(error) if current != folder => {
                    log::warn!("`{}` is left out: {error}", current.display());
                    continue;
                }
                Err(error) => return Err(Error::io(format!("reading the folder `{}`", current.display()), &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| Error::io(format!("reading the folder `{}`", current.display()), &error))?;
                // The type of the entry itself: links are not followed.
                let kind = entry
                    .file_type()
                    .map_err(|error| Error::io(format!("looking at `{}`", entry.path().display()), &error))?;
                if is_hidden(&entry.file_name()) {
                    continue;
                }
                let path = entry.path();
                match () {
                    () if kind.is_dir() && self.is_output(&path) => log::info!("`{}` holds results and is left out", path.display()),
                    () if kind.is_dir() => pending.push(path),
                    () if !kind.is_file() => walk.special += 1,
                    () if is_wanted(&path) => walk.photos.push(path),
                    () => walk.others += 1,
                }
            }
        }
        if walk.special > 0 {
            log::info!("{} links, pipes and devices in `{}` were not followed", walk.special, folder.display());
        }
        Ok(())
    }

    fn is_output(&self, folder: &Path) -> bool {
        let is_own = self.output.is_some() && folder.canonicalize().ok() == self.output;
        is_own || (folder.join(RESULTS).is_file() && folder.join(RUN).is_file())
    }

    fn push_sorted(&mut self, mut files: Vec<PathBuf>, base: &Path) {
        files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        let above = normal_components(base).saturating_sub(1);
        for file in files {
            let kept = normal_components(&file) - above;
            self.push(file, kept);
        }
    }

    /// Adds a file; where its path does not start here, its name keeps this many last components.
    fn push(&mut self, file: PathBuf, kept: usize) {
        let clean = clean(&file);
        let starts_here = clean.components().all(|part| matches!(part, Component::Normal(_)));
        let kept = if starts_here { usize::MAX } else { kept };
        if self.seen.insert(clean.clone()) {
            self.found.push(Input { path: with_slashes(&clean), name: name_of(&clean, kept), file });
        } else {
            log::info!("`{}` is given twice and scored once", file.display());
        }
    }

    fn finish(self) -> Result<Vec<Input>> {
        if self.missing.is_empty() {
            return Ok(self.found);
        }
        let named: Vec<String> = self.missing.iter().take(MOST_NAMED).map(|path| format!("`{}`", path.display())).collect();
        let rest = self.missing.len() - named.len();
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let verb = if self.missing.len() == 1 { "does" } else { "do" };
        Err(Error::new(Code::NotFound, format!("{}{more} {verb} not exist", named.join(", ")))
            .hint("an input is a file, a folder, a glob, or `-` for a list of paths on standard input"))
    }
}

fn is_photo(file: &Path) -> bool {
    let extension = file.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

/// The folder before the first wildcard, and a matcher for whole paths.
fn split_pattern(pattern: &Path) -> Result<(PathBuf, GlobMatcher)> {
    let pattern = clean(pattern);
    let base: PathBuf = pattern.components().take_while(|part| !is_pattern(Path::new(part))).collect();
    let wrong = |why: String| Error::new(Code::Usage, format!("`{}` is no glob: {why}", pattern.display()));
    let text = pattern.to_str().ok_or_else(|| wrong("it is not valid UTF-8".to_owned()))?;
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(|error| wrong(error.kind().to_string()))?;
    Ok((base, glob.compile_matcher()))
}

/// The path without `.` and doubled separators; links and `..` stay as they are.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn normal_components(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

fn with_slashes(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .map(|part| match part {
            Component::RootDir => "".into(),
            part => part.as_os_str().to_string_lossy(),
        })
        .collect();
    if parts.len() == 1 && parts[0].is_empty() { "/".to_owned() } else { parts.join("/") }
}

/// The last `kept` plain components, as text.
fn name_of(path: &Path, kept: usize) -> String {
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy()),
            _ => None,
        })
        .collect();
    parts[parts.len().saturating_sub(kept)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(found: Result<Vec<Input>>) -> Vec<String> {
        found.unwrap().into_iter().map(|input| input.name).collect()
    }

    #[test]
    fn a_folder_gives_its_photos_sorted_by_bytes_under_its_own_name() {
        let folder = folder(&[
            "lot/b.PNG",
            "lot/a/z.jpg",
            "lot/a.png",
            "lot/notes.txt",
            "lot/.hidden.png",
            "lot/out/run.json",
            "lot/out/results.jsonl",
            "lot/out/o.png",
        ]);
        let lot = folder.path().join("lot");
        // '.' sorts before '/'.
        assert_eq!(names(find(&[lot], Path::new("nowhere"))), ["lot/a.png", "lot/a/z.jpg", "lot/b.PNG"]);
    }

    #[test]
    fn the_output_folder_is_not_searched() {
        let folder = folder(&["lot/a.png"]);
        let lot = folder.path().join("lot");
        let error = find(std::slice::from_ref(&lot), &lot).unwrap_err();
        assert!(error.message().ends_with("is the output folder too"), "{error}");
        assert_eq!(names(find(&[lot], folder.path())), ["lot/a.png"]);
    }

    #[test]
    fn a_glob_keeps_to_its_folders() {
        let folder = folder(&["p/1.png", "p/q/2.png", "p/3.txt"]);
        let found = |pattern: &str| names(find(&[folder.path().join(pattern)], Path::new("nowhere")));
        assert_eq!(found("p/*.png"), ["p/1.png"]);
        assert_eq!(found("p/**/*.png"), ["p/1.png", "p/q/2.png"]);
        let error = find(&[folder.path().join("p/*.bmp")], Path::new("nowhere")).unwrap_err();
        assert_eq!(error.code(), Code::NoInputs);
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_empty_too() {
        let folder = folder(&["empty/readme.md"]);
        let error = find(&[folder.path().join("no.png"), folder.path().join("empty/readme.md")], Path::new("x")).unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().ends_with("no.png` does not exist"));
        let error = find(&[folder.path().join("empty")], Path::new("x")).unwrap_err();
        assert_eq!(error.code(), Code::NoInputs);
        assert!(format!("{error:#}").contains("other files: 1;"));
    }

    #[test]
    fn a_path_given_twice_counts_once() {
        let folder = folder(&["a.png"]);
        let file = folder.path().join("a.png");
        let again = folder.path().join("./a.png");
        assert_eq!(find(&[file, again], Path::new("x")).unwrap().len(), 1);
    }

    #[test]
    fn names_are_relative_whatever_the_path() {
        assert_eq!(name_of(Path::new("/data/lot7/a.png"), 2), "lot7/a.png");
        assert_eq!(name_of(Path::new("../../a.png"), 2), "a.png");
        assert_eq!(with_slashes(Path::new("/data/a b.png")), "/data/a b.png");
        assert_eq!(with_slashes(&clean(Path::new("./lot//a.png"))), "lot/a.png");
    }

    #[test]
    fn a_list_is_split_at_lines_or_at_nul() {
        assert_eq!(read_list(&b"a b.png\r\n\nc.png"[..]).unwrap(), [Path::new("a b.png"), Path::new("c.png")]);
        assert_eq!(read_list(&b"a\nb.png\0c.png\0"[..]).unwrap(), [Path::new("a\nb.png"), Path::new("c.png")]);
    }
}
