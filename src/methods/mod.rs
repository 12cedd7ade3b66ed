//! Published ways to turn a photo into an anomaly map; one file per paper, one function per equation.

pub mod cache;
mod clip_ac;
mod clipseg;
mod image_tiling;
pub mod language;
mod maskclip;
mod patch_token;
mod profile;
pub mod prompts;
mod saliency;
mod segment;
mod trans_mm;
mod utad;
pub mod winclip;

use std::time::Duration;

use crate::error::{Code, Error, Remedy, Result};
use crate::image::Rgb;
use crate::tensor::Array;

pub use clip_ac::ClipAc;
pub use clipseg::ClipSegMethod;
pub use image_tiling::ImageTiling;
pub use maskclip::MaskClip;
pub use patch_token::PatchToken;
pub use profile::Profile;
pub use saliency::Saliency;
pub use segment::{Encoded, Prepared, Segment, Segmenter};
pub use trans_mm::TransMm;
pub use utad::Utad;

/// Which text a method follows where code and paper disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// The released code.
    #[default]
    Released,
    /// The paper's equations.
    Paper,
    /// The flags of the public reproduction whose tables are in the literature, zqhang/Accurate-WinCLIP-pytorch.
    Reproduction,
}

impl Reading {
    /// The name users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Reading::Released => "released",
            Reading::Paper => "paper",
            Reading::Reproduction => "reproduction",
        }
    }
}

/// A method ready to score photos on a device.
pub trait Method: Send {
    /// Name as on the command line.
    fn name(&self) -> &'static str;

    /// Which text it follows.
    fn reading(&self) -> Reading;

    /// How its maps are to be read.
    fn scale(&self) -> Scale;

    /// Scores one photo.
    ///
    /// Errors: a device fault, or numbers that are not finite, naming the stage.
    fn score(&self, photo: &Rgb) -> Result<Scored>;
}

/// What the numbers of a map mean; the same for every photo, so that pictures can be compared.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Scale {
    /// Values drawn as the coldest and the hottest colour.
    pub range: [f32; 2],
    /// Value above which a defect is likely, where the weights come with one. Masks and regions use it when no threshold is given.
    pub level: Option<f32>,
}

/// The outcome for one photo.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Anomaly of each pixel `[height, width]` of the photo.
    pub map: Array,
    /// Anomaly of the photo.
    pub score: f32,
    /// What a user should know about this result.
    pub warnings: Vec<String>,
    /// Where the time went.
    pub stages: Stages,
}

/// Wall-clock time of the stages of one photo.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    /// Resizing and normalising.
    pub preprocess: Duration,
    /// Upload, networks, download.
    pub device: Duration,
    /// From the device's numbers to the map.
    pub postprocess: Duration,
}

/// Below this the length of a feature is taken for zero: PyTorch's `normalize`.
const LEAST_NORM: f32 = 1e-12;

/// Refuses numbers that are not finite, naming the stage they come from.
fn finite(array: Array, stage: &str) -> Result<Array> {
    if array.is_finite() {
        return Ok(array);
    }
    let error = Error::new(Code::Nonfinite, format!("{stage} holds NaN or infinity"));
    Err(error.hint(Remedy::CheckNumerics))
}

/// A square photo of uniform noise, the same each time (Lehmer's generator, Park & Miller 1988): what a method is shown whose numbers have no
/// unit of their own.
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
