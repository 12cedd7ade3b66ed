//! `detect`: boxes of what a caption names (GroundingDINO).

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use zsas::Result;
use zsas::inputs::Shard;
use zsas::inspect::{BoxFinder, BoxOptions, DeviceRequest, Job, JobOptions, Outcome};
use zsas::models::grounding_dino::{self, Semantics};
use zsas::models::store;
use zsas::results::{COCO, Existing, REPORT, RESULTS};
use zsas::text::Caption;
use zsas::uninspected::Reason;

use crate::cli::console::{Console, summary};
use crate::cli::device::{DeviceArgs, lose_at};
use crate::cli::numbers::{parse_count, parse_share};
use crate::cli::photos::{PhotoArgs, output_folder};
use crate::cli::signals::Signals;
use crate::cli::{Exit, choice, env, of_weights, talk};

const AFTER: &str = "\
What lands in the output folder: `results.jsonl`, a line per photo with its boxes, the best first:
`box` (two corners in pixels), `bbox` (left, top, width, height), `phrase`, `tokens` (the words that
were found), `score`; PHOTO.overlay.png, the photo with its boxes, a colour for each phrase;
`run.json` (what ran); `coco.json` with `--format coco`.
A photo in which nothing is found has a record without boxes.

The score is the largest probability of any token of the caption, as in the original code: a piece
of a word, a full stop, or one of the marks [CLS] and [SEP] around it all. The phrase is the one
whose tokens are most probable together, though each may be less probable than the score.

Weights are those of IDEA-Research/grounding-dino-tiny or -base, or the official .pth files as
tools/convert.py rewrites them. Phrases are English: the vocabulary is.

Examples:
  zsas-gpu detect photos/ --text 'crack. hole. broken part.' --output found --weights snapshots
  zsas-gpu detect part.png --text scratch --text 'metal chip' -o out --weights snapshots --json
  zsas-gpu detect lot/ --text 'screw, nut' -o out --weights snapshots --format coco --nms 0.7";

/// Options of `detect`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct DetectArgs {
    /// Files, folders (searched through, hidden files and links aside), globs, or `-` for a list of paths on stdin
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// What to look for: phrases with full stops, commas or semicolons between them; may be given several times
    #[arg(long, value_name = "PHRASES", required = true)]
    text: Vec<String>,

    /// Folder for everything that is written
    #[arg(short, long, value_name = "DIR", value_parser = output_folder())]
    output: PathBuf,

    /// A snapshot of GroundingDINO, or a folder of snapshots named by network; without it $ZSAS_WEIGHTS
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Boxes with a token that is more probable than this are kept; any of the caption counts, `[CLS]`, `[SEP]` and full stops too
    #[arg(long, value_name = "P", default_value_t = BoxOptions::default().box_threshold, value_parser = parse_share)]
    box_threshold: f32,

    /// Words that are more probable than this are named in `tokens`
    #[arg(long, value_name = "P", default_value_t = BoxOptions::default().text_threshold, value_parser = parse_share)]
    text_threshold: f32,

    /// Of boxes that overlap by more than this share of their union, the better one stays; by default all stay
    #[arg(long, value_name = "IOU", value_parser = parse_share)]
    nms: Option<f32>,

    /// Whose code is followed where two differ; only for comparison
    #[arg(long, value_parser = choice::semantics(), default_value = "original")]
    semantics: Semantics,

    /// `coco`: all boxes in one file in COCO's format as well, for labelling tools
    #[arg(long, value_parser = choice::box_format(), help_heading = "Output")]
    format: Option<BoxFormat>,

    /// No pictures of the photos with their boxes
    #[arg(long, help_heading = "Output")]
    no_overlay: bool,

    /// Write `report.html`: photos by their best box, to look at in a browser, from disk
    #[arg(long, help_heading = "Output")]
    report: bool,

    /// Print the records to stdout as well
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Keep what an earlier run found, do the rest
    #[arg(long, conflicts_with = "overwrite", help_heading = "Output")]
    resume: bool,

    /// Remove the results of an earlier run and start anew
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    /// No summary, no warnings, no failures one by one, no progress; the exit code tells
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Only part I of N of the inputs, I from 1; each part needs an output folder of its own
    #[arg(long, value_name = "I/N", value_parser = Shard::parse, help_heading = "Input")]
    shard: Option<Shard>,

    #[command(flatten)]
    photos: PhotoArgs,

    /// Photos in work at the same time; by default one for each core and one more
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Device")]
    parallel: Option<NonZeroUsize>,

    #[command(flatten)]
    device: DeviceArgs,
}

/// A format of boxes beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxFormat {
    /// COCO's.
    Coco,
}

/// Finds the boxes in all photos.
pub fn run(args: &DetectArgs) -> Result<Exit> {
    // Text, inputs and output are checked before weights are read or a device is opened.
    let caption = Caption::of_phrases(&args.text)?;
    if !args.quiet {
        caption.warnings().iter().for_each(|warning| talk::say(format_args!("warning: {warning}")));
    }
    let job = Job::new(&args.inputs, &args.output, args.job_options())?;
    let of_weights = of_weights(args.weights.as_deref());
    let weights = store::find(&grounding_dino::NETWORK, args.weights.as_deref()).map_err(&of_weights)?;
    let signals = Signals::watch()?;
    let (bar, observer) = talk::watch(args.quiet);
    let request = DeviceRequest { options: args.device.options()?, observer: Some(observer), lose_at: lose_at()? };
    let opened = BoxFinder::open(request, weights, args.device.precision.or_f32(), caption, args.box_options()).map_err(&of_weights);
    drop(bar);
    let finder = match (opened, signals.received()) {
        (Err(_), Some(number)) => return Ok(Exit::Signal(number)),
        (opened, _) => opened?,
    };
    args.device.describe(&finder.device(), args.quiet);
    let root = job.root().to_owned();
    let console = Console::new(finder.device(), signals, (args.json, args.quiet), &|| Ok(()));
    let outcome = job.run(&finder, &console)?;
    console.finish();
    if !args.quiet {
        args.summarize(&root, &outcome, &finder.device().name());
    }
    let has_failed = outcome.tally.counts.failed > 0 || outcome.uninspected.inputs.of(Reason::UnreadableFolder) > 0;
    outcome.end.map(|signal| match signal {
        Some(number) => Exit::Signal(number),
        None if has_failed => Exit::SomeFailed,
        None => Exit::Done,
    })
}

impl DetectArgs {
    fn job_options(&self) -> JobOptions {
        JobOptions {
            existing: match (self.resume, self.overwrite) {
                (true, _) => Existing::Resume,
                (_, true) => Existing::Overwrite,
                _ => Existing::Refuse,
            },
            shard: self.shard,
            read: self.photos.options(),
            threads: self.parallel.map(NonZeroUsize::get),
            tier: self.device.kernels,
            abort_at: std::env::var(env::ABORT_AT).ok(),
        }
    }

    fn box_options(&self) -> BoxOptions {
        BoxOptions {
            box_threshold: self.box_threshold,
            text_threshold: self.text_threshold,
            nms: self.nms,
            semantics: self.semantics,
            overlay: !self.no_overlay,
            report: self.report,
            coco: self.format == Some(BoxFormat::Coco),
        }
    }

    fn summarize(&self, root: &Path, outcome: &Outcome, device: &str) {
        talk::say(summary(outcome, device));
        for line in outcome.uninspected.lines() {
            talk::say(format_args!("warning: {line}"));
        }
        let seen = outcome.tally.worst();
        let found: Vec<_> = seen.iter().filter(|(score, _)| *score > 0.0).collect();
        if !found.is_empty() {
            talk::say("best boxes:");
        } else if !seen.is_empty() {
            talk::say("nothing found; a lower `--box-threshold` keeps less certain boxes");
        }
        for (score, path) in found {
            talk::say(format_args!("  {score:>6.3}  {path}"));
        }
        talk::say(format_args!("records: {}", root.join(RESULTS).display()));
        let files = [(self.format.is_some(), "boxes", COCO), (self.report, "report", REPORT)];
        for (_, what, file) in files.iter().filter(|(is_written, ..)| *is_written) {
            talk::say(format_args!("{what}: {}", root.join(file).display()));
        }
    }
}
