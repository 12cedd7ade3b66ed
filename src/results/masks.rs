//! Results of a segmentation (Segment Anything): the record of an image's masks, and their files.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Result;
use crate::image::{
    BoundingBox, Mask, ReadOptions, Rgb, distinct_color, encode_mask_png, encode_rgb_png, encode_tiff, paint_box, paint_mask,
};
use crate::methods::Segment;
use crate::results::{Head, Milliseconds, Output, Picture, RunFile};
use crate::uninspected::Uninspected;

/// Opacity of a mask's colour on the overlay.
const OPACITY: f32 = 0.5;

/// Kind of file that a segmentation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskFile {
    /// `NAME.1.mask.png`, `NAME.2.mask.png`, …
    Mask,
    /// `NAME.overlay.png`
    Overlay,
    /// `NAME.1.tiff`, `NAME.2.tiff`, …
    Logits,
}

impl MaskFile {
    /// The default kinds.
    pub const DEFAULT: [MaskFile; 2] = [MaskFile::Mask, MaskFile::Overlay];

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            MaskFile::Mask => "mask",
            MaskFile::Overlay => "overlay",
            MaskFile::Logits => "logits",
        }
    }

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            MaskFile::Mask => "Each mask, 0 and 255 (PNG)",
            MaskFile::Overlay => "Image with all masks and boxes on it (PNG)",
            MaskFile::Logits => "Logits of each mask, which holds the pixels above 0 (TIFF, f32, one channel)",
        }
    }
}

/// The run file of a segmentation.
pub type MaskRun = RunFile<MaskParameters, MaskInvocation>;

/// Parameters that change masks.
#[derive(Clone, Debug, Serialize)]
pub struct MaskParameters {
    /// The network.
    pub network: &'static str,
    /// The boxes, in pixels of the upright image.
    pub boxes: Vec<BoundingBox>,
    /// `f32`, `f16`.
    pub precision: &'static str,
    /// Kinds of files to write.
    pub save: Vec<MaskFile>,
    /// How the image is read.
    #[serde(flatten)]
    pub read: ReadOptions,
}

/// Options that do not change masks.
#[derive(Clone, Debug, Serialize)]
pub struct MaskInvocation {
    /// Tier of kernels that was forced.
    pub kernels: Option<&'static str>,
}

/// The record of a segmented image in `results.jsonl`.
#[derive(Debug, Serialize)]
pub struct MasksRecord {
    /// The image.
    #[serde(flatten)]
    pub head: Head,
    /// The mask of each box, in their order.
    pub masks: Vec<MaskRecord>,
    /// File of the overlay.
    pub overlay: Option<String>,
    /// Parts of the file that were not inspected.
    pub uninspected: Vec<Uninspected>,
    /// Time of each stage.
    pub ms: Milliseconds,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// The record of the mask of a box.
#[derive(Debug, Serialize)]
pub struct MaskRecord {
    /// The box.
    #[serde(rename = "box")]
    pub bounds: BoundingBox,
    /// File of the mask.
    pub file: Option<String>,
    /// File of the logits.
    pub logits: Option<String>,
    /// The network's estimate of the mask's intersection over union with the true mask; it may leave 0…1.
    pub iou: f32,
    /// Number of pixels.
    pub area: usize,
    /// Left, top, width, height; null for an empty mask.
    pub bbox: Option<[usize; 4]>,
}

/// Writer of the mask files of an image.
pub struct MaskFiles<'a> {
    /// The output folder.
    pub output: &'a Output,
    /// Name of the image, to which endings are added.
    pub name: &'a str,
    /// Kinds of files.
    pub save: &'a [MaskFile],
}

/// The masks that were written, with the time of drawing and writing.
pub struct WrittenMasks {
    /// The mask of each box.
    pub masks: Vec<MaskRecord>,
    /// File of the overlay.
    pub overlay: Option<String>,
    /// Time of scaling masks to the image's size and drawing them.
    pub post: Duration,
    /// Time of encoding and writing.
    pub write: Duration,
}

impl MaskFiles<'_> {
    /// Names of all files for this number of masks.
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

    /// Writes the masks one by one, since all masks of a large image might not fit into memory, then the overlay.
    ///
    /// `is_stopped` is called before each file; `None` once it returns true.
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
