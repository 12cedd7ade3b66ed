//! Many images: found, inspected by several threads at once, each with its pictures and a record, in order.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::image::{ReadOptions, Rgb};
use crate::inputs::{self, Shard};
use crate::inspect::pipeline::{Budget, in_order};
use crate::inspect::{Detector, Finding};
use crate::results::{Existing, Judge, Named, Output, Picture, Pictures, Tally, Threshold};

/// Bytes that images in work may hold together, by estimate.
const MEMORY: u64 = 3 << 30;

/// Bytes that a pixel of an image in work takes at most: the image, its map, and pictures before and after encoding.
const BYTES_PER_PIXEL: u64 = 40;

/// Threads at most, whatever the machine.
const MAX_THREADS: usize = 32;

/// How images are read and results written; the default is what most users want.
#[derive(Clone, Debug, Default)]
pub struct JobOptions {
    /// What to do with results that are already there.
    pub existing: Existing,
    /// Decides on scores, and cuts masks and regions; without it, the threshold of the profile, else none.
    pub threshold: Option<f32>,
    /// Values drawn as the coldest and the hottest colour, instead of those of the method.
    pub range: Option<[f32; 2]>,
    /// Pictures of each image; by default all, the mask where there is a value to cut at.
    pub save: Option<Vec<Picture>>,
    /// Whether `report.html` is written.
    pub report: bool,
    /// Part of the inputs.
    pub shard: Option<Shard>,
    /// How images are read.
    pub read: ReadOptions,
    /// Images in work at the same time; by default one for each core and one more.
    pub threads: Option<usize>,
}
