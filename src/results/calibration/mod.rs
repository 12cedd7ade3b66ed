//! Calibration: a threshold and a level found on good parts alone, with what they hold for and how far they can be trusted, as a TOML file.

mod conditions;
mod confidence;
mod distribution;
mod rule;

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Remedy, Result};
use crate::files::{read_limited, sha256, write_whole};
use crate::results::{NamedHash, Threshold};
use crate::{COMMIT, VERSION as PROGRAM};

pub use conditions::Conditions;
pub use distribution::Distribution;
pub use rule::Rule;

use confidence::{CONFIDENCE, WANTED_SHARE, parts_for};

/// Version of the format.
const VERSION: i64 = 1;

/// The key that has the version, by which a file is known as a calibration.
const VERSION_KEY: &str = "calibration";

/// Most bytes of a calibration.
const MAX_BYTES: u64 = 1 << 24;

/// Photos from which on a calibration is made without a warning.
const ENOUGH_PHOTOS: usize = 10;

/// Highest scores that are kept with their paths.
const MAX_NAMED: usize = 5;

/// A calibration: the score from which on a part is anomalous, and the value from which on a pixel is, found on photos of good parts.
///
/// - The *threshold* follows by the [`Rule`] from the scores of the good photos.
/// - The *level* follows by the same rule from the largest value of each photo's map, not from all pixels: photos are independent of each
///   other and pixels are not, so that the same confidence holds for it, of a good part having any mark at all; and where the score is the
///   maximum of the map, both are equal, so that exactly the anomalous photos have regions.
/// - They hold under the [`Conditions`] in which they were found, and are refused under others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of the format.
    calibration: i64,
    /// The rule by which threshold and level follow.
    pub rule: Rule,
    /// Number of good photos.
    pub photos: usize,
    /// Photos that were given and could not be scored.
    pub failed: usize,
    /// Photos that were given and have the same pixels as another.
    pub copies: usize,
    /// Scores from here on are anomalous.
    pub threshold: f32,
    /// Values of a map from here on belong to mask and regions.
    pub level: f32,
    /// The scores of the photos.
    pub scores: Distribution,
    /// The largest value of each photo's map.
    pub maxima: Distribution,
    /// The photos with the highest scores, highest first.
    pub highest: Vec<GoodPhoto>,
    /// What it holds for.
    pub conditions: Conditions,
    /// On what it was made; nothing depends on it.
    pub made: Made,
    /// The file that it was read from.
    #[serde(skip)]
    file: Option<NamedHash>,
}

/// A good photo and its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoodPhoto {
    /// The path as given.
    pub path: String,
    /// Its score.
    pub score: f32,
    /// The largest value of its map.
    pub maximum: f32,
}

/// On what a calibration was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Version of the program, and the commit it was built from.
    pub program: String,
    /// Device and driver in a line.
    pub device: String,
    /// Name of the weights.
    pub weights: String,
}

impl Made {
    /// By this program, on a device, with weights of this name.
    pub fn by(device: String, weights: String) -> Made {
        let commit = COMMIT.map_or_else(String::new, |commit| format!(" ({commit})"));
        Made { program: format!("zsas-gpu {PROGRAM}{commit}"), device, weights }
    }
}

/// A calibration as `run.json` names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationSummary {
    /// The file; null for one in memory.
    pub path: Option<String>,
    /// SHA-256 of the file, or of its text.
    pub sha256: String,
    /// The rule.
    pub rule: Rule,
    /// Number of good photos.
    pub photos: usize,
    /// With 95 % confidence at most this share of good parts reaches the threshold.
    pub bound: f64,
    /// The confidence in words.
    pub confidence: String,
}

impl Calibration {
    /// A calibration from good photos. So many more could not be scored, or were copies of these.
    ///
    /// Errors with [`Code::Calibration`] without a photo, with numbers that are not finite, or where the rule needs more photos.
    pub fn new(
        rule: Rule,
        mut photos: Vec<GoodPhoto>,
        [failed, copies]: [usize; 2],
        conditions: Conditions,
        made: Made,
    ) -> Result<Calibration> {
        let rule = rule.check()?;
        let (threshold, scores) = Distribution::of(photos.iter().map(|photo| photo.score).collect(), rule)?;
        let (level, maxima) = Distribution::of(photos.iter().map(|photo| photo.maximum).collect(), rule)?;
        // Equal scores stay in the order in which they were given.
        photos.sort_by(|a, b| b.score.total_cmp(&a.score));
        let count = photos.len();
        photos.truncate(MAX_NAMED);
        Ok(Calibration {
            calibration: VERSION,
            rule,
            photos: count,
            failed,
            copies,
            threshold,
            level,
            scores,
            maxima,
            highest: photos,
            conditions,
            made,
            file: None,
        })
    }

    /// What decides on scores.
    pub fn threshold(&self) -> Threshold {
        Threshold { value: self.threshold, source: Cow::Owned(format!("calibration:{}", self.rule.short())) }
    }

    /// How far the threshold can be trusted, in a sentence.
    pub fn confidence(&self) -> String {
        let plural = if self.photos == 1 { "" } else { "s" };
        let Distribution { below, bound, .. } = self.scores;
        let below = if below == self.photos { "all".to_owned() } else { below.to_string() };
        let mut text = format!(
            "{} good photo{plural}, {below} below the threshold: with {:.0} % confidence at most {} of good parts are called anomalous",
            self.photos,
            100.0 * CONFIDENCE,
            percent(bound),
        );
        if bound > WANTED_SHARE {
            let _ = write!(text, "; for {} it takes {}, all below", percent(WANTED_SHARE), parts_for(WANTED_SHARE));
        }
        if matches!(self.rule, Rule::Sigma(_)) {
            text.push_str("; approximately, as this rule follows the scores themselves and not their order");
        }
        text
    }

    /// What the confidence assumes.
    pub const ASSUMED: &str =
        "the good photos are independent of each other, and as those to be inspected: same camera, light and kind of part";

    /// What to know about it before it is used, a line each: few photos, photos left out, scores that are all the same, photos far above the
    /// others.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.photos < ENOUGH_PHOTOS {
            warnings.push(format!("only {} good photos: fewer than {ENOUGH_PHOTOS} say little about the next one", self.photos));
        }
        if self.failed > 0 {
            warnings.push(format!("{} good photos could not be scored and are left out", self.failed));
        }
        if self.copies > 0 {
            warnings.push(format!("{} good photos are copies of others, pixel for pixel, and count once", self.copies));
        }
        if self.scores.min == self.scores.max && self.photos > 1 {
            warnings.push(format!("all good photos have the score {}: whatever exceeds it is called anomalous", self.scores.max));
        }
        for GoodPhoto { path, score, .. } in self.highest.iter().filter(|photo| self.scores.is_far_out(photo.score)) {
            let median = self.scores.median;
            warnings.push(format!("{path} scores {score:.4}, far above the others (median {median:.4}): look whether it shows a defect"));
        }
        warnings
    }

    /// Its file with its hash and what it was made of, for `run.json`.
    pub fn summary(&self) -> CalibrationSummary {
        let (path, sha256) = match &self.file {
            Some(NamedHash { path, sha256 }) => (Some(path.clone()), sha256.clone()),
            None => (None, sha256(self.to_toml().as_bytes())),
        };
        CalibrationSummary {
            path,
            sha256,
            rule: self.rule,
            photos: self.photos,
            bound: self.scores.bound,
            confidence: self.confidence(),
        }
    }

    /// The error for conditions that differ in this.
    pub fn mismatch(&self, differing: &str) -> Error {
        let name = self
            .file
            .as_ref()
            .map_or_else(|| "the calibration".to_owned(), |file| format!("the calibration `{}`", file.path));
        let error = Error::new(Code::CalibrationMismatch, format!("{name} does not fit: {differing}"));
        error.hint(Remedy::Recalibrate { file: self.file.as_ref().map(|file| file.path.clone()) })
    }

    /// The text of its file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).unwrap_or_else(|error| panic!("our own calibration serialises: {error}"));
        format!("{}\n{body}", self.header())
    }

    /// Comments that say what the file is.
    fn header(&self) -> String {
        let lines = [
            "Calibration of zsas-gpu: from which score on a part is anomalous, and from which value of its map on a pixel is.".to_owned(),
            "It was found on photos of good parts, and holds for the method, weights and options under `conditions` alone.".to_owned(),
            format!("{}.", self.confidence()),
            format!("Assumed: {}.", Calibration::ASSUMED),
            "Written by `zsas-gpu calibrate`; not to be edited: threshold and level are checked against the scores.".to_owned(),
        ];
        lines.iter().map(|line| format!("# {line}\n")).collect()
    }

    /// Writes its file, whole or not at all.
    pub fn write(&self, file: &Path) -> Result<()> {
        write_whole(file, self.to_toml().as_bytes())
    }

    /// Whether a file is a calibration, of any version: such a file may be replaced by another.
    pub fn is_one(file: &Path) -> bool {
        let text = read_limited(file, MAX_BYTES, Code::Calibration)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        text.and_then(|text| toml::from_str::<toml::Table>(&text).ok())
            .is_some_and(|table| table.get(VERSION_KEY).is_some_and(toml::Value::is_integer))
    }

    /// Reads a calibration.
    ///
    /// Errors: [`Code::NotFound`]; [`Code::Calibration`] for a file that is no calibration, of another version, with keys that are unknown or
    /// numbers that do not follow from each other.
    pub fn read(file: &Path) -> Result<Calibration> {
        let path = file.display().to_string();
        let bytes = read_limited(file, MAX_BYTES, Code::Calibration).map_err(|error| match error.code() {
            Code::NotFound => Error::new(Code::NotFound, format!("there is no calibration `{path}`")),
            _ => error.context("as a calibration"),
        })?;
        let sha256 = sha256(&bytes);
        let text = String::from_utf8(bytes).map_err(|_| Error::new(Code::Calibration, "not UTF-8").context(format!("in `{path}`")))?;
        let calibration = Calibration::parse(&text, &path)?;
        Ok(Calibration { file: Some(NamedHash { path, sha256 }), ..calibration })
    }

    /// Reads the text of a calibration; `path` stands for it in messages.
    pub fn parse(text: &str, path: &str) -> Result<Calibration> {
        let again = || Remedy::Recalibrate { file: Some(path.to_owned()) };
        let fault =
            |message: String, place: String| Error::new(Code::Calibration, message).context(format!("in `{path}`{place}")).hint(again());
        let line = |error: &toml::de::Error| {
            let newlines = |end: usize| text.bytes().take(end).filter(|byte| *byte == b'\n').count();
            error.span().map_or_else(String::new, |span| format!(", line {}", 1 + newlines(span.start)))
        };
        let table: toml::Table = toml::from_str(text).map_err(|error| fault(format!("not TOML: {}", error.message()), line(&error)))?;
        match table.get(VERSION_KEY).map(toml::Value::as_integer) {
            Some(Some(VERSION)) => {}
            Some(Some(other)) => {
                return Err(fault(format!("a calibration of version {other}, and this program reads {VERSION}"), String::new()));
            }
            _ => return Err(fault(format!("the file is no calibration: it has no whole number `{VERSION_KEY}`"), String::new())),
        }
        let calibration: Calibration = toml::from_str(text).map_err(|error| fault(error.message().to_owned(), line(&error)))?;
        calibration.check().map_err(|message| fault(message, String::new()))?;
        Ok(calibration)
    }

    /// Whether its numbers follow from each other; if not, how.
    fn check(&self) -> std::result::Result<(), String> {
        for (name, value, distribution) in [("threshold", self.threshold, &self.scores), ("level", self.level, &self.maxima)] {
            if !value.is_finite() {
                return Err(format!("`{name}` is {value}"));
            }
            let follows = distribution.check(self.photos, self.rule)?;
            if follows.is_some_and(|expected| expected != value) {
                let expected = follows.unwrap_or_default();
                return Err(format!("`{name}` is {value}, but {expected} follows from the scores by the rule `{}`", self.rule));
            }
        }
        Ok(())
    }
}

/// A share in percent, to two digits where it is small.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let decimals = if percent >= 10.0 || percent.fract() == 0.0 {
        0
    } else if percent >= 1.0 {
        1
    } else {
        2
    };
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests;
