//! Pairing of photos and masks by their places and stems.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::draft::{Photo, below};
use super::report::{Kind, Report};
use crate::error::Result;
use crate::inputs::{LeftOut, images_below};

/// The images below a folder, sorted; none where there is no such folder.
pub(super) fn images_if_any(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let (images, not_read) = images_below(folder)?;
    left_out.add(&not_read);
    Ok(images)
}

/// Place of a file below a folder, without its ending: what a photo and its mask have in common.
pub(super) fn stem_below(folder: &Path, file: &Path) -> PathBuf {
    file.strip_prefix(folder).unwrap_or(file).with_extension("")
}

/// Mask files by their stems.
pub(super) struct Masks {
    by_stem: BTreeMap<PathBuf, Vec<PathBuf>>,
    suffixes: &'static [&'static str],
}

impl Masks {
    /// The masks below a folder, whose stems are those of the photos with one of these suffixes.
    pub fn new(folder: &Path, files: Vec<PathBuf>, suffixes: &'static [&'static str]) -> Masks {
        let mut by_stem: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for file in files {
            by_stem.entry(stem_below(folder, &file)).or_default().push(file);
        }
        Masks { by_stem, suffixes }
    }

    /// Gives a photo of this stem its mask; several are a mismatch.
    pub fn give(&mut self, photo: &mut Photo, stem: &Path, root: &Path, report: &mut Report) {
        let found: Vec<PathBuf> = self
            .suffixes
            .iter()
            .filter_map(|suffix| self.by_stem.remove(&with_suffix(stem, suffix)))
            .flatten()
            .collect();
        if found.len() > 1 {
            let names: Vec<String> = found.iter().map(|mask| format!("`{}`", below(root, mask))).collect();
            report.fault(Kind::SeveralMasks, &photo.path, &format!("fits several masks: {}", names.join(", ")));
            photo.is_reported = true;
        } else {
            photo.masks = found;
        }
    }

    /// Reports the masks that no photo took.
    pub fn report_rest(self, root: &Path, report: &mut Report) {
        for mask in self.by_stem.values().flatten() {
            report.fault(Kind::MaskWithoutImage, &below(root, mask), "is a mask without a photo");
        }
    }
}

fn with_suffix(stem: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(stem);
    name.push(suffix);
    PathBuf::from(name)
}

/// The files, of which those that differ from an earlier one in their ending alone are reported and left out.
pub(super) fn one_of_each_stem(files: Vec<PathBuf>, root: &Path, report: &mut Report) -> Vec<PathBuf> {
    let mut kept: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut all = Vec::new();
    for file in files {
        if let Some(earlier) = kept.get(&file.with_extension("")) {
            report.fault(Kind::SameStem, &below(root, &file), &format!("differs from `{}` in its ending alone", below(root, earlier)));
        } else {
            kept.insert(file.with_extension(""), file.clone());
            all.push(file);
        }
    }
    all
}
