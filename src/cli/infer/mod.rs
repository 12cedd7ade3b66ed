//! `infer`: photos in; scores, maps, pictures and a report out.

mod language;
mod method;
mod pictures;
mod record;
mod report;
mod score;
mod session;
mod signals;
mod tally;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use zsas::methods::Reading;
use zsas::models::clip;
use zsas::models::store::{self, FoundWeights};
use zsas::{Code, Error, Result};

use crate::cli::device::{DeviceArgs, TierWish};
use crate::cli::infer::language::{Language, LanguageArgs, Told};
use crate::cli::infer::method::{MethodName, MethodWish};
use crate::cli::infer::pictures::{Picture, Pictures};
use crate::cli::infer::record::{Judge, Threshold};
use crate::cli::infer::score::Scoring;
use crate::cli::infer::session::{Recipe, Session};
use crate::cli::infer::signals::Signals;
use crate::cli::infer::tally::{Outcome, Shard, parse_number, parse_range};
use crate::cli::inputs::PhotoArgs;
use crate::cli::results::{Existing, Output, REPORT, RESULTS, RunFile, milliseconds};
use crate::cli::{Exit, inputs, talk, usage};

const AFTER: &str = "\
What lands in the output folder: `results.jsonl` (a line per photo), `run.json` (what ran), and
for each photo, under its own relative path, a float map (.tiff), a mask, a heatmap and an overlay.
Colours mean the same in every picture of a run.

Examples:
  zsas-gpu infer photos/ --output found --report
  zsas-gpu infer a.png b.jpg --output out --save overlay --threshold 2.5
  zsas-gpu infer lot/ -o out --weights weights --class 'metal nut'
  zsas-gpu infer lot/ -o out --weights weights --class bottle --normal good/ --save-memory bottle.mem
  zsas-gpu infer lot/ -o out --weights weights --profile bottle.toml --memory bottle.mem
  zsas-gpu infer 'lot*/**/*.png' --output out --resume
  find /data -name '*.tif' | zsas-gpu infer - --output out --shard 2/8 --quiet
  zsas-gpu infer part.png -o out --overwrite --threshold 2.5 --fail-on anomaly || echo stop";

/// Options of `infer`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct InferArgs {
    /// Files, folders (searched through, hidden files and links aside), globs, or `-` for a list of paths on stdin
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Folder for everything that is written
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// How anomalies are found; `auto` takes the strongest whose weights are on this machine
    #[arg(long, value_enum, default_value_t)]
    method: MethodWish,

    /// A snapshot, a folder of snapshots named by network, or `embedded`; without it $ZSAS_WEIGHTS, then those inside this binary, on which
    /// utad and saliency run
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Which text a method follows where code and paper disagree; without it the method's own choice, which `run.json` names
    #[arg(long, value_enum)]
    reading: Option<ReadingWish>,

    /// Scores from here on are anomalous; also cuts mask and regions, which without it are cut at the level stored with the weights
    #[arg(long, value_name = "X", value_parser = parse_number, allow_negative_numbers = true)]
    threshold: Option<f32>,

    /// Exit with 4 when a photo is anomalous; needs a threshold
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Values drawn as the coldest and the hottest colour, instead of those that come with the method
    #[arg(long, value_name = "LO,HI", value_parser = parse_range, allow_hyphen_values = true, help_heading = "Output")]
    range: Option<[f32; 2]>,

    /// Files for each photo; all of them by default, the mask where there is a value to cut at
    #[arg(long, value_enum, value_delimiter = ',', help_heading = "Output")]
    save: Option<Vec<Picture>>,

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
    quiet: bool,

    /// Only part I of N of the inputs, I from 1; each part needs an output folder of its own
    #[arg(long, value_name = "I/N", value_parser = Shard::parse, help_heading = "Input")]
    shard: Option<Shard>,

    #[command(flatten)]
    photos: PhotoArgs,

    #[command(flatten)]
    language: LanguageArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What `run.json` says of a run of `infer`.
type InferRun = RunFile<Parameters, Invocation>;

/// Everything that changes a result.
#[derive(Debug, Serialize)]
struct Parameters {
    /// Name of the method.
    method: &'static str,
    /// Which text it follows.
    reading: &'static str,
    /// Class, phrases, references and views; null for a method that knows no words.
    language: Option<Told>,
    /// `f32`, `f16`.
    precision: &'static str,
    /// Given by the user.
    threshold: Option<f32>,
    /// Cuts mask and regions.
    level: Option<f32>,
    /// Colours.
    range: [f32; 2],
    /// Files of each photo.
    save: Vec<String>,
    /// How photos are read.
    #[serde(flatten)]
    photos: PhotoArgs,
}

/// Wishes that leave results alone.
#[derive(Debug, Serialize)]
struct Invocation {
    /// Part of the inputs, `1/4`.
    shard: Option<String>,
    /// Whether it goes on from an earlier run.
    resume: bool,
    /// Whether there is a page.
    report: bool,
    /// Shape of kernels that was forced.
    kernels: Option<&'static str>,
}

/// Which text is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReadingWish {
    /// The released code
    Released,
    /// The paper's equations
    Paper,
    /// The public reproduction with published tables (winclip, winclip+)
    Reproduction,
}

impl ReadingWish {
    fn reading(self) -> Reading {
        match self {
            ReadingWish::Released => Reading::Released,
            ReadingWish::Paper => Reading::Paper,
            ReadingWish::Reproduction => Reading::Reproduction,
        }
    }
}

/// What fails a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A score that reaches the threshold
    Anomaly,
}

/// Scores all photos.
pub fn run(args: &InferArgs) -> Result<Exit> {
    args.check()?;
    // Inputs and output are checked before weights are read or a device is opened.
    let found = inputs::find(&args.inputs, &args.output)?;
    let mut output = Output::open(&args.output, args.existing())?;
    let named = output.name(found);
    let inputs = args.shard.map_or_else(|| named.clone(), |shard| shard.take(named.clone()));
    let signals = Signals::watch()?;
    let session = Session::open(args.recipe()?)?;
    let judge = args.judge(&session);
    let pictures = Pictures::new(args.save.as_deref(), judge.level, args.range.unwrap_or(session.method().scale().range), args.report)?;
    let mut run_file = args.run_file(&session, &judge, &pictures)?;
    if args.resume {
        run_file.check_same_as_earlier(&output)?;
    }
    output.begin()?;
    run_file.write(&output)?;

    let device = session.device().name();
    let scoring = Scoring {
        session,
        judge,
        pictures: &pictures,
        output: &mut output,
        signals: &signals,
        photos: args.photos,
        prints_records: args.json,
        is_quiet: args.quiet,
    };
    let outcome = scoring.run(&inputs);
    args.finish(&output, &mut run_file, &outcome, &device)?;
    outcome.end.map(|signal| match signal {
        Some(number) => Exit::Signal(number),
        None if args.fail_on.is_some() && outcome.tally.counts.anomalous > 0 => Exit::Anomaly,
        None if outcome.tally.counts.failed > 0 => Exit::SomeFailed,
        None => Exit::Done,
    })
}

fn no_threshold() -> Error {
    usage("`--fail-on anomaly` needs a threshold to decide by")
        .hint("add `--threshold X`, a score a little above those of good photos in results.jsonl, or `threshold = X` to the profile")
}

impl InferArgs {
    /// Finds contradictions that need no file and no device.
    fn check(&self) -> Result<()> {
        if self.fail_on.is_some() && self.threshold.is_none() && !self.language.has_profile() {
            return Err(no_threshold());
        }
        if self.save.as_ref().is_some_and(|save| save.contains(&Picture::None) && save.len() > 1) {
            return Err(usage("`--save none` stands alone"));
        }
        Ok(())
    }

    fn existing(&self) -> Existing {
        match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }

    /// What the session is made of; says which method `auto` took and why.
    fn recipe(&self) -> Result<Recipe> {
        let method = self.choose_method()?;
        let reading = self.choose_reading(method)?;
        let language = self.language.resolve(method, &self.output, self.photos)?;
        if self.fail_on.is_some() && self.threshold.or(language.threshold).is_none() {
            return Err(no_threshold());
        }
        let weights = store::find(method.network(), self.weights.as_deref())?;
        if self.method == MethodWish::Auto && !self.quiet {
            self.say_choice(method, &weights);
        }
        let precision = self.device.precision.precision();
        Ok(Recipe { method, reading, precision, device: self.device.clone(), weights, language, is_quiet: self.quiet })
    }

    /// The method asked for; `auto` is the strongest whose weights are on this machine. Words without CLIP are an error: a result that heeds
    /// none of them would be taken for one that does.
    fn choose_method(&self) -> Result<MethodName> {
        match self.method {
            MethodWish::Of(name) => Ok(name),
            MethodWish::Auto if !self.has_clip()? => {
                if self.language.is_used() {
                    let message = "class, profile, good photos and views need weights of CLIP, and none are here";
                    let error = Error::new(Code::WeightsMissing, message).context("`--method utad` finds faults of textures without them");
                    return Err(error.hint(clip::NETWORK.fetch()));
                }
                Ok(MethodName::Utad)
            }
            MethodWish::Auto if self.language.has_references() => Ok(MethodName::WinClipPlus),
            MethodWish::Auto => Ok(MethodName::WinClip),
        }
    }

    /// Whether there are weights of CLIP; an error where there is something that may be meant for them and cannot be used.
    fn has_clip(&self) -> Result<bool> {
        Ok(store::find_if_there(&clip::NETWORK, self.weights.as_deref())?.is_some())
    }

    /// The reading asked for, if the method has it, else the method's own choice.
    fn choose_reading(&self, method: MethodName) -> Result<Reading> {
        let known = method.readings();
        match self.reading.map(ReadingWish::reading) {
            None => Ok(known[0]),
            Some(wish) if known.contains(&wish) => Ok(wish),
            Some(wish) => {
                let names: Vec<String> = known.iter().map(|reading| format!("`{}`", reading.as_str())).collect();
                Err(usage(format!("{} has no reading `{}`, it has {}", method.as_str(), wish.as_str(), names.join(" and "))))
            }
        }
    }

    fn say_choice(&self, method: MethodName, weights: &FoundWeights) {
        let why = match method {
            MethodName::WinClipPlus => "the strongest here with good photos",
            MethodName::WinClip => "the strongest here without good photos; `--normal PHOTOS` makes it winclip+",
            _ => "the strongest here; `--method winclip` says how to get weights of CLIP, which know objects",
        };
        talk::say(format_args!("method: {} on the weights `{}` ({}): {why}", method.as_str(), weights.checkpoint.name(), weights.origin));
    }

    fn judge(&self, session: &Session) -> Judge {
        let (method, language) = (session.method(), session.language());
        let flag = self.threshold.map(|value| Threshold { value, source: "flag" });
        let of_profile = language.and_then(|language| language.threshold).map(|value| Threshold { value, source: "profile" });
        let threshold = flag.or(of_profile);
        Judge {
            method: method.name(),
            class: language.map(|language| language.class.name.clone()),
            threshold,
            level: threshold.map(|threshold| threshold.value).or(method.scale().level),
        }
    }

    fn run_file(&self, session: &Session, judge: &Judge, pictures: &Pictures) -> Result<InferRun> {
        let parameters = Parameters {
            method: judge.method,
            reading: session.method().reading().as_str(),
            language: session.language().map(Language::told),
            precision: self.device.precision.as_str(),
            threshold: judge.threshold.map(|threshold| threshold.value),
            level: judge.level,
            range: pictures.range(),
            save: pictures.names(),
            photos: self.photos,
        };
        let invocation = Invocation {
            shard: self.shard.map(|shard| shard.to_string()),
            resume: self.resume,
            report: self.report,
            kernels: self.device.kernels.map(|tier: TierWish| tier.tier().as_str()),
        };
        Ok(RunFile::new(session.device(), session.weights().identity()?, parameters, invocation))
    }

    /// Writes what is written once, at the end: counts, the report, the summary. A run that failed keeps its own error.
    fn finish(&self, output: &Output, run_file: &mut InferRun, outcome: &Outcome, device: &str) -> Result<()> {
        run_file.status = match outcome.end {
            Ok(None) => "done",
            Ok(Some(_)) => "interrupted",
            Err(_) => "failed",
        };
        run_file.error = outcome.end.as_ref().err().map(ToString::to_string);
        run_file.counts = Some(outcome.tally.counts);
        run_file.latency_ms = outcome.tally.latency();
        run_file.seconds = Some(milliseconds(Duration::from_secs_f64(outcome.seconds)) / 1e3);
        let mut written = run_file.write(output);
        if self.report && written.is_ok() {
            written = report::write(output, run_file);
        }
        if !self.quiet {
            self.summarize(output, outcome, device, run_file.parameters.threshold);
        }
        if outcome.end.is_err() { Ok(()) } else { written }
    }

    fn summarize(&self, output: &Output, outcome: &Outcome, device: &str, threshold: Option<f32>) {
        let counts = outcome.tally.counts;
        let each = outcome
            .tally
            .latency()
            .map_or_else(String::new, |_| format!(", {:.2} s each", outcome.seconds / counts.scored as f64));
        let mut parts = vec![format!("{} scored{each} on {device}", counts.scored)];
        for (count, what) in [(counts.failed, "failed"), (counts.skipped, "done before")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if matches!(outcome.end, Ok(Some(_))) {
            let left = counts.inputs - counts.scored - counts.failed - counts.skipped;
            parts.push(format!("interrupted, {left} left for `--resume`"));
        }
        talk::say(format_args!("{} photo{}: {}", counts.inputs, if counts.inputs == 1 { "" } else { "s" }, parts.join("; ")));
        if let Some(threshold) = threshold {
            talk::say(format_args!("{} anomalous at {threshold}", counts.anomalous));
        }
        if !outcome.tally.worst().is_empty() {
            talk::say("most anomalous:");
        }
        for (score, path) in outcome.tally.worst() {
            talk::say(format_args!("  {score:>9.4}  {path}"));
        }
        let root = output.root();
        talk::say(format_args!("records: {}", root.join(RESULTS).display()));
        if self.report {
            talk::say(format_args!("report: {}", root.join(REPORT).display()));
        }
    }
}
