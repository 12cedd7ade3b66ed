//! The files of an evaluation: JSON, Markdown, CSV, curves and the page.

use std::fs;
use std::path::Path;

use crate::error::{Code, Error, Remedy, Result};
use crate::evaluation::{Evaluated, csv, curves, markdown, page};
use crate::files::{short_hash, write_whole};

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

/// Whether a folder holds an evaluation's results.
pub fn is_evaluation(root: &Path) -> bool {
    root.join(EVALUATION).exists()
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

/// The name of a class as a file name: itself where it is one, else with a hash, so that two classes never share a file.
fn file_name(class: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if !class.starts_with('.') && class.len() < 100 && class.chars().all(is_plain) {
        return class.to_owned();
    }
    let kept: String = class.chars().filter(|&c| c.is_alphanumeric()).take(40).collect();
    format!("{kept}-{}", short_hash(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_cannot_leave_its_folder() {
        assert_eq!(file_name("metal_nut"), "metal_nut");
        assert!(file_name("../../etc").starts_with("etc-"));
        assert_ne!(file_name("a/b"), file_name("ab"));
    }
}
