//! Manifests: a photo with its label, mask and class in each line of a JSONL or CSV file.
//!
//! ```json
//! {"image": "lot7/a.png", "label": "anomalous", "mask": "lot7/a_mask.png", "category": "bottle", "split": "test", "group": "lot7", "defect": "crack"}
//! ```
//!
//! `image` and `label` (`normal`, `anomalous`) are needed. `mask` may be a list in JSONL. `category` is the file's stem where it is missing,
//! `split` (`train`, `test`) is `test`. Paths are relative to the manifest's folder. CSV has the same names in its first line.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Found, Label, Photo};
use super::report::{Kind, Report};
use super::roots::{choose, last_name};
use super::table::{Row, Table};
use crate::datasets::Options;
use crate::error::{Code, Error, Result};
use crate::image::Palette;

const COLUMNS: [&str; 7] = ["image", "label", "mask", "category", "split", "group", "defect"];

/// Manifests that are looked for in a folder.
const NAMES: [&str; 2] = ["manifest.jsonl", "manifest.csv"];

/// Reads a manifest, or the only one in a folder.
pub(super) fn read(path: &Path, options: &Options, report: &mut Report) -> Result<Found> {
    let file = locate(path, report)?;
    let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let table = match ending.as_deref() {
        Some("csv") => Table::read_csv(&file)?,
        Some("jsonl" | "ndjson" | "json") => Table::read_jsonl(&file, report)?,
        _ => return Err(Error::new(Code::Dataset, format!("`{}` ends in neither `.jsonl` nor `.csv`", file.display()))),
    };
    table.check_columns(&["image", "label"])?;
    let unknown = table.unknown_columns(&COLUMNS);
    if !unknown.is_empty() {
        report.note(format!("not used of the manifest: {}", unknown.join(", ")));
    }
    let root = file.parent().unwrap_or(Path::new("")).to_owned();
    let unnamed = last_name(&file.with_extension(""));
    let mut drafts: Vec<Draft> = Vec::new();
    for row in &table.rows {
        let (name, is_training, photo) = match entry(row, &root) {
            Ok(entry) => entry,
            Err(why) => {
                report.fault(Kind::Entry, &format!("line {}", row.line), &why);
                continue;
            }
        };
        let name = name.unwrap_or(&unnamed);
        let at = drafts.iter().position(|draft| draft.name == name).unwrap_or_else(|| {
            drafts.push(Draft {
                name: name.to_owned(),
                train: Vec::new(),
                test: Vec::new(),
                needs_training: false,
                palette: Palette::Colors,
            });
            drafts.len() - 1
        });
        if is_training { drafts[at].train.push(photo) } else { drafts[at].test.push(photo) }
    }
    drafts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Found { root, drafts: choose(drafts, |draft| &draft.name, &options.classes)? })
}

fn locate(path: &Path, report: &mut Report) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let found: Vec<PathBuf> = NAMES.iter().map(|name| path.join(name)).filter(|file| file.is_file()).collect();
    match &found[..] {
        [file] => {
            report.note(format!("the manifest is `{}`", file.display()));
            Ok(file.clone())
        }
        [] => Err(Error::new(Code::Dataset, format!("`{}` is a folder without `{}` or `{}`", path.display(), NAMES[0], NAMES[1]))),
        _ => {
            Err(Error::new(Code::Dataset, format!("`{}` holds `{}` and `{}`", path.display(), NAMES[0], NAMES[1])).hint("name one of them"))
        }
    }
}

/// Class, whether it is for training, and the photo of a row; why there is none otherwise.
fn entry<'a>(row: &'a Row, root: &Path) -> std::result::Result<(Option<&'a str>, bool, Photo), String> {
    let single = |name: &str| match row.texts(name) {
        [] => Ok(None),
        [text] => Ok(Some(text.as_str())),
        _ => Err(format!("has several values of `{name}`")),
    };
    let image = single("image")?.ok_or("names no `image`")?;
    let label = match single("label")? {
        Some("normal") => Label::Normal,
        Some("anomalous") => Label::Anomalous,
        Some(other) => return Err(format!("is labelled `{other}`, neither `normal` nor `anomalous`")),
        None => return Err("has no `label`".to_owned()),
    };
    let is_training = match single("split")? {
        Some("train") => true,
        Some("test") | None => false,
        Some(other) => return Err(format!("is of the split `{other}`, neither `train` nor `test`")),
    };
    let usual = if label == Label::Normal { "normal" } else { "anomalous" };
    // Without `./`, so that a photo has one path.
    let image: PathBuf = root.join(image).components().collect();
    let mut photo = Photo::new(image, root, label, single("defect")?.unwrap_or(usual));
    photo.group = single("group")?.map(str::to_owned);
    photo.masks = row.texts("mask").iter().map(|mask| root.join(mask)).collect();
    Ok((single("category")?, is_training, photo))
}
