//! A folder of images: found, inspected by several threads at once, with a record and pictures of each, in order.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::image::{ReadOptions, Warning};
use crate::inputs::{self, Found, LeftOut, Shard};
use crate::inspect::Detector;
use crate::inspect::many::{Inspected, default_threads, inspect_many};
use crate::kernels::Tier;
use crate::methods::Reference;
use crate::results::{
    DecisionRule, Existing, FailedRecord, InferRun, Invocation, Milliseconds, Named, NotInspected, Output, Parameters, Picture, Pictures,
    RunFile, ScoredRecord, Tally, Threshold, report,
};
use crate::uninspected::Reason;

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
    /// Path of an image at which the process aborts, so that the handling of such images can be tested.
    #[doc(hidden)]
    pub abort_at: Option<String>,
    /// What was left out of the reference images, for `run.json`.
    pub references_left_out: LeftOut,
    /// Tier of kernels that was forced, for `run.json`.
    pub tier: Option<Tier>,
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
    /// What decided, if anything did.
    pub threshold: Option<f32>,
    /// What was not inspected.
    pub uninspected: NotInspected,
    /// The signal that stopped it, or what processed it fail.
    pub end: Result<Option<u8>>,
}

/// Result of one image, for the thread that writes records.
enum Processed {
    Scored { record: Box<ScoredRecord>, ms: Milliseconds, warnings: Vec<Warning> },
    Failed(Error),
    Unwritable(Error),
}

impl Job {
    /// Finds the images of `inputs` (files, folders, globs, `-` for a list on standard input) and opens the output folder.
    ///
    /// Errors: inputs that do not exist or hold no image, a folder that cannot be used.
    pub fn new(inputs: &[PathBuf], output: &Path, options: JobOptions) -> Result<Job> {
        let Found { inputs: found, left_out } = inputs::find(inputs, output)?;
        let output = Output::open(output, options.existing)?;
        let named = output.name(found);
        let inputs = options.shard.map_or_else(|| named.clone(), |shard| shard.take(named.clone()));
        Ok(Job { options, output, inputs, left_out })
    }

    /// The output folder.
    pub fn root(&self) -> &Path {
        self.output.root()
    }

    /// Inspects all images and writes records, pictures, `run.json` and the report.
    ///
    /// Errors are those before the first image; what happens later is the outcome's.
    pub fn run(mut self, detector: &Detector, observer: &impl JobObserver) -> Result<Outcome> {
        let rule = self.rule(detector);
        let range = self.options.range.unwrap_or(detector.scale().range);
        let pictures = Pictures::new(self.options.save.as_deref(), rule.level, range, self.options.report)?;
        let mut run_file = self.run_file(detector, &rule, &pictures)?;
        if self.options.existing == Existing::Resume {
            run_file.check_same_as_earlier(&self.output)?;
        }
        let files: Vec<String> = self.inputs.iter().flat_map(|input| pictures.files(&input.name)).collect();
        self.output.refuse_foreign(files.iter().map(String::as_str))?;
        self.output.begin(&self.inputs)?;
        run_file.write(&self.output)?;
        let start = Instant::now();
        let mut tally = Tally::new(self.inputs.len());
        let end = self.inspect(detector, &rule, &pictures, &mut tally, observer);
        run_file.uninspected.in_part = tally.in_part().clone();
        let outcome = Outcome {
            tally,
            duration: start.elapsed(),
            threshold: run_file.parameters.threshold,
            uninspected: run_file.uninspected.clone(),
            end,
        };
        self.finish(&mut run_file, &outcome)?;
        Ok(outcome)
    }

    fn rule(&self, detector: &Detector) -> DecisionRule {
        let given = self.options.threshold.map(|value| Threshold { value, source: "flag" });
        let threshold = given.or(detector.threshold().map(|value| Threshold { value, source: "profile" }));
        DecisionRule {
            method: detector.method().name,
            class: detector.prompt().map(|prompt| prompt.class.clone()),
            threshold,
            level: threshold.map(|threshold| threshold.value).or(detector.scale().level),
        }
    }

    fn run_file(&self, detector: &Detector, rule: &DecisionRule, pictures: &Pictures) -> Result<InferRun> {
        let parameters = Parameters {
            method: rule.method,
            reading: detector.reading().as_str(),
            language: detector.prompt().cloned(),
            views: detector.recipe().views.as_str(),
            precision: detector.recipe().precision.as_str(),
            threshold: rule.threshold.map(|threshold| threshold.value),
            level: rule.level,
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
        let mut run_file = RunFile::new(&detector.device(), detector.weights_identity()?, parameters, invocation);
        run_file.uninspected.inputs = self.left_out.clone();
        let references = &detector.recipe().references;
        run_file.warnings = references.iter().flat_map(Reference::warnings_with_name).collect();
        run_file.uninspected.references = self.options.references_left_out.clone();
        run_file
            .uninspected
            .references
            .count(Reason::Page, references.iter().map(|reference| reference.further_pages).sum());
        Ok(run_file)
    }

    /// Inspects what no earlier run has scored, until it is done, a signal comes, or nothing more can be inspected or written.
    fn inspect(
        &self,
        detector: &Detector,
        rule: &DecisionRule,
        pictures: &Pictures,
        tally: &mut Tally,
        observer: &impl JobObserver,
    ) -> Result<Option<u8>> {
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
            if let ControlFlow::Break(error) = self.inspect_all(detector, (rule, pictures), &inputs, threads, tally, observer) {
                return Err(error);
            }
        }
        detector.fault().map_or_else(|| Ok(observer.stopped()), Err)
    }

    /// Inspects images in so many threads; breaks with the error that ends the job.
    fn inspect_all(
        &self,
        detector: &Detector,
        (rule, pictures): (&DecisionRule, &Pictures),
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
        let process = |at: usize, inspected| self.process(rule, pictures, todo[at], inspected);
        let commit = |at: usize, processed| match self.commit(todo[at], processed, tally, observer) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        };
        inspect_many(detector, &files, (threads, self.options.read), || observer.stopped().is_some(), begin, process, commit)
    }

    /// Draws and writes the pictures of an image, and makes its record. Runs on the threads of the images.
    fn process(&self, rule: &DecisionRule, pictures: &Pictures, input: &Named, inspected: Result<Inspected>) -> Processed {
        let inspected = match inspected {
            Ok(inspected) => inspected,
            Err(error) => return Processed::Failed(error),
        };
        let Inspected { image, finding, warnings, source, decode } = &inspected;
        let start = Instant::now();
        let (mask, regions) = rule.mark(&finding.map).unzip();
        let marked = Instant::now();
        let written = pictures.write(&self.output, &input.name, image, &finding.map, mask.as_ref());
        let ms = Milliseconds::new(*decode, &finding.stages, marked - start, marked.elapsed());
        match written {
            Ok(files) => {
                let record = rule.record(input, finding, regions, files, source.clone(), ms);
                Processed::Scored { record: Box::new(record), ms, warnings: warnings.clone() }
            }
            // A folder or a link where a picture was to be: this image's trouble.
            Err(error) if error.code() == Code::Output => Processed::Failed(error),
            Err(error) => Processed::Unwritable(error),
        }
    }

    /// Appends the record of an image and counts it. Runs on one thread, in the order of the inputs.
    fn commit(&self, input: &Named, processed: Processed, tally: &mut Tally, observer: &impl JobObserver) -> Result<()> {
        let line = match processed {
            Processed::Unwritable(error) => return Err(error),
            Processed::Scored { record, ms, warnings } => {
                let line = self.output.append(&record)?;
                for warning in warnings {
                    if warning.is_once_a_run() && tally.is_new(warning) {
                        observer.warned(&input.path, warning);
                    }
                }
                tally.scored(&input.path, record.score, record.decision, &record.uninspected, &ms);
                line
            }
            Processed::Failed(error) => {
                tally.failed();
                observer.failed(&input.path, &error);
                self.output.append(&FailedRecord::new(&input.path, input.output(), &error))?
            }
        };
        observer.recorded(&line)
    }

    /// Writes what is written once, at the end: counts and the report. A job that failed keeps its own error.
    fn finish(&self, run_file: &mut InferRun, outcome: &Outcome) -> Result<()> {
        run_file.end(&outcome.end, outcome.tally.counts, outcome.tally.latency(), outcome.duration);
        let mut written = run_file.write(&self.output);
        if outcome.end.is_ok() {
            written = written.and_then(|()| self.output.sort_records(&self.inputs));
        }
        if matches!(outcome.end, Ok(None)) {
            self.output.forget_kills();
        }
        if self.options.report && written.is_ok() {
            written = report::write(&self.output, run_file);
        }
        if outcome.end.is_err() { Ok(()) } else { written }
    }
}
