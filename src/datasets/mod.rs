//! Data sets: classes of good training photos and labelled test photos, in the layouts of public data sets, in folders, or by a manifest.
//!
//! [`Dataset::open`] reads folders and headers, decodes every mask, and lists all that does not fit together before any work begins.

mod check;
mod draft;
mod folder;
mod ksdd2;
mod manifest;
mod maps;
mod mtd;
mod mvtec;
mod pairs;
mod report;
mod roots;
mod table;
mod visa;

use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::image::{Mask, Palette, ReadOptions, read_mask};
use report::Report;

pub use folder::Folders;
pub use ksdd2::Ksdd2Split;
pub use maps::{Maps, SampleMap};
pub use visa::VisaSplit;

/// Layout of a data set: which folders hold what, and how a mask is found for a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// MVTec AD (Bergmann et al. 2019).
    Mvtec,
    /// VisA (Zou et al. 2022), as it is published or as trees like MVTec AD's.
    Visa,
    /// MPDD (Jezek et al. 2021).
    Mpdd,
    /// BTAD, beanTech (Mishra et al. 2021).
    Btad,
    /// KolektorSDD2 (Božič et al. 2021).
    Ksdd2,
    /// Magnetic-tile-defect (Huang et al. 2018).
    Mtd,
    /// Folders of one's own: [`Folders`].
    Folder,
    /// A list of photos with their labels, in JSONL or CSV.
    Manifest,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Layout; 8] =
        [Layout::Mvtec, Layout::Visa, Layout::Mpdd, Layout::Btad, Layout::Ksdd2, Layout::Mtd, Layout::Folder, Layout::Manifest];

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Mvtec => "mvtec",
            Layout::Visa => "visa",
            Layout::Mpdd => "mpdd",
            Layout::Btad => "btad",
            Layout::Ksdd2 => "ksdd2",
            Layout::Mtd => "mtd",
            Layout::Folder => "folder",
            Layout::Manifest => "manifest",
        }
    }

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            Layout::Mvtec => "MVTec AD: CLASS/{train/good,test/{good,DEFECT},ground_truth/DEFECT/STEM_mask.png}",
            Layout::Visa => {
                "VisA: CLASS/Data/… by split_csv/1cls.csv, or a prepared tree CLASS/{train/good,test/{good,bad},ground_truth/bad}"
            }
            Layout::Mpdd => "MPDD: as MVTec AD",
            Layout::Btad => "BTAD: CLASS/{train/ok,test/{ok,ko},ground_truth/ko}, BMP and PNG",
            Layout::Ksdd2 => "KolektorSDD2: {train,test}/NNNNN.png with NNNNN_GT.png",
            Layout::Mtd => "Magnetic-tile-defect: MT_DEFECT/Imgs/*.jpg with *.png; all photos are test photos",
            Layout::Folder => "Folders of good and of defective photos, with masks of the same name or without",
            Layout::Manifest => "A JSONL or CSV file with image, label, mask, category, split, group in each line",
        }
    }
}

/// How a data set is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The classes to take; all, where none is named.
    pub classes: Vec<String>,
    /// Count what does not fit together in [`Dataset::notes`] instead of refusing the data set.
    pub is_lenient: bool,
    /// Which image files are accepted, and whether photos and masks are turned upright.
    pub read: ReadOptions,
    /// Which published split of VisA.
    pub visa_split: VisaSplit,
    /// Which folder of KolektorSDD2 is evaluated.
    pub ksdd2_split: Ksdd2Split,
    /// The folders of [`Layout::Folder`].
    pub folders: Folders,
}

/// A data set whose files fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// How it is laid out.
    pub layout: Layout,
    /// The folder below which [`Sample::path`] leads to the photos: the one that was named, or one beside it that a note names.
    pub root: PathBuf,
    /// Its classes, sorted by the bytes of their names.
    pub classes: Vec<Category>,
    /// What was taken for what, what was left out, and, of a lenient opening, what did not fit together.
    pub notes: Vec<String>,
}

/// A class of a data set: one kind of part.
#[derive(Clone, Debug, PartialEq)]
pub struct Category {
    /// Its name, as the layout spells it.
    pub name: String,
    /// Good training photos, sorted by their bytes; none in data sets that have none, such as [`Layout::Mtd`].
    pub normal: Vec<PathBuf>,
    /// Test photos, sorted by the bytes of their paths; at least one.
    pub test: Vec<Sample>,
}

/// A labelled test photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The photo.
    pub image: PathBuf,
    /// Its path below the root, with `/`; no other sample has it.
    pub path: String,
    /// Whether it is labelled anomalous.
    pub is_anomalous: bool,
    /// Kind of its defect, or the word for a good photo, as the layout spells it.
    pub defect: String,
    /// What belongs together beside the class, such as a lot, where a manifest says so.
    pub group: Option<String>,
    /// Its masks; none for most normal photos, and where [`Sample::are_pixels_known`] is false.
    pub masks: Vec<PathBuf>,
    /// Whether it is known which of its pixels are defective: false for an anomalous photo without a mask, or with one that cannot be
    /// used. Such a photo counts for metrics of images, and not for those of pixels.
    pub are_pixels_known: bool,
    /// What the values of masks with a palette are taken for.
    pub palette: Palette,
    /// How its masks are read.
    pub read: ReadOptions,
}

impl Sample {
    /// The union of its masks, for a photo of this size when upright: marked is every pixel that is not 0. `None` where it has none.
    ///
    /// Errors: those of [`read_mask`], and [`Code::Dataset`] for a mask of another size.
    pub fn mask(&self, width: usize, height: usize) -> Result<Option<Mask>> {
        if self.masks.is_empty() {
            return Ok(None);
        }
        let mut union = vec![false; width * height];
        for file in &self.masks {
            let mask = read_mask(file, self.palette, &self.read)?.mask;
            if [mask.width(), mask.height()] != [width, height] {
                let message = format!("the mask is {}×{}, but its photo {width}×{height}", mask.width(), mask.height());
                return Err(Error::new(Code::Dataset, message).context(format!("in `{}`", file.display())));
            }
            union.iter_mut().zip(mask.data()).for_each(|(marked, &more)| *marked |= more);
        }
        Ok(Some(Mask::new(width, height, union)))
    }
}

impl Dataset {
    /// Opens a data set: `root` is its folder, or the file of a manifest.
    ///
    /// All that does not fit together is listed in one error, [`Code::Dataset`]: a photo or mask that is missing or unreadable, a mask of
    /// another size than its photo, not binary, empty for an anomalous photo or marked for a normal one, no good training photo where the layout
    /// has a place for them, no test photo. With [`Options::is_lenient`] it is counted in the notes, which say what became of each, and only a data set without any
    /// class that has a test photo is refused. Photos are not decoded: headers and beginnings are checked.
    ///
    /// Errors beside that: [`Code::NotFound`] for a root that does not exist, [`Code::Usage`] for an unknown class, [`Code::Io`].
    pub fn open(layout: Layout, root: &Path, options: &Options) -> Result<Dataset> {
        if !root.exists() {
            return Err(Error::new(Code::NotFound, format!("`{}` does not exist", root.display())));
        }
        let mut report = Report::default();
        let found = match layout {
            Layout::Mvtec | Layout::Mpdd => mvtec::read(root, layout, &mvtec::MVTEC, options, &mut report),
            Layout::Btad => mvtec::read(root, layout, &mvtec::BTAD, options, &mut report),
            Layout::Visa => visa::read(root, options, &mut report),
            Layout::Ksdd2 => ksdd2::read(root, options, &mut report),
            Layout::Mtd => mtd::read(root, options, &mut report),
            Layout::Folder => folder::read(root, options, &mut report),
            Layout::Manifest => manifest::read(root, options, &mut report),
        }?;
        let classes = check::check(found.drafts, &found.root, options, &mut report);
        let notes = report.finish(layout, root, options.is_lenient)?;
        if classes.is_empty() {
            return Err(Error::new(Code::Dataset, format!("`{}` holds no test photo that can be used", root.display())));
        }
        Ok(Dataset { layout, root: found.root, classes, notes })
    }
}
