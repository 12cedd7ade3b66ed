//! Which files of an output folder are ours, and how they are reached without following links.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::results::journal::Journal;
use crate::results::{COCO, Earlier, Picture, REPORT, RESULTS, RUN, thumbs};

/// Endings of the pictures of an image, after a number and a point where there are several of a kind.
const ENDINGS: [&str; 5] =
    [Picture::Map.ending(), Picture::Mask.ending(), Picture::Heatmap.ending(), Picture::Overlay.ending(), Picture::Candidates.ending()];

/// Whether a file that a record or `run.json` names can be ours: below the folder, a picture, and of an image of this name where one is given.
pub(super) fn may_be_own(file: &str, name: Option<&str>) -> bool {
    let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)?.strip_suffix('.'));
    let Some(stem) = stem.filter(|_| is_inside(file)) else { return thumbs_of(file, name) };
    let unnumbered = stem
        .rsplit_once('.')
        .filter(|(_, number)| number.parse::<u32>().is_ok())
        .map_or(stem, |(stem, _)| stem);
    name.is_none_or(|name| name == stem || name == unnumbered)
}

fn thumbs_of(file: &str, name: Option<&str>) -> bool {
    is_inside(file) && name.is_some_and(|name| thumbs(name).iter().any(|thumb| thumb == file))
}

/// True for a relative path that stays in its folder.
pub(super) fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The path of a regular file below a folder; `None` where there is none, where the name leaves the folder, or leads through a link.
///
/// For names that come from records, which anybody may have written.
pub fn regular_file(root: &Path, file: &str) -> Option<PathBuf> {
    let path = below(root, file).ok()?;
    fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()).then_some(path)
}

/// The path of a file below a folder; an error where the name leaves the folder, or something on the way is a link or no folder.
///
/// Fails with [`Code::Output`].
pub(super) fn below(root: &Path, file: &str) -> Result<PathBuf> {
    if !is_inside(file) {
        return Err(Error::new(Code::Output, format!("`{file}` lies outside the output folder")));
    }
    let mut path = root.to_owned();
    let parts: Vec<Component<'_>> = Path::new(file).components().collect();
    for (at, part) in parts.iter().enumerate() {
        path.push(part);
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(_) => continue,
        };
        let is_last = at + 1 == parts.len();
        let wrong = match (is_last, kind.is_dir(), kind.is_symlink()) {
            (false, false, true) | (true, _, true) => "is a link",
            (true, true, _) => "is a folder",
            (false, false, false) => "is no folder",
            (false, true, _) | (true, false, false) => continue,
        };
        return Err(Error::new(Code::Output, format!("`{}` {wrong}, and is not written to", path.display())));
    }
    Ok(path)
}

/// The files of earlier runs in an output folder, by their paths within it.
pub fn own_files(root: &Path) -> HashSet<String> {
    let mut own = HashSet::new();
    let results = read(root, RESULTS);
    let run = read(root, RUN);
    if results.is_none() && run.is_none() {
        return own;
    }
    own.extend([RESULTS, RUN, REPORT].map(str::to_owned));
    let results = results.unwrap_or_default();
    let mut unfinished: Vec<String> = Vec::new();
    for earlier in results.lines().filter_map(Earlier::parse) {
        own.extend(earlier.files.iter().filter(|file| may_be_own(file, Some(earlier.name()))).cloned());
        if !earlier.is_ok() && is_inside(earlier.name()) {
            unfinished.push(earlier.name().to_owned());
        }
    }
    let run = serde_json::from_str(&run.unwrap_or_default()).unwrap_or_default();
    own.extend(named_by(&run).map(str::to_owned));
    // What may have been written of an image that failed, before a run was killed, or before a record was whole.
    let torn = results.lines().filter(|line| Earlier::parse(line).is_none()).filter_map(name_of_torn);
    let journal = Journal::read(root);
    for name in unfinished.into_iter().chain(torn).chain(journal.begun().map(str::to_owned)) {
        own.extend(ENDINGS.iter().map(|ending| format!("{name}.{ending}")).chain(thumbs(&name)));
    }
    own
}

/// The files that a `run.json` names beside those that follow from the records, as far as they can be ours.
pub(super) fn named_by(run: &serde_json::Value) -> impl Iterator<Item = &str> {
    let names = run["files"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
    names.filter(|file| may_be_own(file, None) || *file == COCO)
}

/// The name of an image's files at the start of a record that is cut off.
fn name_of_torn(line: &str) -> Option<String> {
    let value = |key: &str| {
        let text = line.split_once(&format!("\"{key}\":"))?.1;
        serde_json::Deserializer::from_str(text).into_iter::<String>().next()?.ok()
    };
    value("output").or_else(|| value("path")).filter(|name| is_inside(name))
}

fn read(root: &Path, file: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(regular_file(root, file)?).ok()?).into_owned())
}

/// Removes a file below a folder, if it is there; links and folders stay.
pub(super) fn remove(root: &Path, file: &str) -> Result<()> {
    let Ok(path) = below(root, file) else { return Ok(()) };
    match fs::remove_file(&path) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Error::io(format!("removing `{}`", path.display()), &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_of_the_image_itself_are_ours() {
        for (file, ours) in [
            ("a.png.tiff", true),
            ("a.png.mask.png", true),
            ("a.png.12.mask.png", true),
            ("report/a.png.heat.jpg", true),
            ("a.png", false),
            ("b.png.tiff", false),
            ("../a.png.tiff", false),
            ("/a.png.tiff", false),
            ("a.png.doc", false),
            ("report/b.png.heat.jpg", false),
            ("", false),
        ] {
            assert_eq!(may_be_own(file, Some("a.png")), ours, "{file}");
        }
        assert!(may_be_own("b.3.tiff", None) && !may_be_own("b.doc", None) && !may_be_own("../b.tiff", None));
    }

    #[test]
    #[cfg(unix)]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (out, elsewhere) = (folder.path().join("out"), folder.path().join("elsewhere"));
        fs::create_dir(&out).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("a.tiff"), "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, out.join("lot")).unwrap();
        assert_eq!(below(&out, "lot/a.tiff").unwrap_err().code(), Code::Output);
        remove(&out, "lot/a.tiff").unwrap();
        assert!(elsewhere.join("a.tiff").exists());
        assert_eq!(regular_file(&out, "lot/a.tiff"), None);
        assert!(below(&out, "new/a.tiff").is_ok());
    }

    #[test]
    fn a_name_that_leaves_the_folder_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir_all(root.join("lot")).unwrap();
        let secret = folder.path().join("secret.tiff");
        for file in [&root.join("lot/a.tiff"), &secret] {
            fs::write(file, "").unwrap();
        }
        assert_eq!(regular_file(&root, "lot/a.tiff"), Some(root.join("lot/a.tiff")));
        for name in ["../secret.tiff", "lot/../../secret.tiff", secret.to_str().unwrap(), "", "lot", "lot/b.tiff", "lot/a.tiff/b.tiff"] {
            assert_eq!(regular_file(&root, name), None, "{name}");
        }
        for name in ["../secret.tiff", "lot/../../secret.tiff", secret.to_str().unwrap()] {
            assert_eq!(below(&root, name).unwrap_err().code(), Code::Output);
            remove(&root, name).unwrap();
        }
        assert!(secret.exists());
    }

    #[test]
    fn a_planted_journal_makes_nothing_outside_ours() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir(&root).unwrap();
        fs::write(root.join(RUN), "{}").unwrap();
        fs::write(root.join(".zsas.journal"), "\"run\"\n{\"begin\":\"../secret\"}\n").unwrap();
        let secret = folder.path().join("secret.tiff");
        fs::write(&secret, "").unwrap();
        own_files(&root).iter().for_each(|file| remove(&root, file).unwrap());
        assert!(secret.exists());
    }
}
