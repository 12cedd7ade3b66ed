//! A folder of images: found, inspected by several threads at once, with a record and pictures of each, in order.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::image::{ReadOptions, Warning};
use crate::inputs::{self, Found, LeftOut, Shard};
use crate::inspect::many::{Inspect, Inspected, default_threads, inspect_many};
use crate::kernels::Tier;
use crate::results::{Decision, Existing, FailedRecord, Invocation, Milliseconds, Named, NotInspected, Output, RunFile, Tally, to_json};
use crate::uninspected::Uninspected;

/// How images are read and what is done with earlier results. The default is what most users want.
#[derive(Clone, Debug, Default)]
pub struct JobOptions {
    /// What to do with results that are already in the output folder.
    pub existing: Existing,
    /// Part of the inputs.
    pub shard: Option<Shard>,
    /// How images are read.
    pub read: ReadOptions,
    /// Images in work at the same time; by default [`default_threads`].
    pub threads: Option<usize>,
    /// Path of an image at which the process aborts, so that the handling of such images can be tested.
    #[doc(hidden)]
    pub abort_at: Option<String>,
    /// Tier of kernels that was forced, for `run.json`.
    pub tier: Option<Tier>,
}

/// What a job does with each image, beside looking at it: files, records, and what is written once at the end.
pub trait Task: Inspect {
    /// Parameters that change results, for `run.json`.
    type Parameters: Serialize;

    /// Whether a report is written.
    fn has_report(&self) -> bool;

    /// Names of all files of an image of this name.
    fn files(&self, name: &str) -> Vec<String>;

    /// The run file of a run that begins now.
    ///
    /// Errors: weights whose files cannot be hashed.
    fn run_file(&self, read: ReadOptions, invocation: Invocation) -> Result<RunFile<Self::Parameters, Invocation>>;

    /// Draws and writes the files of an image, and makes its record. Called from several threads.
    ///
    /// Errors with [`Code::Output`] concern this image, others end the job.
    fn save(&self, output: &Output, input: &Named, inspected: Inspected<Self::Finding>) -> Result<Saved>;

    /// Writes what is written once, from all records of the folder.
    fn conclude(&self, output: &Output, run_file: &RunFile<Self::Parameters, Invocation>) -> Result<()>;
}

/// An image whose files are written.
pub struct Saved {
    line: String,
    score: f32,
    decision: Option<Decision>,
    uninspected: Vec<Uninspected>,
    ms: Milliseconds,
    warnings: Vec<Warning>,
}

impl Saved {
    /// An image with its record, and what a tally counts of it.
    pub fn new(
        record: &impl Serialize,
        (score, decision): (f32, Option<Decision>),
        uninspected: Vec<Uninspected>,
        ms: Milliseconds,
        warnings: Vec<Warning>,
    ) -> Saved {
        Saved { line: to_json(record), score, decision, uninspected, ms, warnings }
    }
}

/// Callbacks of a running job, and the way to stop it.
pub trait JobObserver: Sync {
    /// The job begins with so many images that no earlier run has scored. No option or folder can refuse it any more.
    ///
    /// An error ends the job, which has removed earlier results by then where it was asked to.
    fn begun(&self, _count: usize) -> Result<()> {
        Ok(())
    }

    /// An image has its record: `line` of `results.jsonl`.
    ///
    /// An error ends the job.
    fn recorded(&self, _line: &str) -> Result<()> {
        Ok(())
    }

    /// Samples of an image were reduced or scaled in a way that no image before it had. The records of all such images have the warning.
    fn warned(&self, _path: &str, _warning: Warning) {}

    /// An image could not be scored.
    fn failed(&self, _path: &str, _error: &Error) {}

    /// Asked before each image: the number of the signal that stops the job, if one came.
    fn stopped(&self) -> Option<u8> {
        None
    }
}

/// An observer that ignores everything and never stops a job.
pub struct Unobserved;

impl JobObserver for Unobserved {}

/// A job whose inputs are found and whose output folder is locked: it can fail no more because of a path.
pub struct Job {
    options: JobOptions,
    output: Output,
    inputs: Vec<Named>,
    left_out: LeftOut,
}

/// What a job came to.
pub struct Outcome {
    /// Counts, latencies and the highest scores.
    pub tally: Tally,
    /// Wall-clock time from the first image to the last.
    pub duration: Duration,
    /// What was not inspected.
    pub uninspected: NotInspected,
    /// The signal that stopped it, or what processed it fail.
    pub end: Result<Option<u8>>,
}

/// Result of one image, for the thread that writes records.
enum Processed {
    Saved(Saved),
    Failed(Error),
    Unwritable(Error),
}

impl Job {
    /// Finds the images of `inputs` (files, folders, globs, `-` for a list on standard input) and opens the output folder.
    ///
    /// Errors: inputs that do not exist or hold no image, a folder that cannot be used.
    pub fn new(inputs: &[PathBuf], output: &Path, options: JobOptions) -> Result<Job> {
        Job::of(inputs::find(inputs, output)?, output, options)
    }

    /// A job over images that are found already.
    ///
    /// Errors: a folder that cannot be used.
    pub fn of(found: Found, output: &Path, options: JobOptions) -> Result<Job> {
        let Found { inputs: found, left_out } = found;
        let output = Output::open(output, options.existing)?;
        let named = output.name(found);
        let inputs = options.shard.map_or_else(|| named.clone(), |shard| shard.take(named.clone()));
        Ok(Job { options, output, inputs, left_out })
    }

    /// The output folder.
    pub fn root(&self) -> &Path {
        self.output.root()
    }

    /// The image files, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.inputs.iter().map(|input| input.file.as_path())
    }

    /// Inspects all images and writes records, pictures, `run.json` and what the task concludes with.
    ///
    /// Errors are those before the first image; what happens later is the outcome's.
    pub fn run(mut self, task: &impl Task, observer: &impl JobObserver) -> Result<Outcome> {
        let invocation = Invocation {
            shard: self.options.shard.map(|shard| shard.to_string()),
            resume: self.options.existing == Existing::Resume,
            report: task.has_report(),
            kernels: self.options.tier.map(Tier::as_str),
        };
        let mut run_file = task.run_file(self.options.read, invocation)?;
        run_file.uninspected.inputs = self.left_out.clone();
        if self.options.existing == Existing::Resume {
            run_file.resume(&self.output)?;
        }
        self.output.refuse_irregular(run_file.files.iter().map(String::as_str))?;
        let files: Vec<String> = self.inputs.iter().flat_map(|input| task.files(&input.name)).chain(run_file.files.clone()).collect();
        self.output.refuse_foreign(files.iter().map(String::as_str))?;
        self.output.begin(&self.inputs)?;
        run_file.write(&self.output)?;
        let start = Instant::now();
        let mut tally = Tally::new(self.inputs.len());
        let end = self.inspect(task, &mut tally, observer);
        run_file.uninspected.in_part = tally.in_part().clone();
        let outcome = Outcome { tally, duration: start.elapsed(), uninspected: run_file.uninspected.clone(), end };
        self.finish(task, &mut run_file, &outcome)?;
        Ok(outcome)
    }

    /// Inspects what no earlier run has scored, until it is done, a signal comes, or nothing more can be inspected or written.
    fn inspect(&self, task: &impl Task, tally: &mut Tally, observer: &impl JobObserver) -> Result<Option<u8>> {
        let (earlier, todo): (Vec<&Named>, Vec<&Named>) = self.inputs.iter().partition(|input| self.output.earlier(input).is_some());
        for record in earlier.into_iter().filter_map(|input| self.output.earlier(input)) {
            tally.skipped(&record.path, record.score.unwrap_or(f32::NEG_INFINITY), record.decision, &record.uninspected);
        }
        observer.begun(todo.len())?;
        let (crashed, todo): (Vec<&Named>, Vec<&Named>) = todo.into_iter().partition(|input| self.output.has_crashed(input));
        for input in crashed {
            let error = Error::new(Code::Crashed, "two runs were killed while this image was in work");
            self.commit(input, Processed::Failed(error), tally, observer)?;
        }
        let (suspects, others): (Vec<&Named>, Vec<&Named>) = todo.into_iter().partition(|input| self.output.is_suspect(input));
        if !suspects.is_empty() {
            log::info!("images that were in work when a run was killed: {}; they come first, one at a time", suspects.len());
        }
        let threads = self.options.threads.unwrap_or_else(default_threads);
        for (inputs, threads) in [(suspects, 1), (others, threads)] {
            if let ControlFlow::Break(error) = self.inspect_all(task, &inputs, threads, tally, observer) {
                return Err(error);
            }
        }
        task.fault().map_or_else(|| Ok(observer.stopped()), Err)
    }

    /// Inspects images in so many threads; breaks with the error that ends the job.
    fn inspect_all(
        &self,
        task: &impl Task,
        todo: &[&Named],
        threads: usize,
        tally: &mut Tally,
        observer: &impl JobObserver,
    ) -> ControlFlow<Error> {
        let files: Vec<&Path> = todo.iter().map(|input| input.file.as_path()).collect();
        let begin = |at: usize| {
            let in_work = self.output.in_work(todo[at]);
            if self.options.abort_at.as_deref() == Some(todo[at].path.as_str()) {
                std::process::abort();
            }
            in_work
        };
        let process = |at: usize, inspected: Result<Inspected<_>>| match inspected {
            Err(error) => Processed::Failed(error),
            Ok(inspected) => match task.save(&self.output, todo[at], inspected) {
                Ok(saved) => Processed::Saved(saved),
                // A folder or a link where a picture was to be: this image's trouble.
                Err(error) if error.code() == Code::Output => Processed::Failed(error),
                Err(error) => Processed::Unwritable(error),
            },
        };
        let commit = |at: usize, processed| match self.commit(todo[at], processed, tally, observer) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        };
        inspect_many(task, &files, (threads, self.options.read), || observer.stopped().is_some(), begin, process, commit)
    }

    /// Appends the record of an image and counts it. Runs on one thread, in the order of the inputs.
    fn commit(&self, input: &Named, processed: Processed, tally: &mut Tally, observer: &impl JobObserver) -> Result<()> {
        let line = match processed {
            Processed::Unwritable(error) => return Err(error),
            Processed::Saved(saved) => {
                self.output.append_line(&saved.line)?;
                for warning in saved.warnings {
                    if warning.is_once_a_run() && tally.is_new(warning) {
                        observer.warned(&input.path, warning);
                    }
                }
                tally.scored(&input.path, saved.score, saved.decision, &saved.uninspected, &saved.ms);
                saved.line
            }
            Processed::Failed(error) => {
                tally.failed();
                observer.failed(&input.path, &error);
                self.output.append(&FailedRecord::new(&input.path, input.output(), &error))?
            }
        };
        observer.recorded(&line)
    }

    /// Writes what is written once, at the end. A job that failed keeps its own error.
    fn finish<T: Task>(&self, task: &T, run_file: &mut RunFile<T::Parameters, Invocation>, outcome: &Outcome) -> Result<()> {
        run_file.end(&outcome.end, outcome.tally.counts, outcome.tally.latency(), outcome.duration);
        let mut written = run_file.write(&self.output);
        if outcome.end.is_ok() {
            written = written.and_then(|()| self.output.sort_records(&self.inputs));
        }
        if matches!(outcome.end, Ok(None)) {
            self.output.forget_kills();
        }
        written = written.and_then(|()| task.conclude(&self.output, run_file));
        if outcome.end.is_err() { Ok(()) } else { written }
    }
}
