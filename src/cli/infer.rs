//! `infer`: photos in; scores, maps, pictures and a report out.

use std::path::{Path, PathBuf};

use clap::Args;
use zsas::inputs::{LeftOut, Shard};
use zsas::inspect::{Detector, Job, JobOptions, Outcome, ScoreOptions, Scoring};
use zsas::results::{Calibration, Existing, Picture, REPORT, RESULTS};
use zsas::uninspected::Reason;
use zsas::{Error, Result};

use crate::cli::console::{Console, summary};
use crate::cli::method::{Building, MethodArgs, SubjectArgs};
use crate::cli::numbers::{parse_number, parse_range};
use crate::cli::photos::output_folder;
use crate::cli::signals::Signals;
use crate::cli::{Exit, choice, env, talk, usage};

const AFTER: &str = "\
What lands in the output folder: `results.jsonl` (a line per photo), `run.json` (what ran), and
for each photo, under its own relative path, a float map (.tiff), a mask, a heatmap and an overlay.
Colours mean the same in every picture of a run.

Examples:
  zsas-gpu infer photos/ --output found --report
  zsas-gpu infer a.png b.jpg --output out --save overlay --method utad --threshold 2
  zsas-gpu infer lot/ -o out --calibration calibration.toml --fail-on anomaly    # see `calibrate`
  zsas-gpu infer lot/ -o out --weights snapshots --class 'metal nut'
  zsas-gpu infer lot/ -o out --weights snapshots --class bottle --normal good/ --save-memory bottle.mem
  zsas-gpu infer lot/ -o out --weights snapshots --profile bottle.toml --memory bottle.mem
  zsas-gpu infer 'lot*/**/*.png' --output out --resume
  find /data -name '*.tif' | zsas-gpu infer - --output out --shard 2/8 --quiet
  zsas-gpu infer part.png -o out --method utad --threshold 2 --fail-on anomaly || echo stop";

/// Options of `infer`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct InferArgs {
    /// Files, folders (searched through, hidden files and links aside), globs, or `-` for a list of paths on stdin
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Folder for everything that is written
    #[arg(short, long, value_name = "DIR", value_parser = output_folder())]
    output: PathBuf,

    #[command(flatten)]
    method: MethodArgs,

    #[command(flatten)]
    subject: SubjectArgs,

    /// Scores from here on are anomalous; also cuts mask and regions, which without it are cut at the level stored with the weights
    #[arg(long, value_name = "X", value_parser = parse_number, allow_negative_numbers = true)]
    threshold: Option<f32>,

    /// Decide by a calibration that `calibrate` wrote; method, reading, class, views and precision are its own where they are not given, and
    /// whatever differs is refused
    #[arg(long, value_name = "FILE", conflicts_with = "threshold")]
    calibration: Option<PathBuf>,

    /// `anomaly`: exit with 4 when a photo is anomalous, which needs a threshold or a calibration; `uninspected`: exit with 3 when anything was left out or
    /// inspected in part
    #[arg(long, value_parser = choice::fail_on(), value_delimiter = ',', value_name = "WHAT")]
    fail_on: Vec<FailOn>,

    /// Values drawn as the coldest and the hottest colour, instead of those that come with the method
    #[arg(long, value_name = "LO,HI", value_parser = parse_range, allow_hyphen_values = true, help_heading = "Output")]
    range: Option<[f32; 2]>,

    /// Files for each photo; by default map, overlay and heatmap, and the mask where there is a value to cut at
    #[arg(long, value_parser = choice::picture(), value_delimiter = ',', help_heading = "Output")]
    save: Option<Vec<Option<Picture>>>,

    /// Write `report.html`: photos by score, to look at in a browser, from disk
    #[arg(long, help_heading = "Output")]
    report: bool,

    /// Print the records to stdout as well
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Keep what an earlier run scored, score the rest
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
}

/// What makes a run end with an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// A score that reaches the threshold.
    Anomaly,
    /// A file, page or part of a photo that was not inspected.
    Uninspected,
}

/// Scores all photos.
pub fn run(args: &InferArgs) -> Result<Exit> {
    args.check()?;
    // Inputs and output are checked before weights are read or a device is opened.
    let calibration = args.calibration.as_deref().map(Calibration::read).transpose()?;
    let references = args.subject.find_references(&args.output)?;
    let references_left_out = references.left_out.clone();
    let job = Job::new(&args.inputs, &args.output, args.job_options())?;
    let signals = Signals::watch()?;
    let building = Building::new(args.quiet, &signals);
    args.method.check_region(job.files())?;
    let mut builder = args
        .subject
        .add_to(args.method.builder(&building)?, references, args.method.photos.options(), args.quiet)?;
    if let Some(calibration) = calibration {
        builder = builder.calibration(calibration);
    }
    let plan = args.method.plan(builder)?;
    if args.fail_on.contains(&FailOn::Anomaly) && args.threshold.or(plan.threshold()).is_none() {
        return Err(no_threshold());
    }
    let detector = match args.method.open(plan, &building)? {
        Ok(detector) => detector,
        Err(signal) => return Ok(Exit::Signal(signal)),
    };

    let root = job.root().to_owned();
    let save_memory = || args.subject.save_memory(&detector);
    let console = Console::new(detector.device(), signals, (args.json, args.quiet), &save_memory);
    let scoring = Scoring::new(&detector, ScoreOptions { references_left_out, ..args.score_options() })?;
    let outcome = job.run(&scoring, &console)?;
    console.finish();
    if !args.quiet {
        args.summarize(&root, &outcome, scoring.threshold(), &detector);
    }
    let counts = outcome.tally.counts;
    outcome.end.map(|signal| match signal {
        Some(number) => Exit::Signal(number),
        None if args.fail_on.contains(&FailOn::Anomaly) && counts.anomalous > 0 => Exit::Anomaly,
        None if counts.failed > 0 || outcome.uninspected.inputs.of(Reason::UnreadableFolder) > 0 => Exit::SomeFailed,
        None if args.fail_on.contains(&FailOn::Uninspected) && !outcome.uninspected.is_empty() => Exit::SomeFailed,
        None => Exit::Done,
    })
}

fn no_threshold() -> Error {
    usage("`--fail-on anomaly` needs a threshold to decide by")
        .hint("`zsas-gpu calibrate GOOD_PHOTOS --output FILE` finds one, for `--calibration FILE`; or add `--threshold X`")
}

impl InferArgs {
    /// Finds contradictions that need no file and no device.
    fn check(&self) -> Result<()> {
        if self.fail_on.contains(&FailOn::Anomaly)
            && self.threshold.is_none()
            && self.calibration.is_none()
            && self.subject.profile.is_none()
        {
            return Err(no_threshold());
        }
        if self.save.as_ref().is_some_and(|save| save.contains(&None) && save.len() > 1) {
            return Err(usage("`--save none` stands alone"));
        }
        self.subject.check()
    }

    fn existing(&self) -> Existing {
        match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }

    fn job_options(&self) -> JobOptions {
        JobOptions {
            existing: self.existing(),
            shard: self.shard,
            read: self.method.photos.options(),
            threads: self.method.threads(),
            tier: self.method.device.kernels,
            abort_at: std::env::var(env::ABORT_AT).ok(),
        }
    }

    fn score_options(&self) -> ScoreOptions {
        ScoreOptions {
            threshold: self.threshold,
            range: self.range,
            save: self.save.as_ref().map(|save| save.iter().copied().flatten().collect()),
            report: self.report,
            references_left_out: LeftOut::default(),
        }
    }

    fn summarize(&self, root: &Path, outcome: &Outcome, threshold: Option<f32>, detector: &Detector) {
        let counts = outcome.tally.counts;
        talk::say(summary(outcome, &detector.device().name()));
        if let Some(threshold) = threshold {
            talk::say(format_args!("{} anomalous at {threshold}", counts.anomalous));
        }
        if let Some(calibration) = detector.calibration() {
            talk::say(format_args!("calibration: {}", calibration.confidence()));
        }
        for line in outcome.uninspected.lines() {
            talk::say(format_args!("warning: {line}"));
        }
        if outcome.uninspected.in_part.contains_key(&Reason::OutsideCrop) {
            talk::say("hint: `--tiles 1` inspects the whole of each photo");
        }
        if !outcome.tally.worst().is_empty() {
            talk::say("most anomalous:");
        }
        for (score, path) in outcome.tally.worst() {
            talk::say(format_args!("  {score:>9.4}  {path}"));
        }
        talk::say(format_args!("records: {}", root.join(RESULTS).display()));
        if self.report {
            talk::say(format_args!("report: {}", root.join(REPORT).display()));
        }
    }
}
