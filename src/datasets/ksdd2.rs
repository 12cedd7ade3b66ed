//! KolektorSDD2: photos and masks side by side in a folder of training and one of test photos.
//!
//! ```text
//! train/NNNNN.png    train/NNNNN_GT.png    test/NNNNN.png    test/NNNNN_GT.png
//! ```
//!
//! A photo is anomalous where its mask marks anything.

use std::path::Path;

use super::draft::{Draft, Found, Label, Photo};
use super::pairs::{Masks, images_if_any, one_of_each_stem, stem_below};
use super::report::Report;
use super::roots::{Tree, choose};
use crate::datasets::{Layout, Options};
use crate::error::Result;
use crate::image::Palette;
use crate::inputs::LeftOut;

/// Which folder is evaluated; the good photos of the other are for training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ksdd2Split {
    /// `test`, as published: 1,004 photos, 110 of them defective.
    #[default]
    Test,
    /// `train`, 2,331 photos, 246 of them defective: what the public code of SAA+ evaluates, which exchanges the two.
    Train,
}

impl Ksdd2Split {
    /// Both.
    pub const ALL: [Ksdd2Split; 2] = [Ksdd2Split::Test, Ksdd2Split::Train];

    /// The name of the folder that is evaluated.
    pub fn as_str(self) -> &'static str {
        match self {
            Ksdd2Split::Test => "test",
            Ksdd2Split::Train => "train",
        }
    }

    /// The name of the other folder.
    fn of_training(self) -> &'static str {
        match self {
            Ksdd2Split::Test => "train",
            Ksdd2Split::Train => "test",
        }
    }
}

/// What follows a photo's stem in that of its mask.
const MASK_SUFFIX: &str = "_GT";

/// Reads the data set at or below `root`.
pub(super) fn read(root: &Path, options: &Options, report: &mut Report) -> Result<Found> {
    let is_root = |folder: &Path| folder.join("train").is_dir() && folder.join("test").is_dir();
    let tree = Tree { layout: Layout::Ksdd2, is_root: &is_root, is_class: &|_| false, looked_for: "`train` and `test`" };
    let root = tree.locate(root, report)?.root;
    let split = options.ksdd2_split;
    let draft = Draft {
        name: Layout::Ksdd2.as_str().to_owned(),
        train: photos(&root, split.of_training(), report)?,
        test: photos(&root, split.as_str(), report)?,
        needs_training: true,
        palette: Palette::Colors,
    };
    Ok(Found { root, drafts: choose(vec![draft], |draft| &draft.name, &options.classes)? })
}

fn photos(root: &Path, name: &str, report: &mut Report) -> Result<Vec<Photo>> {
    let folder = root.join(name);
    let mut left_out = LeftOut::default();
    let is_mask = |file: &Path| file.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(MASK_SUFFIX.as_bytes()));
    let (masks, images): (Vec<_>, Vec<_>) = images_if_any(&folder, &mut left_out)?.into_iter().partition(|file| is_mask(file));
    let mut masks = Masks::new(&folder, masks, &[MASK_SUFFIX]);
    let mut photos = Vec::new();
    for image in one_of_each_stem(images, root, report) {
        let stem = stem_below(&folder, &image);
        let mut photo = Photo::new(image, root, Label::ByMask { expected: None }, "");
        masks.give(&mut photo, &stem, root, report);
        photos.push(photo);
    }
    masks.report_rest(root, report);
    report.left_out(name, &left_out);
    Ok(photos)
}
