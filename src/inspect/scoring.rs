//! Scoring of images by a detector: the decision rule, pictures and records of a job.

use std::time::Instant;

use crate::error::{Code, Error, Result};
use crate::image::{ReadOptions, Rgb};
use crate::inputs::LeftOut;
use crate::inspect::job::{Saved, Task};
use crate::inspect::many::{Inspect, Inspected};
use crate::inspect::{Detector, Finding, RegionOfInterest};
use crate::methods::{Recipe, Reference};
use crate::results::{
    Calibration, Conditions, DecisionRule, InferRun, Invocation, Milliseconds, Named, Output, Parameters, Picture, Pictures,
    PromptParameters, RunFile, Threshold,
    report::{self, ReportText},
};
use crate::uninspected::Reason;

/// How scores are decided on and what is drawn. The default is what most users want.
#[derive(Clone, Debug, Default)]
pub struct ScoreOptions {
    /// Decides on scores, and cuts masks and regions; without it the detector's calibration, else the threshold of the profile, else none.
    pub threshold: Option<f32>,
    /// Values drawn as the coldest and the hottest colour, instead of those of the method.
    pub range: Option<[f32; 2]>,
    /// Pictures of each image; by default all, the mask where there is a value to cut at.
    pub save: Option<Vec<Picture>>,
    /// Whether `report.html` is written.
    pub report: bool,
    /// What was left out of the reference images, for `run.json`.
    pub references_left_out: LeftOut,
}

/// Scoring: what a job does with each image that a detector looks at.
pub struct Scoring<'d> {
    detector: &'d Detector,
    rule: DecisionRule,
    pictures: Pictures,
    options: ScoreOptions,
}

impl<'d> Scoring<'d> {
    /// Scoring by a detector.
    ///
    /// Errors: an empty colour range, a mask that is asked for without a level, or a threshold beside a calibration.
    pub fn new(detector: &'d Detector, options: ScoreOptions) -> Result<Scoring<'d>> {
        let calibration = detector.calibration();
        if options.threshold.is_some() && calibration.is_some() {
            return Err(Error::new(Code::Usage, "a threshold and a calibration were given; one of the two decides"));
        }
        let of = |value: Option<f32>, source: &'static str| value.map(|value| Threshold { value, source: source.into() });
        let threshold = of(options.threshold, "flag")
            .or(calibration.map(Calibration::threshold))
            .or(of(detector.threshold(), "profile"));
        let value = threshold.as_ref().map(|threshold| threshold.value);
        let rule = DecisionRule {
            method: detector.method().name,
            class: detector.prompt().and_then(|prompt| prompt.class.clone()),
            threshold,
            level: calibration.map(|calibration| calibration.level).or(value).or(detector.scale().level),
        };
        let range = options.range.unwrap_or(detector.scale().range);
        let pictures = Pictures::new(options.save.as_deref(), rule.level, range, detector.recipe().saa.is_some(), options.report)?;
        Ok(Scoring { detector, rule, pictures, options })
    }

    /// What decides on scores, if anything does.
    pub fn threshold(&self) -> Option<f32> {
        self.rule.threshold.as_ref().map(|threshold| threshold.value)
    }
}

impl Inspect for Scoring<'_> {
    type Finding = Finding;

    fn inspect(&self, image: &Rgb) -> Result<Finding> {
        self.detector.inspect(image)
    }

    fn fault(&self) -> Option<Error> {
        self.detector.fault()
    }

    fn is_sequential(&self) -> bool {
        self.detector.is_sequential()
    }
}

impl Task for Scoring<'_> {
    type Parameters = Parameters;

    fn has_report(&self) -> bool {
        self.options.report
    }

    fn files(&self, name: &str) -> Vec<String> {
        self.pictures.files(name)
    }

    fn run_file(&self, read: ReadOptions, invocation: Invocation) -> Result<InferRun> {
        let recipe = self.detector.recipe();
        let parameters = Parameters {
            threshold: self.threshold(),
            level: self.rule.level,
            range: self.pictures.range(),
            save: self.pictures.names(),
            calibration: self.detector.calibration().map(Calibration::summary),
            ..self.detector.parameters(read)
        };
        let weights = self.detector.weights_identity()?;
        if let Some(calibration) = self.detector.calibration() {
            let now = Conditions::of(&parameters, &weights, None);
            calibration
                .conditions
                .differing_read(&now)
                .map_or(Ok(()), |differing| Err(calibration.mismatch(&differing)))?;
        }
        let mut run_file = RunFile::new(&self.detector.device(), weights, parameters, invocation);
        run_file.warnings = recipe.references.iter().flat_map(Reference::warnings_with_name).collect();
        run_file.warnings.extend(recipe.saa.iter().flat_map(|saa| saa.warnings.clone()));
        run_file.uninspected.references = self.options.references_left_out.clone();
        let further_pages = recipe.references.iter().map(|reference| reference.further_pages).sum();
        run_file.uninspected.references.count(Reason::Page, further_pages);
        Ok(run_file)
    }

    fn save(&self, output: &Output, input: &Named, inspected: Inspected<Finding>) -> Result<Saved> {
        let Inspected { image, mut finding, uninspected, warnings, source, decode } = inspected;
        finding.warnings.splice(..0, warnings.iter().map(ToString::to_string));
        finding.uninspected.splice(..0, uninspected);
        let start = Instant::now();
        let (mask, regions) = self.rule.mark(&finding).unzip();
        let marked = Instant::now();
        let files = self.pictures.write(output, &input.name, &image, &finding, mask.as_ref())?;
        let ms = Milliseconds::new(decode, &finding.stages, marked - start, marked.elapsed());
        let record = self.rule.record(input, &finding, regions, files, source, ms);
        Ok(Saved::new(&record, (record.score, record.decision), record.uninspected.clone(), ms, warnings))
    }

    fn conclude(&self, output: &Output, run_file: &InferRun) -> Result<()> {
        if self.options.report { report::write(output, &ReportText::of_scores(run_file)) } else { Ok(()) }
    }
}

/// Parameters of a run that scores images, before anything is decided on the scores or drawn.
pub(super) fn parameters(
    recipe: &Recipe,
    prompt: Option<&PromptParameters>,
    region: Option<&RegionOfInterest>,
    read: ReadOptions,
) -> Parameters {
    Parameters {
        method: recipe.method.name,
        reading: recipe.reading.as_str(),
        language: prompt.cloned(),
        views: recipe.views.as_str(),
        tiles: recipe.tiles,
        roi: region.map(RegionOfInterest::parameters),
        precision: recipe.precision.as_str(),
        threshold: None,
        level: None,
        range: [0.0; 2],
        save: Vec::new(),
        read,
        calibration: None,
    }
}
