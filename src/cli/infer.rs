//! `infer`: photos in; scores, maps, pictures and a report out.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use indicatif::ProgressBar;
use zsas::files::write_whole;
use zsas::inputs::{self, Input, LeftOut, Shard};
use zsas::inspect::{Detector, DetectorBuilder, Job, JobOptions, Outcome, Plan, RegionOfInterest, ScoreOptions, Scoring};
use zsas::methods::saa::Part;
use zsas::methods::{BuildStep, Memory, MultiCrop, Reading, Reference, Tiles};
use zsas::results::{Existing, Picture, REPORT, RESULTS};
use zsas::uninspected::Reason;
use zsas::{Checkpoint, Code, Error, Result};

use crate::cli::console::{Console, summary};
use crate::cli::device::{DeviceArgs, lose_at};
use crate::cli::numbers::{parse_count, parse_number, parse_range};
use crate::cli::photos::{PhotoArgs, output_folder};
use crate::cli::signals::Signals;
use crate::cli::{Exit, cache, choice, env, of_weights, talk, usage};

const AFTER: &str = "\
What lands in the output folder: `results.jsonl` (a line per photo), `run.json` (what ran), and
for each photo, under its own relative path, a float map (.tiff), a mask, a heatmap and an overlay.
Colours mean the same in every picture of a run.

Examples:
  zsas-gpu infer photos/ --output found --report
  zsas-gpu infer a.png b.jpg --output out --save overlay --method utad --threshold 2
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

    /// How anomalies are found; `auto` takes the strongest method whose weights are on this machine
    #[arg(long, value_parser = choice::method(), default_value = "auto")]
    method: String,

    /// A snapshot, a folder of snapshots named by network, or `embedded`; without it $ZSAS_WEIGHTS, then those inside this binary, on which
    /// utad, saliency, patchcore, spade and padim run
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Whether a method follows the published code, the paper's equations or a public reproduction; by default the method's own choice, which
    /// `run.json` names
    #[arg(long, value_parser = choice::reading())]
    reading: Option<Reading>,

    /// Parts of saa+ to leave out, as in the ablations of its paper
    #[arg(long, value_parser = choice::part(), value_delimiter = ',', value_name = "PART")]
    without: Vec<Part>,

    /// Scores from here on are anomalous; also cuts mask and regions, which without it are cut at the level stored with the weights
    #[arg(long, value_name = "X", value_parser = parse_number, allow_negative_numbers = true)]
    threshold: Option<f32>,

    /// `anomaly`: exit with 4 when a photo is anomalous, which needs a threshold; `uninspected`: exit with 3 when anything was left out or
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

    #[command(flatten)]
    photos: PhotoArgs,

    /// What is inspected, in English, as `bottle` or `metal nut`; a class of MVTec AD, VisA, MPDD, KSDD2 (`ksdd2`) or MTD (`mtd`) by its
    /// folder, or any other [default: object]
    #[arg(long, value_name = "NAME", conflicts_with = "profile", help_heading = "Class and references")]
    class: Option<String>,

    /// Class, threshold, phrases of its own for good and bad ones (methods on CLIP) and captions (`[saa]`), from a TOML file
    #[arg(long, value_name = "FILE", help_heading = "Class and references")]
    profile: Option<PathBuf>,

    /// Photos of good ones to compare with (winclip+, patchcore, spade, padim): files, folders, globs; inputs are written before it
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., help_heading = "Class and references")]
    normal: Vec<PathBuf>,

    /// The memory of good photos that an earlier run saved (`--save-memory`), instead of `--normal`
    #[arg(long, value_name = "FILE", conflicts_with = "normal", help_heading = "Class and references")]
    memory: Option<PathBuf>,

    /// Save the memory of the good photos, for `--memory` of later runs
    #[arg(long, value_name = "FILE", requires = "normal", help_heading = "Class and references")]
    save_memory: Option<PathBuf>,

    /// Views of a photo whose scores are averaged (winclip, winclip+)
    #[arg(long, value_parser = choice::views(), default_value = "none", help_heading = "Class and references")]
    multi_crop: MultiCrop,

    /// Inspect the whole photo in squares, N along its shorter side (utad, which without it inspects the central square less a tenth on each
    /// side); 1: squares as large as the shorter side; more are smaller, and see smaller defects
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "What is inspected")]
    tiles: Option<NonZeroUsize>,

    /// Share of their side that neighbouring squares overlap by [default: 0.2, or what the method needs: 0.25 for utad]
    #[arg(long, value_name = "SHARE", requires = "tiles", help_heading = "What is inspected")]
    tile_overlap: Option<f64>,

    /// Inspect the pixels alone that are not black in this PNG, which is as large as the upright photos; not for methods that score the photo
    /// as a whole (winclip, winclip+, clip-ac, image-tiling)
    #[arg(long, value_name = "MASK", help_heading = "What is inspected")]
    roi: Option<PathBuf>,

    /// Photos in work at the same time; by default one for each core and one more
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Device")]
    parallel: Option<NonZeroUsize>,

    #[command(flatten)]
    device: DeviceArgs,
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
    let (references, references_left_out) = args.find_references()?;
    let job = Job::new(&args.inputs, &args.output, args.job_options())?;
    let signals = Signals::watch()?;
    let building = Building::new(args.quiet, &signals);
    let region = args.region(&job)?;
    let of_weights = of_weights(args.weights.as_deref());
    let plan = args.builder(references, &building)?.region_of_interest(region).plan().map_err(&of_weights)?;
    if args.fail_on.contains(&FailOn::Anomaly) && args.threshold.or(plan.threshold()).is_none() {
        return Err(no_threshold());
    }
    if plan.is_automatic() && !args.quiet {
        say_choice(&plan);
    }
    let opened = plan.open().map_err(&of_weights);
    building.finish();
    let detector = match (opened, signals.received()) {
        (Err(_), Some(number)) => return Ok(Exit::Signal(number)),
        (opened, _) => opened?,
    };
    args.device.describe(&detector.device(), args.quiet);

    let root = job.root().to_owned();
    let save_memory = || {
        let Some(file) = &args.save_memory else { return Ok(()) };
        detector.memory_file()?.map_or(Ok(()), |bytes| write_whole(file, &bytes))
    };
    let console = Console::new(detector.device(), signals, (args.json, args.quiet), &save_memory);
    let scoring = Scoring::new(&detector, ScoreOptions { references_left_out, ..args.score_options() })?;
    let outcome = job.run(&scoring, &console)?;
    console.finish();
    if !args.quiet {
        args.summarize(&root, &outcome, scoring.threshold(), &detector.device().name());
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
        .hint("add `--threshold X`, a score a little above those of good photos in results.jsonl, or `threshold = X` to the profile")
}

/// Says which method was chosen and why, and how to get the next better one.
fn say_choice(plan: &Plan) {
    let method = plan.method();
    let weights: Vec<String> = plan
        .weights()
        .iter()
        .map(|found| format!("`{}` ({})", found.checkpoint.name(), found.origin))
        .collect();
    let better = match (method.inputs.text, plan.has_references()) {
        _ if method.name == "saa+" => "the strongest here",
        (true, true) => "the strongest here with good photos",
        (true, false) => {
            "the strongest here without good photos; `--normal PHOTOS` makes it winclip+, `--method saa+` says how to get weights of saa+"
        }
        (false, _) => "the strongest here; `--method winclip` says how to get weights of CLIP, which know objects",
    };
    talk::say(format_args!("method: {} on the weights {}: {better}", method.name, weights.join(", ")));
}

/// Refuses to write a memory over anything but a memory, or into a folder that does not exist, before hours of work.
fn check_target(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("`--save-memory {}`: there is no folder `{}`", file.display(), folder.display())));
    }
    if file.exists() && !Checkpoint::open(file).is_ok_and(|checkpoint| Memory::is_memory(&checkpoint)) {
        return Err(usage(format!("`--save-memory {}` would overwrite a file that is no memory", file.display())));
    }
    Ok(())
}

/// Progress bars for the building of a method.
struct Building {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    is_quiet: bool,
    signals: Signals,
}

impl Building {
    fn new(is_quiet: bool, signals: &Signals) -> Building {
        Building { bar: Arc::default(), is_quiet, signals: signals.clone() }
    }

    /// Shows each step; an error where a signal came, which ends the building.
    fn observer(&self) -> impl Fn(BuildStep) -> Result<()> + Send + Sync + 'static {
        let (bar, is_quiet, signals) = (Arc::clone(&self.bar), self.is_quiet, self.signals.clone());
        move |step| {
            if let Some(number) = signals.received() {
                return Err(usage(format!("stopped by signal {number}")));
            }
            let (done, count, what) = match step {
                BuildStep::Prompts(done, count) => (done, count, "prompts"),
                BuildStep::References(done, count) => (done, count, "references"),
            };
            if matches!(step, BuildStep::Prompts(0, _)) && !is_quiet {
                talk::say(format_args!("embedding {count} prompts, once for this class, these weights and this device"));
            }
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            let bar = bar.get_or_insert_with(|| talk::progress(count as u64, is_quiet).with_message(what));
            bar.set_position(done as u64);
            if done == count {
                bar.finish_and_clear();
            }
            Ok(())
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

impl InferArgs {
    /// Finds contradictions that need no file and no device.
    fn check(&self) -> Result<()> {
        if self.fail_on.contains(&FailOn::Anomaly) && self.threshold.is_none() && self.profile.is_none() {
            return Err(no_threshold());
        }
        if self.save.as_ref().is_some_and(|save| save.contains(&None) && save.len() > 1) {
            return Err(usage("`--save none` stands alone"));
        }
        if self.normal.iter().any(|path| path.as_os_str() == "-") {
            return Err(usage("`--normal` takes files, folders and globs; a list on standard input is for the photos to be scored"));
        }
        self.save_memory.as_deref().map_or(Ok(()), check_target)
    }

    fn existing(&self) -> Existing {
        match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }

    /// The choices as the library takes them.
    fn builder(&self, references: Vec<Input>, building: &Building) -> Result<DetectorBuilder> {
        let mut builder = Detector::builder()
            .method(&self.method)
            .reading(self.reading)
            .views(self.multi_crop)
            .tiles(self.tiles()?)
            .without(self.without.iter().copied())
            .precision(self.device.precision.0)
            .device(self.device.options()?)
            .cache(cache::folder())
            .references(self.references(references)?)
            .observe_building(Arc::new(building.observer()))
            .lose_device_at(lose_at()?);
        if let Some(place) = &self.weights {
            builder = builder.weights(place);
        }
        if let Some(class) = &self.class {
            builder = builder.class(class);
        }
        if let Some(file) = &self.profile {
            builder = builder.profile(file);
        }
        if let Some(file) = &self.memory {
            builder = builder.memory(file);
        }
        Ok(builder)
    }

    /// The squares of `--tiles`.
    fn tiles(&self) -> Result<Option<Tiles>> {
        self.tiles.map(|count| Tiles::new(count.get(), self.tile_overlap)).transpose()
    }

    /// The region of `--roi`; an error where it fits none of the photos.
    fn region(&self, job: &Job) -> Result<Option<RegionOfInterest>> {
        let read = self.photos.options();
        let region = self.roi.as_deref().map(|file| RegionOfInterest::open(file, &read)).transpose()?;
        region.as_ref().map_or(Ok(()), |region| region.check_any(job.files(), &read))?;
        Ok(region)
    }

    /// The files of `--normal`, and what its folders hold beside them.
    fn find_references(&self) -> Result<(Vec<Input>, LeftOut)> {
        if self.normal.is_empty() {
            return Ok(Default::default());
        }
        let unusable = |error: Error| Error::new(Code::Reference, error.message()).context("as reference images, given by `--normal`");
        let found = inputs::find(&self.normal, &self.output).map_err(unusable)?;
        Ok((found.inputs, found.left_out))
    }

    /// Reference images, each decoded once to see that it can be.
    fn references(&self, files: Vec<Input>) -> Result<Vec<Reference>> {
        let open = |input: Input| Reference::file(input.path, input.file, self.photos.options());
        let references: Vec<Reference> = files.into_iter().map(open).collect::<Result<_>>()?;
        let mut said = HashSet::new();
        for reference in &references {
            for warning in reference.warnings.iter().filter(|warning| !self.quiet && said.insert(*warning)) {
                talk::say(format_args!("warning: reference image {}: {warning}; others like it are not named", reference.name));
            }
        }
        Ok(references)
    }

    fn job_options(&self) -> JobOptions {
        JobOptions {
            existing: self.existing(),
            shard: self.shard,
            read: self.photos.options(),
            threads: self.parallel.map(NonZeroUsize::get),
            tier: self.device.kernels,
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

    fn summarize(&self, root: &Path, outcome: &Outcome, threshold: Option<f32>, device: &str) {
        let counts = outcome.tally.counts;
        talk::say(summary(outcome, device));
        if let Some(threshold) = threshold {
            talk::say(format_args!("{} anomalous at {threshold}", counts.anomalous));
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
