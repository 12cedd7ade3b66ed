//! The console while a job works on photos: a bar, failures one by one, records on stdout.

use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use zsas::image::Warning;
use zsas::inspect::{JobObserver, Outcome};
use zsas::{Device, Error, Result};

use crate::cli::signals::Signals;
use crate::cli::talk;

/// Failures that are named on stderr; the rest is in the records.
const MAX_FAILURES_NAMED: usize = 10;

/// Failures of photos, the first few of which are named on stderr.
pub struct Failures {
    count: Mutex<usize>,
    is_quiet: bool,
}

impl Failures {
    /// No failure yet; none is named where it is to be quiet.
    pub fn new(is_quiet: bool) -> Failures {
        Failures { count: Mutex::new(0), is_quiet }
    }

    /// Names a failure above a bar.
    pub fn say(&self, bar: &ProgressBar, path: &str, error: &Error) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        if !self.is_quiet && *count <= MAX_FAILURES_NAMED {
            bar.suspend(|| talk::say(format_args!("failed: {path}: {error}")));
        }
        if !self.is_quiet && *count == MAX_FAILURES_NAMED + 1 {
            bar.suspend(|| talk::say("failed: further failures are in the records only"));
        }
    }
}

/// The console of a job.
pub struct Console<'a> {
    bar: Mutex<Option<ProgressBar>>,
    failures: Failures,
    device: Device,
    signals: Signals,
    prints_records: bool,
    is_quiet: bool,
    begin: &'a (dyn Fn() -> Result<()> + Sync),
}

impl<'a> Console<'a> {
    /// A console that prints records, if asked to, and says nothing more, if asked to; `begin` is called when the job begins.
    pub fn new(
        device: Device,
        signals: Signals,
        (prints_records, is_quiet): (bool, bool),
        begin: &'a (dyn Fn() -> Result<()> + Sync),
    ) -> Console<'a> {
        Console {
            bar: Mutex::default(),
            failures: Failures::new(is_quiet),
            device,
            signals,
            prints_records,
            is_quiet,
            begin,
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.with_bar(ProgressBar::finish_and_clear);
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            act(bar);
        }
    }
}

impl JobObserver for Console<'_> {
    fn begun(&self, count: usize) -> Result<()> {
        let bar = talk::progress(count as u64, self.is_quiet);
        talk::follow(&self.device, &bar);
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        (self.begin)()
    }

    fn recorded(&self, line: &str) -> Result<()> {
        self.with_bar(|bar| bar.inc(1));
        if self.prints_records { talk::print_line(line) } else { Ok(()) }
    }

    fn warned(&self, path: &str, warning: Warning) {
        if !self.is_quiet {
            self.with_bar(|bar| bar.suspend(|| talk::say(format_args!("warning: {path}: {warning}; later photos like it are not named"))));
        }
    }

    fn failed(&self, path: &str, error: &Error) {
        self.with_bar(|bar| self.failures.say(bar, path, error));
    }

    fn stopped(&self) -> Option<u8> {
        self.signals.received()
    }
}

/// How many photos were done and how long each took, in a line.
pub fn summary(outcome: &Outcome, device: &str) -> String {
    let counts = outcome.tally.counts;
    let seconds = outcome.duration.as_secs_f64() / counts.scored as f64;
    let each = outcome.tally.latency().map_or_else(String::new, |_| format!(", {seconds:.2} s each"));
    let mut parts = vec![format!("{} scored{each} on {device}", counts.scored)];
    let others = [(counts.failed, "failed"), (counts.skipped, "done before")];
    parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    if matches!(outcome.end, Ok(Some(_))) {
        let left = counts.inputs - counts.scored - counts.failed - counts.skipped;
        parts.push(format!("interrupted, {left} left for `--resume`"));
    }
    format!("{} photo{}: {}", counts.inputs, if counts.inputs == 1 { "" } else { "s" }, parts.join("; "))
}
