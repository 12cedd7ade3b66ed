//! VisA: as it is published, by one of its lists, or prepared as a tree like MVTec AD's.
//!
//! ```text
//! split_csv/1cls.csv    CLASS/Data/Images/{Normal,Anomaly}/*.JPG    CLASS/Data/Masks/Anomaly/*.png
//! ```
//!
//! Masks hold the index of a defect's kind, from 1 on: any value but 0 is a defect. Of masks with a palette the indices count, as in the
//! authors' script, which reads them as `numpy.array(PIL.Image.open(mask))`.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Found, Label, Photo};
use super::mvtec;
use super::report::{Kind, Report};
use super::roots::{Tree, choose};
use super::table::Table;
use crate::datasets::{Layout, Options};
use crate::error::{Code, Error, Result};
use crate::image::Palette;
use crate::inputs::subfolders;

/// Folder of the lists.
const LISTS: &str = "split_csv";

/// A published split of VisA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VisaSplit {
    /// Training on good photos alone, the usual one: `1cls`.
    #[default]
    OneClass,
    /// With many defective photos in training, which are not used here: `2cls_highshot`.
    TwoClassHighShot,
    /// With few of them: `2cls_fewshot`.
    TwoClassFewShot,
}

impl VisaSplit {
    /// All splits.
    pub const ALL: [VisaSplit; 3] = [VisaSplit::OneClass, VisaSplit::TwoClassHighShot, VisaSplit::TwoClassFewShot];

    /// The name of its list and of its prepared folder.
    pub fn as_str(self) -> &'static str {
        match self {
            VisaSplit::OneClass => "1cls",
            VisaSplit::TwoClassHighShot => "2cls_highshot",
            VisaSplit::TwoClassFewShot => "2cls_fewshot",
        }
    }
}

/// Reads VisA in whichever form it is there.
pub(super) fn read(root: &Path, options: &Options, report: &mut Report) -> Result<Found> {
    let split = options.visa_split;
    let has_lists = |folder: &Path| folder.join(LISTS).is_dir();
    let is_published_class = |folder: &Path| {
        folder.join("Data/Images").is_dir() && folder.canonicalize().is_ok_and(|whole| whole.parent().is_some_and(has_lists))
    };
    if has_lists(root) || is_published_class(root) || inside(root)?.iter().any(|folder| has_lists(folder)) {
        let looked_for = format!("`{LISTS}/{}.csv`", split.as_str());
        let tree = Tree { layout: Layout::Visa, is_root: &has_lists, is_class: &is_published_class, looked_for: &looked_for };
        let place = tree.locate(root, report)?;
        return read_published(&place.root, place.only.map(|(name, _)| name), options, report);
    }
    match prepared(root, split)? {
        Some(folder) => {
            report.note(format!("the data set is the prepared tree `{}`", folder.display()));
            mvtec::read(&folder, Layout::Visa, &mvtec::VISA, options, report)
        }
        // A tree without a name is that of the usual split.
        None if split == VisaSplit::OneClass => mvtec::read(root, Layout::Visa, &mvtec::VISA, options, report),
        None => {
            let message =
                format!("`{}` holds neither `{LISTS}/{}.csv` nor a prepared folder `{}`", root.display(), split.as_str(), split.as_str());
            Err(Error::new(Code::Dataset, message))
        }
    }
}

fn inside(root: &Path) -> Result<Vec<PathBuf>> {
    if root.is_dir() { subfolders(root).map(|(folders, _)| folders) } else { Ok(Vec::new()) }
}

/// The prepared tree of a split in the folder or in one right in it; `None` where there is none under its name, or several.
fn prepared(root: &Path, split: VisaSplit) -> Result<Option<PathBuf>> {
    let right_here = root.join(split.as_str());
    if mvtec::is_root(&right_here) {
        return Ok(Some(right_here));
    }
    let below: Vec<PathBuf> = inside(root)?
        .iter()
        .map(|folder| folder.join(split.as_str()))
        .filter(|folder| mvtec::is_root(folder))
        .collect();
    Ok(if let [folder] = &below[..] { Some(folder.clone()) } else { None })
}

fn read_published(root: &Path, only: Option<String>, options: &Options, report: &mut Report) -> Result<Found> {
    let list = format!("{LISTS}/{}.csv", options.visa_split.as_str());
    let table = Table::read_csv(&root.join(&list))?;
    table.check_columns(&["object", "split", "label", "image", "mask"])?;
    report.note(format!("photos, labels and masks are those of `{list}`"));
    let mut drafts: Vec<Draft> = Vec::new();
    for row in &table.rows {
        let place = format!("{list}, line {}", row.line);
        let (Some(name), Some(image)) = (row.text("object"), row.text("image")) else {
            report.fault(Kind::Entry, &place, "names no object or image");
            continue;
        };
        let label = match row.text("label") {
            Some("normal") => Label::Normal,
            Some("anomaly") => Label::Anomalous,
            other => {
                report.fault(Kind::Entry, &place, &format!("is labelled `{}`, neither `normal` nor `anomaly`", other.unwrap_or("")));
                continue;
            }
        };
        let defect = if label == Label::Normal { "good" } else { "bad" };
        let mut photo = Photo::new(root.join(image), root, label, defect);
        photo.masks = row.text("mask").map(|mask| root.join(mask)).into_iter().collect();
        let at = drafts.iter().position(|draft| draft.name == name).unwrap_or_else(|| {
            drafts.push(Draft {
                name: name.to_owned(),
                train: Vec::new(),
                test: Vec::new(),
                needs_training: true,
                palette: Palette::Indices,
            });
            drafts.len() - 1
        });
        match row.text("split") {
            Some("train") => drafts[at].train.push(photo),
            Some("test") => drafts[at].test.push(photo),
            other => report.fault(Kind::Entry, &place, &format!("is of the split `{}`, neither `train` nor `test`", other.unwrap_or(""))),
        }
    }
    drafts.sort_by(|a, b| a.name.cmp(&b.name));
    let drafts = choose(drafts, |draft| &draft.name, only.as_slice())?;
    let drafts = choose(drafts, |draft| &draft.name, &options.classes)?;
    Ok(Found { root: root.to_owned(), drafts })
}
