//! Finding the tree of a data set where its root is one level off, and choosing classes.

use std::path::{Path, PathBuf};

use super::report::Report;
use crate::datasets::Layout;
use crate::error::{Code, Error, Result, nearest};
use crate::inputs::{path_text, subfolders};

/// Most names that an error lists.
const MAX_NAMED: usize = 8;

/// Where the tree of a data set begins.
pub(super) struct Place {
    pub root: PathBuf,
    /// Name and folder of the class, where the folder that was named is the one of a single class.
    pub only: Option<(String, PathBuf)>,
}

/// A layout's tree, as it is looked for.
pub(super) struct Tree<'a> {
    pub layout: Layout,
    /// Whether a folder is the root of a data set.
    pub is_root: &'a dyn Fn(&Path) -> bool,
    /// Whether a folder is a class.
    pub is_class: &'a dyn Fn(&Path) -> bool,
    /// What is looked for, for an error.
    pub looked_for: &'a str,
}

impl Tree<'_> {
    /// The root of the data set: the folder itself, the one above it where it is a class, or the only one right in it that is a root.
    ///
    /// A note names what was taken. Fails with [`Code::Dataset`], saying what was looked for and what is there.
    pub fn locate(&self, folder: &Path, report: &mut Report) -> Result<Place> {
        if (self.is_root)(folder) {
            return Ok(Place { root: folder.to_owned(), only: None });
        }
        if (self.is_class)(folder)
            && let Some(place) = self.above(folder, report)
        {
            return Ok(place);
        }
        let inside: Vec<PathBuf> = if folder.is_dir() { subfolders(folder)?.0 } else { Vec::new() };
        let roots: Vec<&PathBuf> = inside.iter().filter(|inside| (self.is_root)(inside)).collect();
        match roots[..] {
            [root] => {
                report.note(format!("the data set is `{}`, one level below the folder that was named", root.display()));
                Ok(Place { root: root.clone(), only: None })
            }
            [] => Err(self.absent(folder)),
            _ => {
                let names: Vec<String> = roots.iter().map(|root| format!("`{}`", last_name(root))).collect();
                let message = format!(
                    "`{}` holds several data sets of the layout `{}`: {}",
                    folder.display(),
                    self.layout.as_str(),
                    names.join(", ")
                );
                Err(Error::new(Code::Dataset, message).hint("name one of them as the root"))
            }
        }
    }

    /// The place of a folder that is a class, if its path has a folder above it.
    fn above(&self, folder: &Path, report: &mut Report) -> Option<Place> {
        // A path such as `bottle` or `.` has to be made whole before there is one above it.
        let has_parent = folder.file_name().is_some() && folder.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        let whole = if has_parent { folder.to_owned() } else { folder.canonicalize().ok()? };
        let name = last_name(&whole);
        let root = whole.parent()?.to_owned();
        report.note(format!("the folder that was named is the class `{name}`, which is inspected alone"));
        Some(Place { root, only: Some((name, whole)) })
    }

    fn absent(&self, folder: &Path) -> Error {
        let message = format!("`{}` is no data set of the layout `{}`", folder.display(), self.layout.as_str());
        let looked = format!("looked for {} in it, in the folder above it and in those right in it; {}", self.looked_for, content(folder));
        Error::new(Code::Dataset, message).hint(looked)
    }
}

/// What a folder holds, in a line.
fn content(folder: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return "it is no folder that can be read".to_owned() };
    let mut names: Vec<String> = entries.flatten().map(|entry| path_text(Path::new(&entry.file_name()))).collect();
    names.sort();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let named: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match (named.is_empty(), more) {
        (true, _) => "it is empty".to_owned(),
        (false, 0) => format!("it holds {}", named.join(", ")),
        (false, more) => format!("it holds {} and {more} more", named.join(", ")),
    }
}

/// The last name of a path, as text.
pub(super) fn last_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path_text(path), |name| path_text(Path::new(name)))
}

/// The name of a folder as text, that of the whole path where the folder is given as `.` or `..`.
pub(super) fn folder_name(folder: &Path) -> String {
    match folder.file_name() {
        Some(_) => last_name(folder),
        None => folder.canonicalize().map_or_else(|_| path_text(folder), |whole| last_name(&whole)),
    }
}

/// The classes that were asked for, in the order in which they are there; all, where none was named.
///
/// Fails with [`Code::Usage`] for a name that is none, naming one that is near and those that there are.
pub(super) fn choose<T>(all: Vec<T>, name: impl Fn(&T) -> &str, wanted: &[String]) -> Result<Vec<T>> {
    let known: Vec<String> = all.iter().map(|one| name(one).to_owned()).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| !known.contains(wanted)) {
        let near = nearest(unknown, known.iter().map(String::as_str)).map_or(String::new(), |near| format!("did you mean `{near}`? "));
        let error = Error::new(Code::Usage, format!("the data set has no class `{unknown}`"));
        return Err(error.hint(format!("{near}the classes are {}", known.join(", "))));
    }
    Ok(all
        .into_iter()
        .filter(|one| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name(one)))
        .collect())
}
