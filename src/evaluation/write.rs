//! The files of an evaluation: JSON, Markdown, CSV, curves and the page.

use std::fs;
use std::path::Path;

use crate::error::{Code, Error, Remedy, Result};
use crate::evaluation::{Evaluated, csv, curves, markdown, page};
use crate::files::{file_name, write_whole};

/// File of the results in the folder of an evaluation.
pub const EVALUATION: &str = "evaluation.json";
/// The same as a table.
const MARKDOWN: &str = "evaluation.md";
/// The same as a table with all digits.
const CSV: &str = "evaluation.csv";
/// Page of curves, false alarms and misses.
const PAGE: &str = "evaluation.html";
/// Folder of the curves.
const CURVES: &str = "curves";

/// Refuses a folder in which files would be replaced: those of an earlier evaluation, unless it may be, and those that no evaluation wrote.
///
/// Errors with [`Code::Output`].
pub fn check_output(root: &Path, may_replace: bool) -> Result<()> {
    let is_there = |name: &str| fs::symlink_metadata(root.join(name)).is_ok();
    if is_there(EVALUATION) {
        let message = format!("`{}` already holds an evaluation", root.display());
        return if may_replace { Ok(()) } else { Err(Error::new(Code::Output, message).hint(Remedy::ResumeOrOverwrite)) };
    }
    match [MARKDOWN, CSV, PAGE, CURVES].into_iter().find(|name| is_there(name)) {
        Some(name) => {
            let message = format!("`{}` would be overwritten, and no evaluation wrote it", root.join(name).display());
            Err(Error::new(Code::Output, message).hint(Remedy::ChooseOtherOutput))
        }
        None => Ok(()),
    }
}

/// Writes all files into a folder, each whole or not at all.
///
/// Errors with [`Code::Output`] where something else has the name of a file, with [`Code::Io`] where writing fails.
pub fn write(evaluated: &Evaluated, page: &page::Photos<'_>, root: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(evaluated).unwrap_or_else(|error| panic!("our own results serialise: {error}"));
    put(root, EVALUATION, format!("{json}\n").as_bytes())?;
    put(root, MARKDOWN, markdown(evaluated).as_bytes())?;
    put(root, CSV, &csv(evaluated)?)?;
    let mut drawn = Vec::new();
    for class in &evaluated.classes {
        let svg = curves::svg(class)?;
        put(root, &format!("{CURVES}/{}.svg", file_name(&class.name)), svg.as_bytes())?;
        drawn.push(svg);
    }
    put(root, PAGE, page::html(evaluated, &drawn, page)?.as_bytes())
}

fn put(root: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = root.join(name);
    if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        let message = format!("`{}` is not a regular file and would be replaced", path.display());
        return Err(Error::new(Code::Output, message).hint(Remedy::ChooseOtherOutput));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::io(format!("creating `{}`", folder.display()), &error))?;
    }
    write_whole(&path, bytes)
}
