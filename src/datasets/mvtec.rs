//! The tree of MVTec AD, and those of MPDD, BTAD and prepared VisA, which differ in words:
//!
//! ```text
//! CLASS/train/good/*    CLASS/test/good/*    CLASS/test/DEFECT/STEM.png    CLASS/ground_truth/DEFECT/STEM_mask.png
//! ```
//!
//! Endings of photos and masks are any that images have, in either case: BTAD is in use with BMP and with PNG.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Found, Label, Photo, below};
use super::pairs::{Masks, images_if_any, one_of_each_stem, stem_below};
use super::report::{Kind, Report, counted};
use super::roots::{Tree, choose, last_name};
use crate::datasets::{Layout, Options};
use crate::error::Result;
use crate::image::Palette;
use crate::inputs::{LeftOut, path_text, subfolders};

const TRAIN: &str = "train";
const TEST: &str = "test";
const GROUND_TRUTH: &str = "ground_truth";

/// The words of a data set.
pub(super) struct Words {
    /// Folder of good photos.
    normal: &'static str,
    /// What follows a photo's stem in that of its mask.
    mask_suffixes: &'static [&'static str],
    palette: Palette,
}

/// MVTec AD and MPDD.
pub(super) const MVTEC: Words = Words { normal: "good", mask_suffixes: &["_mask"], palette: Palette::Colors };

/// BTAD.
pub(super) const BTAD: Words = Words { normal: "ok", mask_suffixes: &[""], palette: Palette::Colors };

/// VisA as its authors' script prepares it, whose masks may have kept the indices of defect kinds.
pub(super) const VISA: Words = Words { normal: "good", mask_suffixes: &[""], palette: Palette::Indices };

/// Reads the tree at, above or below `root`.
pub(super) fn read(root: &Path, layout: Layout, words: &Words, options: &Options, report: &mut Report) -> Result<Found> {
    let looked_for = format!("`CLASS/{TRAIN}/{}` and `CLASS/{TEST}/…`", words.normal);
    let tree = Tree { layout, is_root: &is_root, is_class: &is_class, looked_for: &looked_for };
    let place = tree.locate(root, report)?;
    let classes = match place.only {
        Some(class) => vec![class],
        None => classes_in(&place.root, report)?,
    };
    let chosen = choose(classes, |(name, _)| name, &options.classes)?;
    let drafts = chosen
        .iter()
        .map(|(name, folder)| class(name, folder, &place.root, words, report))
        .collect::<Result<_>>()?;
    Ok(Found { root: place.root, drafts })
}

/// Whether a folder is a class.
pub(super) fn is_class(folder: &Path) -> bool {
    folder.join(TEST).is_dir() || folder.join(TRAIN).is_dir()
}

/// Whether a folder holds a class.
pub(super) fn is_root(folder: &Path) -> bool {
    subfolders(folder).is_ok_and(|(inside, _)| inside.iter().any(|folder| is_class(folder)))
}

fn classes_in(root: &Path, report: &mut Report) -> Result<Vec<(String, PathBuf)>> {
    let (inside, left_out) = subfolders(root)?;
    report.left_out(&path_text(root), &left_out);
    let (classes, others): (Vec<_>, Vec<_>) = inside.into_iter().partition(|folder| is_class(folder));
    for other in others {
        report.note(format!("`{}` is no class: it holds neither `{TRAIN}` nor `{TEST}`", last_name(&other)));
    }
    Ok(classes.into_iter().map(|folder| (last_name(&folder), folder)).collect())
}

fn class(name: &str, folder: &Path, root: &Path, words: &Words, report: &mut Report) -> Result<Draft> {
    let mut left_out = LeftOut::default();
    let train = training(folder, root, words, &mut left_out, report)?;
    let test_folder = folder.join(TEST);
    let mask_folder = folder.join(GROUND_TRUTH);
    let mut masks = Masks::new(&mask_folder, images_if_any(&mask_folder, &mut left_out)?, words.mask_suffixes);
    let mut test = Vec::new();
    for image in one_of_each_stem(images_if_any(&test_folder, &mut left_out)?, root, report) {
        let Some(kind) = kind_of(&test_folder, &image) else {
            report.fault(Kind::Stray, &below(root, &image), "lies in no folder of good or defective photos");
            continue;
        };
        let label = if kind == words.normal { Label::Normal } else { Label::Anomalous };
        let stem = stem_below(&test_folder, &image);
        let mut photo = Photo::new(image, root, label, &kind);
        masks.give(&mut photo, &stem, root, report);
        test.push(photo);
    }
    masks.report_rest(root, report);
    report.left_out(name, &left_out);
    Ok(Draft { name: name.to_owned(), train, test, needs_training: true, palette: words.palette })
}

/// The good training photos; others that lie beside them are noted.
fn training(folder: &Path, root: &Path, words: &Words, left_out: &mut LeftOut, report: &mut Report) -> Result<Vec<Photo>> {
    let train_folder = folder.join(TRAIN);
    let (good, others): (Vec<_>, Vec<_>) = images_if_any(&train_folder, left_out)?
        .into_iter()
        .partition(|image| kind_of(&train_folder, image).as_deref() == Some(words.normal));
    if !others.is_empty() {
        let photos = counted(others.len(), "photo lies", "photos lie");
        report.note(format!("{photos} in `{}` outside of `{}`, not used", below(root, &train_folder), words.normal));
    }
    let good = one_of_each_stem(good, root, report);
    Ok(good.into_iter().map(|image| Photo::new(image, root, Label::Normal, words.normal)).collect())
}

/// Kind of a photo's defect: the folder right in `folder` that it lies in; `None` where it lies in none.
pub(super) fn kind_of(folder: &Path, image: &Path) -> Option<String> {
    let mut parts = image.strip_prefix(folder).ok()?.components();
    let kind = parts.next()?;
    parts.next()?;
    Some(path_text(Path::new(kind.as_os_str())))
}
