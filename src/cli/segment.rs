//! `segment`: masks for boxes on a photo (Segment Anything).

use std::path::{Path, PathBuf};

use clap::Args;
use zsas::Result;
use zsas::image::BoundingBox;
use zsas::inspect::{DeviceRequest, MaskFinder, MaskJob, MaskOptions};
use zsas::models::{sam, store};
use zsas::results::{Existing, MaskFile, MasksRecord, RESULTS};

use crate::cli::device::{DeviceArgs, lose_at};
use crate::cli::photos::{PhotoArgs, output_folder};
use crate::cli::signals::Signals;
use crate::cli::{Exit, choice, of_weights, talk, usage};

const AFTER: &str = "\
What lands in the output folder, under the photo's name: for each box, in their order, a mask
PHOTO.1.mask.png, PHOTO.2.mask.png …, 0 outside and 255 inside, at the photo's own size;
PHOTO.overlay.png, all masks with their boxes, each in a colour; PHOTO.1.tiff … if asked for;
`results.jsonl`, a line with each mask's box (two corners), files, area, `bbox` (left, top, width,
height), and `iou`, the network's estimate of its overlap with the true mask, which may leave 0…1;
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

    /// A box: its upper left and lower right corner in pixels of the upright photo; may be given several times
    #[arg(long = "box", value_name = "X0,Y0,X1,Y1", required = true, value_parser = parse_box, allow_hyphen_values = true)]
    boxes: Vec<BoundingBox>,

    /// Folder for everything that is written
    #[arg(short, long, value_name = "DIR", value_parser = output_folder())]
    output: PathBuf,

    /// A snapshot of Segment Anything, or a folder of snapshots named by network; without it $ZSAS_WEIGHTS
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Which files, as `mask,logits`; by default masks and overlay
    #[arg(long, value_parser = choice::mask_file(), value_delimiter = ',', help_heading = "Output")]
    save: Option<Vec<Option<MaskFile>>>,

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

/// Parses a box; the error explains its format.
fn parse_box(text: &str) -> std::result::Result<BoundingBox, String> {
    text.parse().map_err(|error| format!("{error:#}"))
}

/// Segments the photo.
pub fn run(args: &SegmentArgs) -> Result<Exit> {
    let (options, lose_at) = (args.options()?, lose_at()?);
    // Photo and output are checked before weights are read or a device is opened.
    let mut job = MaskJob::new(&args.image, &args.output, options)?;
    if !args.quiet {
        job.warnings().iter().for_each(|warning| talk::say(format_args!("warning: {warning}")));
    }
    let of_weights = of_weights(args.weights.as_deref());
    let weights = store::find(&sam::NETWORK, args.weights.as_deref()).map_err(&of_weights)?;
    let (_bar, observer) = talk::watch(args.quiet);
    let request = DeviceRequest { options: args.device.options()?, observer: Some(observer), lose_at };
    let finder = MaskFinder::open(request, weights, args.device.precision.or_f32()).map_err(&of_weights)?;
    args.device.describe(&finder.device(), args.quiet);
    let found = job.find(&finder)?;
    // Until here a signal ends the program at once and nothing is written; from here on `run.json` has to say it.
    let signals = Signals::watch()?;
    let (record, line) = match job.write(&finder, &found, || signals.received())? {
        Ok(written) => written,
        Err(signal) => return Ok(Exit::Signal(signal)),
    };
    if !args.quiet {
        summarize(job.root(), &record);
    }
    if args.json {
        talk::print_line(line)?;
    }
    Ok(Exit::Done)
}

impl SegmentArgs {
    fn options(&self) -> Result<MaskOptions> {
        Ok(MaskOptions {
            boxes: self.boxes.clone(),
            save: self.save()?,
            existing: if self.overwrite { Existing::Overwrite } else { Existing::Refuse },
            read: self.photos.options(),
            tier: self.device.kernels,
        })
    }

    /// Kinds of files to write.
    fn save(&self) -> Result<Vec<MaskFile>> {
        let Some(save) = &self.save else { return Ok(MaskFile::DEFAULT.to_vec()) };
        if save.contains(&None) && save.len() > 1 {
            return Err(usage("`--save none` stands alone"));
        }
        Ok(save.iter().copied().flatten().collect())
    }
}

fn summarize(root: &Path, record: &MasksRecord) {
    let pixels = (record.head.size[0] * record.head.size[1]) as f64;
    for (at, mask) in record.masks.iter().enumerate() {
        let share = 100.0 * mask.area as f64 / pixels;
        let files = [&mask.file, &mask.logits].into_iter().flatten();
        let files: String = files.map(|file| format!(", {}", root.join(file).display())).collect();
        talk::say(format_args!("mask {}: {share:.1} % of the photo, estimated overlap {:.2}{files}", at + 1, mask.iou));
    }
    if let Some(overlay) = &record.overlay {
        talk::say(format_args!("overlay: {}", root.join(overlay).display()));
    }
    talk::say(format_args!("records: {}", root.join(RESULTS).display()));
}
