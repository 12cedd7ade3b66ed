//! SAA and SAA+: segment any anomaly (Cao et al. 2023). GroundingDINO finds boxes for captions, Segment Anything cuts the regions out, what is
//! known of the object filters them, saliency rescores them, and the best make the map.

mod candidates;
mod choices;
mod confidence;
mod prompts;
mod regions;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

pub use candidates::{Candidates, Fate, RegionCandidate};
pub use choices::{Area, Choices, Colors, Denominator, Distance, Kept, Location, Neighbours, ObjectBound, OwnName, Part, SeveralObjects};
pub use confidence::Rescored;
pub use prompts::{DefectCaption, OwnPrompts, SaaPrompts, shipped_classes};

use crate::error::{Code, Error, Remedy, Result};
use crate::image::{BoundingBox, Mask, Rgb, resize_opencv_map};
use crate::methods::prompts::Class;
use crate::methods::saliency::{SelfSimilarity, SelfSimilarityOptions};
use crate::methods::{
    BuildContext, Candidate, Clock, EmbeddedCaptions, Encoded, Finding, Grounder, Method, MethodInfo, MethodInputs, Reading, Scale,
    Segment, Segmenter, maximum,
};
use crate::models::grounding_dino::{self, Semantics};
use crate::models::{GroundingDino, Sam, sam, wide_resnet};
use crate::tensor::Array;
use crate::text::Caption;
use confidence::Fusion;
use regions::Surroundings;

/// Entry of SAA+ in the table of methods.
pub(super) static SAA_PLUS: MethodInfo = MethodInfo {
    name: "saa+",
    about: "Any object: boxes from words, cut out, filtered by the object, rescored by saliency (Cao et al. 2023)",
    networks: &[&grounding_dino::NETWORK, &sam::NETWORK, &wide_resnet::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Released, Reading::Paper],
    localizes: true,
    suits_f16: false,
    build: |context| Ok(Box::new(Saa::new(context)?)),
};

/// Entry of SAA in the table of methods.
pub(super) static SAA: MethodInfo = MethodInfo {
    name: "saa",
    about: "Boxes for `anomaly`, cut out: SAA+ without what is known of the class (Cao et al. 2023)",
    networks: &[&grounding_dino::NETWORK, &sam::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Released, Reading::Paper],
    localizes: true,
    suits_f16: false,
    build: |context| Ok(Box::new(Saa::new(context)?)),
};

/// SAA+ on three networks and a device.
pub struct Saa {
    prompts: SaaPrompts,
    choices: Choices,
    captions: Vec<Caption>,
    embedded: EmbeddedCaptions,
    grounder: Grounder,
    segmenter: Segmenter,
    /// `None` where scores are not rescored.
    saliency: Option<SelfSimilarity>,
    /// Whether it was said that the networks do not fit the memory together.
    said_that_they_take_turns: AtomicBool,
}

/// A step whose programs the other steps may have to make room for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Encode,
    Find,
    Segment,
    Saliency,
}

impl Saa {
    /// Reads the networks of a recipe and embeds its captions; what else the networks need is compiled when the first image comes.
    ///
    /// Errors: weights of other networks, captions that hold nothing to look for, a device that cannot hold the text network.
    fn new(context: &BuildContext<'_>) -> Result<Saa> {
        let (recipe, device) = (context.recipe, context.device);
        let settings = recipe.saa.clone().expect("a recipe of SAA has its settings");
        let [grounding_dino, sam, saliency @ ..] = recipe.checkpoints.as_slice() else {
            unreachable!("the table of methods names two networks")
        };
        let grounder = Grounder::new(device, GroundingDino::load(grounding_dino)?, recipe.precision, Semantics::Original);
        grounding_dino.finish();
        let segmenter = Segmenter::lazy(device, Sam::load(sam)?, recipe.precision);
        sam.finish();
        let captions = settings.captions()?;
        let SaaSettings { prompts, choices, without } = settings;
        let saliency = saliency.first().filter(|_| !without.contains(&Part::Saliency)).map(|checkpoint| {
            let options =
                SelfSimilarityOptions { channels: choices.colors.into(), neighbours: choices.neighbours, distance: choices.distance };
            SelfSimilarity::new(device, checkpoint, recipe.precision, options)
        });
        for caption in &captions {
            caption.warnings().iter().for_each(|warning| log::warn!("caption `{}`: {warning}", caption.text()));
        }
        let embedded = grounder.embed(&captions)?;
        Ok(Saa {
            prompts,
            choices,
            captions,
            embedded,
            grounder,
            segmenter,
            saliency: saliency.transpose()?,
            said_that_they_take_turns: AtomicBool::new(false),
        })
    }

    /// Runs a step. Where memory is short the programs of the others make room for it, and come back when their turn comes.
    fn in_turn<R>(&self, step: Step, run: impl Fn() -> Result<R>) -> Result<R> {
        match run() {
            Err(error) if error.code() == Code::GpuMemory => {
                if !self.said_that_they_take_turns.swap(true, Ordering::Relaxed) {
                    log::warn!("{error}; the networks take turns on the device and are loaded anew for each image, which is slow");
                }
                [Step::Encode, Step::Find, Step::Segment, Step::Saliency]
                    .into_iter()
                    .filter(|other| *other != step)
                    .for_each(|other| self.release(other));
                run()
            }
            done => done,
        }
    }

    fn release(&self, step: Step) {
        match (step, &self.saliency) {
            (Step::Encode, _) => self.grounder.release_encoders(),
            (Step::Find, _) => self.grounder.release_finders(),
            (Step::Segment, _) => self.segmenter.release(),
            (Step::Saliency, Some(saliency)) => saliency.release(),
            (Step::Saliency, None) => {}
        }
    }

    /// What each caption finds in an image, in their order.
    fn find(&self, image: &Rgb, clock: &mut Clock) -> Result<Vec<Vec<Candidate>>> {
        let prepared = self.grounder.prepare(image);
        clock.preprocessed();
        let encoded = self.in_turn(Step::Encode, || self.grounder.encode(&prepared))?;
        let found = self.in_turn(Step::Find, || self.grounder.find(&encoded, &self.embedded))?;
        clock.computed();
        Ok(found)
    }

    /// Objects and candidates among what was found, filtered by their boxes. Without an object its area is that of the image.
    fn candidates(&self, found: &[Vec<Candidate>]) -> (Vec<BoundingBox>, Candidates) {
        let (of_object, of_defects) = found.split_at(usize::from(!self.prompts.object.is_empty()));
        let objects = of_object
            .first()
            .map_or_else(Vec::new, |found| candidates::objects(found, &self.prompts, &self.choices));
        let object_area = if objects.is_empty() { 1.0 } else { objects.iter().map(|object| object.area).fold(0.0, f32::max) };
        let settings = (&self.prompts, &self.choices, self.largest_defect(object_area));
        let captions = self.captions[of_object.len()..].iter().zip(&self.prompts.defects);
        let regions = of_defects.iter().zip(captions);
        let regions = regions
            .flat_map(|(found, (caption, defect))| candidates::defects(found, caption, defect, settings))
            .collect();
        let boxes = objects.iter().filter_map(|object| BoundingBox::new(object.corners).ok()).collect();
        let objects = objects.iter().map(|object| (object.corners, object.score())).collect();
        (boxes, Candidates { objects, object_area, regions })
    }

    /// Largest area of a defect for an object's, both as shares of the image.
    fn largest_defect(&self, object_area: f32) -> f32 {
        self.prompts.area.map_or(f32::INFINITY, |share| share * object_area)
    }

    /// The regions inside boxes.
    fn cut_out(&self, encoded: &Encoded, boxes: &[BoundingBox]) -> Result<Vec<Segment>> {
        self.in_turn(Step::Segment, || self.segmenter.segment(encoded, boxes))
    }

    /// Whether the regions of objects are needed, and not their boxes alone.
    fn needs_object_regions(&self) -> bool {
        self.compares_objects() || self.choices.area == Area::Regions || self.choices.location == Location::OnObject
    }

    fn compares_objects(&self) -> bool {
        self.saliency.is_some() && self.prompts.count > 1 && self.choices.several_objects == SeveralObjects::Compared
    }

    /// Saliency of an image at its own size where scores are rescored; `objects` are the regions of its objects.
    fn saliency(&self, image: &Rgb, objects: &[Mask]) -> Result<Option<Array>> {
        let Some(saliency) = &self.saliency else { return Ok(None) };
        let map = if self.compares_objects() {
            self.in_turn(Step::Saliency, || saliency.of_objects(image, objects))?
        } else {
            let pixels = saliency.prepare(image);
            self.in_turn(Step::Saliency, || saliency.of_image(&pixels))?
        };
        Ok(Some(resize_opencv_map(&map, image.height(), image.width())))
    }

    /// Decides about the candidates `left`, numbered, by their regions; `objects` are those of the objects, as far as they are needed.
    fn judge(
        &self,
        candidates: &mut Candidates,
        left: &[usize],
        regions: &[Segment],
        saliency: Option<Array>,
        objects: Vec<Mask>,
    ) -> Result<()> {
        if self.choices.area == Area::Regions {
            let areas = objects
                .iter()
                .map(|object| object.area() as f32 / object.data().len() as f32)
                .filter(|&area| area > 0.0);
            candidates.object_area = areas.reduce(f32::max).unwrap_or(1.0);
        }
        let is_located = self.choices.location == Location::OnObject;
        let objects = objects.into_iter().filter(|object| is_located && object.area() > 0).collect();
        let around = Surroundings { saliency, objects };
        let mut measured = Vec::with_capacity(regions.len());
        self.masks(&regions.iter().collect::<Vec<_>>(), |_, region| measured.push(around.measure(region)))?;
        let settings = (&self.prompts, &self.choices, self.largest_defect(candidates.object_area));
        for (&at, region) in left.iter().zip(&measured) {
            let candidate = &mut candidates.regions[at];
            candidate.fate = candidates::judged(region, settings);
            if candidate.fate == Fate::Kept && around.saliency.is_some() {
                candidate.rescored = Some(confidence::rescored(candidate.score, region.saliency, self.choices.exponent));
            }
        }
        if let Some(most) = self.prompts.regions {
            candidates.keep_best(most);
        }
        Ok(())
    }

    fn all_masks(&self, segments: &[Segment]) -> Result<Vec<Mask>> {
        let mut masks = Vec::with_capacity(segments.len());
        self.masks(&segments.iter().collect::<Vec<_>>(), |_, mask| masks.push(mask.clone()))?;
        Ok(masks)
    }

    /// Masks of segments at the image's own size, in order. What `each` was given is not given again where networks take turns.
    fn masks(&self, segments: &[&Segment], mut each: impl FnMut(usize, &Mask)) -> Result<()> {
        let done = Cell::new(0);
        let each = RefCell::new(&mut each);
        self.in_turn(Step::Segment, || {
            let from = done.get();
            self.segmenter.masks(&segments[from..], |at, mask| {
                done.set(from + at + 1);
                each.borrow_mut()(from + at, mask);
            })
        })
    }
}

impl Method for Saa {
    /// A region of score s alone gives s/2 in the released reading, s in the paper's; saliency raises scores above 1.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let found = self.find(image, clock)?;
        let (objects, mut candidates) = self.candidates(&found);
        let left = candidates.left();
        let mut fusion = Fusion::new((image.height(), image.width()));
        if !left.is_empty() {
            clock.postprocessed();
            let prepared = self.segmenter.prepare(image, self.choices.colors.into());
            clock.preprocessed();
            let encoded = self.in_turn(Step::Segment, || self.segmenter.encode(&prepared))?;
            let objects = if self.needs_object_regions() { self.cut_out(&encoded, &objects)? } else { Vec::new() };
            let objects = self.all_masks(&objects)?;
            let boxes = left
                .iter()
                .map(|&at| BoundingBox::new(candidates.regions[at].corners))
                .collect::<Result<Vec<_>>>()?;
            let regions = self.cut_out(&encoded, &boxes)?;
            let saliency = self.saliency(image, &objects)?;
            clock.computed();
            self.judge(&mut candidates, &left, &regions, saliency, objects)?;
            let kept: Vec<(usize, &Segment)> = left
                .into_iter()
                .zip(&regions)
                .filter(|(at, _)| candidates.regions[*at].fate == Fate::Kept)
                .collect();
            let segments: Vec<&Segment> = kept.iter().map(|(_, region)| *region).collect();
            self.masks(&segments, |at, mask| fusion.add(mask, candidates.regions[kept[at].0].final_score()))?;
        }
        let map = fusion.map(self.choices.denominator);
        let score = maximum(map.data());
        Ok(Finding { candidates: Some(candidates), ..Finding::whole(map, score) })
    }
}

/// What SAA or SAA+ does for a class: readings, ablations and a user's prompts applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SaaSettings {
    /// Its prompts.
    pub prompts: SaaPrompts,
    /// How it computes.
    pub choices: Choices,
    /// The parts that are left out.
    pub without: Vec<Part>,
}

/// What a user asks of SAA or SAA+ beside a class and a reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaaOptions {
    /// Prompts of the profile.
    pub own: OwnPrompts,
    /// Parts to leave out.
    pub without: Vec<Part>,
}

impl SaaSettings {
    /// Those of a method, a reading, a class and options; `None` for other methods.
    ///
    /// Errors: a caption that holds nothing to look for, parts to leave out of another method than SAA+.
    pub fn of(method: &MethodInfo, reading: Reading, class: &Class, options: &SaaOptions) -> Result<Option<SaaSettings>> {
        let is_plus = method == &SAA_PLUS;
        if !is_plus && !options.without.is_empty() {
            let message = format!("`{}` has no parts to leave out", method.name);
            return Err(Error::new(Code::Usage, message).hint(Remedy::UseSaaPlus));
        }
        if !is_plus && method != &SAA {
            return Ok(None);
        }
        let without = if is_plus { options.without.clone() } else { Part::ALL.to_vec() };
        let choices = Choices::of(reading);
        let mut prompts = if is_plus { SaaPrompts::of(class, &options.own)? } else { SaaPrompts::naive(&options.own) };
        if choices.kept == Kept::Five {
            prompts.regions = Some(options.own.regions.unwrap_or(5));
        }
        let mut settings = SaaSettings { prompts, choices, without: without.clone() };
        // The prompts of SAA have no language of a class.
        for part in without.into_iter().filter(|part| is_plus || *part != Part::Language) {
            settings.leave_out(part, class);
        }
        Ok(Some(settings))
    }

    /// Its captions as they are read, that of the object first.
    ///
    /// Errors: one that holds nothing to look for.
    pub fn captions(&self) -> Result<Vec<Caption>> {
        self.prompts.captions().map(Caption::verbatim).collect()
    }

    /// What was not done as asked, in captions that were read otherwise.
    pub fn warnings(&self) -> Vec<String> {
        let of_caption = |caption: Caption| {
            let text = caption.text().to_owned();
            caption
                .warnings()
                .iter()
                .map(|warning| format!("caption `{text}`: {warning}"))
                .collect::<Vec<String>>()
        };
        self.captions().unwrap_or_default().into_iter().flat_map(of_caption).collect()
    }

    fn leave_out(&mut self, part: Part, class: &Class) {
        match part {
            Part::Language => self.prompts.leave_out_language(class),
            Part::Property => {
                self.prompts.area = None;
                self.choices.object_bound = ObjectBound::Unbounded;
                self.choices.location = Location::Anywhere;
                self.choices.own_name = OwnName::Stays;
            }
            // There is then no network of saliency.
            Part::Saliency => {}
            Part::Confidence => self.prompts.regions = None,
        }
    }
}
