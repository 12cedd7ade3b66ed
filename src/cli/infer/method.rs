//! The methods by the names users type: what each needs, and which texts it may follow.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use zsas::methods::Reading;
use zsas::methods::prompts::{Class, PromptEnsemble};
use zsas::models::{NetworkInfo, clip, clipseg, wide_resnet};

/// The methods of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// Windows against language (Jeong et al. 2023)
    #[value(name = "winclip")]
    WinClip,
    /// WinCLIP with good photos to compare with (`--normal`)
    #[value(name = "winclip+")]
    WinClipPlus,
    /// Texture: what looks unlike most of the photo (Aota et al. 2023)
    Utad,
    /// Self-similarity, one object (SAA+, Cao et al. 2023)
    Saliency,
    /// Segmentation by the words for defects (Lüddecke & Ecker 2022)
    #[value(name = "clipseg")]
    ClipSeg,
    /// Baseline: the whole photo against `normal …` and `anomalous …`; maps are flat
    ClipAc,
    /// Baseline: CLIP-AC with CLIP's 80 templates; maps are flat
    ClipAcEnsemble,
    /// Baseline: each patch's own value in the last block (Zhou et al. 2022)
    #[value(name = "maskclip")]
    MaskClip,
    /// Baseline: where the last block's attention serves the anomalous prompts (Chefer et al. 2021)
    TransMm,
    /// Baseline: patch tokens against language
    PatchToken,
    /// Baseline: pieces of the photo against language
    ImageTiling,
}

impl MethodName {
    /// The name users type.
    pub fn as_str(self) -> &'static str {
        match self {
            MethodName::WinClip => "winclip",
            MethodName::WinClipPlus => "winclip+",
            MethodName::Utad => "utad",
            MethodName::Saliency => "saliency",
            MethodName::ClipSeg => "clipseg",
            MethodName::ClipAc => "clip-ac",
            MethodName::ClipAcEnsemble => "clip-ac-ensemble",
            MethodName::MaskClip => "maskclip",
            MethodName::TransMm => "trans-mm",
            MethodName::PatchToken => "patch-token",
            MethodName::ImageTiling => "image-tiling",
        }
    }

    /// The weights it runs on.
    pub fn network(self) -> &'static NetworkInfo {
        match self {
            MethodName::Utad | MethodName::Saliency => &wide_resnet::NETWORK,
            MethodName::ClipSeg => &clipseg::NETWORK,
            _ => &clip::NETWORK,
        }
    }

    /// Whether it is told in words what is inspected.
    pub fn is_in_words(self) -> bool {
        self.network() != &wide_resnet::NETWORK
    }

    /// Whether it takes several views of a photo.
    pub fn takes_views(self) -> bool {
        matches!(self, MethodName::WinClip | MethodName::WinClipPlus)
    }

    /// The texts it may follow, its own choice first.
    pub fn readings(self) -> &'static [Reading] {
        match self {
            MethodName::WinClip | MethodName::WinClipPlus => &[Reading::Paper, Reading::Reproduction],
            MethodName::Saliency | MethodName::MaskClip => &[Reading::Released, Reading::Paper],
            MethodName::Utad | MethodName::ClipSeg | MethodName::TransMm => &[Reading::Released],
            MethodName::ClipAc | MethodName::ClipAcEnsemble | MethodName::PatchToken | MethodName::ImageTiling => &[Reading::Paper],
        }
    }

    /// The prompts of both states. The baselines take WinCLIP's as the paper has them, so that only what they do with them differs.
    pub fn prompts(self, class: &Class, reading: Reading) -> PromptEnsemble {
        match self {
            MethodName::ClipAc => PromptEnsemble::clip_ac(class),
            MethodName::ClipAcEnsemble => PromptEnsemble::clip_ac_ensemble(class),
            MethodName::WinClip | MethodName::WinClipPlus => PromptEnsemble::winclip(class, reading),
            _ => PromptEnsemble::winclip(class, Reading::Paper),
        }
    }
}

/// Which method is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MethodWish {
    /// The strongest whose weights are here.
    #[default]
    Auto,
    /// This one.
    Of(MethodName),
}

impl ValueEnum for MethodWish {
    fn value_variants<'a>() -> &'a [MethodWish] {
        static ALL: LazyLock<Vec<MethodWish>> = LazyLock::new(|| {
            std::iter::once(MethodWish::Auto)
                .chain(MethodName::value_variants().iter().copied().map(MethodWish::Of))
                .collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            MethodWish::Auto => Some(PossibleValue::new("auto").help("The strongest whose weights are here")),
            MethodWish::Of(name) => name.to_possible_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_typed_as_it_is_reported() {
        for name in MethodName::value_variants() {
            assert_eq!(name.to_possible_value().unwrap().get_name(), name.as_str());
        }
    }
}
