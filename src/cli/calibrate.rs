//! `calibrate`: photos of good parts in; a threshold out, with what it holds for.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use zsas::Result;
use zsas::inspect::{Calibrated, CalibrationJob, CalibrationOptions};
use zsas::results::{Calibration, Rule};
use zsas::uninspected::Reason;

use crate::cli::console::Console;
use crate::cli::method::{Building, MethodArgs, SubjectArgs, check_folder};
use crate::cli::numbers::parse_finite;
use crate::cli::signals::Signals;
use crate::cli::{Exit, choice, talk, usage};

/// Highest scores of good photos that are named.
const MAX_NAMED: usize = 3;

const AFTER: &str = "\
A threshold needs photos of good parts alone: 10 at least, 300 for a line. They are to be as those
that will be inspected, independent of each other, and none of `--normal`. The threshold of the
score lies just above what the rule names, so that a photo with just this score is good:
  quantile  the smallest score that this share of the good photos does not exceed: of n photos the
            one of rank q n, rounded up; the largest score where n is less than 1 / (1 - q)
  sigma     the mean plus so many standard deviations; it may flag good photos
  max       the largest score; it flags none of the good photos
The level of the pixels of masks and regions is the same rule on the largest value of each map.

The file holds what the threshold was made with. `infer --calibration FILE` takes method, reading,
class, phrases, views and precision from it where they are not given; weights, `--normal`, prompts
of saa+ and how photos are read are given again; whatever differs is refused.

Examples:
  zsas-gpu calibrate good/ --output calibration.toml
  zsas-gpu infer lot/ --output found --calibration calibration.toml --fail-on anomaly
  zsas-gpu calibrate good/ -o c.toml --weights snapshots --method winclip --class bottle
  zsas-gpu calibrate good/ -o c.toml --method utad --tiles 1 --sigma 3 --overwrite --json";

/// Options of `calibrate`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct CalibrateArgs {
    /// Photos of good parts: files, folders (searched through, hidden files and links aside), globs, or `-` for a list of paths on stdin
    #[arg(required = true, value_name = "GOOD")]
    good: Vec<PathBuf>,

    /// The file that the calibration is written to
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: PathBuf,

    #[command(flatten)]
    method: MethodArgs,

    #[command(flatten)]
    subject: SubjectArgs,

    /// How the threshold follows from the good photos; by default `quantile`, or the one whose parameter is given
    #[arg(long, value_parser = choice::rule())]
    rule: Option<RuleKind>,

    /// Share of the good photos that are not to be flagged [default: 0.995]
    #[arg(long, value_name = "Q", value_parser = parse_finite, conflicts_with = "sigma")]
    quantile: Option<f64>,

    /// Standard deviations above the mean [default: 3]
    #[arg(long, value_name = "K", value_parser = parse_finite)]
    sigma: Option<f64>,

    /// Leave out photos that cannot be scored, and say so; by default they are an error
    #[arg(long, help_heading = "Input")]
    lenient: bool,

    /// Replace an earlier calibration
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    /// Print the calibration to stdout as well, as one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// No summary, no warnings, no progress; the exit code tells
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

/// A rule without its parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// A quantile.
    Quantile,
    /// Mean and standard deviations.
    Sigma,
    /// The largest score.
    Max,
}

/// A parser of an output file. `-` is refused, by which many mean standard output.
fn output_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|file| match file.as_os_str() == "-" {
        true => Err("the calibration goes into a file (`./-` is one of this name); `--json` prints it"),
        false => Ok(file),
    })
}

/// Scores the good photos and writes the calibration.
pub fn run(args: &CalibrateArgs) -> Result<Exit> {
    // Options, target and photos are checked before weights are read or a device is opened.
    let options = args.options()?;
    args.subject.check()?;
    args.check_target()?;
    let references = args.subject.find_references(Path::new(""))?;
    let job = CalibrationJob::new(&args.good, options)?;
    let signals = Signals::watch()?;
    let building = Building::new(args.quiet, &signals);
    args.method.check_region(job.files())?;
    let builder = args
        .subject
        .add_to(args.method.builder(&building)?, references, args.method.photos.options(), args.quiet)?;
    let plan = args.method.plan(builder)?;
    let detector = match args.method.open(plan, &building)? {
        Ok(detector) => detector,
        Err(signal) => return Ok(Exit::Signal(signal)),
    };
    let save_memory = || args.subject.save_memory(&detector);
    let console = Console::new(detector.device(), signals.clone(), (false, args.quiet), &save_memory);
    let calibrated = job.run(&detector, &console);
    console.finish();
    let Some(Calibrated { calibration, uninspected }) = calibrated? else {
        if !args.quiet {
            talk::say("interrupted: no calibration is written");
        }
        return Ok(Exit::Signal(signals.received().unwrap_or_default()));
    };
    calibration.write(&args.output)?;
    if !args.quiet {
        uninspected.lines().iter().for_each(|line| talk::say(format_args!("warning: {line}")));
        args.summarize(&calibration);
    }
    if args.json {
        talk::print_json(&calibration)?;
    }
    let is_incomplete = calibration.failed > 0 || uninspected.inputs.of(Reason::UnreadableFolder) > 0;
    Ok(if is_incomplete { Exit::SomeFailed } else { Exit::Done })
}

impl CalibrateArgs {
    fn options(&self) -> Result<CalibrationOptions> {
        Ok(CalibrationOptions {
            rule: self.rule()?,
            read: self.method.photos.options(),
            threads: self.method.threads(),
            is_lenient: self.lenient,
        })
    }

    /// The rule, by its name or by its parameter.
    fn rule(&self) -> Result<Rule> {
        let default = if self.sigma.is_some() { RuleKind::Sigma } else { RuleKind::Quantile };
        let rule = match (self.rule.unwrap_or(default), self.quantile, self.sigma) {
            (RuleKind::Quantile, quantile, None) => quantile.map_or_else(Rule::default, Rule::Quantile),
            (RuleKind::Sigma, None, sigma) => Rule::Sigma(sigma.unwrap_or(3.0)),
            (RuleKind::Max, None, None) => Rule::Max,
            (_, Some(_), _) => return Err(usage("`--quantile` is for `--rule quantile`")),
            (..) => return Err(usage("`--sigma` is for `--rule sigma`")),
        };
        rule.check()
    }

    /// Refuses a file that must not be replaced, or cannot be written.
    fn check_target(&self) -> Result<()> {
        let name = self.output.display();
        check_folder("--output", &self.output)?;
        if self.subject.saves_memory_to(&self.output) {
            return Err(usage(format!("`--output` and `--save-memory` both write `{name}`")));
        }
        if std::fs::symlink_metadata(&self.output).is_err() {
            return Ok(());
        }
        if !Calibration::is_one(&self.output) {
            return Err(usage(format!("`{name}` is there and no calibration; it is not overwritten")).hint("choose another `--output`"));
        }
        if !self.overwrite {
            return Err(usage(format!("`{name}` is there")).hint("`--overwrite` replaces it; or choose another `--output`"));
        }
        Ok(())
    }

    fn summarize(&self, calibration: &Calibration) {
        for warning in calibration.warnings() {
            talk::say(format_args!("warning: {warning}"));
        }
        let Calibration { photos, threshold, level, rule, scores, .. } = calibration;
        talk::say(format_args!("scores of {photos} good photos: {} to {}, median {:.4}", scores.min, scores.max, scores.median));
        talk::say("highest, to be looked at for defects:");
        for photo in calibration.highest.iter().take(MAX_NAMED) {
            talk::say(format_args!("  {:>9.4}  {}", photo.score, photo.path));
        }
        talk::say(format_args!("threshold {threshold}, level {level}, by the rule `{rule}`"));
        talk::say(calibration.confidence());
        talk::say(format_args!("assumed: {}", Calibration::ASSUMED));
        talk::say(format_args!("calibration: {}", self.output.display()));
    }
}
