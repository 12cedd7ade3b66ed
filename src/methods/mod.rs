//! Published methods that turn an image into an anomaly map: one file per paper, one function per equation, one table of all.

mod build;
pub mod cache;
mod clip_ac;
mod clipseg;
mod clock;
pub mod few_shot;
mod grounding;
mod image_program;
mod image_tiling;
mod info;
mod maskclip;
pub mod memory;
mod nearest;
mod patch_token;
mod profile;
mod programs;
pub mod prompts;
pub mod saa;
mod saliency;
mod segment;
pub mod text_prototypes;
pub mod tiles;
mod trans_mm;
mod utad;
mod views;
pub mod winclip;

use std::sync::Arc;

use crate::error::{Code, Error, Remedy, Result};
use crate::image::{BoundingBox, Mask, Region, Rgb, regions};
use crate::tensor::Array;
use crate::uninspected::Uninspected;

pub use build::{BuildContext, BuildObserver, BuildStep, Precomputed, Recipe, Reference};
pub use clip_ac::ClipAc;
pub use clipseg::ClipSegMethod;
pub use clock::{Clock, Stages};
pub use grounding::{Candidate, EmbeddedCaptions, EncodedImage, Grounder, PreparedImage};
pub use image_tiling::ImageTiling;
pub use info::{METHODS, MethodInfo, MethodInputs, References, ScoreOf, named, of_memory, strongest};
pub use maskclip::MaskClip;
pub use memory::Memory;
pub use patch_token::PatchToken;
pub use profile::Profile;
pub use saa::{Candidates, Saa, SaaOptions, SaaSettings};
pub use saliency::{Distance, Neighbours, Saliency, SelfSimilarity, SelfSimilarityOptions};
pub use segment::{Encoded, Prepared, Segment, Segmenter};
pub use tiles::{SquareFrame, Tiles};
pub use trans_mm::TransMm;
pub use utad::Utad;
pub use views::{MultiCrop, View};

/// Reading of a method: whether it follows the published code, the paper's equations or a public reproduction, where these disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// As in the code that the authors released.
    #[default]
    Released,
    /// As in the equations of the paper.
    Paper,
    /// As in zqhang/Accurate-WinCLIP-pytorch, the public reproduction whose results are cited in the literature.
    Reproduction,
}

impl Reading {
    /// All readings.
    pub const ALL: [Reading; 3] = [Reading::Released, Reading::Paper, Reading::Reproduction];

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            Reading::Released => "The released code",
            Reading::Paper => "The paper's equations",
            Reading::Reproduction => "The public reproduction with published tables (winclip, winclip+)",
        }
    }

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Reading::Released => "released",
            Reading::Paper => "paper",
            Reading::Reproduction => "reproduction",
        }
    }
}

/// A method that is built on a device and scores images; called from several threads at once.
pub trait Method: Send + Sync {
    /// Colour range and level of its maps.
    fn scale(&self) -> Scale;

    /// Scores one image; `clock` measures the stages.
    ///
    /// Errors: a device fault, an image that the method does not support, or numbers that are not finite, naming the stage.
    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding>;

    /// Scores one image without measuring time.
    fn score(&self, image: &Rgb) -> Result<Finding> {
        self.inspect(image, &mut Clock::stopped())
    }
}

/// Scale of a method's maps: colour range and level. It is the same for every image, so that pictures can be compared.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Scale {
    /// Values drawn as the coldest and the hottest colour.
    pub range: [f32; 2],
    /// Value from which on a defect is likely, where one is stored with the weights. It marks masks and regions when no threshold is given;
    /// [`DecisionRule`](crate::results::DecisionRule) explains both.
    pub level: Option<f32>,
}

/// Result of a method for an image: anomaly map and score.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Anomaly of each pixel `[height, width]` of the image.
    pub map: Array,
    /// Anomaly of the image.
    pub score: f32,
    /// Parts of the image that were not inspected.
    pub uninspected: Vec<Uninspected>,
    /// The part of the image that decides its score; `None` where that is all of it.
    pub inspected: Option<BoundingBox>,
    /// The region of interest that was asked for; `None` where that is the whole image.
    pub region: Option<Arc<Mask>>,
    /// Warnings for the user about this result.
    pub warnings: Vec<String>,
    /// The boxes that the map was made of, and those that were dropped; `None` for methods that do not look for boxes.
    pub candidates: Option<Candidates>,
    /// Time of each stage; zero where it was not measured.
    pub stages: Stages,
}

impl Finding {
    /// The finding of an image that was inspected as a whole, without warnings.
    pub fn whole(map: Array, score: f32) -> Finding {
        Finding {
            map,
            score,
            uninspected: Vec::new(),
            inspected: None,
            region: None,
            warnings: Vec::new(),
            candidates: None,
            stages: Stages::default(),
        }
    }

    /// The finding of an image of which only the part inside a box decides the score.
    pub fn of_part(map: Array, score: f32, inspected: BoundingBox) -> Finding {
        let [height, width]: [usize; 2] = map.shape().axes();
        let [x0, y0, x1, y1] = inspected.corners().map(f64::from);
        let share = 1.0 - (x1 - x0) * (y1 - y0) / (width * height) as f64;
        Finding {
            uninspected: vec![Uninspected::outside_crop(share)],
            inspected: Some(inspected),
            ..Finding::whole(map, score)
        }
    }

    /// The pixels whose anomaly is at least `level`; none outside the region of interest.
    pub fn mask(&self, level: f32) -> Mask {
        let mask = Mask::from_threshold(&self.map, level);
        self.region.as_ref().map_or(mask.clone(), |region| mask.and(region))
    }

    /// The connected regions of [`Finding::mask`].
    pub fn regions(&self, level: f32) -> Vec<Region> {
        regions(&self.mask(level), &self.map)
    }
}

/// Least norm that a feature is divided by, as in PyTorch's `normalize`.
const LEAST_NORM: f32 = 1e-12;

/// Refuses numbers that are not finite, naming the stage they come from.
fn finite(array: Array, stage: &str) -> Result<Array> {
    if array.is_finite() {
        return Ok(array);
    }
    let error = Error::new(Code::Nonfinite, format!("{stage} holds NaN or infinity"));
    Err(error.hint(Remedy::CheckNumerics))
}

/// A square image of uniform noise, the same each time (Lehmer's generator, Park & Miller 1988).
///
/// Methods whose values have no unit of their own score it to choose their colour range.
fn noise(side: usize) -> Rgb {
    let mut state = 1_u64;
    let data = (0..3 * side * side).map(|_| {
        state = state * 48_271 % 2_147_483_647;
        (state >> 8) as u8
    });
    Rgb::new(side, side, data.collect())
}

/// Largest element.
fn maximum(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Smallest element.
fn minimum(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::INFINITY, f32::min)
}
