//! Prompts of the normal and the anomalous state, for a text encoder.
//!
//! A prompt is a template around a state around a class: `a photo of a {c}.`, `{o} with flaw` and `metal nut` make `a photo of a metal nut
//! with flaw.` States, templates and the classes of public data sets are data, in the TOML files beside this one.

mod class;

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::methods::Reading;

pub(super) use class::refuse_unusable;
pub use class::{Class, ShippedClass};

/// Placeholder for the class in a state phrase.
pub const OBJECT: &str = "{o}";

/// Placeholder for the state phrase in a template.
const STATE: &str = "{c}";

/// How the embeddings of a state's prompts become its prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// normalise(mean(normalise(eᵢ))), as CLIP averages its own templates.
    NormalizeEach,
    /// normalise(mean(eᵢ)), as the public reproduction of WinCLIP does.
    MeanRaw,
}

/// Prompt ensemble: the prompts of the normal and the anomalous state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptEnsemble {
    /// Prompts of the normal state.
    pub normal: Vec<String>,
    /// Prompts of the anomalous state.
    pub anomalous: Vec<String>,
    /// How the embeddings of each list are averaged.
    pub average: Average,
}

impl PromptEnsemble {
    /// Everything that the prototypes depend on beside the text tower, for comparison and cache keys.
    pub fn content(&self) -> (&[String], &[String], &'static str) {
        let average = match self.average {
            Average::NormalizeEach => "normalize each",
            Average::MeanRaw => "mean raw",
        };
        (&self.normal, &self.anomalous, average)
    }

    /// WinCLIP's compositional ensemble (Jeong et al. 2023, supplement): 7 × 22 normal and 4 × 22 anomalous prompts, and those of the
    /// class's own phrases.
    ///
    /// [`Reading::Reproduction`] has 21 templates, one of them twice, leaves underscores in the name, and averages raw embeddings. There is
    /// no released code, so [`Reading::Released`] is the paper.
    pub fn winclip(class: &Class, reading: Reading) -> PromptEnsemble {
        let Composition { states, templates } = &*WINCLIP;
        match reading {
            Reading::Paper | Reading::Released => states.compose(class, &class.spoken(), &templates.paper, Average::NormalizeEach),
            Reading::Reproduction => states.compose(class, &class.name, &templates.reproduction, Average::MeanRaw),
        }
    }

    /// CLIP-AC: `normal {o}` against `anomalous {o}`.
    pub fn clip_ac(class: &Class) -> PromptEnsemble {
        let Composition { states, templates } = &*CLIP_AC;
        states.compose(class, &class.spoken(), &templates.single, Average::NormalizeEach)
    }

    /// CLIP-AC in the 80 templates that CLIP uses for ImageNet: 80 prompts for each state.
    pub fn clip_ac_ensemble(class: &Class) -> PromptEnsemble {
        let Composition { states, templates } = &*CLIP_AC;
        states.compose(class, &class.spoken(), &templates.imagenet, Average::NormalizeEach)
    }
}

/// Prompts of ClipSeg: `defect`, `anomaly`, `damaged {o}`, and the class's own phrases for the anomalous state.
///
/// ClipSeg uses no templates. Cao et al. 2023, who measure it on defects, do not name their prompts; these are our choice.
pub fn clipseg(class: &Class) -> Vec<String> {
    let usual = ["defect", "anomaly", "damaged {o}"].into_iter();
    let phrases = usual.chain(class.anomalous.iter().map(String::as_str));
    phrases.map(|phrase| phrase.replace(OBJECT, &class.spoken())).collect()
}

/// State phrases and templates; the layout of `winclip.toml` and `clip_ac.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Composition<T> {
    states: States,
    templates: T,
}

/// State phrases, each with one `{o}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct States {
    normal: Vec<String>,
    anomalous: Vec<String>,
}

/// Templates of `winclip.toml`, each with one `{c}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WinClipTemplates {
    paper: Vec<String>,
    reproduction: Vec<String>,
}

/// Templates of `clip_ac.toml`, each with one `{c}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClipAcTemplates {
    single: Vec<String>,
    imagenet: Vec<String>,
}

static WINCLIP: LazyLock<Composition<WinClipTemplates>> = LazyLock::new(|| embedded(include_str!("winclip.toml")));
static CLIP_AC: LazyLock<Composition<ClipAcTemplates>> = LazyLock::new(|| embedded(include_str!("clip_ac.toml")));

/// Parses a data file of this folder; the tests parse each, so the panic cannot reach a user.
pub(in crate::methods) fn embedded<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap_or_else(|error| panic!("our own data: {error}"))
}

impl States {
    /// Composes prompts: these state phrases and those of the class, each with `name` in every template.
    fn compose(&self, class: &Class, name: &str, templates: &[String], average: Average) -> PromptEnsemble {
        PromptEnsemble {
            normal: prompts(self.normal.iter().chain(&class.normal), name, templates),
            anomalous: prompts(self.anomalous.iter().chain(&class.anomalous), name, templates),
            average,
        }
    }
}

/// Each state phrase with the name in each template; the prompts of a phrase follow one another.
fn prompts<'a>(states: impl Iterator<Item = &'a String>, name: &str, templates: &[String]) -> Vec<String> {
    let phrases = states.map(|state| state.replace(OBJECT, name));
    phrases
        .flat_map(|phrase| templates.iter().map(move |template| template.replace(STATE, &phrase)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn class(name: &str) -> Class {
        Class::named(name).unwrap()
    }

    /// Normal and anomalous prompts, and how many of each differ.
    fn counts(ensemble: &PromptEnsemble) -> [(usize, usize); 2] {
        [&ensemble.normal, &ensemble.anomalous].map(|prompts| (prompts.len(), prompts.iter().collect::<BTreeSet<_>>().len()))
    }

    #[test]
    fn winclip_asks_7_and_4_states_in_22_templates() {
        let ensemble = PromptEnsemble::winclip(&class("bottle"), Reading::Paper);
        assert_eq!(counts(&ensemble), [(154, 154), (88, 88)]);
        assert_eq!(ensemble.average, Average::NormalizeEach);
        assert_eq!(ensemble, PromptEnsemble::winclip(&class("bottle"), Reading::Released));
    }

    #[test]
    fn the_reproduction_has_21_templates_of_which_one_counts_twice() {
        let ensemble = PromptEnsemble::winclip(&class("bottle"), Reading::Reproduction);
        assert_eq!(counts(&ensemble), [(7 * 21, 7 * 20), (4 * 21, 4 * 20)]);
        assert_eq!(ensemble.average, Average::MeanRaw);
        let twice = "a jpeg corrupted photo of the damaged bottle.";
        assert_eq!(ensemble.anomalous.iter().filter(|prompt| *prompt == twice).count(), 2);
        for absent in ["a jpeg corrupted photo of a damaged bottle.", "a cropped photo of a damaged bottle."] {
            assert!(!ensemble.anomalous.iter().any(|prompt| prompt == absent), "{absent}");
        }
    }

    #[test]
    fn clipseg_is_asked_for_three_things_and_what_the_class_adds() {
        assert_eq!(clipseg(&class("metal_nut")), ["defect", "anomaly", "damaged metal nut"]);
        let bent = Class { anomalous: vec!["bent {o}".to_owned()], ..class("metal_nut") };
        assert_eq!(clipseg(&bent)[3..], ["bent metal nut"]);
    }

    #[test]
    fn clip_ac_asks_two_texts_alone_or_in_80_templates() {
        let alone = PromptEnsemble::clip_ac(&class("bottle"));
        assert_eq!((alone.normal, alone.anomalous), (vec!["normal bottle".to_owned()], vec!["anomalous bottle".to_owned()]));
        assert_eq!(counts(&PromptEnsemble::clip_ac_ensemble(&class("bottle"))), [(80, 80), (80, 80)]);
    }

    #[test]
    fn winclip_prompts_read_as_published() {
        let normal = [
            ("bottle", "a cropped photo of the bottle."),
            ("metal_nut", "a photo of a flawless metal nut."),
            ("pcb1", "a close-up photo of a pcb1 without damage."),
            ("pipe_fryum", "a photo of a unblemished pipe fryum for anomaly detection."),
            ("chewinggum", "a bright photo of a perfect chewinggum."),
            ("bracket_black", "a blurry photo of a bracket black without flaw."),
            ("wood", "a photo of the small wood without defect."),
            ("my_gear", "a photo of a large my gear."),
        ];
        let anomalous = [
            ("hazelnut", "a jpeg corrupted photo of a damaged hazelnut."),
            ("toothbrush", "a photo of the toothbrush with defect for visual inspection."),
            ("macaroni2", "a dark photo of the macaroni2 with flaw."),
            ("metal_plate", "a cropped photo of a metal plate with damage."),
        ];
        for (name, prompt) in normal {
            let ensemble = PromptEnsemble::winclip(&class(name), Reading::Paper);
            assert!(ensemble.normal.contains(&prompt.to_owned()) && !ensemble.anomalous.contains(&prompt.to_owned()), "{prompt}");
        }
        for (name, prompt) in anomalous {
            let ensemble = PromptEnsemble::winclip(&class(name), Reading::Paper);
            assert!(ensemble.anomalous.contains(&prompt.to_owned()) && !ensemble.normal.contains(&prompt.to_owned()), "{prompt}");
        }
    }

    #[test]
    fn the_reproduction_leaves_underscores_in_the_name() {
        for (name, prompt) in [
            ("metal_nut", "a photo of a flawless metal_nut."),
            ("metal nut", "a photo of a flawless metal_nut."),
            ("pipe_fryum", "a photo of a unblemished pipe_fryum for anomaly detection."),
        ] {
            assert!(PromptEnsemble::winclip(&class(name), Reading::Reproduction).normal.contains(&prompt.to_owned()), "{prompt}");
        }
    }

    #[test]
    fn the_imagenet_templates_read_as_published() {
        let ensemble = PromptEnsemble::clip_ac_ensemble(&class("metal_nut"));
        assert_eq!(ensemble.normal[0], "a bad photo of a normal metal nut.");
        assert_eq!(ensemble.normal[35], "a normal metal nut in a video game.");
        assert_eq!(ensemble.anomalous[44], "a origami anomalous metal nut.");
        assert_eq!(ensemble.anomalous[79], "a tattoo of the anomalous metal nut.");
    }

    #[test]
    fn phrases_of_the_class_are_set_in_every_template() {
        let gear = Class {
            name: "gear".into(),
            normal: vec!["greased {o}".into()],
            anomalous: vec!["{o} with a lost tooth".into()],
        };
        let ensemble = PromptEnsemble::winclip(&gear, Reading::Paper);
        assert_eq!(counts(&ensemble), [(154 + 22, 154 + 22), (88 + 22, 88 + 22)]);
        assert_eq!(ensemble.normal[154], "a cropped photo of the greased gear.");
        assert_eq!(ensemble.anomalous[109], "a photo of a gear with a lost tooth for anomaly detection.");
        assert_eq!(PromptEnsemble::clip_ac(&gear).anomalous, ["anomalous gear", "gear with a lost tooth"]);
    }

    #[test]
    fn a_name_that_looks_like_a_placeholder_is_a_name() {
        assert_eq!(PromptEnsemble::clip_ac(&class("{c}{o}")).normal, ["normal {c}{o}"]);
    }

    #[test]
    fn every_embedded_phrase_has_one_place_to_fill() {
        let once = |phrases: &[String], place: &str| {
            for phrase in phrases {
                assert_eq!(phrase.matches(place).count(), 1, "{phrase}");
                assert_eq!(phrase.matches('{').count(), 1, "{phrase}");
            }
        };
        for states in [&WINCLIP.states, &CLIP_AC.states] {
            once(&states.normal, OBJECT);
            once(&states.anomalous, OBJECT);
        }
        for templates in [&WINCLIP.templates.paper, &WINCLIP.templates.reproduction, &CLIP_AC.templates.single, &CLIP_AC.templates.imagenet]
        {
            once(templates, STATE);
        }
        for class in Class::shipped() {
            once(&class.normal, OBJECT);
            once(&class.anomalous, OBJECT);
        }
    }
}
