//! Folders of one's own: good photos, defective ones, masks, good ones for testing. They make one class, named after the root.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Found, Label, Photo};
use super::mvtec::kind_of;
use super::pairs::{Masks, images_if_any, one_of_each_stem, stem_below};
use super::report::Report;
use super::roots::{choose, folder_name};
use crate::datasets::Options;
use crate::error::{Code, Error, Result};
use crate::image::Palette;
use crate::inputs::{LeftOut, path_text};

/// Folders with the photos of one class, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Good training photos.
    pub normal: PathBuf,
    /// Defective photos, at any depth; the folder right in it is the kind of defect.
    pub abnormal: PathBuf,
    /// Masks of the defective photos, in the same places, under the same names or with `_mask` behind the stem; any ending.
    pub masks: Option<PathBuf>,
    /// Good photos for testing; without them, metrics of images are undefined.
    pub normal_test: Option<PathBuf>,
}

impl Default for Folders {
    /// `normal` and `abnormal`.
    fn default() -> Folders {
        Folders { normal: "normal".into(), abnormal: "abnormal".into(), masks: None, normal_test: None }
    }
}

/// A folder: its path, and what it is for.
struct Role {
    name: &'static str,
    folder: PathBuf,
    /// The same without links.
    whole: PathBuf,
}

/// Reads the folders.
pub(super) fn read(root: &Path, options: &Options, report: &mut Report) -> Result<Found> {
    let Folders { normal, abnormal, masks, normal_test } = &options.folders;
    let named = [("normal", Some(normal)), ("abnormal", Some(abnormal)), ("masks", masks.as_ref()), ("normal_test", normal_test.as_ref())];
    let roles = named
        .into_iter()
        .filter_map(|(name, folder)| Some(role(name, root.join(folder?))))
        .collect::<Result<Vec<Role>>>()?;
    refuse_the_same_twice(&roles)?;
    let mut left_out = LeftOut::default();
    let mut take = |name: &str, report: &mut Report| -> Result<Vec<PathBuf>> {
        let Some(role) = roles.iter().find(|role| role.name == name) else { return Ok(Vec::new()) };
        let images = images_if_any(&role.folder, &mut left_out)?;
        let own = images.into_iter().filter(|image| !lies_in_another(image, role, &roles)).collect();
        Ok(if name == "masks" { own } else { one_of_each_stem(own, root, report) })
    };
    let photo = |role: &str, image: PathBuf, label: Label, defect: &str| photo(root, &roles, role, image, label, defect);

    let train = take("normal", report)?
        .into_iter()
        .map(|image| photo("normal", image, Label::Normal, "normal"))
        .collect();
    let mut test: Vec<Photo> = take("normal_test", report)?
        .into_iter()
        .map(|image| photo("normal_test", image, Label::Normal, "normal"))
        .collect();
    let mask_folder = roles.iter().find(|role| role.name == "masks").map(|role| role.folder.clone()).unwrap_or_default();
    let mut masks = Masks::new(&mask_folder, take("masks", report)?, &["_mask", ""]);
    let folder = root.join(abnormal);
    for image in take("abnormal", report)? {
        let stem = stem_below(&folder, &image);
        let defect = kind_of(&folder, &image).unwrap_or_else(|| "abnormal".to_owned());
        let mut photo = photo("abnormal", image, Label::Anomalous, &defect);
        masks.give(&mut photo, &stem, root, report);
        test.push(photo);
    }
    masks.report_rest(root, report);
    let name = folder_name(root);
    report.left_out(&name, &left_out);
    let draft = Draft { name, train, test, needs_training: true, palette: Palette::Colors };
    Ok(Found { root: root.to_owned(), drafts: choose(vec![draft], |draft| &draft.name, &options.classes)? })
}

fn role(name: &'static str, folder: PathBuf) -> Result<Role> {
    if !folder.is_dir() {
        let what = if folder.exists() { "is no folder" } else { "does not exist" };
        return Err(Error::new(Code::NotFound, format!("`{}`, the folder `{name}`, {what}", folder.display())));
    }
    let whole = folder
        .canonicalize()
        .map_err(|error| Error::io(format!("looking at `{}`", folder.display()), &error))?;
    Ok(Role { name, folder, whole })
}

fn refuse_the_same_twice(roles: &[Role]) -> Result<()> {
    for (at, role) in roles.iter().enumerate() {
        if let Some(other) = roles[..at].iter().find(|other| other.whole == role.whole) {
            let message = format!("`{}` is given as `{}` and as `{}`", role.folder.display(), other.name, role.name);
            return Err(Error::new(Code::Usage, message).hint("each needs a folder of its own"));
        }
    }
    Ok(())
}

/// Whether an image of a folder belongs to another one, which lies inside that.
fn lies_in_another(image: &Path, role: &Role, roles: &[Role]) -> bool {
    let Ok(place) = image.strip_prefix(&role.folder) else { return false };
    let inner = roles
        .iter()
        .filter(|other| other.name != role.name)
        .filter_map(|other| other.whole.strip_prefix(&role.whole).ok());
    inner.into_iter().any(|inner| place.starts_with(inner))
}

/// A photo, whose path is that below the root, or below what its folder is for where that lies elsewhere.
fn photo(root: &Path, roles: &[Role], role: &str, image: PathBuf, label: Label, defect: &str) -> Photo {
    let is_below = image.strip_prefix(root).is_ok();
    let folder = roles.iter().find(|one| one.name == role).map(|one| one.folder.as_path());
    let photo = Photo::new(image, root, label, defect);
    match folder.and_then(|folder| photo.image.strip_prefix(folder).ok()) {
        Some(place) if !is_below => Photo { path: format!("{role}/{}", path_text(place)), ..photo },
        _ => photo,
    }
}
