//! Finding image files: files, folders, globs, a list on standard input. Nothing is decoded while they are found; what is left out is counted.

#[cfg(feature = "cli")]
mod glob;
mod left_out;
mod list;
mod names;
mod shard;
mod walk;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Code, Error, Remedy, Result};
use crate::image::EXTENSIONS;

pub use left_out::LeftOut;
pub use shard::Shard;

use names::{clean, is_pattern, name_of, normal_components, with_slashes};
use walk::{Walk, has_ending};

/// File of the records in a folder of results.
pub const RESULTS: &str = "results.jsonl";

/// File of the parameters and counts of a run in a folder of results.
pub const RUN: &str = "run.json";

/// Missing inputs that an error names.
const MAX_NAMED: usize = 5;

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where to read it.
    pub file: PathBuf,
    /// The path as given, with `/`, without `./`. Bytes that are no UTF-8 are escaped as `\\xe4`, so that different paths stay different.
    pub path: String,
    /// Name under which its outputs are to appear, before clashes are settled: a clean relative path.
    pub name: String,
}

/// Image files, and what was left out where folders and globs were searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files, in order.
    pub inputs: Vec<Input>,
    /// What was left out, by reason.
    pub left_out: LeftOut,
}

/// Finds all inputs in the order given; what lies in a folder or matches a glob is sorted by its bytes. A path given twice counts once.
///
/// `output` and folders of earlier results are not searched. Fails with [`Code::NotFound`] or [`Code::NoInputs`], saying which argument and what
/// was looked for.
pub fn find(arguments: &[PathBuf], output: &Path) -> Result<Found> {
    let mut finder = Finder {
        output: output.canonicalize().ok(),
        found: Found::default(),
        seen: HashSet::new(),
        missing: Vec::new(),
    };
    for argument in arguments {
        if argument.as_os_str() == "-" {
            finder.add_list(&list::read(io::stdin())?)?;
        } else {
            finder.add(argument)?;
        }
    }
    finder.finish()
}

/// The one image file that an argument names, which may be no folder, glob or list.
///
/// Fails with [`Code::Usage`] or [`Code::NotFound`].
pub fn single(argument: &Path) -> Result<Input> {
    let name = argument.display();
    let refused = |what: &str| Error::new(Code::Usage, format!("`{name}` is {what}, and a single image file is wanted"));
    if argument.as_os_str() == "-" {
        return Err(refused("a list on standard input"));
    }
    match fs::metadata(argument) {
        Ok(metadata) if metadata.is_dir() => Err(refused("a folder")),
        Ok(_) => Ok(input(argument.to_owned(), 2)),
        Err(_) if is_pattern(argument) => Err(refused("a pattern or does not exist")),
        Err(error) if is_missing(&error) => Err(Error::new(Code::NotFound, format!("`{name}` does not exist"))),
        Err(error) => Err(unreachable(argument, &error)),
    }
}

/// The images below a folder, hidden ones and thumbnails excepted, sorted by their bytes, and what was left out; both may be none.
///
/// Fails where the folder itself cannot be read.
pub fn images_below(folder: &Path) -> Result<(Vec<PathBuf>, LeftOut)> {
    let walk = Walk::through_images(folder, None)?;
    Ok((walk.images, walk.left_out))
}

/// The files below a folder with one of these endings, which are in lower case; else as [`images_below`].
pub fn files_below(folder: &Path, endings: &[&str]) -> Result<(Vec<PathBuf>, LeftOut)> {
    let walk = Walk::through(folder, None, &|file| has_ending(file, endings))?;
    Ok((walk.images, walk.left_out))
}

/// The folders right in a folder, sorted by their bytes, and how many links to folders were left out; hidden ones and those of thumbnails are not
/// counted.
///
/// Fails where the folder cannot be read.
pub fn subfolders(folder: &Path) -> Result<(Vec<PathBuf>, LeftOut)> {
    walk::subfolders(folder)
}

/// A path as text: without `.` and doubled separators, with `/`; different for different paths, since bytes that are no UTF-8 are escaped as
/// `\\xe4`.
pub fn path_text(path: &Path) -> String {
    with_slashes(&clean(path))
}

/// An input at this path; where that does not start here, its name keeps this many last components.
fn input(file: PathBuf, kept: usize) -> Input {
    let clean = clean(&file);
    let starts_here = clean.components().all(|part| matches!(part, Component::Normal(_)));
    let kept = if starts_here { usize::MAX } else { kept };
    Input { path: with_slashes(&clean), name: name_of(&clean, kept), file }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    Error::new(Code::NotFound, format!("`{}` cannot be looked at: {error}", path.display()))
}

struct Finder {
    /// The output folder, if it exists yet.
    output: Option<PathBuf>,
    found: Found,
    seen: HashSet<PathBuf>,
    missing: Vec<PathBuf>,
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
            #[cfg(feature = "cli")]
            Err(_) if is_pattern(argument) => self.add_matches(argument),
            Err(error) if is_missing(&error) => {
                self.missing.push(argument.to_owned());
                Ok(())
            }
            Err(error) => Err(unreachable(argument, &error)),
        }
    }

    /// Refuses to search the output folder, whose pictures would be scored by the next run.
    fn check_not_output(&self, folder: &Path) -> Result<()> {
        if self.output.is_some() && folder.canonicalize().ok() == self.output {
            let message = format!("`{}` is searched for images and is the output folder too", folder.display());
            return Err(Error::new(Code::Usage, message).hint(Remedy::ChooseOtherOutput));
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        self.check_not_output(folder)?;
        let walk = Walk::through_images(folder, self.output.as_deref())?;
        if walk.images.is_empty() {
            let message = format!("no images in `{}`", folder.display());
            let looked = format!("looked for .{} in it and below; other files: {}", EXTENSIONS.join(", ."), walk.others);
            return Err(walk.without_images(message, &looked));
        }
        self.take(walk, folder);
        Ok(())
    }

    #[cfg(feature = "cli")]
    fn add_matches(&mut self, pattern: &Path) -> Result<()> {
        let glob = glob::Glob::new(pattern)?;
        let start = glob.start();
        self.check_not_output(start)?;
        let walk = if start.is_dir() { Walk::through(start, self.output.as_deref(), &|file| glob.matches(file))? } else { Walk::default() };
        if walk.images.is_empty() {
            let looked = format!("searched `{}`; `**` crosses folders, `*` does not; `[[]` stands for `[`", start.display());
            return Err(walk.without_images(format!("no file matches `{}`", pattern.display()), &looked));
        }
        self.take(walk, start);
        Ok(())
    }

    /// Takes what a walk met. The last component of `base`, where it was begun, is kept in the names.
    fn take(&mut self, walk: Walk, base: &Path) {
        self.found.left_out.add(&walk.left_out);
        let above = normal_components(base).saturating_sub(1);
        for file in walk.images {
            let kept = normal_components(&file) - above;
            self.push(file, kept);
        }
    }

    /// Adds a file; where its path does not start here, its name keeps this many last components.
    fn push(&mut self, file: PathBuf, kept: usize) {
        if self.seen.insert(clean(&file)) {
            self.found.inputs.push(input(file, kept));
        } else {
            log::info!("`{}` is given twice and scored once", file.display());
        }
    }

    fn finish(self) -> Result<Found> {
        if self.missing.is_empty() {
            return Ok(self.found);
        }
        let named: Vec<String> = self.missing.iter().take(MAX_NAMED).map(|path| format!("`{}`", path.display())).collect();
        let rest = self.missing.len() - named.len();
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let verb = if self.missing.len() == 1 { "does" } else { "do" };
        Err(Error::new(Code::NotFound, format!("{}{more} {verb} not exist", named.join(", ")))
            .hint("an input is a file, a folder, a glob, or `-` for a list of paths on standard input"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uninspected::Reason;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(found: Result<Found>) -> Vec<String> {
        found.unwrap().inputs.into_iter().map(|input| input.name).collect()
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
    fn images_of_other_endings_are_counted() {
        let folder = folder(&["lot/a.png", "lot/notes.txt", "lot/.hidden"]);
        let lot = folder.path().join("lot");
        for (name, head) in [
            ("part", &b"\xff\xd8\xff\xe0"[..]),
            ("b.jpg_", b"\xff\xd8\xff"),
            ("c.txt", b"BM is a text"),
            ("d.txt", b"P1 first of all"),
            ("e", b"P7\nWIDTH 8"),
            (".f", b"\xff\xd8\xff"),
        ] {
            fs::write(lot.join(name), head).unwrap();
        }
        let found = find(std::slice::from_ref(&lot), Path::new("nowhere")).unwrap();
        assert_eq!((found.inputs.len(), found.left_out.to_string().as_str()), (1, "1 .jpg_, 2 no ending"));
        #[cfg(feature = "cli")]
        assert!(find(&[lot.join("*.png")], Path::new("nowhere")).unwrap().left_out.is_empty(), "a glob says what it wants");
    }

    #[test]
    fn the_output_folder_is_not_searched() {
        let folder = folder(&["lot/a.png"]);
        let lot = folder.path().join("lot");
        let error = find(std::slice::from_ref(&lot), &lot).unwrap_err();
        assert!(error.message().ends_with("is the output folder too"), "{error}");
        assert_eq!(names(find(std::slice::from_ref(&lot), folder.path())), ["lot/a.png"]);
        #[cfg(feature = "cli")]
        assert_eq!(find(&[lot.join("*.png")], &lot).unwrap_err().message(), error.message());
    }

    #[test]
    fn a_folder_of_earlier_results_is_counted() {
        let folder = folder(&["lot/a.png", "lot/earlier/b.png", "lot/earlier/results.jsonl", "lot/earlier/run.json"]);
        let lot = folder.path().join("lot");
        let count = |output: &Path| find(std::slice::from_ref(&lot), output).unwrap().left_out.of(Reason::ResultsFolder);
        assert_eq!(count(Path::new("nowhere")), 1);
        assert_eq!(count(&lot.join("earlier")), 0, "the run's own output");
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
        assert!(format!("{error:#}").contains("other files: 1"));
    }

    #[test]
    fn a_path_given_twice_counts_once() {
        let folder = folder(&["a.png"]);
        let file = folder.path().join("a.png");
        let again = folder.path().join("./a.png");
        assert_eq!(find(&[file, again], Path::new("x")).unwrap().inputs.len(), 1);
    }

    #[test]
    fn a_single_image_is_no_folder_pattern_or_list() {
        let folder = folder(&["lot/a [1].png"]);
        let at = |name: &str| folder.path().join(name);
        assert_eq!(single(&at("lot/a [1].png")).unwrap().name, "lot/a [1].png");
        for (path, code, what) in [
            (at("lot"), Code::Usage, "is a folder"),
            (at("lot/*.png"), Code::Usage, "is a pattern"),
            (PathBuf::from("-"), Code::Usage, "is a list"),
            (at("no.png"), Code::NotFound, "does not exist"),
        ] {
            let error = single(&path).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(what), "{error}");
        }
    }

    #[test]
    fn names_are_relative_whatever_the_path() {
        assert_eq!(name_of(Path::new("/data/lot7/a.png"), 2), "lot7/a.png");
        assert_eq!(name_of(Path::new("../../a.png"), 2), "a.png");
        assert_eq!(with_slashes(Path::new("/data/a b.png")), "/data/a b.png");
        assert_eq!(with_slashes(&clean(Path::new("./lot//a.png"))), "lot/a.png");
    }

    #[test]
    #[cfg(feature = "cli")]
    fn parts_of_a_glob_that_exist_as_they_stand_are_taken_as_they_stand() {
        let folder = folder(&["lot [3]/a.png", "lot 3/b.png"]);
        let found = |pattern: &str| names(find(&[folder.path().join(pattern)], Path::new("nowhere")));
        assert_eq!(found("lot [3]/*.png"), ["lot [3]/a.png"]);
        // The last folder without a wildcard is part of the names.
        let base = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(found("lot ?/*.png"), [format!("{base}/lot 3/b.png")]);
        let error = find(&[folder.path().join("no [3]/*.png")], Path::new("nowhere")).unwrap_err();
        assert!(format!("{error:#}").contains("`[[]` stands for `[`"), "{error:#}");
    }

    #[test]
    #[cfg(unix)]
    fn what_a_folder_holds_and_is_not_read_is_counted() {
        use std::os::unix::fs::symlink;
        let folder = folder(&[
            "lot/a.png",
            "lot/b.jfif",
            "lot/d.heic",
            "lot/e.HEIC",
            "lot/notes.txt",
            "lot/.hidden.jpg",
            "lot/._a.png",
            "lot/@eaDir/a.png/thumb.jpg",
            "lot/.trash/deep/g.png",
            "lot/.trash/h.heic",
            "elsewhere/f.png",
        ]);
        let at = |name: &str| folder.path().join(name);
        symlink(at("elsewhere/f.png"), at("lot/link.png")).unwrap();
        symlink(at("elsewhere"), at("lot/linked")).unwrap();
        symlink(at("lot/notes.txt"), at("lot/more.txt")).unwrap();
        let found = find(&[at("lot")], Path::new("nowhere")).unwrap();
        assert_eq!(found.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["lot/a.png", "lot/b.jfif"]);
        assert_eq!(found.left_out.to_string(), "2 .heic, 2 hidden, 2 link, 2 thumbnail");
        assert_eq!(serde_json::to_string(&found.left_out).unwrap(), r#"{".heic":2,"hidden":2,"link":2,"thumbnail":2}"#);
        assert_eq!(found.left_out.of(Reason::Link), 2);
        // A single file that is named is read wherever it leads.
        let found = find(&[at("lot/link.png")], Path::new("nowhere")).unwrap();
        assert_eq!((found.inputs.len(), found.left_out.is_empty()), (1, true));
    }
}
