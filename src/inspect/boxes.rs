//! Detection of what a caption names (GroundingDINO): boxes are found on a device that may be lost, and written by a job.

use std::time::Instant;

use crate::error::{Code, Error, Result};
use crate::image::{BoundingBox, ReadOptions, Rgb};
use crate::inspect::job::{Saved, Task};
use crate::inspect::many::{Inspect, Inspected};
use crate::inspect::{DeviceRequest, Recoverable};
use crate::methods::{Candidate, Clock, EmbeddedCaptions, Grounder, Stages};
use crate::models::GroundingDino;
use crate::models::grounding_dino::{self, Semantics};
use crate::models::store::FoundWeights;
use crate::results::{
    BoxFiles, BoxParameters, BoxRecord, BoxRun, BoxesRecord, COCO, Head, Invocation, Milliseconds, Named, Output, Picture, RunFile,
    report::{self, ReportText},
    write_coco,
};
use crate::run::Device;
use crate::tensor::Precision;
use crate::text::Caption;
use crate::weights::Identity;

/// Which boxes are kept, and what is written. The default is what the authors' demonstration does.
#[derive(Clone, Debug)]
pub struct BoxOptions {
    /// Queries whose best token is more probable than this give a box.
    pub box_threshold: f32,
    /// Tokens that are more probable than this are named.
    pub text_threshold: f32,
    /// Of boxes whose intersection over union is more than this, the better one stays; all stay without.
    pub nms: Option<f32>,
    /// Whose code is followed where two differ.
    pub semantics: Semantics,
    /// Whether the image with its boxes is written.
    pub overlay: bool,
    /// Whether `report.html` is written.
    pub report: bool,
    /// Whether all boxes are written in COCO's format, too.
    pub coco: bool,
}

impl Default for BoxOptions {
    fn default() -> BoxOptions {
        BoxOptions {
            box_threshold: 0.35,
            text_threshold: 0.25,
            nms: None,
            semantics: Semantics::Original,
            overlay: true,
            report: false,
            coco: false,
        }
    }
}

impl BoxOptions {
    /// Refuses thresholds that are no probabilities or shares.
    ///
    /// Fails with [`Code::Usage`].
    pub fn check(&self) -> Result<()> {
        let values = [("box threshold", Some(self.box_threshold)), ("text threshold", Some(self.text_threshold)), ("overlap", self.nms)];
        match values.into_iter().find(|(_, value)| value.is_some_and(|value| !(0.0..=1.0).contains(&value))) {
            Some((what, Some(value))) => Err(Error::new(Code::Usage, format!("the {what} is {value}, it must be from 0 to 1"))),
            _ => Ok(()),
        }
    }
}

/// GroundingDINO on a device, with a caption that it looks for in images. A device that is lost or hangs is opened again and the image tried
/// once more.
pub struct BoxFinder {
    grounder: Recoverable<(Grounder, EmbeddedCaptions)>,
    identity: Identity,
    precision: Precision,
    caption: Caption,
    options: BoxOptions,
    files: BoxFiles,
}

/// The boxes that were found in an image, the best first.
#[derive(Clone, Debug)]
pub struct FoundBoxes {
    /// The boxes.
    pub boxes: Vec<BoxRecord>,
    /// Time of each stage.
    pub stages: Stages,
}

impl BoxFinder {
    /// Opens the device, loads the network and embeds the caption.
    ///
    /// Errors: thresholds out of range, weights that do not fit, a device that cannot hold them.
    pub fn open(
        request: DeviceRequest,
        weights: FoundWeights,
        precision: Precision,
        caption: Caption,
        options: BoxOptions,
    ) -> Result<BoxFinder> {
        options.check()?;
        let identity = weights.identity()?;
        let (semantics, own) = (options.semantics, caption.clone());
        let build = move |device: &Device| {
            let network = GroundingDino::load(&weights.checkpoint)?;
            weights.checkpoint.finish();
            let grounder = Grounder::new(device, network, precision, semantics);
            let embedded = grounder.embed(std::slice::from_ref(&own))?;
            Ok((grounder, embedded))
        };
        let files = BoxFiles { has_overlay: options.overlay, has_thumbs: options.report };
        Ok(BoxFinder { grounder: Recoverable::open(request, build)?, identity, precision, caption, options, files })
    }

    /// The device in use.
    pub fn device(&self) -> Device {
        self.grounder.current().0.clone()
    }

    /// The boxes in an image.
    ///
    /// Errors concern this image, unless [`Inspect::fault`] says that every further one fails.
    pub fn find(&self, image: &Rgb) -> Result<FoundBoxes> {
        self.grounder.run(|(grounder, captions)| {
            let mut clock = Clock::start();
            let prepared = grounder.prepare(image);
            clock.preprocessed();
            let candidates = grounder.find(&grounder.encode(&prepared)?, captions)?.remove(0);
            clock.computed();
            let mut boxes: Vec<BoxRecord> = candidates.iter().filter_map(|candidate| self.kept(candidate, image)).collect();
            boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
            if let Some(most) = self.options.nms {
                boxes = without_overlaps(boxes, most);
            }
            Ok(FoundBoxes { boxes, stages: clock.finish() })
        })
    }

    /// A candidate that is probable enough, as far as it lies on the image.
    fn kept(&self, candidate: &Candidate, image: &Rgb) -> Option<BoxRecord> {
        let score = candidate.score();
        let bounds =
            BoundingBox::clipped(candidate.corners, image.width(), image.height()).filter(|_| score > self.options.box_threshold)?;
        let label = self.caption.label(&candidate.probabilities, self.options.text_threshold);
        let [x0, y0, x1, y1] = bounds.corners();
        let phrases = self.caption.phrases();
        Some(BoxRecord {
            bounds,
            bbox: [x0, y0, x1 - x0, y1 - y0],
            phrase: label.phrase.map(|phrase| phrases[phrase].clone()),
            tokens: label.tokens,
            score,
            color: label.phrase.unwrap_or(phrases.len()),
        })
    }
}

/// Boxes without those that overlap a better one by more than `most` of their union; the best come first (non-maximum suppression).
fn without_overlaps(boxes: Vec<BoxRecord>, most: f32) -> Vec<BoxRecord> {
    let mut kept: Vec<BoxRecord> = Vec::new();
    for found in boxes {
        if kept.iter().all(|better| better.bounds.iou(found.bounds) <= most) {
            kept.push(found);
        }
    }
    kept
}

impl Inspect for BoxFinder {
    type Finding = FoundBoxes;

    fn inspect(&self, image: &Rgb) -> Result<FoundBoxes> {
        self.find(image)
    }

    fn fault(&self) -> Option<Error> {
        self.grounder.fault()
    }

    fn is_sequential(&self) -> bool {
        self.grounder.is_sequential()
    }
}

impl Task for BoxFinder {
    type Parameters = BoxParameters;

    fn has_report(&self) -> bool {
        self.options.report
    }

    fn files(&self, name: &str) -> Vec<String> {
        self.files.names(name)
    }

    fn run_file(&self, read: ReadOptions, invocation: Invocation) -> Result<BoxRun> {
        let BoxOptions { box_threshold, text_threshold, nms, semantics, .. } = self.options;
        let parameters = BoxParameters {
            network: grounding_dino::NETWORK.name,
            caption: self.caption.text().to_owned(),
            phrases: self.caption.phrases().to_vec(),
            box_threshold,
            text_threshold,
            nms,
            semantics: semantics.as_str(),
            precision: self.precision.as_str(),
            save: self.options.overlay.then_some(Picture::Overlay.as_str()).into_iter().collect(),
            read,
        };
        let mut run = RunFile::new(&self.device(), self.identity.clone(), parameters, invocation);
        run.warnings = self.caption.warnings().iter().map(ToString::to_string).collect();
        run.files.extend(self.options.coco.then(|| COCO.to_owned()));
        Ok(run)
    }

    fn save(&self, output: &Output, input: &Named, inspected: Inspected<FoundBoxes>) -> Result<Saved> {
        let Inspected { image, finding, uninspected, warnings, source, decode } = inspected;
        let start = Instant::now();
        let files = self.files.write(output, &input.name, &image, &finding.boxes)?;
        let ms = Milliseconds::new(decode, &finding.stages, std::time::Duration::ZERO, start.elapsed());
        let score = finding.boxes.first().map(|best| best.score);
        let record = BoxesRecord {
            head: Head::new(&input.path, input.output(), [image.width(), image.height()], grounding_dino::NETWORK.name),
            score,
            boxes: finding.boxes,
            files,
            input: source,
            uninspected: uninspected.clone(),
            ms,
            warnings: warnings.iter().map(ToString::to_string).collect(),
        };
        Ok(Saved::new(&record, (score.unwrap_or(0.0), None), uninspected, ms, warnings))
    }

    fn conclude(&self, output: &Output, run_file: &BoxRun) -> Result<()> {
        // Neither is lost with the other.
        let coco = if self.options.coco { write_coco(output, self.caption.phrases()) } else { Ok(()) };
        let report = if self.options.report { report::write(output, &ReportText::of_boxes(run_file)) } else { Ok(()) };
        coco.and(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_boxes_that_overlap_the_best_stays() {
        let found = |corners: [f32; 4], score: f32| BoxRecord {
            bounds: BoundingBox::new(corners).unwrap(),
            bbox: [0.0; 4],
            phrase: None,
            tokens: String::new(),
            score,
            color: 0,
        };
        // The second shares half of the first's area with it, a third of both together; the third shares that with the second alone.
        let boxes = vec![found([0.0, 0.0, 2.0, 1.0], 0.9), found([1.0, 0.0, 3.0, 1.0], 0.8), found([2.0, 0.0, 4.0, 1.0], 0.7)];
        let scores = |most: f32| without_overlaps(boxes.clone(), most).iter().map(|found| found.score).collect::<Vec<f32>>();
        assert_eq!(scores(0.3), [0.9, 0.7]);
        assert_eq!(scores(0.5), [0.9, 0.8, 0.7]);
    }

    #[test]
    fn thresholds_are_probabilities() {
        assert!(BoxOptions::default().check().is_ok());
        for wrong in [-0.1, 1.1, f32::NAN] {
            let error = BoxOptions { text_threshold: wrong, ..BoxOptions::default() }.check().unwrap_err();
            assert_eq!(error.message(), format!("the text threshold is {wrong}, it must be from 0 to 1"));
        }
    }
}
