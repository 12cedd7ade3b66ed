//! Wall-clock time of the stages of scoring one image.

use std::time::{Duration, Instant};

/// Wall-clock time of the stages of one image.
///
/// The device stage includes waiting for a device that is busy with other images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Resizing and normalising.
    pub preprocess: Duration,
    /// Upload, networks, download.
    pub device: Duration,
    /// From the device's numbers to the map.
    pub postprocess: Duration,
}

/// Stopwatch for the stages of one image; the method calls it where a stage ends.
#[derive(Debug)]
pub struct Clock {
    /// When the current stage began; `None` where no time is taken.
    since: Option<Instant>,
    stages: Stages,
}

impl Clock {
    /// A clock whose first stage, preprocessing, begins now.
    pub fn start() -> Clock {
        Clock { since: Some(Instant::now()), stages: Stages::default() }
    }

    /// A clock that measures nothing, for callers that need no times and for platforms without a clock.
    pub fn stopped() -> Clock {
        Clock { since: None, stages: Stages::default() }
    }

    /// Ends preprocessing; the device stage begins.
    pub fn preprocessed(&mut self) {
        let lap = self.lap();
        self.stages.preprocess += lap;
    }

    /// Ends the device stage; postprocessing begins.
    pub fn computed(&mut self) {
        let lap = self.lap();
        self.stages.device += lap;
    }

    /// Ends the postprocessing of a part of the image; the preprocessing of the next part begins.
    pub fn postprocessed(&mut self) {
        let lap = self.lap();
        self.stages.postprocess += lap;
    }

    /// Ends postprocessing.
    pub fn finish(mut self) -> Stages {
        self.postprocessed();
        self.stages
    }

    fn lap(&mut self) -> Duration {
        let Some(since) = &mut self.since else { return Duration::ZERO };
        let now = Instant::now();
        now - std::mem::replace(since, now)
    }
}
