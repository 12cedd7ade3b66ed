//! The table of methods: the networks, inputs and constructor of each. Each entry stands in the file of its method.

use crate::error::{Code, Error, Remedy, Result, nearest};
use crate::kernels::Tier;
use crate::methods::{
    Memory, Method, MultiCrop, Reading, SquareFrame, build::BuildContext, clip_ac, clipseg, few_shot, image_tiling, maskclip,
    memory::MemoryKind, patch_token, saa, saliency, trans_mm, utad, winclip,
};
use crate::models::NetworkInfo;
use crate::run::Device;
use crate::tensor::Precision;
use crate::weights::Checkpoint;

/// All methods, the strongest first within each family.
pub static METHODS: &[&MethodInfo] = &[
    &saa::SAA_PLUS,
    &saa::SAA,
    &winclip::WINCLIP_PLUS,
    &winclip::WINCLIP,
    &few_shot::PATCHCORE,
    &few_shot::SPADE,
    &few_shot::PADIM,
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

/// Candidates of the method `auto`, the strongest first. The last needs no download.
static AUTOMATIC: [&MethodInfo; 3] = [&saa::SAA_PLUS, &winclip::WINCLIP, &utad::INFO];

/// The same where there are reference images, which a method without them would ignore.
static AUTOMATIC_WITH_REFERENCES: [&MethodInfo; 3] = [&winclip::WINCLIP_PLUS, &winclip::WINCLIP, &utad::INFO];

/// Description of a method: an entry of the table of methods.
#[derive(Debug)]
pub struct MethodInfo {
    /// Name as users type it and records spell it.
    pub name: &'static str,
    /// What it computes, in a line, with its source.
    pub about: &'static str,
    /// Networks whose weights it needs.
    pub networks: &'static [&'static NetworkInfo],
    /// Inputs beside the images to score.
    pub inputs: MethodInputs,
    /// The readings it implements, its default first.
    pub readings: &'static [Reading],
    /// Whether its map locates defects; otherwise every pixel holds the score of the image.
    pub localizes: bool,
    /// What the score of an image is.
    pub score: ScoreOf,
    /// Whether maps in f16 were measured within 0.02 of those in f32, on networks of full size with random weights (`tools/half_precision.py`,
    /// `benches/results`).
    pub suits_f16: bool,
    /// Builds it on a device.
    pub build: fn(&BuildContext<'_>) -> Result<Box<dyn Method>>,
}

/// Inputs that a method accepts beside the images to score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodInputs {
    /// A class and phrases for its states.
    pub text: bool,
    /// Reference images of normal objects.
    pub references: References,
    /// What it keeps of reference images, where it takes them.
    pub memory: Option<&'static MemoryKind>,
    /// Supported choices of views.
    pub views: &'static [MultiCrop],
    /// The square frame that it inspects, where it can inspect an image square by square ([`Tiles`](crate::methods::Tiles)).
    pub tiles: Option<SquareFrame>,
}

/// What the score of an image is: it decides whether a region of interest can be scored alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreOf {
    /// The largest value of its map, before that is scaled to the size of the image, and of the part that the method inspects: then that of a
    /// region is the largest within.
    MapMaximum,
    /// A value of the image as a whole, into which everything in it has gone: a region has none of its own.
    Image,
}

/// Whether a method needs reference images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// None are accepted.
    None,
    /// At least one is required.
    Required,
}

impl MethodInputs {
    /// Images only.
    pub const IMAGES: MethodInputs =
        MethodInputs { text: false, references: References::None, memory: None, views: &[MultiCrop::None], tiles: None };

    /// Images and text.
    pub const TEXT: MethodInputs = MethodInputs { text: true, ..MethodInputs::IMAGES };
}

impl MethodInfo {
    /// The precision where none is asked for: f16 where it suits the method and the device has matrix units, which make it several times
    /// faster; else f32.
    pub fn precision_on(&self, device: &Device) -> Precision {
        self.precision_of(device.adapter().map(|adapter| adapter.tier))
    }

    fn precision_of(&self, tier: Option<Tier>) -> Precision {
        if self.suits_f16 && tier == Some(Tier::Matrix) { Precision::Mixed } else { Precision::F32 }
    }
}

impl PartialEq for MethodInfo {
    fn eq(&self, other: &MethodInfo) -> bool {
        self.name == other.name
    }
}

impl MethodInfo {
    /// The error for a method that requires reference images, and is given neither them nor a memory.
    pub(crate) fn no_references(&self) -> Error {
        let error = Error::new(Code::Reference, format!("`{}` compares with reference images, and none are given", self.name));
        error.hint(Remedy::GiveReferences)
    }

    /// The requested reading, or the method's default where none is requested.
    ///
    /// Errors with [`Code::Usage`] where the method does not implement it, naming those it does.
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

/// Finds a method by its name. Errors with [`Code::Usage`], naming the nearest name.
pub fn named(name: &str) -> Result<&'static MethodInfo> {
    METHODS.iter().copied().find(|info| info.name == name).ok_or_else(|| {
        let names = METHODS.iter().map(|info| info.name);
        let meant = nearest(name, names.clone()).map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
        Error::new(Code::Usage, format!("there is no method `{name}`{meant}"))
            .hint(format!("the methods are {}", names.collect::<Vec<_>>().join(", ")))
    })
}

/// The method that reads a file with a memory of reference images; `None` where there is none.
pub fn of_memory(file: &Checkpoint) -> Option<&'static MethodInfo> {
    let name = Memory::kind_of(file)?;
    METHODS.iter().copied().find(|info| info.inputs.memory.is_some_and(|kind| kind.name == name))
}

/// The strongest method that suits, with or without references, on networks for which `is_there` finds weights. Where there is none, the one
/// whose weights are inside the library.
pub fn strongest(
    has_references: bool,
    suits: impl Fn(&MethodInfo) -> bool,
    is_there: impl Fn(&'static NetworkInfo) -> bool,
) -> &'static MethodInfo {
    let [others @ .., last] = if has_references { AUTOMATIC_WITH_REFERENCES } else { AUTOMATIC };
    let can_run = |info: &&MethodInfo| suits(info) && info.networks.iter().all(|network| is_there(network));
    others.into_iter().find(can_run).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_method_and_a_near_one_is_offered() {
        for info in METHODS {
            assert!(std::ptr::eq(named(info.name).unwrap(), *info));
            assert!(!info.readings.is_empty() && !info.networks.is_empty());
            assert_eq!(info.inputs.references == References::Required, info.inputs.memory.is_some(), "{}", info.name);
        }
        let error = named("winclp").unwrap_err();
        assert_eq!(error.message(), "there is no method `winclp`, did you mean `winclip`?");
    }

    #[test]
    fn the_strongest_method_is_the_one_whose_weights_and_references_are_there() {
        let chosen = |has_references, there: &[&str]| strongest(has_references, |_| true, |network| there.contains(&network.name)).name;
        let all = ["clip", "grounding-dino", "sam", "wide-resnet"];
        assert_eq!((chosen(false, &all), chosen(true, &all)), ("saa+", "winclip+"));
        assert_eq!(chosen(false, &["clip", "grounding-dino", "sam"]), "winclip", "its saliency has no weights");
        assert_eq!((chosen(false, &["wide-resnet"]), chosen(true, &["wide-resnet"]), chosen(false, &[])), ("utad", "utad", "utad"));
        let without_saa = strongest(false, |info| info.name != "saa+", |_| true);
        assert_eq!(without_saa.name, "winclip");
    }

    #[test]
    fn a_reading_is_the_methods_own_unless_it_has_the_one_wanted() {
        assert_eq!(winclip::WINCLIP.reading(None).unwrap(), Reading::Paper);
        assert_eq!(winclip::WINCLIP.reading(Some(Reading::Reproduction)).unwrap(), Reading::Reproduction);
        let error = winclip::WINCLIP.reading(Some(Reading::Released)).unwrap_err();
        assert_eq!(error.message(), "`winclip` has no reading `released`, it has `paper` and `reproduction`");
    }

    #[test]
    fn f16_is_chosen_for_methods_that_it_suits_on_matrix_units_alone() {
        let precision = |name: &str, tier| named(name).unwrap().precision_of(tier);
        assert_eq!(precision("utad", Some(Tier::Matrix)), Precision::Mixed);
        assert_eq!(precision("trans-mm", Some(Tier::Matrix)), Precision::F32);
        for tier in [Some(Tier::Plain), Some(Tier::Software), None] {
            assert_eq!(precision("utad", tier), Precision::F32);
        }
    }
}
