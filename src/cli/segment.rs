//! `segment`: boxes on a photo in, masks out (Segment Anything).

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;
use zsas::image::ReadOptions;
use zsas::image::{BoundingBox, Channels, Mask, Rgb, distinct_color, encode_mask_png, encode_rgb_png, encode_tiff, paint_box, paint_mask};
use zsas::inputs;
use zsas::methods::{Segment, Segmenter};
use zsas::models::store::{self, FoundWeights};
use zsas::models::{Sam, sam};
use zsas::{Device, Result, Tier};

use crate::cli::device::{DeviceArgs, lose_at};
use crate::cli::photos::PhotoArgs;
use crate::cli::{Exit, talk, usage};
use zsas::results::{Counts, Existing, Head, Milliseconds, Output, RESULTS, RunFile, milliseconds};

/// Ending of the overlay's name.
const OVERLAY_ENDING: &str = ".overlay.png";

/// Cover of the photo by a mask's colour.
const OPACITY: f32 = 0.5;

const AFTER: &str = "\
What lands in the output folder, under the photo's name: for each box, in their order, a mask
PHOTO.1.mask.png, PHOTO.2.mask.png …, 0 outside and 255 inside, at the photo's own size;
PHOTO.overlay.png, all masks with their boxes, in ten colours; PHOTO.1.tiff … if asked for;
`results.jsonl`, a line with each mask's box (two corners), files, area, `bbox` (left, top, width,
height), and `iou`, the network's own estimate of its overlap with the truth, which may leave 0…1;
`run.json` (what ran).

Weights are those of facebook/sam-vit-base, -large or -huge, or the official .pth files as
tools/convert.py rewrites them. The photo is encoded once, whatever the number of boxes.

Examples:
  zsas-gpu segment part.png --box 120,80,410,300 --output masks --weights snapshots
  zsas-gpu segment a.png --box 0,0,99.5,50 --box 200,40,260,90 -o out --weights sam-vit-huge --json";

/// Options of `segment`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct SegmentArgs {
    /// The photo
    image: PathBuf,

    /// What to cut out: the upper left and the lower right corner in pixels of the upright photo; again for each further one
    #[arg(long = "box", value_name = "X0,Y0,X1,Y1", required = true, value_parser = parse_box, allow_hyphen_values = true)]
    boxes: Vec<BoundingBox>,

    /// Folder for everything that is written
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// A snapshot of Segment Anything, or a folder of snapshots named by network; without it $ZSAS_WEIGHTS
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Which files, as `mask,logits`; by default masks and overlay
    #[arg(long, value_enum, value_delimiter = ',', help_heading = "Output")]
    save: Option<Vec<Picture>>,

    /// Print the record to stdout as well
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Remove the results of an earlier run first
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    /// No summary, no warnings, no progress
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    #[command(flatten)]
    photos: PhotoArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// A kind of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Picture {
    /// Each mask, 0 and 255 (PNG)
    Mask,
    /// Photo with all masks and boxes on it (PNG)
    Overlay,
    /// The logits each mask is cut from at 0 (TIFF, f32, one channel)
    Logits,
    /// Nothing but the record
    None,
}

/// Everything that changes a result.
#[derive(Debug, Serialize)]
struct Parameters {
    network: &'static str,
    boxes: Vec<BoundingBox>,
    precision: &'static str,
    save: Vec<Picture>,
    /// How the photo is read.
    #[serde(flatten)]
    read: ReadOptions,
}

/// Wishes that leave results alone.
#[derive(Debug, Serialize)]
struct Invocation {
    /// Shape of kernels that was forced.
    kernels: Option<&'static str>,
}

/// The line of `results.jsonl`.
#[derive(Debug, Serialize)]
struct Record {
    #[serde(flatten)]
    head: Head,
    masks: Vec<MaskRecord>,
    overlay: Option<String>,
    ms: Milliseconds,
    warnings: Vec<String>,
}

/// What came of a box.
#[derive(Debug, Serialize)]
struct MaskRecord {
    #[serde(rename = "box")]
    bounds: BoundingBox,
    file: Option<String>,
    logits: Option<String>,
    /// The network's own estimate.
    iou: f32,
    /// Number of pixels.
    area: usize,
    /// Left, top, width, height; null for an empty mask.
    bbox: Option<[usize; 4]>,
}

/// The masks of a photo, and how long they took.
struct Found {
    segments: Vec<Segment>,
    pre: Duration,
    device: Duration,
}

fn mask_ending(number: usize) -> String {
    format!(".{number}.mask.png")
}

fn logits_ending(number: usize) -> String {
    format!(".{number}.tiff")
}

/// The files of a photo with so many masks.
fn names(name: &str, masks: usize, save: &[Picture]) -> Vec<String> {
    let mut endings = Vec::new();
    for mask in 1..=masks {
        endings.extend(save.contains(&Picture::Mask).then(|| mask_ending(mask)));
        endings.extend(save.contains(&Picture::Logits).then(|| logits_ending(mask)));
    }
    endings.extend(save.contains(&Picture::Overlay).then(|| OVERLAY_ENDING.to_owned()));
    endings.into_iter().map(|ending| format!("{name}{ending}")).collect()
}

/// Reads `x0,y0,x1,y1`.
fn parse_box(text: &str) -> std::result::Result<BoundingBox, String> {
    let corners: Option<Vec<f32>> = text.split(',').map(|corner| corner.trim().parse().ok()).collect();
    let corners: Option<[f32; 4]> = corners.and_then(|corners| corners.try_into().ok());
    let corners = corners.ok_or("expected four numbers, as in `120,80,410,300`")?;
    BoundingBox::new(corners).map_err(|error| format!("{error:#}"))
}

/// Segments the photo.
pub fn run(args: &SegmentArgs) -> Result<Exit> {
    let (save, lose_at) = (args.save()?, lose_at()?);
    // Photo and output are checked before weights are read or a device is opened.
    let found = inputs::find(std::slice::from_ref(&args.image), &args.output)?.inputs;
    if found.len() > 1 {
        return Err(usage(format!("`{}` names {} photos, and boxes belong to one", args.image.display(), found.len())));
    }
    let start = Instant::now();
    let decoded = args.photos.options().open(&found[0].file)?;
    let photo = decoded.image;
    let decode = start.elapsed();
    let mut warnings: Vec<String> = decoded.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(args.check_boxes(&photo)?);
    if !args.quiet {
        warnings.iter().for_each(|warning| talk::say(format_args!("warning: {warning}")));
    }
    let mut output = Output::open(&args.output, if args.overwrite { Existing::Overwrite } else { Existing::Refuse })?;
    let input = output.name(found).remove(0);
    let weights = store::find(&sam::NETWORK, args.weights.as_deref())?;
    let mut device = args.device.open(args.quiet)?;
    let mut run_file = args.run_file(&device, &weights, save.clone())?;
    let found = args.find(&mut device, &weights, &photo, &lose_at)?;

    run_file.files = names(&input.name, args.boxes.len(), &save);
    output.begin()?;
    run_file.write(&output)?;
    let written = Pictures { output: &output, name: &input.name, save }.write(&photo, &args.boxes, &found.segments);
    let kept = written.and_then(|written| {
        let record = Record {
            head: Head::new(&input.path, input.output(), [photo.width(), photo.height()], sam::NETWORK.name),
            masks: written.masks,
            overlay: written.overlay,
            ms: Milliseconds { decode, pre: found.pre, device: found.device, post: written.post, write: written.write },
            warnings,
        };
        output.append(&record).map(|line| (record, line))
    });
    run_file.status = if kept.is_ok() { "done" } else { "failed" };
    run_file.error = kept.as_ref().err().map(ToString::to_string);
    run_file.counts = Some(Counts {
        inputs: 1,
        scored: usize::from(kept.is_ok()),
        failed: usize::from(kept.is_err()),
        ..Counts::default()
    });
    run_file.seconds = Some(milliseconds(start.elapsed()) / 1e3);
    let told = run_file.write(&output);
    let (record, line) = kept?;
    told?;
    if !args.quiet {
        args.summarize(&output, &record);
    }
    if args.json {
        talk::print_line(line)?;
    }
    Ok(Exit::Done)
}

impl SegmentArgs {
    /// The kinds of files that are wanted.
    fn save(&self) -> Result<Vec<Picture>> {
        let mut save = self.save.clone().unwrap_or_else(|| vec![Picture::Mask, Picture::Overlay]);
        if save.contains(&Picture::None) && save.len() > 1 {
            return Err(usage("`--save none` stands alone"));
        }
        save.retain(|&picture| picture != Picture::None);
        Ok(save)
    }

    /// Refuses boxes beside the photo; warns of those that leave it.
    fn check_boxes(&self, photo: &Rgb) -> Result<Vec<String>> {
        let (width, height) = (photo.width(), photo.height());
        let mut warnings = Vec::new();
        for bounds in &self.boxes {
            let [x0, y0, x1, y1] = bounds.corners();
            if !bounds.meets(width, height) {
                return Err(usage(format!("the box {x0},{y0},{x1},{y1} lies beside the photo, which is {width}×{height}")));
            }
            if !bounds.is_within(width, height) {
                warnings.push(format!("the box {x0},{y0},{x1},{y1} reaches beyond the photo, which is {width}×{height}"));
            }
        }
        Ok(warnings)
    }

    /// Encodes the photo and decodes the boxes. A device that was lost or hangs is opened anew, and everything tried once more.
    fn find(&self, device: &mut Device, weights: &FoundWeights, photo: &Rgb, lose_at: &HashSet<usize>) -> Result<Found> {
        let attempt = |number, device: &Device| {
            if lose_at.contains(&number) {
                device.lose();
            }
            self.attempt(device, weights, photo)
        };
        match attempt(1, device) {
            Err(error) if device.fault().is_some() => {
                log::warn!("{error}; it is opened anew and the photo tried again");
                *device = self.device.open(true)?;
                attempt(2, device)
            }
            found => found,
        }
    }

    fn attempt(&self, device: &Device, weights: &FoundWeights, photo: &Rgb) -> Result<Found> {
        let network = Sam::load(&weights.checkpoint)?;
        weights.checkpoint.finish();
        let segmenter = Segmenter::new(device, network, self.device.precision)?;
        let _watch = talk::Watch::new(device, self.quiet);
        let start = Instant::now();
        let prepared = segmenter.prepare(photo, Channels::Rgb);
        let pre = start.elapsed();
        let encoded = segmenter.encode(&prepared)?;
        let segments = segmenter.segment(&encoded, &self.boxes)?;
        Ok(Found { segments, pre, device: start.elapsed() - pre })
    }

    fn run_file(&self, device: &Device, weights: &FoundWeights, save: Vec<Picture>) -> Result<RunFile<Parameters, Invocation>> {
        let parameters = Parameters {
            network: sam::NETWORK.name,
            boxes: self.boxes.clone(),
            precision: self.device.precision.as_str(),
            save,
            read: self.photos.options(),
        };
        let invocation = Invocation { kernels: self.device.kernels.map(Tier::as_str) };
        Ok(RunFile::new(device, weights.identity()?, parameters, invocation))
    }

    fn summarize(&self, output: &Output, record: &Record) {
        let pixels = (record.head.size[0] * record.head.size[1]) as f64;
        for (at, mask) in record.masks.iter().enumerate() {
            let share = 100.0 * mask.area as f64 / pixels;
            let files = [&mask.file, &mask.logits].into_iter().flatten();
            let files: String = files.map(|file| format!(", {}", output.root().join(file).display())).collect();
            talk::say(format_args!("mask {}: {share:.1} % of the photo, estimated overlap {:.2}{files}", at + 1, mask.iou));
        }
        if let Some(overlay) = &record.overlay {
            talk::say(format_args!("overlay: {}", output.root().join(overlay).display()));
        }
        talk::say(format_args!("records: {}", output.root().join(RESULTS).display()));
    }
}

/// Writes the files of a photo.
struct Pictures<'a> {
    output: &'a Output,
    name: &'a str,
    save: Vec<Picture>,
}

/// What was written, and how long drawing and writing took.
struct Written {
    masks: Vec<MaskRecord>,
    overlay: Option<String>,
    post: Duration,
    write: Duration,
}

impl Pictures<'_> {
    /// Mask after mask, since those of a large photo together might not fit into memory; then the overlay.
    fn write(&self, photo: &Rgb, boxes: &[BoundingBox], segments: &[Segment]) -> Result<Written> {
        let mut written = Written { masks: Vec::new(), overlay: None, post: Duration::ZERO, write: Duration::ZERO };
        let mut painted = self.save.contains(&Picture::Overlay).then(|| photo.clone());
        for (at, (segment, &bounds)) in segments.iter().zip(boxes).enumerate() {
            let start = Instant::now();
            let logits = segment.logits();
            let mask = Mask::of_positive(&logits);
            if let Some(painted) = &mut painted {
                paint_mask(painted, &mask, distinct_color(at), OPACITY);
            }
            let drawn = Instant::now();
            written.masks.push(MaskRecord {
                bounds,
                file: self.file(Picture::Mask, &mask_ending(at + 1), || encode_mask_png(&mask))?,
                logits: self.file(Picture::Logits, &logits_ending(at + 1), || encode_tiff(&logits))?,
                iou: segment.iou,
                area: mask.area(),
                bbox: mask.bbox(),
            });
            written.post += drawn - start;
            written.write += drawn.elapsed();
        }
        if let Some(mut painted) = painted {
            let start = Instant::now();
            boxes
                .iter()
                .enumerate()
                .for_each(|(at, &bounds)| paint_box(&mut painted, bounds, distinct_color(at)));
            written.overlay = self.file(Picture::Overlay, OVERLAY_ENDING, || encode_rgb_png(&painted))?;
            written.write += start.elapsed();
        }
        Ok(written)
    }

    /// Writes a file of a kind, if that is wanted; returns its name.
    fn file(&self, picture: Picture, ending: &str, encode: impl FnOnce() -> Result<Vec<u8>>) -> Result<Option<String>> {
        if !self.save.contains(&picture) {
            return Ok(None);
        }
        self.output.write(&format!("{}{ending}", self.name), &encode()?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_four_numbers_with_an_inside() {
        assert_eq!(parse_box("1, 2.5,3,-0").map(BoundingBox::corners).ok(), None);
        assert_eq!(parse_box("-1, 2.5,3,4").map(BoundingBox::corners), Ok([-1.0, 2.5, 3.0, 4.0]));
        for wrong in ["", "1,2,3", "1,2,3,4,5", "1,2,x,4", "1,2,NaN,4", "1,2,inf,4", "3,2,1,4"] {
            assert!(parse_box(wrong).is_err(), "{wrong}");
        }
    }
}
