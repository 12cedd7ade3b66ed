//! Choices in which the released code of SAA+ and its paper differ, and the parts of the method that can be left out.

use serde::Serialize;

use crate::image::Channels;
use crate::methods::{Distance, Neighbours, Reading};

/// How SAA+ computes: a [`Reading`] sets every choice. Equations are those of the challenge report (Cao et al. 2023).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Choices {
    /// Order of colours that Segment Anything and the saliency network get; GroundingDINO gets RGB.
    pub colors: Colors,
    /// What is too large to be a defect, eq. (4).
    pub area: Area,
    /// Largest object that counts.
    pub object_bound: ObjectBound,
    /// Whether a defect has to lie on an object, eq. (4).
    pub location: Location,
    /// Boxes whose words name the object itself.
    pub own_name: OwnName,
    /// Whether the saliency of several objects compares them with each other.
    pub several_objects: SeveralObjects,
    /// The locations whose distances are averaged, eq. (5).
    pub neighbours: Neighbours,
    /// Distance of features, eq. (5).
    pub distance: Distance,
    /// Factor of the mean saliency in the exponent, eq. (6).
    pub exponent: f32,
    /// How many regions are kept, eq. (8).
    pub kept: Kept,
    /// What the sum of scores is divided by, eq. (9).
    pub denominator: Denominator,
}

/// Order of the colours of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Colors {
    /// Blue first, to networks that were trained on red first: the released code passes what OpenCV decodes.
    BgrAsRgb,
    /// Red first.
    Rgb,
}

/// What the area of a candidate and of the object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Area of the box.
    Boxes,
    /// Area of the region inside it.
    Regions,
}

/// Largest area of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectBound {
    /// The image's area divided by the number of objects in it.
    ByCount,
    /// None.
    Unbounded,
}

/// Whether candidates have to lie on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// They may lie anywhere: the threshold of the paper is not implemented in the released code.
    Anywhere,
    /// The largest intersection over union of the region with an object has to be above a threshold.
    OnObject,
}

/// Whether a box is dropped whose words contain the name of the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnName {
    /// It is dropped.
    Dropped,
    /// It stays.
    Stays,
}

/// Saliency where an image shows several objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeveralObjects {
    /// Each location of an object is compared with the most similar one of the others.
    Compared,
    /// As for one object.
    AsOne,
}

/// How many of the best regions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The number of the class, K.
    OfClass,
    /// The default of the paper.
    Five,
}

/// What the sum of the scores at a pixel is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// 1 and the number of regions there.
    OneAndRegions,
    /// The number of regions there; 0 where there are none.
    Regions,
}

impl Choices {
    /// The public code, with which the published prompts were tuned.
    pub const RELEASED: Choices = Choices {
        colors: Colors::BgrAsRgb,
        area: Area::Boxes,
        object_bound: ObjectBound::ByCount,
        location: Location::Anywhere,
        own_name: OwnName::Dropped,
        several_objects: SeveralObjects::Compared,
        neighbours: Neighbours::Farthest,
        distance: Distance::HalfCosine,
        exponent: 3.0,
        kept: Kept::OfClass,
        denominator: Denominator::OneAndRegions,
    };

    /// The equations of the report.
    pub const PAPER: Choices = Choices {
        colors: Colors::Rgb,
        area: Area::Regions,
        object_bound: ObjectBound::Unbounded,
        location: Location::OnObject,
        own_name: OwnName::Stays,
        several_objects: SeveralObjects::AsOne,
        neighbours: Neighbours::Nearest,
        distance: Distance::Cosine,
        exponent: 1.0,
        kept: Kept::Five,
        denominator: Denominator::Regions,
    };

    /// Those of a reading; a reproduction follows the released code.
    pub fn of(reading: Reading) -> Choices {
        match reading {
            Reading::Released | Reading::Reproduction => Choices::RELEASED,
            Reading::Paper => Choices::PAPER,
        }
    }
}

impl From<Colors> for Channels {
    fn from(colors: Colors) -> Channels {
        match colors {
            Colors::BgrAsRgb => Channels::Bgr,
            Colors::Rgb => Channels::Rgb,
        }
    }
}

/// A part of SAA+ that can be left out, as in the ablations of the report (table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Phrases for the defects of the class, P^L: without it only the general ones for any class.
    Language,
    /// Object, area and location, P^P: without it no candidate is too large, names the object or lies off it.
    Property,
    /// Rescoring by saliency, P^S.
    Saliency,
    /// The bound on the number of regions, P^C.
    Confidence,
}

impl Part {
    /// All parts. SAA is SAA+ without them, with one phrase for any defect.
    pub const ALL: [Part; 4] = [Part::Language, Part::Property, Part::Saliency, Part::Confidence];

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Language => "language",
            Part::Property => "property",
            Part::Saliency => "saliency",
            Part::Confidence => "confidence",
        }
    }

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            Part::Language => "Phrases for the defects of the class; the general ones stay",
            Part::Property => "Filters by the object: area, location, name",
            Part::Saliency => "Rescoring by saliency",
            Part::Confidence => "The bound on the number of regions",
        }
    }
}
