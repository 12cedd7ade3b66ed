//! Calibration of a detector on photos of good parts.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Remedy, Result};
use crate::files::sha256;
use crate::image::{ReadOptions, Warning};
use crate::inputs::{self, Input, LeftOut};
use crate::inspect::many::{Inspected, default_threads, inspect_many};
use crate::inspect::{Detector, JobObserver};
use crate::methods::{Finding, Reference};
use crate::results::{Calibration, GoodPhoto, Made, NotInspected, Rule, Tally, to_json};
use crate::uninspected::Uninspected;

/// How a calibration is made. The default is what most users want.
#[derive(Clone, Copy, Debug, Default)]
pub struct CalibrationOptions {
    /// How threshold and level follow from the good photos.
    pub rule: Rule,
    /// How images are read.
    pub read: ReadOptions,
    /// Images in work at the same time; by default [`default_threads`].
    pub threads: Option<usize>,
    /// Whether photos that cannot be scored are left out and counted; by default they are an error.
    pub is_lenient: bool,
}

/// Good photos that are found, for a detector to be calibrated on.
///
/// ```no_run
/// use zsas::image::Rgb;
/// use zsas::inspect::{CalibrationJob, CalibrationOptions, Detector, Unobserved};
/// use zsas::results::Calibration;
///
/// let detector = Detector::builder().method("utad").open()?;
/// let job = CalibrationJob::new(&["good".into()], CalibrationOptions::default())?;
/// if let Some(made) = job.run(&detector, &Unobserved)? {
///     made.calibration.write("calibration.toml".as_ref())?;
/// }
///
/// // Later: method, class and the rest are as the file says, or refused.
/// let calibration = Calibration::read("calibration.toml".as_ref())?;
/// let threshold = calibration.threshold();
/// let detector = Detector::builder().calibration(calibration).open()?;
/// let found = detector.inspect(&Rgb::open("part.png")?)?;
/// println!("{} {:?}", found.score, threshold.decide(found.score, &found.uninspected));
/// # Ok::<(), zsas::Error>(())
/// ```
pub struct CalibrationJob {
    good: Vec<Input>,
    left_out: LeftOut,
    options: CalibrationOptions,
}

/// A calibration, with what was not looked at while it was made.
pub struct Calibrated {
    /// The calibration.
    pub calibration: Calibration,
    /// What was not inspected.
    pub uninspected: NotInspected,
}

/// A good photo that was scored.
struct Scored {
    photo: GoodPhoto,
    /// Hash of its pixels.
    sha256: String,
    uninspected: Vec<Uninspected>,
    warnings: Vec<Warning>,
}

/// The good photos so far.
#[derive(Default)]
struct Good {
    photos: Vec<GoodPhoto>,
    seen: HashSet<String>,
    failed: usize,
    tally: Tally,
}

impl CalibrationJob {
    /// Finds the good photos: files, folders, globs, `-` for a list on standard input.
    ///
    /// Errors: paths that do not exist, [`Code::Calibration`] where there is no photo, a rule that is none.
    pub fn new(good: &[PathBuf], options: CalibrationOptions) -> Result<CalibrationJob> {
        options.rule.check()?;
        let found = inputs::find(good, Path::new("")).map_err(|error| match error.code() {
            Code::NoInputs => Error::new(Code::Calibration, error.message()).context("as photos of good parts"),
            _ => error,
        })?;
        Ok(CalibrationJob { good: found.inputs, left_out: found.left_out, options })
    }

    /// Number of photos that were found.
    pub fn count(&self) -> usize {
        self.good.len()
    }

    /// The image files, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.good.iter().map(|input| input.file.as_path())
    }

    /// Scores all good photos and finds threshold and level. `None` where the observer stopped it.
    ///
    /// Photos with the same pixels as one before count once: they say nothing new.
    ///
    /// Errors with [`Code::Calibration`]: photos that cannot be scored, unless that is to be lenient; a good photo that is one of the
    /// detector's reference images, whose distance to itself says nothing of the next part; too few photos for the rule.
    pub fn run(&self, detector: &Detector, observer: &impl JobObserver) -> Result<Option<Calibrated>> {
        observer.begun(self.good.len())?;
        let files: Vec<&Path> = self.good.iter().map(|input| input.file.as_path()).collect();
        let threads = self.options.threads.unwrap_or_else(default_threads);
        let mut good = Good::default();
        let outcome = inspect_many(
            detector,
            &files,
            (threads, self.options.read),
            || observer.stopped().is_some(),
            |_| (),
            |at, inspected| inspected.and_then(|inspected| Scored::of(&self.good[at].path, inspected)),
            |at, scored| match self.commit(&self.good[at].path, scored, detector, &mut good, observer) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            },
        );
        if let ControlFlow::Break(error) = outcome {
            return Err(error);
        }
        if let Some(fault) = detector.fault() {
            return Err(fault);
        }
        if observer.stopped().is_some() {
            return Ok(None);
        }
        if good.failed > 0 && !self.options.is_lenient {
            let message = format!("{} of {} good photos could not be scored", good.failed, self.good.len());
            return Err(Error::new(Code::Calibration, message).hint(Remedy::MendGoodPhotos));
        }
        self.conclude(detector, good).map(Some)
    }

    /// Counts a photo. Runs on one thread, in the order of the photos.
    fn commit(&self, path: &str, scored: Result<Scored>, detector: &Detector, good: &mut Good, observer: &impl JobObserver) -> Result<()> {
        let scored = match scored {
            Ok(scored) => scored,
            Err(error) => {
                good.failed += 1;
                observer.failed(path, &error);
                return Ok(());
            }
        };
        if let Some(reference) = detector.recipe().references.iter().find(|reference| reference.sha256 == scored.sha256) {
            return Err(is_a_reference(path, reference));
        }
        for warning in scored.warnings {
            if warning.is_once_a_run() && good.tally.is_new(warning) {
                observer.warned(path, warning);
            }
        }
        good.tally.count_parts(&scored.uninspected);
        observer.recorded(&to_json(&scored.photo))?;
        if good.seen.insert(scored.sha256) {
            good.photos.push(scored.photo);
        }
        Ok(())
    }

    fn conclude(&self, detector: &Detector, good: Good) -> Result<Calibrated> {
        let copies = self.good.len() - good.failed - good.photos.len();
        let conditions = detector.conditions(self.options.read)?;
        let made = Made::by(detector.device().name(), detector.weights_identity()?.name);
        let calibration = Calibration::new(self.options.rule, good.photos, [good.failed, copies], conditions, made)?;
        let uninspected = NotInspected { inputs: self.left_out.clone(), in_part: good.tally.in_part().clone(), ..NotInspected::default() };
        Ok(Calibrated { calibration, uninspected })
    }
}

impl Scored {
    fn of(path: &str, inspected: Inspected<Finding>) -> Result<Scored> {
        let Inspected { image, finding, mut uninspected, warnings, .. } = inspected;
        let maximum = finding.map.data().iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !finding.score.is_finite() || !maximum.is_finite() {
            let message = format!("its score is {} and the maximum of its map {maximum}", finding.score);
            return Err(Error::new(Code::Nonfinite, message).hint(Remedy::CheckNumerics));
        }
        uninspected.extend(finding.uninspected);
        let photo = GoodPhoto { path: path.to_owned(), score: finding.score, maximum };
        Ok(Scored { photo, sha256: sha256(image.data()), uninspected, warnings })
    }
}

fn is_a_reference(path: &str, reference: &Reference) -> Error {
    let message = format!("the good photo `{path}` is the reference image `{}` too", reference.name);
    Error::new(Code::Calibration, message)
        .hint("calibrate on other photos than the references: an image has no distance to itself, so the threshold would be too low")
}
