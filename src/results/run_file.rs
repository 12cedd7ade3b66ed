//! Run file: `run.json`, with the device, weights, parameters, counts and outcome of a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Code, Error, Remedy, Result};
use crate::run::AdapterReport;
use crate::run::Device;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::image::ReadOptions;
use crate::inputs::LeftOut;
use crate::methods::Tiles;
use crate::results::record::{VERSION, milliseconds};
use crate::results::tally::InPart;
use crate::results::{CalibrationSummary, Output, PromptParameters, RESULTS, RUN, owned, to_json};
use crate::uninspected::Reason;
use crate::weights::Identity;
use crate::{COMMIT, VERSION as PROGRAM};

/// Content of `run.json`. It is written at the start, so that a killed run can be resumed with the same parameters only, and again at the
/// end.
#[derive(Debug, Serialize)]
pub struct RunFile<P, I> {
    /// Version of the format.
    pub v: u32,
    /// `running`, `done`, `interrupted`, `failed`.
    pub status: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Commit it was built from.
    pub commit: Option<&'static str>,
    /// When it began: seconds since 1970, 0 before.
    started: u64,
    /// Device and driver in a line.
    pub device: String,
    /// Driver of the adapter.
    pub driver: Option<String>,
    /// Description of the adapter; null for the CPU and the reference.
    pub adapter: Option<AdapterReport>,
    /// Identity of the weights.
    pub weights: Identity,
    /// Parameters that change results. All runs into one folder have the same.
    pub parameters: P,
    /// Options of this run that do not change results.
    pub invocation: I,
    /// Files that do not follow from the names in the records; listed before they are written, so that the files of a killed run are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What was done to the samples of reference images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What was not inspected, and why.
    pub uninspected: NotInspected,
    /// Counts of images.
    pub counts: Option<Counts>,
    /// Time of an image.
    pub latency_ms: Option<Latency>,
    /// Wall-clock seconds from the first image to the last.
    pub seconds: Option<f64>,
    /// Why the run failed.
    pub error: Option<String>,
}

/// The run file of a run that scores images.
pub type InferRun = RunFile<Parameters, Invocation>;

/// Parameters that change results.
#[derive(Clone, Debug, Serialize)]
pub struct Parameters {
    /// Name of the method.
    pub method: &'static str,
    /// Reading of the method.
    pub reading: &'static str,
    /// Class, phrases, references and views; null for a method that takes no text.
    pub language: Option<PromptParameters>,
    /// Views that decide the score.
    pub views: &'static str,
    /// Squares that an image is cut into; null where the method inspects it as published.
    pub tiles: Option<Tiles>,
    /// The part of every image that is inspected; null where that is all of it.
    pub roi: Option<RegionParameters>,
    /// `f32`, `f16`.
    pub precision: &'static str,
    /// Threshold of the score; see [`DecisionRule`](crate::results::DecisionRule).
    pub threshold: Option<f32>,
    /// Level of the mask and regions.
    pub level: Option<f32>,
    /// Values drawn as the coldest and the hottest colour.
    pub range: [f32; 2],
    /// Pictures of each image.
    pub save: Vec<String>,
    /// How images are read.
    pub read: ReadOptions,
    /// The calibration that threshold and level come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationSummary>,
}

/// Region of interest of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RegionParameters {
    /// The path of its mask as given; null for one that a program made.
    pub path: Option<String>,
    /// SHA-256 in hexadecimal of the marks, a byte of 0 or 1 for each pixel, row by row.
    pub sha256: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Share of the frame that it marks, 0 to 1.
    pub share: f64,
}

/// Options that do not change results.
#[derive(Clone, Debug, Serialize)]
pub struct Invocation {
    /// Part of the inputs, `1/4`.
    pub shard: Option<String>,
    /// Whether it resumes an earlier run.
    pub resume: bool,
    /// Whether there is a report.
    pub report: bool,
    /// Tier of kernels that was forced.
    pub kernels: Option<&'static str>,
}

/// Inputs and parts of images that a run did not inspect.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NotInspected {
    /// Files and folders left out of the inputs.
    pub inputs: LeftOut,
    /// Files and folders left out of the reference images.
    pub references: LeftOut,
    /// Images that were inspected in part, by reason.
    pub in_part: BTreeMap<Reason, InPart>,
}

impl NotInspected {
    /// True where everything was inspected.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.references.is_empty() && self.in_part.is_empty()
    }

    /// Messages about what was not inspected, one per line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, left_out) in [("inputs", &self.inputs), ("reference images", &self.references)] {
            if !left_out.is_empty() {
                lines.push(format!("left out of the {what}: {left_out}"));
            }
        }
        for (reason, InPart { images, largest_share }) in &self.in_part {
            let (noun, were) = if *images == 1 { ("image", "was") } else { ("images", "were") };
            let share = largest_share.map_or_else(String::new, |share| {
                format!(", up to {:.0} % of one", (100.0 * share).min(if share < 1.0 { 99.0 } else { 100.0 }))
            });
            let what = match reason {
                Reason::OutsideCrop => "what lies outside the part that decides the score is left out",
                _ => "further pages are left out",
            };
            lines.push(format!("{images} {noun} {were} inspected in part: {what}{share}"));
        }
        lines
    }
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Inputs of this run, its shard only.
    pub inputs: usize,
    /// Scored by this run.
    pub scored: usize,
    /// Number of inputs that could not be scored.
    pub failed: usize,
    /// Scored by an earlier run.
    pub skipped: usize,
    /// Reached the threshold, now or earlier.
    pub anomalous: usize,
    /// Inspected in part, now or earlier.
    pub in_part: usize,
}

/// Percentiles of the time of an image, from its file to its pictures, waiting for the device included; in milliseconds, rounded once.
///
/// Several images are in work at the same time, so a run takes less than the sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
    mean: f64,
}

impl Latency {
    /// Percentiles of these times, by nearest rank; `None` where there are none.
    pub fn of(mut totals: Vec<Duration>) -> Option<Latency> {
        totals.sort();
        let rank = |share: usize| totals.get((totals.len() * share).div_ceil(100).saturating_sub(1)).copied().map(milliseconds);
        let [p50, p90, p99, max] = [rank(50)?, rank(90)?, rank(99)?, rank(100)?];
        let mean = milliseconds(totals.iter().sum::<Duration>().div_f64(totals.len() as f64));
        Some(Latency { p50, p90, p99, max, mean })
    }
}

impl<P: Serialize, I: Serialize> RunFile<P, I> {
    /// The run file of a run that begins now.
    pub fn new(device: &Device, weights: Identity, parameters: P, invocation: I) -> RunFile<P, I> {
        let adapter = device.adapter().cloned();
        RunFile {
            v: VERSION,
            status: "running",
            version: PROGRAM,
            commit: COMMIT,
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            device: device.name(),
            driver: adapter.as_ref().map(|adapter| adapter.driver.clone()),
            adapter,
            weights,
            parameters,
            invocation,
            files: Vec::new(),
            warnings: Vec::new(),
            uninspected: NotInspected::default(),
            counts: None,
            latency_ms: None,
            seconds: None,
            error: None,
        }
    }

    /// Sets the outcome of the run.
    pub fn end(&mut self, end: &Result<Option<u8>>, counts: Counts, latency: Option<Latency>, duration: Duration) {
        self.status = match end {
            Ok(None) => "done",
            Ok(Some(_)) => "interrupted",
            Err(_) => "failed",
        };
        self.error = end.as_ref().err().map(ToString::to_string);
        self.counts = Some(counts);
        self.latency_ms = latency;
        self.seconds = Some(milliseconds(duration) / 1e3);
    }

    /// Writes the file.
    pub fn write(&self, output: &Output) -> Result<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_else(|error| panic!("our own records serialise: {error}"));
        output.write(RUN, format!("{text}\n").as_bytes()).map(drop)
    }

    /// Goes on from the earlier run of the folder: the files that it named and that are there are this run's, too.
    ///
    /// Fails with [`Code::Output`] where its results were made with other parameters or weights, or nobody knows with which.
    pub fn resume(&mut self, output: &Output) -> Result<()> {
        let text = std::fs::read_to_string(output.root().join(RUN)).unwrap_or_default();
        let earlier = match serde_json::from_str::<Value>(&text) {
            Ok(earlier) => earlier,
            Err(_) if !output.root().join(RESULTS).exists() => return Ok(()),
            Err(_) => {
                let message = format!(
                    "`{}` is missing or damaged, so the parameters of its records are not known",
                    output.root().join(RUN).display()
                );
                return Err(Error::new(Code::Output, message).hint(Remedy::RepeatOptionsOrOverwrite));
            }
        };
        // Through JSON text, so that the numbers of both sides are rounded alike.
        let Ok(own) = serde_json::from_str::<Value>(&to_json(self)) else { return Ok(()) };
        let differing = if earlier["weights"]["files"] == own["weights"]["files"] {
            differing(&earlier["parameters"], &own["parameters"])
        } else {
            Some("weights".to_owned())
        };
        if let Some(what) = differing {
            let message = format!("the results in `{}` were made with other {what}", output.root().display());
            return Err(Error::new(Code::Output, message).hint(Remedy::RepeatOptionsOrOverwrite));
        }
        for file in owned::named_by(&earlier).filter(|file| owned::regular_file(output.root(), file).is_some()) {
            if !self.files.iter().any(|known| known == file) {
                self.files.push(file.to_owned());
            }
        }
        Ok(())
    }
}

/// The first parameter in which two runs differ, with both values. The level is left out: it follows from threshold and weights.
fn differing(earlier: &Value, own: &Value) -> Option<String> {
    let own = own.as_object()?;
    // A parameter that an earlier version did not know was none.
    let before = |key: &str| earlier.get(key).unwrap_or(&Value::Null);
    let (key, value) = own.iter().find(|(key, value)| *key != "level" && before(key) != *value)?;
    if let (Some(before), true) = (earlier.get(key).filter(|before| before.is_object()), value.is_object()) {
        return differing(before, value);
    }
    Some(format!("parameters: `{key}` was {}, now {value}", before(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_an_earlier_version_did_not_know_was_none() {
        let (earlier, own) = (serde_json::json!({"method": "utad"}), serde_json::json!({"method": "utad", "roi": null}));
        assert_eq!(differing(&earlier, &own), None);
        let with_region = serde_json::json!({"method": "utad", "roi": {"share": 0.5}});
        assert_eq!(differing(&earlier, &with_region).unwrap(), r#"parameters: `roi` was null, now {"share":0.5}"#);
        assert_eq!(differing(&with_region, &own).unwrap(), r#"parameters: `roi` was {"share":0.5}, now null"#);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = Latency::of((1..=10).map(Duration::from_millis).collect()).unwrap();
        assert_eq!(latency, Latency { p50: 5.0, p90: 9.0, p99: 10.0, max: 10.0, mean: 5.5 });
        assert_eq!(Latency::of(vec![]), None);
        // 1.004 and 1.008 ms: the mean is rounded, not a mean of what was rounded.
        let two = Latency::of([1004, 1008].map(Duration::from_micros).to_vec()).unwrap();
        assert_eq!(two, Latency { p50: 1.0, p90: 1.01, p99: 1.01, max: 1.01, mean: 1.01 });
    }
}
