//! `run.json`: what ran, on what, with which parameters, and how it went.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use zsas::run::AdapterReport;
use zsas::{Code, Error, Result};

use crate::cli::infer::language::Told;
use crate::cli::infer::output::{Output, RUN};
use crate::cli::infer::tally::{Counts, Latency};
use crate::cli::talk;
use crate::cli::weights::Identity;

/// The file. It is written at the start, so that a killed run can be resumed with the same parameters only, and again at the end.
#[derive(Debug, Serialize)]
pub struct RunFile {
    /// Version of the format.
    pub v: u32,
    /// `running`, `done`, `interrupted`, `failed`.
    pub status: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Commit it was built from.
    pub commit: Option<&'static str>,
    /// Seconds since 1970.
    pub started: u64,
    /// Device and driver in a line.
    pub device: String,
    /// Driver of the adapter.
    pub driver: Option<String>,
    /// All that is known of the adapter; null for the reference.
    pub adapter: Option<AdapterReport>,
    /// Which weights.
    pub weights: Identity,
    /// What decides about results.
    pub parameters: Parameters,
    /// What this run was asked to do with them.
    pub invocation: Invocation,
    /// How many of what.
    pub counts: Option<Counts>,
    /// How long a photo takes.
    pub latency_ms: Option<Latency>,
    /// Wall-clock seconds from the first photo to the last.
    pub seconds: Option<f64>,
    /// Why the run failed.
    pub error: Option<String>,
}

/// Everything that changes a result. Runs into one folder must agree on it.
#[derive(Debug, Serialize)]
pub struct Parameters {
    /// Name of the method.
    pub method: &'static str,
    /// Which text it follows.
    pub reading: &'static str,
    /// Class, phrases, references and views; null for a method that knows no words.
    pub language: Option<Told>,
    /// `f32`, `f16`.
    pub precision: &'static str,
    /// Given by the user.
    pub threshold: Option<f32>,
    /// Cuts mask and regions.
    pub level: Option<f32>,
    /// Colours.
    pub range: [f32; 2],
    /// Files of each photo.
    pub save: Vec<String>,
    /// Whether the EXIF orientation was left alone.
    pub ignore_exif: bool,
    /// Least side.
    pub min_size: u32,
    /// Most pixels.
    pub max_pixels: u64,
}

/// Wishes that leave results alone.
#[derive(Debug, Serialize)]
pub struct Invocation {
    /// Part of the inputs, `1/4`.
    pub shard: Option<String>,
    /// Whether it goes on from an earlier run.
    pub resume: bool,
    /// Whether there is a page.
    pub report: bool,
    /// Shape of kernels that was forced.
    pub kernels: Option<&'static str>,
}

impl RunFile {
    /// Seconds since 1970; 0 before.
    pub fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Writes the file.
    pub fn write(&self, output: &Output) -> Result<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_else(|error| panic!("our own records serialise: {error}"));
        output.write(RUN, format!("{text}\n").as_bytes()).map(drop)
    }

    /// Refuses to mix results of different parameters in one folder.
    pub fn check_same_as_earlier(&self, output: &Output) -> Result<()> {
        let Ok(text) = std::fs::read_to_string(output.root().join(RUN)) else { return Ok(()) };
        let Ok(earlier) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
        // Through text, so that both sides rounded their numbers alike.
        let Ok(own) = serde_json::from_str::<Value>(&talk::to_json(self)) else { return Ok(()) };
        let differing = if earlier["weights"]["files"] == own["weights"]["files"] {
            differing(&earlier["parameters"], &own["parameters"])
        } else {
            Some("weights".to_owned())
        };
        match differing {
            None => Ok(()),
            Some(what) => {
                Err(Error::new(Code::Output, format!("the results in `{}` were made with other {what}", output.root().display()))
                    .hint("repeat the earlier options to resume, `--overwrite` to start anew, or choose another `--output`"))
            }
        }
    }
}

/// The first parameter in which two runs differ, with both values. The level is left out: it follows from threshold and weights.
fn differing(earlier: &Value, own: &Value) -> Option<String> {
    let own = own.as_object()?;
    let (key, value) = own.iter().find(|(key, value)| *key != "level" && earlier.get(key.as_str()) != Some(value))?;
    if let (Some(before), true) = (earlier.get(key).filter(|before| before.is_object()), value.is_object()) {
        return differing(before, value);
    }
    Some(format!("parameters: `{key}` was {}, now {value}", earlier.get(key).unwrap_or(&Value::Null)))
}
