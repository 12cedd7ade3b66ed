//! Looking into the files of a data set: headers of photos, and every mask.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use super::draft::{Draft, Label, Photo, below};
use super::report::{Kind, Report, counted};
use crate::datasets::{Category, Options, Sample};
use crate::error::{Code, Error, Result};
use crate::image::{AnnouncedSize, MaskFile, Palette, read_mask};

/// Checks all classes; what does not fit together is reported, and what remains is returned.
pub(super) fn check(drafts: Vec<Draft>, root: &Path, options: &Options, report: &mut Report) -> Vec<Category> {
    let mut turned = 0;
    let classes = drafts.into_iter().filter_map(|draft| class(draft, root, options, &mut turned, report)).collect();
    if turned > 0 {
        let photos = counted(turned, "photo with a mask is", "photos with masks are");
        report.note(format!("{photos} turned upright, as EXIF orientations say; masks are taken to lie on the upright photo"));
    }
    classes
}

fn class(draft: Draft, root: &Path, options: &Options, turned: &mut usize, report: &mut Report) -> Option<Category> {
    let Draft { name, mut train, mut test, needs_training, palette } = draft;
    let by_path = |a: &Photo, b: &Photo| a.path.cmp(&b.path);
    train.sort_by(by_path);
    test.sort_by(by_path);
    drop_repeated(&mut train, &mut test, report);
    let look = Look {
        root,
        options,
        palette,
        has_masks: test.iter().any(|photo| !photo.masks.is_empty() || photo.is_reported),
    };
    let mut contradicted = 0;
    let mut all = |photos: Vec<Photo>, report: &mut Report| -> Vec<Sample> {
        let judged: Vec<Judged> = photos.into_par_iter().map(|photo| look.judge(photo)).collect();
        let mut samples = Vec::new();
        for Judged { sample, faults, is_turned, is_contradicted } in judged {
            *turned += usize::from(is_turned);
            contradicted += usize::from(is_contradicted);
            faults.iter().for_each(|(kind, place, what)| report.fault(*kind, place, what));
            samples.extend(sample);
        }
        samples
    };
    let (train, test) = (all(train, report), all(test, report));
    if contradicted > 0 {
        let photos = counted(contradicted, "photo", "photos");
        report.note(format!("{photos} of `{name}` labelled by the mask, and otherwise by the folder"));
    }

    let (anomalous, normal): (Vec<Sample>, Vec<Sample>) = train.into_iter().partition(|sample| sample.is_anomalous);
    if !anomalous.is_empty() {
        report.note(format!("{} of `{name}` not used", counted(anomalous.len(), "defective training photo", "defective training photos")));
    }
    if normal.is_empty() && needs_training {
        report.fault(Kind::NoTraining, &name, "has no good training photo");
    }
    if test.is_empty() {
        report.fault(Kind::NoTestPhoto, &name, "has no test photo");
        return None;
    }
    note_what_is_undefined(&name, &test, &look, report);
    Some(Category { name, normal: normal.into_iter().map(|sample| sample.image).collect(), test })
}

/// Reports photos that are there twice, and drops them from the training photos first.
fn drop_repeated(train: &mut Vec<Photo>, test: &mut Vec<Photo>, report: &mut Report) {
    let mut seen = HashSet::new();
    let mut keep = |photo: &Photo, report: &mut Report| {
        let is_new = seen.insert(photo.image.clone());
        if !is_new {
            report.fault(Kind::Twice, &photo.path, "is listed twice");
        }
        is_new
    };
    test.retain(|photo| keep(photo, report));
    train.retain(|photo| keep(photo, report));
}

fn note_what_is_undefined(name: &str, test: &[Sample], look: &Look<'_>, report: &mut Report) {
    let anomalous = test.iter().filter(|sample| sample.is_anomalous).count();
    if anomalous == 0 {
        report.note(format!("`{name}` has no anomalous test photo, so that metrics are undefined"));
    } else if anomalous == test.len() {
        report.note(format!("`{name}` has no normal test photo, so that metrics of images are undefined"));
    }
    if anomalous > 0 && !look.has_masks {
        report.note(format!("`{name}` has no masks, so that metrics of pixels are undefined"));
    }
}

/// How the photos of a class are looked at.
struct Look<'a> {
    root: &'a Path,
    options: &'a Options,
    palette: Palette,
    /// Whether any test photo of the class has a mask: else a missing one is no mismatch.
    has_masks: bool,
}

/// What became of a photo: a sample unless it is to be left out, and what does not fit together.
#[derive(Default)]
struct Judged {
    sample: Option<Sample>,
    faults: Vec<(Kind, String, String)>,
    is_turned: bool,
    /// Whether its mask labels it otherwise than its folder.
    is_contradicted: bool,
}

impl Judged {
    fn fault(&mut self, kind: Kind, place: &str, what: impl Into<String>) {
        self.faults.push((kind, place.to_owned(), what.into()));
    }
}

impl Look<'_> {
    fn judge(&self, photo: Photo) -> Judged {
        let mut judged = Judged::default();
        if !exists(&photo.image) {
            judged.fault(Kind::MissingImage, &photo.path, "does not exist");
            return judged;
        }
        let announced = match self.announced(&photo) {
            Ok(announced) => announced,
            Err(error) => {
                judged.fault(Kind::UnreadableImage, &photo.path, format!("cannot be read: {}", error.message()));
                return judged;
            }
        };
        let marks = match announced {
            Some(size) => self.marks(&photo, size, &mut judged),
            None => Marks { is_known: !photo.is_reported, is_marked: false },
        };
        judged.is_turned = announced.is_some_and(|size| size.is_turned);
        let Some(is_anomalous) = self.label(&photo, &marks, &mut judged) else { return judged };
        judged.is_contradicted = matches!(photo.label, Label::ByMask { expected: Some(expected) } if expected != is_anomalous);
        let are_pixels_known = self.are_pixels_known(&photo, &marks, is_anomalous, &mut judged);
        judged.sample = Some(Sample {
            image: photo.image,
            path: photo.path,
            is_anomalous,
            defect: defect(photo.defect, is_anomalous, judged.is_contradicted),
            group: photo.group,
            masks: if are_pixels_known { photo.masks } else { Vec::new() },
            are_pixels_known,
            palette: self.palette,
            read: self.options.read,
        });
        judged
    }

    /// The size of a photo that has masks; of others only the beginning is read.
    fn announced(&self, photo: &Photo) -> Result<Option<AnnouncedSize>> {
        if photo.masks.is_empty() {
            return self.options.read.check_beginning(&photo.image).map(|()| None);
        }
        self.options.read.announced_size(&photo.image).map(Some)
    }

    /// Reads the masks of a photo of this size.
    fn marks(&self, photo: &Photo, size: AnnouncedSize, judged: &mut Judged) -> Marks {
        let mut marks = Marks { is_known: true, is_marked: false };
        for file in &photo.masks {
            let place = below(self.root, file);
            match read_existing(file, self.palette, self.options) {
                Ok(mask) => {
                    marks.is_marked |= mask.mask.area() > 0;
                    marks.is_known &= self.is_usable(&mask, size, &place, &photo.path, judged);
                }
                Err(error) => {
                    judged.fault(Kind::UnreadableMask, &place, format!("cannot be read: {}", error.message()));
                    marks.is_known = false;
                }
            }
        }
        marks
    }

    /// Whether a mask says which pixels of its photo are defective.
    fn is_usable(&self, file: &MaskFile, size: AnnouncedSize, place: &str, image: &str, judged: &mut Judged) -> bool {
        let (width, height) = (file.mask.width(), file.mask.height());
        if (width, height) != (size.width, size.height) {
            let is_as_stored = size.is_turned && (width, height) == (size.height, size.width);
            let upright = if is_as_stored { " when it is turned upright, as its EXIF orientation says" } else { "" };
            judged.fault(Kind::MaskSize, place, format!("is {width}×{height}, but `{image}` is {}×{}{upright}", size.width, size.height));
            return false;
        }
        if file.values > 1 && self.palette == Palette::Colors {
            judged.fault(Kind::NotBinary, place, format!("is not binary: it has {} different values beside 0", file.values));
        }
        if file.transparent > 0 {
            judged.fault(Kind::Transparent, place, format!("has {} pixels that are transparent and not 0", file.transparent));
            return false;
        }
        true
    }

    /// Whether a photo is anomalous; `None` where only its mask could say so.
    fn label(&self, photo: &Photo, marks: &Marks, judged: &mut Judged) -> Option<bool> {
        match photo.label {
            Label::Normal => Some(false),
            Label::Anomalous => Some(true),
            Label::ByMask { .. } if photo.masks.is_empty() => {
                if !photo.is_reported {
                    judged.fault(Kind::NoLabel, &photo.path, "has no mask, which labels it");
                }
                None
            }
            Label::ByMask { .. } => (marks.is_known || marks.is_marked).then_some(marks.is_marked),
        }
    }

    /// Whether it is known which pixels of a photo are defective.
    fn are_pixels_known(&self, photo: &Photo, marks: &Marks, is_anomalous: bool, judged: &mut Judged) -> bool {
        if photo.masks.is_empty() {
            if is_anomalous && self.has_masks && !photo.is_reported {
                judged.fault(Kind::MissingMask, &photo.path, "is anomalous and has no mask");
            }
            return !is_anomalous && marks.is_known;
        }
        if marks.is_known && is_anomalous && !marks.is_marked {
            judged.fault(Kind::EmptyMask, &photo.path, "is anomalous and its mask is empty");
            return false;
        }
        if !is_anomalous && marks.is_marked {
            judged.fault(Kind::MarkedNormal, &photo.path, "is normal and its mask marks a defect");
            return false;
        }
        marks.is_known
    }
}

/// What the masks of a photo say together.
struct Marks {
    /// Whether all of them can be used.
    is_known: bool,
    /// Whether any of them marks a pixel.
    is_marked: bool,
}

fn read_existing(file: &Path, palette: Palette, options: &Options) -> Result<MaskFile> {
    if !exists(file) {
        return Err(Error::new(Code::NotFound, "it does not exist"));
    }
    read_mask(file, palette, &options.read)
}

fn exists(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok()
}

/// Kind of a defect; by the label where the layout has no word for it, or another one.
fn defect(word: String, is_anomalous: bool, is_contradicted: bool) -> String {
    match (word.is_empty() || is_contradicted, is_anomalous) {
        (false, _) => word,
        (true, true) => "anomalous".to_owned(),
        (true, false) => "normal".to_owned(),
    }
}
