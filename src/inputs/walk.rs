//! A walk through a folder: the images below it, and what it holds that is not read.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::image::{EXTENSIONS, IMAGE_LIKE, begins_as_image};
use crate::inputs::{LeftOut, RESULTS, RUN};
use crate::uninspected::Reason;

/// Folders in which file managers and storage boxes keep thumbnails and side files.
const THUMBNAIL_FOLDERS: [&str; 4] = ["@eaDir", "__MACOSX", "@__thumb", "Thumbnails.cache"];

/// What a walk met.
#[derive(Default)]
pub(super) struct Walk {
    /// Images, sorted by their bytes.
    pub images: Vec<PathBuf>,
    /// What looks like an image, or may hold one, and is not read.
    pub left_out: LeftOut,
    /// Other files.
    pub others: usize,
    /// Whether files of other endings are looked into.
    looks_inside: bool,
}

/// Whether the ending of a file is that of an image which is read.
pub(super) fn is_image(file: &Path) -> bool {
    has_ending(file, &EXTENSIONS)
}

/// Whether a file has one of these endings, which are in lower case.
pub(super) fn has_ending(file: &Path, endings: &[&str]) -> bool {
    ending(file).is_some_and(|ending| endings.contains(&ending.as_str()))
}

fn ending(file: &Path) -> Option<String> {
    Some(file.extension()?.to_str()?.to_ascii_lowercase())
}

impl Walk {
    /// Collects the regular files below a folder that are wanted. The output folder is passed over; links, pipes, devices, other formats, hidden
    /// images, thumbnails, unreadable folders and those with an earlier run's results are counted; in hidden folders and those of thumbnails, only
    /// images are.
    ///
    /// Fails where the folder itself cannot be read.
    pub(super) fn through(folder: &Path, output: Option<&Path>, is_wanted: &dyn Fn(&Path) -> bool) -> Result<Walk> {
        Walk::default().go_through(folder, output, is_wanted)
    }

    /// Collects all images below a folder, and counts as left out those whose ending is not that of an image.
    pub(super) fn through_images(folder: &Path, output: Option<&Path>) -> Result<Walk> {
        Walk { looks_inside: true, ..Walk::default() }.go_through(folder, output, &is_image)
    }

    fn go_through(self, folder: &Path, output: Option<&Path>, is_wanted: &dyn Fn(&Path) -> bool) -> Result<Walk> {
        let mut walk = self;
        let mut pending = vec![(folder.to_owned(), None)];
        while let Some((current, left_out_for)) = pending.pop() {
            let entries = match fs::read_dir(&current) {
                Ok(entries) => entries,
                Err(error) if current == folder => return Err(unreadable(folder, &error)),
                Err(error) => {
                    log::warn!("the folder `{}` is left out: {error}", current.display());
                    walk.left_out.count(left_out_for.unwrap_or(Reason::UnreadableFolder), 1);
                    continue;
                }
            };
            for entry in entries {
                let Ok((path, kind)) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) else {
                    log::warn!("the folder `{}` cannot be listed to its end", current.display());
                    walk.left_out.count(left_out_for.unwrap_or(Reason::UnreadableFolder), 1);
                    break;
                };
                if kind.is_dir() {
                    let name = path.file_name().unwrap_or_default();
                    if is_output(&path, output) {
                        log::info!("`{}` is the output folder and is left out", path.display());
                    } else if holds_results(&path) {
                        log::warn!("`{}` holds the results of an earlier run and is left out, with any photos in it", path.display());
                        walk.left_out.count(left_out_for.unwrap_or(Reason::ResultsFolder), 1);
                    } else {
                        let of_its_own = [(is_thumbnails(name), Reason::Thumbnail), (is_hidden(name), Reason::Hidden)];
                        let of_its_own = of_its_own.into_iter().find_map(|(is_so, reason)| is_so.then_some(reason));
                        pending.push((path, left_out_for.or(of_its_own)));
                    }
                } else {
                    walk.take_or_count(path, kind, left_out_for, is_wanted);
                }
            }
        }
        sort_by_bytes(&mut walk.images);
        Ok(walk)
    }

    /// The error for a walk that met no image: what was looked for, and what was left out.
    pub(super) fn without_images(&self, message: String, looked: &str) -> Error {
        let left_out = if self.left_out.is_empty() { String::new() } else { format!("; left out: {}", self.left_out) };
        Error::new(Code::NoInputs, message).hint(format!("{looked}{left_out}"))
    }

    /// Takes or counts a file; `left_out_for` is why its folder is left out, if it is.
    fn take_or_count(&mut self, path: PathBuf, kind: fs::FileType, left_out_for: Option<Reason>, is_wanted: &dyn Fn(&Path) -> bool) {
        let name = path.file_name().unwrap_or_default();
        let unread = ending(&path).filter(|ending| IMAGE_LIKE.contains(&ending.as_str()));
        if kind.is_symlink() {
            // A link to a folder may hold images; links to other files are none of ours.
            let may_hold_images = left_out_for.is_none() && (unread.is_some() || path.is_dir());
            if is_wanted(&path) || may_hold_images {
                self.left_out.count(left_out_for.unwrap_or(Reason::Link), 1);
            }
        } else if !kind.is_file() {
            if is_wanted(&path) {
                self.left_out.count(left_out_for.unwrap_or(Reason::Special), 1);
            }
        } else if !is_wanted(&path) {
            match unread {
                _ if is_hidden(name) || left_out_for.is_some() => self.others += 1,
                Some(ending) => self.left_out.count_ending(&ending),
                None if self.looks_inside && begins_as_image(&path) => match ending(&path) {
                    Some(ending) => self.left_out.count_ending(&ending),
                    None => self.left_out.count(Reason::NoEnding, 1),
                },
                None => self.others += 1,
            }
        } else if let Some(reason) = left_out_for {
            self.left_out.count(reason, 1);
        } else if name.as_encoded_bytes().starts_with(b"._") {
            self.left_out.count(Reason::Thumbnail, 1);
        } else if is_hidden(name) {
            self.left_out.count(Reason::Hidden, 1);
        } else {
            self.images.push(path);
        }
    }
}

/// The folders right in a folder, and the links to folders that were left out.
pub(super) fn subfolders(folder: &Path) -> Result<(Vec<PathBuf>, LeftOut)> {
    let (mut found, mut left_out) = (Vec::new(), LeftOut::default());
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(|error| unreadable(folder, &error))?);
        if is_hidden(&entry.file_name()) || is_thumbnails(&entry.file_name()) {
            continue;
        } else if kind.is_dir() {
            found.push(path);
        } else if kind.is_symlink() && path.is_dir() {
            left_out.count(Reason::Link, 1);
        }
    }
    sort_by_bytes(&mut found);
    Ok((found, left_out))
}

fn sort_by_bytes(paths: &mut [PathBuf]) {
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
}

fn is_thumbnails(folder: &OsStr) -> bool {
    THUMBNAIL_FOLDERS.iter().any(|known| folder == *known)
}

fn unreadable(folder: &Path, error: &std::io::Error) -> Error {
    let code = if error.kind() == ErrorKind::PermissionDenied { Code::NotFound } else { Code::Io };
    Error::new(code, format!("the folder `{}` cannot be read: {error}", folder.display()))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a folder is the output folder, which is given canonical.
fn is_output(folder: &Path, output: Option<&Path>) -> bool {
    output.is_some() && folder.canonicalize().ok().as_deref() == output
}

/// Whether a folder holds the results of a run.
fn holds_results(folder: &Path) -> bool {
    folder.join(RESULTS).is_file() && folder.join(RUN).is_file()
}
