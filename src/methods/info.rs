//! The table of methods: what each needs and takes, and how it is built. Each entry stands in the file of its method.

use crate::error::{Code, Error, Result, nearest};
use crate::methods::{
    Method, MultiCrop, Reading, build::BuildContext, clip_ac, clipseg, image_tiling, maskclip, patch_token, saliency, trans_mm, utad,
    winclip,
};
use crate::models::NetworkInfo;

/// All methods, the strongest first within each family.
pub static METHODS: &[&MethodInfo] = &[
    &winclip::WINCLIP_PLUS,
    &winclip::WINCLIP,
    &utad::INFO,
    &saliency::INFO,
    &clipseg::INFO,
    &clip_ac::CLIP_AC,
    &clip_ac::CLIP_AC_ENSEMBLE,
    &maskclip::INFO,
    &trans_mm::INFO,
    &patch_token::INFO,
    &image_tiling::INFO,
];

/// Methods among which `auto` chooses, the strongest first. The last needs neither references nor a download.
static AUTOMATIC: [&MethodInfo; 3] = [&winclip::WINCLIP_PLUS, &winclip::WINCLIP, &utad::INFO];

/// What is known of a method before it is built.
#[derive(Debug)]
pub struct MethodInfo {
    /// Name as users type it and records spell it.
    pub name: &'static str,
    /// What it computes, in a line, with its source.
    pub about: &'static str,
    /// Networks whose weights it needs.
    pub networks: &'static [&'static NetworkInfo],
    /// What it can be given beside images.
    pub takes: Takes,
    /// The texts that it can follow where code and paper disagree, its own choice first.
    pub readings: &'static [Reading],
    /// Whether its map says where; otherwise every pixel holds the score of the image.
    pub localizes: bool,
    /// Builds it on a device.
    pub build: fn(&BuildContext<'_>) -> Result<Box<dyn Method>>,
}

/// What a method can be given beside the images to score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// A class and phrases for its states.
    pub text: bool,
    /// Reference images of good ones.
    pub references: References,
    /// Choices of views of an image.
    pub views: &'static [MultiCrop],
}

/// Whether a method compares with reference images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// It takes none.
    None,
    /// It needs at least one.
    Required,
}

impl Takes {
    /// Images only.
    pub const IMAGES: Takes = Takes { text: false, references: References::None, views: &[MultiCrop::None] };

    /// Images and text.
    pub const TEXT: Takes = Takes { text: true, ..Takes::IMAGES };
}

impl PartialEq for MethodInfo {
    fn eq(&self, other: &MethodInfo) -> bool {
        self.name == other.name
    }
}

impl MethodInfo {
    /// The reading that is wanted, if the method has it; its own choice where none is.
    ///
    /// Errors with [`Code::Usage`] naming those it has.
    pub fn reading(&self, wanted: Option<Reading>) -> Result<Reading> {
        match wanted {
            None => Ok(self.readings[0]),
            Some(reading) if self.readings.contains(&reading) => Ok(reading),
            Some(reading) => {
                let known: Vec<String> = self.readings.iter().map(|known| format!("`{}`", known.as_str())).collect();
                let message = format!("`{}` has no reading `{}`, it has {}", self.name, reading.as_str(), known.join(" and "));
                Err(Error::new(Code::Usage, message))
            }
        }
    }
}

/// The method of a name. Errors with [`Code::Usage`] naming the nearest.
pub fn named(name: &str) -> Result<&'static MethodInfo> {
    METHODS.iter().copied().find(|info| info.name == name).ok_or_else(|| {
        let names = METHODS.iter().map(|info| info.name);
        let meant = nearest(name, names.clone()).map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
        Error::new(Code::Usage, format!("there is no method `{name}`{meant}"))
            .hint(format!("the methods are {}", names.collect::<Vec<_>>().join(", ")))
    })
}

/// The strongest method that can run: with references or without, on networks whose weights are there.
pub fn strongest(has_references: bool, is_there: impl Fn(&'static NetworkInfo) -> bool) -> Option<&'static MethodInfo> {
    AUTOMATIC
        .into_iter()
        .find(|info| (has_references || info.takes.references == References::None) && info.networks.iter().all(|network| is_there(network)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_method_and_a_near_one_is_offered() {
        for info in METHODS {
            assert!(std::ptr::eq(named(info.name).unwrap(), *info));
            assert!(!info.readings.is_empty() && !info.networks.is_empty());
        }
        let error = named("winclp").unwrap_err();
        assert_eq!(error.message(), "there is no method `winclp`, did you mean `winclip`?");
    }

    #[test]
    fn the_strongest_method_is_the_one_whose_weights_and_references_are_there() {
        let chosen =
            |has_references, there: &[&str]| strongest(has_references, |network| there.contains(&network.name)).map(|info| info.name);
        assert_eq!(chosen(true, &["clip", "wide-resnet"]), Some("winclip+"));
        assert_eq!(chosen(false, &["clip", "wide-resnet"]), Some("winclip"));
        assert_eq!(chosen(true, &["wide-resnet"]), Some("utad"));
        assert_eq!(chosen(false, &[]), None);
    }

    #[test]
    fn a_reading_is_the_methods_own_unless_it_has_the_one_wanted() {
        assert_eq!(winclip::WINCLIP.reading(None).unwrap(), Reading::Paper);
        assert_eq!(winclip::WINCLIP.reading(Some(Reading::Reproduction)).unwrap(), Reading::Reproduction);
        let error = winclip::WINCLIP.reading(Some(Reading::Released)).unwrap_err();
        assert_eq!(error.message(), "`winclip` has no reading `released`, it has `paper` and `reproduction`");
    }
}
