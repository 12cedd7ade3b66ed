//! `eval`: a data set in; exact metrics by class, tables, curves and a page out.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::Args;
use indicatif::ProgressBar;
use zsas::datasets::{Category, Dataset, Folders, Ksdd2Split, Layout, Options, VisaSplit};
use zsas::evaluation::{
    ClassObserver, Evaluated, FewShot, MapRun, MeasureOptions, Photos, Scored, Shots, check_output, markdown, measure, write,
};
use zsas::inputs::Shard;
use zsas::inspect::{Detector, DetectorBuilder, JobObserver, JobOptions};
use zsas::results::Existing;
use zsas::{Code, Error, Result};

use crate::cli::console::Failures;
use crate::cli::method::{Building, MethodArgs};
use crate::cli::numbers::parse_count;
use crate::cli::photos::output_folder;
use crate::cli::signals::Signals;
use crate::cli::{Exit, choice, env, talk, usage};

const AFTER: &str = "\
What lands in the output folder: `evaluation.json`, `.md`, `.csv` and `.html` with metrics by class, curves,
false alarms and misses; `runs/`, the records and maps of each class, from which it is computed again.

Examples:
  zsas-gpu eval --dataset mvtec --root mvtec_anomaly_detection --method winclip --weights snapshots -o winclip
  zsas-gpu eval --dataset visa --root VisA --method patchcore --shots 4 --seeds 5 -o patchcore
  zsas-gpu eval --dataset mvtec --root mvtec_anomaly_detection --maps theirs/ -o theirs-measured
  zsas-gpu eval --dataset folder --root line --normal good --abnormal bad --masks masks -o line-measured
  zsas-gpu eval --dataset mvtec --root mvtec --method utad --shard 1/2 -o part1     # on one machine
  zsas-gpu eval --dataset mvtec --root mvtec --maps part1 part2 -o whole            # joined";

/// Largest side at which maps are compared.
const MAX_SIDE: usize = 8192;

/// Options that decide how maps are made, which has no meaning where there are some.
const MAKES_MAPS: [&str; 16] = [
    "method",
    "shots",
    "shard",
    "roi",
    "tiles",
    "without",
    "multi_crop",
    "reading",
    "weights",
    "parallel",
    "resume",
    "precision",
    "device",
    "threads",
    "kernels",
    "object",
];

/// Options of `eval`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct EvalArgs {
    /// Layout of the data set
    #[arg(long, value_parser = choice::layout())]
    dataset: Layout,

    /// Folder of the data set; of a manifest, its file
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// Folder for everything that is written
    #[arg(short, long, value_name = "DIR", value_parser = output_folder())]
    output: PathBuf,

    /// Classes of the data set, by default all
    #[arg(long = "class", value_name = "NAME", value_delimiter = ',')]
    classes: Vec<String>,

    /// Published split: of VisA `1cls`, `2cls_highshot`, `2cls_fewshot`; of KSDD2 `test`, or `train`, which SAA+'s code evaluates [default: the first]
    #[arg(long, value_name = "NAME", help_heading = "Data set")]
    split: Option<String>,

    /// Of `--dataset folder`: good photos for training, below the root [default: normal]
    #[arg(long, value_name = "DIR", help_heading = "Data set")]
    normal: Option<PathBuf>,

    /// Of `--dataset folder`: defective photos [default: abnormal]
    #[arg(long, value_name = "DIR", help_heading = "Data set")]
    abnormal: Option<PathBuf>,

    /// Of `--dataset folder`: masks of the defective photos, under their names
    #[arg(long, value_name = "DIR", help_heading = "Data set")]
    masks: Option<PathBuf>,

    /// Of `--dataset folder`: good photos for testing, without which metrics of photos are not defined
    #[arg(long, value_name = "DIR", help_heading = "Data set")]
    normal_test: Option<PathBuf>,

    /// Count mismatches of the data set and missing maps, instead of refusing them
    #[arg(long, help_heading = "Data set")]
    lenient: bool,

    /// What methods with text call the object, instead of the name of its class
    #[arg(long, value_name = "NAME")]
    object: Option<String>,

    /// Measure the maps in these folders instead of making some: parts of runs with `--shard`, or float TIFF, NPY or PNG of any program under
    /// the names of the photos
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = MAKES_MAPS)]
    maps: Vec<PathBuf>,

    /// Good training photos that a method compares with, in each class: a number, or `all`
    #[arg(long, value_name = "K", value_parser = parse_shots)]
    shots: Option<ShotCount>,

    /// Draws of these photos; the results are their mean and standard deviation [default: 1]
    #[arg(long, value_name = "N", requires = "shots", value_parser = parse_count)]
    seeds: Option<NonZeroUsize>,

    /// Compute metrics without any error of binning: reads maps several times
    #[arg(long, help_heading = "Metrics")]
    exact: bool,

    /// Also compute the approximations that papers print: `aupro_200`, areas by trapezoids, SAA+'s F1 over regions
    #[arg(long, help_heading = "Metrics")]
    approximations: bool,

    /// Compare maps and masks at this side, as papers do (400 for SAA+, 240 for WinCLIP), instead of the photo's size
    #[arg(long, value_name = "SIDE", value_parser = parse_count, help_heading = "Metrics")]
    eval_size: Option<NonZeroUsize>,

    /// Print `evaluation.json` to stdout instead of the table
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Keep what an earlier run scored, score the rest
    #[arg(long, conflicts_with = "overwrite", help_heading = "Output")]
    resume: bool,

    /// Remove the results of an earlier run and start anew
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    /// No table, no warnings, no progress
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Score only part I of N of the photos of each class, I from 1, for `--maps` to join; each part needs an output folder of its own
    #[arg(long, value_name = "I/N", value_parser = Shard::parse, help_heading = "Input")]
    shard: Option<Shard>,

    #[command(flatten)]
    method: MethodArgs,
}

/// A number of reference images.
#[derive(Clone, Copy, Debug)]
pub struct ShotCount(Option<usize>);

/// A number of reference images, or `all`.
fn parse_shots(text: &str) -> std::result::Result<ShotCount, String> {
    if text == "all" {
        return Ok(ShotCount(None));
    }
    parse_count(text)
        .map(|count| ShotCount(Some(count.get())))
        .map_err(|why| format!("{why}, or `all`"))
}

/// Scores the photos, unless there are maps, and measures.
pub fn run(args: &EvalArgs) -> Result<Exit> {
    args.check()?;
    let dataset = Dataset::open(args.dataset, &args.root, &args.data_options()?)?;
    if !args.quiet {
        args.describe(&dataset);
    }
    let signals = Signals::watch()?;
    let is_scored = args.maps.is_empty();
    if is_scored {
        args.method
            .check_region(dataset.classes.iter().flat_map(|class| &class.test).map(|sample| sample.image.as_path()))?;
        let scored = args.score(&dataset, &signals);
        // A signal while a method is built is an error there.
        if let Some(signal) = signals.received() {
            return Ok(Exit::Signal(signal));
        }
        let scored = scored?;
        if args.shard.is_some() {
            return Ok(if scored.failed > 0 { Exit::SomeFailed } else { Exit::Done });
        }
    }
    let folders = if is_scored { std::slice::from_ref(&args.output) } else { &args.maps[..] };
    let evaluated = args.measure(&dataset, folders, &signals);
    if let Some(signal) = signals.received() {
        return Ok(Exit::Signal(signal));
    }
    let evaluated = evaluated?;
    write(&evaluated, &Photos { dataset: &dataset, folders, read: args.method.photos.options() }, &args.output)?;
    args.say(&evaluated)?;
    let is_partial = evaluated.classes.iter().any(|class| !class.not_scored.is_empty());
    Ok(if is_partial { Exit::SomeFailed } else { Exit::Done })
}

impl EvalArgs {
    /// Finds contradictions that need no file and no device.
    fn check(&self) -> Result<()> {
        let folders = [&self.normal, &self.abnormal, &self.masks, &self.normal_test];
        if self.dataset != Layout::Folder && folders.iter().any(|folder| folder.is_some()) {
            return Err(usage("`--normal`, `--abnormal`, `--masks` and `--normal-test` name folders of `--dataset folder`")
                .hint("other data sets have them where they are published; `--shots K` takes good photos to compare with"));
        }
        if self.eval_size.is_some_and(|side| side.get() > MAX_SIDE) {
            return Err(usage(format!("`--eval-size` is at most {MAX_SIDE}")));
        }
        if self.maps.is_empty() && self.method.is_automatic() {
            return Err(usage("an evaluation is of one method: `--method NAME`, or of maps: `--maps DIR`")
                .hint("`zsas-gpu help infer` lists the methods"));
        }
        if self.maps.is_empty() && self.shots.is_none() && self.method.needs_references()? {
            return Err(usage("the method compares with good photos, and none are drawn")
                .hint("`--shots K` draws K of each class, `--shots all` takes all"));
        }
        if self.object.is_some() && !self.method.takes_text()? {
            return Err(usage("`--object` is for methods that are told what is inspected, and this one is not"));
        }
        if let (Some(ShotCount(None)), Some(seeds)) = (self.shots, self.seeds.filter(|seeds| seeds.get() > 1)) {
            return Err(usage(format!("`--shots all` can be drawn in one way only, not in {seeds}")));
        }
        for folder in &self.maps {
            if !folder.is_dir() {
                return Err(Error::new(Code::NotFound, format!("`{}`, given by `--maps`, is no folder", folder.display())));
            }
            if folder
                .canonicalize()
                .is_ok_and(|folder| self.output.canonicalize().is_ok_and(|output| output == folder))
            {
                return Err(usage("the folder of the maps is the output folder, too").hint("choose another `--output`"));
            }
        }
        check_output(&self.output, self.overwrite || self.resume)
    }

    /// How the data set is opened.
    fn data_options(&self) -> Result<Options> {
        let mut options = Options {
            classes: self.classes.clone(),
            is_lenient: self.lenient,
            read: self.method.photos.options(),
            folders: Folders {
                normal: self.normal.clone().unwrap_or(Folders::default().normal),
                abnormal: self.abnormal.clone().unwrap_or(Folders::default().abnormal),
                masks: self.masks.clone(),
                normal_test: self.normal_test.clone(),
            },
            ..Options::default()
        };
        if let Some(name) = &self.split {
            match self.dataset {
                Layout::Visa => options.visa_split = split(name, &VisaSplit::ALL, VisaSplit::as_str)?,
                Layout::Ksdd2 => options.ksdd2_split = split(name, &Ksdd2Split::ALL, Ksdd2Split::as_str)?,
                other => return Err(usage(format!("`--split` is for visa and ksdd2, `{}` has one split", other.as_str()))),
            }
        }
        Ok(options)
    }

    /// Says what was opened.
    fn describe(&self, dataset: &Dataset) {
        let tested: usize = dataset.classes.iter().map(|class| class.test.len()).sum();
        let anomalous = dataset.classes.iter().flat_map(|class| &class.test).filter(|sample| sample.is_anomalous).count();
        let classes = if dataset.classes.len() == 1 { "1 class".to_owned() } else { format!("{} classes", dataset.classes.len()) };
        talk::say(format_args!("{}: {classes}, {tested} test photos, {anomalous} of them anomalous", dataset.layout.as_str()));
        dataset.notes.iter().for_each(|note| talk::say(format_args!("note: {note}")));
    }

    /// Scores the test photos.
    fn score(&self, dataset: &Dataset, signals: &Signals) -> Result<Scored> {
        let shots = self.shots.map(|shots| Shots { count: shots.0, seeds: self.seeds.map_or(1, NonZeroUsize::get) });
        let draws = shots.map_or(1, |shots| shots.draws().len());
        let photos: usize = dataset.classes.iter().map(|class| self.part_of(class) * draws).sum();
        let building = Building::new(true, signals);
        let console = EvalConsole::new(talk::progress(photos as u64, self.quiet), signals, self);
        let builder = |category: &Category| self.builder(category, &building);
        let run = MapRun { dataset, output: &self.output, builder: &builder, shots, job: self.job_options() };
        let scored = run.run(&&console);
        console.finish();
        let scored = scored?;
        if !self.quiet {
            let failed = if scored.failed > 0 { format!(", {} failed", scored.failed) } else { String::new() };
            match (scored.signal, self.shard) {
                (Some(_), _) => talk::say("interrupted; `--resume` goes on"),
                (None, Some(shard)) => {
                    talk::say(format_args!(
                        "part {shard} is scored{failed}; `eval … --maps PART… --output DIR` joins the parts and measures"
                    ));
                }
                (None, None) if scored.failed > 0 => talk::say(format_args!("warning: {} photos could not be scored", scored.failed)),
                (None, None) => {}
            }
        }
        Ok(scored)
    }

    /// Photos of a class that this run scores.
    fn part_of(&self, category: &Category) -> usize {
        let all: Vec<usize> = (0..category.test.len()).collect();
        self.shard.map_or(all.len(), |shard| shard.take(all).len())
    }

    /// The detector of a class: methods with text are told its name.
    fn builder(&self, category: &Category, building: &Building) -> Result<DetectorBuilder> {
        let builder = self.method.builder(building)?;
        if !self.method.takes_text()? {
            return Ok(builder);
        }
        Ok(builder.class(self.object.as_ref().unwrap_or(&category.name)))
    }

    fn job_options(&self) -> JobOptions {
        JobOptions {
            existing: match (self.resume, self.overwrite) {
                (true, _) => Existing::Resume,
                (_, true) => Existing::Overwrite,
                _ => Existing::Refuse,
            },
            shard: self.shard,
            read: self.method.photos.options(),
            threads: self.method.threads(),
            tier: self.method.device.kernels,
            abort_at: std::env::var(env::ABORT_AT).ok(),
        }
    }

    /// Computes the metrics.
    fn measure(&self, dataset: &Dataset, folders: &[PathBuf], signals: &Signals) -> Result<Evaluated> {
        let options = MeasureOptions {
            size: self.eval_size.map(NonZeroUsize::get),
            exact: self.exact,
            approximations: self.approximations,
            lenient: self.lenient,
        };
        let bar = talk::spinner(self.quiet);
        let progress = |class: &str, done: usize| {
            bar.set_message(format!("measuring {class}: {done} maps read"));
            bar.tick();
            signals.received().map_or(Ok(()), |number| Err(usage(format!("stopped by signal {number}"))))
        };
        let evaluated = measure(dataset, folders, options, &progress);
        bar.finish_and_clear();
        evaluated
    }

    /// Prints the table, or everything as JSON.
    fn say(&self, evaluated: &Evaluated) -> Result<()> {
        if self.json {
            return talk::print_json(evaluated);
        }
        if !self.quiet {
            talk::print(markdown(evaluated))?;
            talk::say(format_args!("page: {}", self.output.join("evaluation.html").display()));
        }
        Ok(())
    }
}

/// The split of this name.
fn split<T: Copy>(name: &str, all: &[T], name_of: fn(T) -> &'static str) -> Result<T> {
    let known: Vec<String> = all.iter().map(|&one| format!("`{}`", name_of(one))).collect();
    let unknown = || usage(format!("there is no split `{name}`, there are {}", known.join(", ")));
    all.iter().copied().find(|&one| name_of(one) == name).ok_or_else(unknown)
}

/// The console while classes are scored: one bar for all of them.
struct EvalConsole<'a> {
    bar: ProgressBar,
    failures: Failures,
    signals: Signals,
    args: &'a EvalArgs,
    /// The device is described once.
    is_described: Mutex<bool>,
}

impl<'a> EvalConsole<'a> {
    fn new(bar: ProgressBar, signals: &Signals, args: &'a EvalArgs) -> EvalConsole<'a> {
        EvalConsole {
            bar,
            failures: Failures::new(args.quiet),
            signals: signals.clone(),
            args,
            is_described: Mutex::new(false),
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl<'a> ClassObserver for &'a EvalConsole<'_> {
    type Photos = ClassConsole<'a>;

    fn class(&self, category: &Category, draw: Option<FewShot>, detector: &Detector) -> ClassConsole<'a> {
        let mut is_described = self.is_described.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !std::mem::replace(&mut *is_described, true) {
            self.bar.suspend(|| self.args.method.device.describe(&detector.device(), self.args.quiet));
        }
        let draw = draw.map_or_else(String::new, |draw| format!(" {}", draw.folder()));
        self.bar.set_message(format!("{}{draw}", category.name));
        ClassConsole { console: self, photos: self.args.part_of(category) }
    }
}

/// The console while a class is scored.
struct ClassConsole<'a> {
    console: &'a EvalConsole<'a>,
    photos: usize,
}

impl JobObserver for ClassConsole<'_> {
    fn begun(&self, count: usize) -> Result<()> {
        self.console.bar.inc((self.photos - count) as u64);
        Ok(())
    }

    fn recorded(&self, _line: &str) -> Result<()> {
        self.console.bar.inc(1);
        Ok(())
    }

    fn failed(&self, path: &str, error: &Error) {
        self.console.failures.say(&self.console.bar, path, error);
    }

    fn stopped(&self) -> Option<u8> {
        self.console.signals.received()
    }
}
