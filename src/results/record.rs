//! Records: what all lines of `results.jsonl` have in common, and reading them again.
//!
//! `docs/records.md` explains every key. Keys and values are only added within a version.

use std::time::Duration;

use crate::error::Error;
use crate::methods::Stages;
use crate::results::SourceFile;
use crate::uninspected::Uninspected;
use serde::{Deserialize, Serialize, Serializer};

/// Version of the format.
pub const VERSION: u32 = 1;

/// First keys of the record of an image that was scored or segmented.
#[derive(Debug, Serialize)]
pub struct Head {
    v: u32,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    status: &'static str,
    /// Width and height in pixels, after the EXIF orientation.
    pub size: [usize; 2],
    method: &'static str,
}

impl Head {
    /// `output` is the name of the input's files where that is not its path.
    pub fn new(path: &str, output: Option<&str>, size: [usize; 2], method: &'static str) -> Head {
        Head { v: VERSION, path: path.to_owned(), output: output.map(str::to_owned), status: "ok", size, method }
    }
}

/// The record of an image that was not scored.
#[derive(Debug, Serialize)]
pub struct FailedRecord {
    v: u32,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    status: &'static str,
    error: Failure,
}

impl FailedRecord {
    /// The record of an image that failed with this error.
    ///
    /// `output` is the name that its files would have had where that is not its path.
    pub fn new(path: &str, output: Option<&str>, error: &Error) -> FailedRecord {
        let error = Failure { code: error.code().as_str(), message: error.message().to_owned() };
        FailedRecord { v: VERSION, path: path.to_owned(), output: output.map(str::to_owned), status: "error", error }
    }
}

/// The error of a failed image.
#[derive(Debug, Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

/// Decision on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The score is below the threshold.
    Normal,
    /// The score is below the threshold, and part of the image was not inspected.
    NormalInPart,
    /// The score reaches the threshold.
    Anomalous,
}

/// Wall-clock time of each stage of an image; in JSON as milliseconds, each rounded once, to a hundredth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Milliseconds {
    /// Reading and decoding the file.
    #[serde(serialize_with = "as_milliseconds")]
    pub decode: Duration,
    /// Resizing and normalising.
    #[serde(serialize_with = "as_milliseconds")]
    pub pre: Duration,
    /// Upload, networks, download, and waiting for a device that is busy with other images.
    #[serde(serialize_with = "as_milliseconds")]
    pub device: Duration,
    /// From the device's numbers to the map and its regions.
    #[serde(serialize_with = "as_milliseconds")]
    pub post: Duration,
    /// Encoding and writing pictures.
    #[serde(serialize_with = "as_milliseconds")]
    pub write: Duration,
}

impl Milliseconds {
    /// The stages of an image: decoding, those of the method, regions, and writing.
    pub fn new(decode: Duration, stages: &Stages, mark: Duration, write: Duration) -> Milliseconds {
        Milliseconds { decode, pre: stages.preprocess, device: stages.device, post: stages.postprocess + mark, write }
    }

    /// Sum of the stages, not rounded.
    pub fn total(&self) -> Duration {
        self.decode + self.pre + self.device + self.post + self.write
    }
}

/// Milliseconds to a hundredth.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

fn as_milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(milliseconds(*duration))
}

/// An earlier record, as far as resuming and the report need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Earlier {
    v: u32,
    /// The input, as given.
    pub path: String,
    /// Name of its files, where it is not the path.
    output: Option<String>,
    status: String,
    /// Anomaly of the image.
    pub score: Option<f32>,
    /// The decision.
    pub decision: Option<Decision>,
    /// Width and height.
    pub size: Option<[usize; 2]>,
    /// The file that was read.
    pub input: Option<SourceFile>,
    /// Its files in the folder.
    #[serde(default)]
    pub files: Vec<String>,
    /// Parts that were not inspected.
    #[serde(default)]
    pub uninspected: Vec<Uninspected>,
    /// The error, where the image failed.
    pub error: Option<EarlierFailure>,
}

/// The error of an image that failed in an earlier run.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierFailure {
    /// Code of the error.
    pub code: String,
    /// Message of the error.
    pub message: String,
}

impl Earlier {
    /// Parses a line; `None` for an incomplete line, or one of another version.
    pub fn parse(line: &str) -> Option<Earlier> {
        serde_json::from_str(line).ok().filter(|earlier: &Earlier| earlier.v == VERSION)
    }

    /// The version of a record's format, where it is another than this library's.
    pub fn foreign_version(line: &str) -> Option<u32> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        serde_json::from_str(line).ok().map(|versioned: Versioned| versioned.v).filter(|&v| v != VERSION)
    }

    /// True when the input was scored.
    pub fn is_ok(&self) -> bool {
        self.status == "ok"
    }

    /// Name of its files.
    pub fn name(&self) -> &str {
        self.output.as_deref().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_added_before_they_are_rounded() {
        let part = Duration::from_micros(4);
        let stages = Stages { preprocess: part, device: part, postprocess: part };
        let ms = Milliseconds::new(part, &stages, part, part);
        assert_eq!(serde_json::to_string(&ms).unwrap(), r#"{"decode":0.0,"pre":0.0,"device":0.0,"post":0.01,"write":0.0}"#);
        assert_eq!(milliseconds(ms.total()), 0.02);
    }
}
