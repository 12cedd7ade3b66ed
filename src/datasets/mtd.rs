//! Magnetic-tile-defect: photos and masks side by side in a folder for each kind of defect.
//!
//! ```text
//! MT_Blowhole/Imgs/NAME.jpg    MT_Blowhole/Imgs/NAME.png    …    MT_Free/Imgs/…
//! ```
//!
//! All photos are test photos, and one is anomalous where its mask marks anything, as in the public code of SAA+; a note counts those whose
//! folder says otherwise.

use std::path::Path;

use super::draft::{Draft, Found, Label, Photo};
use super::pairs::{Masks, images_if_any, one_of_each_stem, stem_below};
use super::report::Report;
use super::roots::{Tree, choose, last_name};
use crate::datasets::{Layout, Options};
use crate::error::Result;
use crate::image::Palette;
use crate::inputs::{LeftOut, subfolders};

/// Beginning of the folders' names.
const PREFIX: &str = "MT_";

/// Kind of the photos without a defect.
const FREE: &str = "free";

/// Reads the data set at or below `root`.
pub(super) fn read(root: &Path, options: &Options, report: &mut Report) -> Result<Found> {
    let is_kind = |folder: &Path| last_name(folder).starts_with(PREFIX);
    let is_root = |folder: &Path| subfolders(folder).is_ok_and(|(inside, _)| inside.iter().any(|folder| is_kind(folder)));
    let tree = Tree { layout: Layout::Mtd, is_root: &is_root, is_class: &|_| false, looked_for: "`MT_DEFECT/Imgs`" };
    let root = tree.locate(root, report)?.root;
    let mut test = Vec::new();
    for folder in subfolders(&root)?.0.iter().filter(|folder| is_kind(folder)) {
        test.extend(photos(&root, folder, report)?);
    }
    let draft = Draft {
        name: Layout::Mtd.as_str().to_owned(),
        train: Vec::new(),
        test,
        needs_training: false,
        palette: Palette::Colors,
    };
    Ok(Found { root, drafts: choose(vec![draft], |draft| &draft.name, &options.classes)? })
}

fn photos(root: &Path, folder: &Path, report: &mut Report) -> Result<Vec<Photo>> {
    let mut left_out = LeftOut::default();
    let is_mask = |file: &Path| file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    let (masks, images): (Vec<_>, Vec<_>) = images_if_any(folder, &mut left_out)?.into_iter().partition(|file| is_mask(file));
    let mut masks = Masks::new(folder, masks, &[""]);
    let kind = last_name(folder).trim_start_matches(PREFIX).to_ascii_lowercase();
    let mut photos = Vec::new();
    for image in one_of_each_stem(images, root, report) {
        let stem = stem_below(folder, &image);
        let mut photo = Photo::new(image, root, Label::ByMask { expected: Some(kind != FREE) }, &kind);
        masks.give(&mut photo, &stem, root, report);
        photos.push(photo);
    }
    masks.report_rest(root, report);
    report.left_out(&last_name(folder), &left_out);
    Ok(photos)
}
