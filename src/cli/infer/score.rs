//! The loop over photos: the next one is decoded while the device works on this one; each ends as files and a record, or as a record.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use zsas::image::{self, Rgb};
use zsas::inspect::{Detector, Finding};
use zsas::{Error, Result};

use crate::cli::infer::pictures::Pictures;
use crate::cli::infer::record::Judge;
use crate::cli::infer::signals::Signals;
use crate::cli::infer::tally::{Outcome, Tally};
use crate::cli::inputs::PhotoArgs;
use crate::cli::results::{FailedRecord, Milliseconds, Named, Output, milliseconds};
use crate::cli::talk;

/// Failures that are named on stderr; the rest is in the records.
const MOST_FAILURES_NAMED: usize = 10;

/// Everything that scores photos.
pub struct Scoring<'a> {
    /// Method, weights, device.
    pub detector: &'a Detector,
    /// Decides.
    pub judge: Judge,
    /// Draws.
    pub pictures: &'a Pictures,
    /// Keeps.
    pub output: &'a mut Output,
    /// Stops.
    pub signals: &'a Signals,
    /// How photos are read.
    pub photos: PhotoArgs,
    /// Records go to stdout as well.
    pub prints_records: bool,
    /// No talk.
    pub is_quiet: bool,
}

/// A photo as the decoding thread hands it over.
struct Decoded<'a> {
    input: &'a Named,
    photo: Result<image::Decoded>,
    took: Duration,
}

impl Scoring<'_> {
    /// Scores the inputs in order, until they are done, a signal comes, or nothing more can be scored or written.
    pub fn run(mut self, inputs: &[Named]) -> Outcome {
        let start = Instant::now();
        let mut tally = Tally::new(inputs.len());
        let todo = self.skip_earlier(inputs, &mut tally);
        let bar = talk::progress(todo.len() as u64, self.is_quiet);
        talk::follow(&self.detector.device(), &bar);
        let photos = self.photos;
        let end = std::thread::scope(|scope| {
            // No buffer: one photo in work and one waiting is all the memory that large photos may take.
            let (send, receive) = sync_channel(0);
            let todo = &todo;
            scope.spawn(move || decode(todo, photos, &send));
            self.consume(receive, &mut tally, &bar)
        });
        bar.finish_and_clear();
        Outcome { tally, seconds: start.elapsed().as_secs_f64(), end }
    }

    /// Counts what an earlier run scored and returns the rest.
    fn skip_earlier<'a>(&self, inputs: &'a [Named], tally: &mut Tally) -> Vec<&'a Named> {
        let mut todo = Vec::with_capacity(inputs.len());
        for input in inputs {
            match self.output.earlier(input) {
                Some(earlier) => tally.skipped(&earlier.path, earlier.score.unwrap_or(f32::NEG_INFINITY), earlier.decision),
                None => todo.push(input),
            }
        }
        todo
    }

    /// Dropping `receive` on return tells the decoding thread to stop.
    fn consume(&mut self, receive: Receiver<Decoded<'_>>, tally: &mut Tally, bar: &ProgressBar) -> Result<Option<u8>> {
        for decoded in receive {
            if let Some(signal) = self.signals.received() {
                return Ok(Some(signal));
            }
            match decoded
                .photo
                .as_ref()
                .map_err(copy)
                .and_then(|photo| Ok((photo, self.detector.inspect(&photo.image)?)))
            {
                Ok((photo, mut found)) => {
                    found.warnings.splice(..0, photo.warnings.iter().map(ToString::to_string));
                    self.keep(&decoded, &photo.image, &found, tally)?;
                }
                Err(error) => self.fail(&decoded, &error, tally, bar)?,
            }
            if let Some(fault) = self.detector.fault() {
                return Err(fault);
            }
            bar.inc(1);
        }
        Ok(self.signals.received())
    }

    fn keep(&mut self, decoded: &Decoded<'_>, photo: &Rgb, scored: &Finding, tally: &mut Tally) -> Result<()> {
        let mut ms = Milliseconds::new(decoded.took, &scored.stages);
        let start = Instant::now();
        let (mask, regions) = self.judge.mark(&scored.map).unzip();
        ms.post += milliseconds(start.elapsed());
        let start = Instant::now();
        let file = self.pictures.write(self.output, &decoded.input.name, photo, &scored.map, mask.as_ref())?;
        ms.write = milliseconds(start.elapsed());
        let record = self.judge.record(&decoded.input.path, decoded.input.output(), scored, regions, file, ms);
        self.append(&record)?;
        let decision = self.judge.threshold.map(|threshold| threshold.decide(scored.score));
        tally.scored(&decoded.input.path, scored.score, decision, &ms);
        Ok(())
    }

    fn fail(&mut self, decoded: &Decoded<'_>, error: &Error, tally: &mut Tally, bar: &ProgressBar) -> Result<()> {
        tally.failed();
        let path = &decoded.input.path;
        if !self.is_quiet && tally.counts.failed <= MOST_FAILURES_NAMED {
            bar.suspend(|| talk::say(format_args!("failed: {path}: {error}")));
        }
        if !self.is_quiet && tally.counts.failed == MOST_FAILURES_NAMED + 1 {
            bar.suspend(|| talk::say("failed: further failures are in the records only"));
        }
        self.append(&FailedRecord::new(path, error))
    }

    fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let line = self.output.append(record)?;
        if self.prints_records { talk::print_line(line) } else { Ok(()) }
    }
}

/// An error that can be given away while its photo is kept.
fn copy(error: &Error) -> Error {
    Error::new(error.code(), error.message())
}

/// Decodes photos until they are done or nobody wants them any more.
fn decode<'a>(todo: &[&'a Named], photos: PhotoArgs, send: &SyncSender<Decoded<'a>>) {
    for &input in todo {
        let start = Instant::now();
        let photo = photos.open(&input.file);
        if send.send(Decoded { input, photo, took: start.elapsed() }).is_err() {
            return;
        }
    }
}
