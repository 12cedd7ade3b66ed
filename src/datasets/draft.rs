//! A data set as its folders and lists say, before files are looked into.

use std::path::{Path, PathBuf};

use crate::image::Palette;
use crate::inputs::path_text;

/// What is known of a photo's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Normal,
    Anomalous,
    /// Anomalous where its mask marks anything; its folder may say what is to be expected.
    ByMask {
        expected: Option<bool>,
    },
}

/// A photo that is to become a sample or a training photo.
pub(super) struct Photo {
    pub image: PathBuf,
    /// Path below the root.
    pub path: String,
    pub label: Label,
    pub defect: String,
    pub group: Option<String>,
    pub masks: Vec<PathBuf>,
    /// Whether it is reported already why it has no mask.
    pub is_reported: bool,
}

impl Photo {
    /// A photo without masks.
    pub fn new(image: PathBuf, root: &Path, label: Label, defect: &str) -> Photo {
        let path = below(root, &image);
        Photo { image, path, label, defect: defect.to_owned(), group: None, masks: Vec::new(), is_reported: false }
    }
}

/// The path of a file below the root as text, or whole where it lies elsewhere.
pub(super) fn below(root: &Path, file: &Path) -> String {
    path_text(file.strip_prefix(root).unwrap_or(file))
}

/// A class.
pub(super) struct Draft {
    pub name: String,
    pub train: Vec<Photo>,
    pub test: Vec<Photo>,
    /// Whether the layout has a place for good training photos.
    pub needs_training: bool,
    pub palette: Palette,
}

/// The classes below a root.
pub(super) struct Found {
    pub root: PathBuf,
    pub drafts: Vec<Draft>,
}
