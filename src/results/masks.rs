//! Masks of boxes on one image (Segment Anything): their record, and the files they are written to.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Result;
use crate::image::{
    BoundingBox, Mask, ReadOptions, Rgb, distinct_color, encode_mask_png, encode_rgb_png, encode_tiff, paint_box, paint_mask,
};
use crate::methods::Segment;
use crate::results::{Head, Milliseconds, Output, Picture, RunFile};
use crate::uninspected::Uninspected;

/// Cover of the image by a mask's colour.
const OPACITY: f32 = 0.5;

/// A kind of files of the masks of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskFile {
    /// Each mask, 0 and 255 (PNG).
    Mask,
    /// The image with all masks and boxes on it (PNG).
    Overlay,
    /// The logits each mask is cut from at 0 (TIFF, f32, one channel).
    Logits,
}

impl MaskFile {
    /// What is written unless something else is asked for.
    pub const DEFAULT: [MaskFile; 2] = [MaskFile::Mask, MaskFile::Overlay];

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            MaskFile::Mask => "mask",
            MaskFile::Overlay => "overlay",
            MaskFile::Logits => "logits",
        }
    }

    /// What it holds, in a line.
    pub fn about(self) -> &'static str {
        match self {
            MaskFile::Mask => "Each mask, 0 and 255 (PNG)",
            MaskFile::Overlay => "Image with all masks and boxes on it (PNG)",
            MaskFile::Logits => "The logits each mask is cut from at 0 (TIFF, f32, one channel)",
        }
    }
}

/// What `run.json` says of a run that cuts out masks.
pub type MaskRun = RunFile<MaskParameters, MaskInvocation>;

/// Everything that changes a mask.
#[derive(Clone, Debug, Serialize)]
pub struct MaskParameters {
    /// The network.
    pub network: &'static str,
    /// What was asked for, in pixels of the upright image.
    pub boxes: Vec<BoundingBox>,
    /// `f32`, `f16`.
    pub precision: &'static str,
    /// Kinds of files.
    pub save: Vec<MaskFile>,
    /// How the image is read.
    #[serde(flatten)]
    pub read: ReadOptions,
}

/// Options that leave masks alone.
#[derive(Clone, Debug, Serialize)]
pub struct MaskInvocation {
    /// Tier of kernels that was forced.
    pub kernels: Option<&'static str>,
}

/// The line of `results.jsonl` of an image and its masks.
#[derive(Debug, Serialize)]
pub struct MasksRecord {
    /// The image.
    #[serde(flatten)]
    pub head: Head,
    /// The mask of each box, in their order.
    pub masks: Vec<MaskRecord>,
    /// File of the overlay.
    pub overlay: Option<String>,
    /// Parts of the file that were not looked at.
    pub uninspected: Vec<Uninspected>,
    /// Time of each stage.
    pub ms: Milliseconds,
    /// What a user should know.
    pub warnings: Vec<String>,
}

/// The mask of a box.
#[derive(Debug, Serialize)]
pub struct MaskRecord {
    /// The box.
    #[serde(rename = "box")]
    pub bounds: BoundingBox,
    /// File of the mask.
    pub file: Option<String>,
    /// File of the logits.
    pub logits: Option<String>,
    /// The network's own estimate of its overlap with the truth, which may leave 0…1.
    pub iou: f32,
    /// Number of pixels.
    pub area: usize,
    /// Left, top, width, height; null for an empty mask.
    pub bbox: Option<[usize; 4]>,
}

/// Writes the files of an image.
pub struct MaskFiles<'a> {
    /// The output folder.
    pub output: &'a Output,
    /// Name to which endings are added.
    pub name: &'a str,
    /// Kinds of files.
    pub save: &'a [MaskFile],
}

/// What was written, and how long drawing and writing took.
pub struct WrittenMasks {
    /// The mask of each box.
    pub masks: Vec<MaskRecord>,
    /// File of the overlay.
    pub overlay: Option<String>,
    /// Scaling masks to the image's size and drawing them.
    pub post: Duration,
    /// Time of encoding and writing.
    pub write: Duration,
}

impl MaskFiles<'_> {
    /// Names of the files of this many masks.
    pub fn names(&self, masks: usize) -> Vec<String> {
        let has = |kind| self.save.contains(&kind);
        let mut names = Vec::new();
        for number in 1..=masks {
            names.extend(has(MaskFile::Mask).then(|| self.mask_name(number)));
            names.extend(has(MaskFile::Logits).then(|| self.logits_name(number)));
        }
        names.extend(has(MaskFile::Overlay).then(|| self.overlay_name()));
        names
    }

    /// Writes mask after mask, since those of a large image together might not fit into memory; then the overlay.
    ///
    /// `is_stopped` is asked before each file; `None` once it says yes.
    pub fn write(
        &self,
        image: &Rgb,
        boxes: &[BoundingBox],
        segments: &[Segment],
        is_stopped: impl Fn() -> bool,
    ) -> Result<Option<WrittenMasks>> {
        let mut written = WrittenMasks { masks: Vec::new(), overlay: None, post: Duration::ZERO, write: Duration::ZERO };
        let mut painted = self.save.contains(&MaskFile::Overlay).then(|| image.clone());
        for (at, (segment, &bounds)) in segments.iter().zip(boxes).enumerate() {
            if is_stopped() {
                return Ok(None);
            }
            let start = Instant::now();
            let logits = segment.logits();
            let mask = Mask::of_positive(&logits);
            if let Some(painted) = &mut painted {
                paint_mask(painted, &mask, distinct_color(at), OPACITY);
            }
            let drawn = Instant::now();
            written.masks.push(MaskRecord {
                bounds,
                file: self.file(MaskFile::Mask, &self.mask_name(at + 1), || encode_mask_png(&mask))?,
                logits: self.file(MaskFile::Logits, &self.logits_name(at + 1), || encode_tiff(&logits))?,
                iou: segment.iou,
                area: mask.area(),
                bbox: mask.bbox(),
            });
            written.post += drawn - start;
            written.write += drawn.elapsed();
        }
        if is_stopped() {
            return Ok(None);
        }
        if let Some(mut painted) = painted {
            let start = Instant::now();
            for (at, &bounds) in boxes.iter().enumerate() {
                paint_box(&mut painted, bounds, distinct_color(at));
            }
            written.overlay = self.file(MaskFile::Overlay, &self.overlay_name(), || encode_rgb_png(&painted))?;
            written.write += start.elapsed();
        }
        Ok(Some(written))
    }

    /// Writes a file if its kind was asked for; returns its name.
    fn file(&self, kind: MaskFile, name: &str, encode: impl FnOnce() -> Result<Vec<u8>>) -> Result<Option<String>> {
        if !self.save.contains(&kind) {
            return Ok(None);
        }
        self.output.write(name, &encode()?).map(Some)
    }

    fn mask_name(&self, number: usize) -> String {
        Picture::Mask.file(&format!("{}.{number}", self.name))
    }

    fn logits_name(&self, number: usize) -> String {
        Picture::Map.file(&format!("{}.{number}", self.name))
    }

    fn overlay_name(&self) -> String {
        Picture::Overlay.file(self.name)
    }
}
