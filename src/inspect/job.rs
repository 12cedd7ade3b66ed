//! A folder of images: found, inspected by several threads at once, with a record and pictures of each, in order.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::image::ReadOptions;
use crate::inputs::{self, Shard};
use crate::inspect::Detector;
use crate::inspect::many::{Inspected, default_threads, inspect_many};
use crate::kernels::Tier;
use crate::results::{
    Existing, FailedRecord, InferRun, Invocation, Judge, Milliseconds, Named, Output, Parameters, Picture, Pictures, RunFile, ScoredRecord,
    Tally, Threshold, report,
};

/// How images are read and results written. The default is what most users want.
#[derive(Clone, Debug, Default)]
pub struct JobOptions {
    /// What to do with results that are already in the output folder.
    pub existing: Existing,
    /// Decides on scores, and cuts masks and regions; without it the threshold of the profile, else none.
    pub threshold: Option<f32>,
    /// Values drawn as the coldest and the hottest colour, instead of those of the method.
    pub range: Option<[f32; 2]>,
    /// Pictures of each image; by default all, the mask where there is a value to cut at.
    pub save: Option<Vec<Picture>>,
    /// Whether `report.html` is written.
    pub report: bool,
    /// Part of the inputs.
    pub shard: Option<Shard>,
    /// How images are read.
    pub read: ReadOptions,
    /// Images in work at the same time; by default [`default_threads`].
    pub threads: Option<usize>,
    /// Tier of kernels that was forced, for `run.json`.
    pub tier: Option<Tier>,
}

/// What a caller is told while a job runs, and how it stops it.
pub trait JobObserver: Sync {
    /// The job begins with so many images that no earlier run has scored.
    fn begun(&self, _count: usize) {}

    /// An image has its record: `line` of `results.jsonl`.
    ///
    /// An error ends the job.
    fn recorded(&self, _line: &str) -> Result<()> {
        Ok(())
    }

    /// An image could not be scored.
    fn failed(&self, _path: &str, _error: &Error) {}

    /// Asked before each image: the number of the signal that stops the job, if one came.
    fn stopped(&self) -> Option<u8> {
        None
    }
}

/// An observer that is told nothing and never stops a job.
pub struct Unobserved;

impl JobObserver for Unobserved {}

/// A job whose inputs are found and whose output folder is locked: it can fail no more because of a path.
pub struct Job {
    options: JobOptions,
    output: Output,
    inputs: Vec<Named>,
}

/// What a job came to.
pub struct Outcome {
    /// Counts, latencies and the highest scores.
    pub tally: Tally,
    /// Wall-clock time from the first image to the last.
    pub duration: Duration,
    /// What decided, if anything did.
    pub threshold: Option<f32>,
    /// The signal that stopped it, or what made it fail.
    pub end: Result<Option<u8>>,
}

/// What a thread made of an image, for the thread that writes records.
enum Made {
    Scored { record: Box<ScoredRecord>, ms: Milliseconds },
    Failed(Error),
    Unwritable(Error),
}

impl Job {
    /// Finds the images of `inputs` (files, folders, globs, `-` for a list on standard input) and opens the output folder.
    ///
    /// Errors: inputs that do not exist or hold no image, a folder that cannot be used.
    pub fn new(inputs: &[PathBuf], output: &Path, options: JobOptions) -> Result<Job> {
        let found = inputs::find(inputs, output)?;
        let output = Output::open(output, options.existing)?;
        let named = output.name(found);
        let inputs = options.shard.map_or_else(|| named.clone(), |shard| shard.take(named.clone()));
        Ok(Job { options, output, inputs })
    }

    /// The output folder.
    pub fn root(&self) -> &Path {
        self.output.root()
    }

    /// Inspects all images and writes records, pictures, `run.json` and the report.
    ///
    /// Errors are those before the first image; what happens later is the outcome's.
    pub fn run(mut self, detector: &Detector, observer: &impl JobObserver) -> Result<Outcome> {
        let judge = self.judge(detector);
        let range = self.options.range.unwrap_or(detector.scale().range);
        let pictures = Pictures::new(self.options.save.as_deref(), judge.level, range, self.options.report)?;
        let mut run_file = self.run_file(detector, &judge, &pictures)?;
        if self.options.existing == Existing::Resume {
            run_file.check_same_as_earlier(&self.output)?;
        }
        self.output.begin()?;
        run_file.write(&self.output)?;
        let start = Instant::now();
        let mut tally = Tally::new(self.inputs.len());
        let end = self.inspect(detector, &judge, &pictures, &mut tally, observer);
        let outcome = Outcome { tally, duration: start.elapsed(), threshold: run_file.parameters.threshold, end };
        self.finish(&mut run_file, &outcome)?;
        Ok(outcome)
    }

    fn judge(&self, detector: &Detector) -> Judge {
        let given = self.options.threshold.map(|value| Threshold { value, source: "flag" });
        let threshold = given.or(detector.threshold().map(|value| Threshold { value, source: "profile" }));
        Judge {
            method: detector.method().name,
            class: detector.prompt().map(|prompt| prompt.class.clone()),
            threshold,
            level: threshold.map(|threshold| threshold.value).or(detector.scale().level),
        }
    }

    fn run_file(&self, detector: &Detector, judge: &Judge, pictures: &Pictures) -> Result<InferRun> {
        let parameters = Parameters {
            method: judge.method,
            reading: detector.reading().as_str(),
            language: detector.prompt().cloned(),
            precision: detector.recipe().precision.as_str(),
            threshold: judge.threshold.map(|threshold| threshold.value),
            level: judge.level,
            range: pictures.range(),
            save: pictures.names(),
            read: self.options.read,
        };
        let invocation = Invocation {
            shard: self.options.shard.map(|shard| shard.to_string()),
            resume: self.options.existing == Existing::Resume,
            report: self.options.report,
            kernels: self.options.tier.map(Tier::as_str),
        };
        Ok(RunFile::new(&detector.device(), detector.weights()[0].identity()?, parameters, invocation))
    }

    /// Inspects what no earlier run has scored, until it is done, a signal comes, or nothing more can be inspected or written.
    fn inspect(
        &self,
        detector: &Detector,
        judge: &Judge,
        pictures: &Pictures,
        tally: &mut Tally,
        observer: &impl JobObserver,
    ) -> Result<Option<u8>> {
        let (earlier, todo): (Vec<&Named>, Vec<&Named>) = self.inputs.iter().partition(|input| self.output.earlier(input).is_some());
        for record in earlier.into_iter().filter_map(|input| self.output.earlier(input)) {
            tally.skipped(&record.path, record.score.unwrap_or(f32::NEG_INFINITY), record.decision);
        }
        observer.begun(todo.len());
        let files: Vec<&Path> = todo.iter().map(|input| input.file.as_path()).collect();
        let threads = self.options.threads.unwrap_or_else(default_threads);
        let make = |at: usize, inspected| self.make(judge, pictures, todo[at], inspected);
        let commit = |at: usize, made| match self.commit(todo[at], made, tally, observer) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        };
        match inspect_many(detector, &files, threads, self.options.read, || observer.stopped().is_some(), make, commit) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => detector.fault().map_or_else(|| Ok(observer.stopped()), Err),
        }
    }

    /// Draws and writes the pictures of an image, and makes its record. Runs on the threads of the images.
    fn make(&self, judge: &Judge, pictures: &Pictures, input: &Named, inspected: Result<Inspected>) -> Made {
        let inspected = match inspected {
            Ok(inspected) => inspected,
            Err(error) => return Made::Failed(error),
        };
        let Inspected { image, finding, decode } = &inspected;
        let start = Instant::now();
        let (mask, regions) = judge.mark(&finding.map).unzip();
        let marked = Instant::now();
        let written = pictures.write(&self.output, &input.name, image, &finding.map, mask.as_ref());
        let ms = Milliseconds::new(*decode, &finding.stages, marked - start, marked.elapsed());
        match written {
            Ok(file) => Made::Scored { record: Box::new(judge.record(&input.path, input.output(), finding, regions, file, ms)), ms },
            Err(error) => Made::Unwritable(error),
        }
    }

    /// Appends the record of an image and counts it. Runs on one thread, in the order of the inputs.
    fn commit(&self, input: &Named, made: Made, tally: &mut Tally, observer: &impl JobObserver) -> Result<()> {
        let line = match made {
            Made::Unwritable(error) => return Err(error),
            Made::Scored { record, ms } => {
                let line = self.output.append(&record)?;
                tally.scored(&input.path, record.score, record.decision, &ms);
                line
            }
            Made::Failed(error) => {
                tally.failed();
                observer.failed(&input.path, &error);
                self.output.append(&FailedRecord::new(&input.path, &error))?
            }
        };
        observer.recorded(&line)
    }

    /// Writes what is written once, at the end: counts and the report. A job that failed keeps its own error.
    fn finish(&self, run_file: &mut InferRun, outcome: &Outcome) -> Result<()> {
        run_file.end(&outcome.end, outcome.tally.counts, outcome.tally.latency(), outcome.duration);
        let mut written = run_file.write(&self.output);
        if self.options.report && written.is_ok() {
            written = report::write(&self.output, run_file);
        }
        if outcome.end.is_err() { Ok(()) } else { written }
    }
}
