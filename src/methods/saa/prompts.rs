//! Prompts of SAA+: what defects of a class look like, and what is known of the object.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::methods::prompts::{Class, embedded};
use crate::text::{BertTokenizer, Caption};

/// Captions for any class, `{}` being its name (`general_prompts.py` of the released code).
const GENERAL: [&str; 3] = ["defect on {}", "damage on {}", "flaw on {}"];

/// The caption of SAA, whatever the class.
const NAIVE: &str = "anomaly.";

/// The caption that follows the general ones for a class of no data set: that of most textures and objects of MVTec AD.
const USUAL: &str = "defect.";

/// Regions that are kept, K, for most classes.
const USUAL_REGIONS: usize = 5;

/// θ_area of most classes.
const USUAL_AREA: f32 = 0.9;

/// Queries and tokens that are more probable than this count.
const USUAL_THRESHOLD: f32 = 0.1;

/// Language and property prompts of SAA+ for a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SaaPrompts {
    /// What defects look like, beside the general captions.
    pub defects: Vec<DefectCaption>,
    /// Caption of the object itself.
    pub object: String,
    /// Objects in an image.
    pub count: usize,
    /// Regions that are kept, K; `None` for all.
    pub regions: Option<usize>,
    /// Area that a defect stays below, as a share of the object's: θ_area; `None` for any.
    pub area: Option<f32>,
    /// Least intersection over union of a defect with the object, θ_IoU; only the paper's reading has it.
    pub overlap: f32,
    /// A box counts from a token above this probability.
    pub box_threshold: f32,
    /// Tokens above this probability are the words of a box.
    pub text_threshold: f32,
}

/// A caption that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefectCaption {
    /// Its text, which may hold several phrases with full stops between them.
    pub caption: String,
    /// Boxes whose words contain this are dropped.
    pub filter: String,
}

/// A user's own prompts: what a profile says instead of the usual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnPrompts {
    /// Captions of defects, instead of those of the class.
    pub defects: Option<Vec<String>>,
    /// Whether the captions for any class come before them; they do by default.
    pub general: Option<bool>,
    /// Caption of the object.
    pub object: Option<String>,
    /// Objects in an image.
    pub count: Option<usize>,
    /// K.
    pub regions: Option<usize>,
    /// θ_area.
    pub area: Option<f32>,
    /// θ_IoU.
    pub overlap: Option<f32>,
    /// Probability from which on a box counts.
    pub box_threshold: Option<f32>,
    /// Probability from which on a token is a word of a box.
    pub text_threshold: Option<f32>,
}

/// An entry of `prompts.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shipped {
    name: String,
    captions: Vec<String>,
    filter: Option<String>,
    object: Option<String>,
    count: Option<usize>,
    regions: Option<usize>,
    area: f32,
}

/// Layout of `prompts.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllShipped {
    classes: Vec<Shipped>,
}

static SHIPPED: LazyLock<AllShipped> = LazyLock::new(|| embedded(include_str!("prompts.toml")));

impl OwnPrompts {
    /// The keys that a profile sets.
    pub fn keys(&self) -> Vec<&'static str> {
        let set = [
            ("defects", self.defects.is_some()),
            ("general", self.general.is_some()),
            ("object", self.object.is_some()),
            ("count", self.count.is_some()),
            ("regions", self.regions.is_some()),
            ("area", self.area.is_some()),
            ("overlap", self.overlap.is_some()),
            ("box_threshold", self.box_threshold.is_some()),
            ("text_threshold", self.text_threshold.is_some()),
        ];
        set.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect()
    }
}

impl SaaPrompts {
    /// Those of a class: published ones where it is of a data set, else general ones, and what the user says instead.
    ///
    /// Errors: a caption that holds nothing to look for.
    pub fn of(class: &Class, own: &OwnPrompts) -> Result<SaaPrompts> {
        let name = class.name.as_str();
        let shipped = SHIPPED.classes.iter().find(|shipped| shipped.name.eq_ignore_ascii_case(name));
        let name = shipped.map_or(name, |shipped| shipped.name.as_str());
        let filter = match shipped {
            Some(shipped) => shipped.filter.clone().unwrap_or_else(|| name.to_owned()),
            None => as_decoded(name),
        };
        let captions = match (&own.defects, shipped) {
            (Some(own), _) => own.clone(),
            (None, Some(shipped)) => shipped.captions.clone(),
            (None, None) => vec![USUAL.to_owned()],
        };
        let prompts = SaaPrompts {
            defects: captions.into_iter().map(|caption| DefectCaption { caption, filter: filter.clone() }).collect(),
            object: own
                .object
                .clone()
                .or_else(|| shipped.and_then(|shipped| shipped.object.clone()))
                .unwrap_or_else(|| format!("{name},")),
            count: own.count.or(shipped.and_then(|shipped| shipped.count)).unwrap_or(1),
            regions: own.regions.or(shipped.and_then(|shipped| shipped.regions)).or(Some(USUAL_REGIONS)),
            area: own.area.or(shipped.map(|shipped| shipped.area)).or(Some(USUAL_AREA)),
            overlap: own.overlap.unwrap_or(0.0),
            box_threshold: own.box_threshold.unwrap_or(USUAL_THRESHOLD),
            text_threshold: own.text_threshold.unwrap_or(USUAL_THRESHOLD),
        };
        let filter = if shipped.is_some() { name.to_owned() } else { as_decoded(name) };
        if own.general == Some(false) { prompts } else { prompts.with_general(name, &filter) }.check()
    }

    /// Those of SAA: one caption for any class, and no property.
    pub fn naive(own: &OwnPrompts) -> SaaPrompts {
        SaaPrompts {
            defects: vec![DefectCaption { caption: NAIVE.to_owned(), filter: String::new() }],
            object: String::new(),
            count: 1,
            regions: None,
            area: None,
            overlap: 0.0,
            box_threshold: own.box_threshold.unwrap_or(USUAL_THRESHOLD),
            text_threshold: own.text_threshold.unwrap_or(USUAL_THRESHOLD),
        }
    }

    /// With the captions for any class before the others.
    fn with_general(mut self, name: &str, filter: &str) -> SaaPrompts {
        self.defects.splice(..0, general(name, filter));
        self
    }

    /// With the captions for any class alone.
    pub(super) fn leave_out_language(&mut self, class: &Class) {
        let shipped = shipped_classes().find(|name| name.eq_ignore_ascii_case(&class.name));
        self.defects = match shipped {
            Some(name) => general(name, name),
            None => general(&class.name, &as_decoded(&class.name)),
        }
        .to_vec();
    }

    fn check(self) -> Result<SaaPrompts> {
        if self.defects.is_empty() {
            let error = Error::new(Code::Config, "the prompts of SAA+ have no caption of a defect");
            return Err(error.hint("list `defects` in `[saa]` of the profile, or leave `general = false` out"));
        }
        for caption in self.captions() {
            Caption::verbatim(caption)?;
        }
        if self.count == 0 || self.regions == Some(0) {
            return Err(Error::new(Code::Config, "`count` and `regions` of the prompts of SAA+ are at least 1"));
        }
        Ok(self)
    }

    /// All captions, that of the object first.
    pub fn captions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.object.as_str())
            .filter(|object| !object.is_empty())
            .chain(self.defects.iter().map(|defect| defect.caption.as_str()))
    }
}

/// The captions for any class, with its name.
fn general(name: &str, filter: &str) -> [DefectCaption; GENERAL.len()] {
    GENERAL.map(|caption| DefectCaption { caption: caption.replace("{}", name), filter: filter.to_owned() })
}

/// A name as the words of a box spell it: in small letters, without accents, with spaces around punctuation. Published filters are spelt as the
/// released code has them, so that some never drop a box.
fn as_decoded(name: &str) -> String {
    let bert = BertTokenizer::get();
    let ids = bert.encode(name);
    bert.decode(ids[1..ids.len() - 1].iter().copied())
}

/// Names of the classes with published prompts.
pub fn shipped_classes() -> impl Iterator<Item = &'static str> {
    SHIPPED.classes.iter().map(|shipped| shipped.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> SaaPrompts {
        SaaPrompts::of(&Class::named(name).unwrap(), &OwnPrompts::default()).unwrap()
    }

    #[test]
    fn every_class_of_the_four_data_sets_has_prompts() {
        let datasets = ["mvtec", "visa"];
        let expected = Class::shipped()
            .filter(|class| datasets.contains(&class.dataset.as_str()))
            .map(|class| class.folder.as_str());
        let expected: Vec<&str> = expected.chain(["ksdd2", "mtd"]).collect();
        let mut found: Vec<&str> = shipped_classes().collect();
        let mut sorted = expected.clone();
        found.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(found, sorted);
        assert_eq!(found.len(), 29);
        for name in expected {
            let prompts = of(name);
            assert!(prompts.defects.len() > GENERAL.len(), "{name}");
            assert_eq!(prompts.defects[0], DefectCaption { caption: format!("defect on {name}"), filter: name.to_owned() });
        }
    }

    #[test]
    fn published_prompts_are_those_of_the_released_code() {
        let capsules = of("capsules");
        assert_eq!((capsules.object.as_str(), capsules.count, capsules.regions, capsules.area), ("capsule,", 20, Some(15), Some(1.0)));
        let captions: Vec<&str> = capsules.defects.iter().map(|defect| defect.caption.as_str()).collect();
        assert_eq!(captions, ["defect on capsules", "damage on capsules", "flaw on capsules", "black melt. dark liquid.", "bubble"]);
        // The general captions have the class as their filter, the others a word of their own.
        let macaroni = of("macaroni2");
        assert_eq!((macaroni.defects[2].filter.as_str(), macaroni.defects[3].filter.as_str()), ("macaroni2", "macaroni"));
        assert_eq!((macaroni.count, macaroni.regions, macaroni.area), (4, Some(50), Some(0.3)));
        assert_eq!(of("chewinggum").object, "chewinggum");
        assert_eq!(of("pcb1").object, "printed_circuit_board,");
        assert_eq!((of("screw").area, of("bottle").regions, of("metal nut").object.as_str()), (Some(0.1), Some(5), "metal_nut,"));
    }

    #[test]
    fn any_class_has_prompts_and_a_user_may_say_otherwise() {
        let gear = of("gear wheel");
        assert_eq!(gear.defects.last().unwrap(), &DefectCaption { caption: USUAL.to_owned(), filter: "gear wheel".to_owned() });
        assert_eq!((gear.object.as_str(), gear.count, gear.regions, gear.area), ("gear wheel,", 1, Some(USUAL_REGIONS), Some(USUAL_AREA)));
        let own = OwnPrompts {
            defects: Some(vec!["chipped tooth.".to_owned()]),
            area: Some(0.2),
            count: Some(3),
            ..OwnPrompts::default()
        };
        let gear = SaaPrompts::of(&Class::named("gear wheel").unwrap(), &own).unwrap();
        assert_eq!((gear.defects.len(), gear.defects[3].caption.as_str(), gear.area, gear.count), (4, "chipped tooth.", Some(0.2), 3));
        let alone = SaaPrompts::of(&Class::named("gear wheel").unwrap(), &OwnPrompts { general: Some(false), ..own }).unwrap();
        assert_eq!(alone.captions().collect::<Vec<_>>(), ["gear wheel,", "chipped tooth."]);
        let wheel = SaaPrompts::of(&Class::named("O-Räder").unwrap(), &OwnPrompts::default()).unwrap();
        assert_eq!((wheel.defects[0].caption.as_str(), wheel.defects[0].filter.as_str()), ("defect on O-Räder", "o - rader"));
        assert_eq!(of("MTD"), of("mtd"));
        let empty = OwnPrompts { defects: Some(vec![]), general: Some(false), ..OwnPrompts::default() };
        assert_eq!(SaaPrompts::of(&Class::named("x").unwrap(), &empty).unwrap_err().code(), Code::Config);
        let nothing = OwnPrompts { defects: Some(vec![" . ".to_owned()]), ..OwnPrompts::default() };
        assert_eq!(SaaPrompts::of(&Class::named("x").unwrap(), &nothing).unwrap_err().code(), Code::Prompt);
    }

    #[test]
    fn saa_looks_for_anomalies_whatever_the_class() {
        assert_eq!(SaaPrompts::naive(&OwnPrompts::default()).captions().collect::<Vec<_>>(), ["anomaly."]);
    }
}
