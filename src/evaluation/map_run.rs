//! Map run: a detector for each class scores its test photos, and keeps records and maps in a folder of the class.

use std::path::{Component, Path, PathBuf};

use crate::datasets::{Category, Dataset, Sample};
use crate::error::{Code, Error, Remedy, Result};
use crate::evaluation::maps::{draws_in, runs_of};
use crate::evaluation::{FewShot, Shots};
use crate::inputs::{Found, Input, LeftOut, path_text};
use crate::inspect::{Detector, DetectorBuilder, Job, JobObserver, JobOptions, Outcome, ScoreOptions, Scoring};
use crate::methods::Reference;
use crate::results::Picture;

/// Callbacks of a map run.
pub trait ClassObserver {
    /// Observer of the photos of a class.
    type Photos: JobObserver;

    /// Scoring of a class begins on an open device.
    fn class(&self, category: &Category, draw: Option<FewShot>, detector: &Detector) -> Self::Photos;
}

/// How the test photos of a data set are scored.
pub struct MapRun<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// Folder below which each class has its folder of records and maps.
    pub output: &'a Path,
    /// Makes the builder of a class's detector; reference images are added to it.
    pub builder: &'a dyn Fn(&Category) -> Result<DetectorBuilder>,
    /// Reference images, for methods that compare with some.
    pub shots: Option<Shots>,
    /// How photos are read, in how many threads, which part of them, what becomes of earlier results.
    pub job: JobOptions,
}

impl MapRun<'_> {
    /// Scores all classes; returns the number of photos that failed, or the signal that stopped it.
    ///
    /// Errors: those of a detector, of a folder that cannot be used, or the one that ended a job.
    pub fn run(&self, observer: &impl ClassObserver) -> Result<Scored> {
        let draws = self.shots.map_or_else(|| vec![None], |shots| shots.draws().into_iter().map(Some).collect());
        self.refuse_other_draws(&draws)?;
        let mut scored = Scored::default();
        for category in &self.dataset.classes {
            for draw in &draws {
                let outcome = self
                    .score(category, *draw, observer)
                    .map_err(|error| error.context(format!("class `{}`", category.name)))?;
                scored.failed += outcome.tally.counts.failed;
                if let Some(signal) = outcome.end? {
                    return Ok(Scored { signal: Some(signal), ..scored });
                }
            }
        }
        Ok(scored)
    }

    /// Refuses an output folder that holds runs of another evaluation, which would be measured with those of this one.
    fn refuse_other_draws(&self, draws: &[Option<FewShot>]) -> Result<()> {
        for category in &self.dataset.classes {
            if let Some(other) = draws_in(self.output, &category.name).into_iter().find(|draw| !draws.contains(draw)) {
                let folder = runs_of(self.output, &category.name, other);
                let message = format!("`{}` is of an evaluation with other reference images", folder.display());
                return Err(Error::new(Code::Output, message).hint(Remedy::ChooseOtherOutput));
            }
        }
        Ok(())
    }

    /// Scores a class with one draw of reference images.
    fn score(&self, category: &Category, draw: Option<FewShot>, observer: &impl ClassObserver) -> Result<Outcome> {
        // The folder first: one that is in use or full of other things costs no device.
        let job = Job::of(found(category), &runs_of(self.output, &category.name, draw), self.job.clone())?;
        let references = draw.map_or_else(|| Ok(Vec::new()), |draw| self.references(category, draw))?;
        let detector = (self.builder)(category)?.references(references).open()?;
        let options = ScoreOptions { save: Some(vec![Picture::Map]), ..ScoreOptions::default() };
        job.run(&Scoring::new(&detector, options)?, &observer.class(category, draw, &detector))
    }

    fn references(&self, category: &Category, draw: FewShot) -> Result<Vec<Reference>> {
        let name = |file: &PathBuf| path_text(file.strip_prefix(&self.dataset.root).unwrap_or(file));
        draw.choose(category)?.iter().map(|file| Reference::file(name(file), file, self.job.read)).collect()
    }
}

/// What a map run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// Photos that could not be scored.
    pub failed: usize,
    /// The signal that stopped the run.
    pub signal: Option<u8>,
}

/// The test photos of a class as inputs of a job. Records name them by their path below the root, so that they mean the same on every machine.
fn found(category: &Category) -> Found {
    let input = |sample: &Sample| Input {
        file: sample.image.clone(),
        path: sample.path.clone(),
        name: below(sample.path.strip_prefix(&format!("{}/", category.name)).unwrap_or(&sample.path)),
    };
    Found { inputs: category.test.iter().map(input).collect(), left_out: LeftOut::default() }
}

/// A path as the name of files below a folder: without what would lead out of it.
fn below(path: &str) -> String {
    let inside = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    path_text(&inside.collect::<PathBuf>())
}
