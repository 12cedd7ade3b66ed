//! SAA and SAA+: segment any anomaly (Cao et al. 2023). GroundingDINO finds boxes for captions, Segment Anything cuts the regions out, what is
//! known of the object filters them, saliency rescores them, and the best make the map.

mod candidates;
mod choices;
mod confidence;
mod prompts;
mod regions;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use serde::Serialize;

pub use candidates::{Candidates, Fate, RegionCandidate};
pub use choices::{Area, Choices, Colors, Denominator, Kept, Location, ObjectBound, OwnName, Part, SeveralObjects};
pub use confidence::Rescored;
pub use prompts::{DefectCaption, OwnPrompts, SaaPrompts, shipped_classes};

use crate::error::{Code, Error, Remedy, Result};
use crate::image::{BoundingBox, Mask, Rgb, resize_opencv_map};
use crate::methods::prompts::Class;
use crate::methods::saliency::{SelfSimilarity, SelfSimilarityOptions};
use crate::methods::{
    BuildContext, Candidate, Clock, EmbeddedCaptions, Encoded, Finding, Grounder, Method, MethodInfo, MethodInputs, Reading, Scale,
    ScoreOf, Segment, Segmenter, maximum,
};
use crate::models::grounding_dino::{self, Semantics};
use crate::models::{GroundingDino, NetworkInfo, Sam, sam, wide_resnet};
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
    score: ScoreOf::MapMaximum,
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
    score: ScoreOf::MapMaximum,
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
    /// Whether the steps take turns, since their programs do not fit the memory together.
    takes_turns: AtomicBool,
    /// Held shared by a step, alone by one whose turn it is.
    turns: RwLock<()>,
}

/// Regions of the objects of an image, as far as they are needed.
#[derive(Default)]
struct Objects {
    /// At the image's own size, with their areas, where defects have to lie on them; none is empty.
    regions: Vec<(Mask, usize)>,
    /// As cells of the grid of features, where they are compared with each other.
    cells: Vec<Vec<bool>>,
    /// Pixels of the largest.
    largest: Option<usize>,
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
        let SaaSettings { prompts, choices, without, warnings } = settings;
        let saliency = saliency.first().filter(|_| !without.contains(&Part::Saliency)).map(|checkpoint| {
            let options =
                SelfSimilarityOptions { channels: choices.colors.into(), neighbours: choices.neighbours, distance: choices.distance };
            SelfSimilarity::new(device, checkpoint, recipe.precision, options)
        });
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let embedded = grounder.embed(&captions)?;
        Ok(Saa {
            prompts,
            choices,
            captions,
            embedded,
            grounder,
            segmenter,
            saliency: saliency.transpose()?,
            takes_turns: AtomicBool::new(false),
            turns: RwLock::new(()),
        })
    }

    /// Runs a step. Where memory is short the programs of the others make room for it, while no other step of any image runs, and come back
    /// when their turn comes.
    fn in_turn<R>(&self, step: Step, run: impl Fn() -> Result<R>) -> Result<R> {
        let short = {
            let _shared = self.turns.read().unwrap_or_else(PoisonError::into_inner);
            if self.takes_turns.load(Ordering::Relaxed) {
                None
            } else {
                match run() {
                    Err(error) if error.code() == Code::GpuMemory => Some(error),
                    done => return done,
                }
            }
        };
        let _alone = self.turns.write().unwrap_or_else(PoisonError::into_inner);
        let steps = [Step::Encode, Step::Find, Step::Segment, Step::Saliency];
        steps.into_iter().filter(|other| *other != step).for_each(|other| self.release(other));
        let done = run();
        if let Some(error) = short.filter(|_| done.is_ok() && !self.takes_turns.swap(true, Ordering::Relaxed)) {
            log::warn!("{error}; the networks take turns on the device and are loaded anew for each image, which is slow");
        }
        done
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

    fn compares_objects(&self) -> bool {
        self.saliency.is_some() && self.prompts.count > 1 && self.choices.several_objects == SeveralObjects::Compared
    }

    /// Regions of objects, as far as they are needed.
    fn objects(&self, encoded: &Encoded, boxes: &[BoundingBox]) -> Result<Objects> {
        let is_located = self.choices.location == Location::OnObject;
        let is_measured = self.choices.area == Area::Regions && self.prompts.area.is_some();
        let compared = self.saliency.as_ref().filter(|_| self.compares_objects());
        let mut objects = Objects::default();
        if is_located || is_measured || compared.is_some() {
            let segments = self.cut_out(encoded, boxes)?;
            self.masks(&segments.iter().collect::<Vec<_>>(), |_, mask| {
                objects.cells.extend(compared.map(|saliency| saliency.cells(mask)));
                let area = mask.area();
                if area > 0 {
                    objects.largest = objects.largest.max(Some(area));
                    objects.regions.extend(is_located.then(|| (mask.clone(), area)));
                }
            })?;
        }
        Ok(objects)
    }

    /// Saliency of an image at its own size where scores are rescored.
    fn saliency(&self, image: &Rgb, objects: &Objects) -> Result<Option<Array>> {
        let Some(saliency) = &self.saliency else { return Ok(None) };
        let map = if self.compares_objects() {
            self.in_turn(Step::Saliency, || saliency.of_objects(image, &objects.cells))?
        } else {
            let pixels = saliency.prepare(image);
            self.in_turn(Step::Saliency, || saliency.of_image(&pixels))?
        };
        Ok(Some(resize_opencv_map(&map, image.height(), image.width())))
    }

    /// Decides about the candidates `left`, numbered, by their regions.
    fn judge(&self, candidates: &mut Candidates, left: &[usize], regions: &[Segment], around: &Surroundings) -> Result<()> {
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
            let objects = self.objects(&encoded, &objects)?;
            if self.choices.area == Area::Regions {
                let share = |area: usize| area as f32 / (image.width() * image.height()) as f32;
                candidates.object_area = objects.largest.map_or(1.0, share);
            }
            let boxes = left
                .iter()
                .map(|&at| BoundingBox::new(candidates.regions[at].corners))
                .collect::<Result<Vec<_>>>()?;
            let regions = self.cut_out(&encoded, &boxes)?;
            let saliency = self.saliency(image, &objects)?;
            self.judge(&mut candidates, &left, &regions, &Surroundings { saliency, objects: objects.regions })?;
            let kept: Vec<(usize, &Segment)> = left
                .into_iter()
                .zip(&regions)
                .filter(|(at, _)| candidates.regions[*at].fate == Fate::Kept)
                .collect();
            let segments: Vec<&Segment> = kept.iter().map(|(_, region)| *region).collect();
            self.masks(&segments, |at, mask| fusion.add(mask, candidates.regions[kept[at].0].final_score()))?;
            clock.computed();
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
    /// What was not done as asked: prompts that are not read, captions that are read otherwise.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// What a user asks of SAA or SAA+ beside a class and a reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaaOptions {
    /// Prompts of the profile.
    pub own: OwnPrompts,
    /// Parts to leave out.
    pub without: Vec<Part>,
}

/// K of the report, where a profile names no other.
const REGIONS_OF_THE_PAPER: usize = 5;

/// The key of `[saa]` that a reading has no use for.
fn ignored_by(reading: Reading) -> &'static str {
    match reading {
        Reading::Paper => "count",
        Reading::Released | Reading::Reproduction => "overlap",
    }
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
            prompts.regions = Some(options.own.regions.unwrap_or(REGIONS_OF_THE_PAPER));
        }
        let mut settings = SaaSettings { prompts, choices, without: without.clone(), warnings: Vec::new() };
        // The prompts of SAA have no language of a class.
        for part in without.into_iter().filter(|part| is_plus || *part != Part::Language) {
            settings.leave_out(part, class);
        }
        let is_unread = |key: &&str| !is_plus && !key.ends_with("threshold") || *key == ignored_by(reading);
        let unread = options.own.keys().into_iter().filter(is_unread);
        let unread =
            unread.map(|key| format!("`{key}` in `[saa]` of the profile is not read by `{}`, reading `{}`", method.name, reading.as_str()));
        settings.warnings.extend(unread);
        if !is_plus && class.name != Class::ANYTHING {
            settings
                .warnings
                .push(format!("`{}` looks for the same whatever the class; `{}` is not read", method.name, class.name));
        }
        for caption in settings.captions()? {
            let of_caption = caption.warnings().iter().map(|warning| format!("caption `{}`: {warning}", caption.text()));
            settings.warnings.extend(of_caption);
        }
        Ok(Some(settings))
    }

    /// Whether it reads this network, of those of its method.
    pub fn needs(&self, network: &NetworkInfo) -> bool {
        network != &wide_resnet::NETWORK || !self.without.contains(&Part::Saliency)
    }

    /// Its captions as they are read, that of the object first.
    ///
    /// Errors: one that holds nothing to look for.
    pub fn captions(&self) -> Result<Vec<Caption>> {
        self.prompts.captions().map(Caption::verbatim).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(method: &MethodInfo, reading: Reading, own: OwnPrompts, without: &[Part]) -> SaaSettings {
        let options = SaaOptions { own, without: without.to_vec() };
        SaaSettings::of(method, reading, &Class::named("candle").unwrap(), &options).unwrap().unwrap()
    }

    #[test]
    fn a_part_that_is_left_out_changes_its_own_settings_alone() {
        let whole = settings(&SAA_PLUS, Reading::Released, OwnPrompts::default(), &[]);
        let without = |part| settings(&SAA_PLUS, Reading::Released, OwnPrompts::default(), &[part]);
        let changed = |part, change: fn(&mut SaaSettings)| {
            let mut expected = SaaSettings { without: vec![part], ..whole.clone() };
            change(&mut expected);
            assert_ne!(expected.without, whole.without);
            assert_eq!(without(part), expected);
        };
        changed(Part::Language, |settings| settings.prompts.defects.truncate(3));
        changed(Part::Saliency, |_| {});
        changed(Part::Confidence, |settings| settings.prompts.regions = None);
        changed(Part::Property, |settings| {
            settings.prompts.area = None;
            settings.choices = Choices { object_bound: ObjectBound::Unbounded, own_name: OwnName::Stays, ..Choices::RELEASED };
        });
    }

    #[test]
    fn the_paper_keeps_five_unless_the_profile_says_otherwise() {
        let regions = |reading, own: Option<usize>| {
            settings(&SAA_PLUS, reading, OwnPrompts { regions: own, ..OwnPrompts::default() }, &[])
                .prompts
                .regions
        };
        assert_eq!((regions(Reading::Released, None), regions(Reading::Paper, None)), (Some(1), Some(5)));
        assert_eq!((regions(Reading::Released, Some(7)), regions(Reading::Paper, Some(7))), (Some(7), Some(7)));
    }

    #[test]
    fn what_is_not_read_is_said() {
        let own = || OwnPrompts {
            area: Some(0.5),
            overlap: Some(0.1),
            count: Some(2),
            box_threshold: Some(0.2),
            ..OwnPrompts::default()
        };
        let warnings = |method, reading| settings(method, reading, own(), &[]).warnings;
        assert_eq!(
            warnings(&SAA_PLUS, Reading::Released),
            ["`overlap` in `[saa]` of the profile is not read by `saa+`, reading `released`"]
        );
        assert_eq!(warnings(&SAA_PLUS, Reading::Paper), ["`count` in `[saa]` of the profile is not read by `saa+`, reading `paper`"]);
        let of_saa = settings(&SAA, Reading::Released, own(), &[]);
        assert_eq!(of_saa.warnings.len(), 4, "{:?}", of_saa.warnings);
        assert!(of_saa.warnings[3].contains("`candle` is not read"));
        assert_eq!((of_saa.prompts.area, of_saa.prompts.box_threshold), (None, 0.2));
        assert_eq!(of_saa.without, Part::ALL);
    }

    #[test]
    fn only_saa_plus_has_parts_to_leave_out() {
        let class = Class::named(Class::ANYTHING).unwrap();
        let options = SaaOptions { own: OwnPrompts::default(), without: vec![Part::Saliency] };
        assert_eq!(SaaSettings::of(&SAA, Reading::Released, &class, &options).unwrap_err().code(), Code::Usage);
        let none = SaaSettings::of(&crate::methods::utad::INFO, Reading::Paper, &class, &SaaOptions::default()).unwrap();
        assert_eq!(none, None);
    }

    /// Random masks, one of them empty, and scores against NumPy (`tools/golden_saa.py`).
    #[test]
    fn regions_are_judged_rescored_and_fused_as_in_both_readings() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/saa/numbers.safetensors");
        let golden = crate::weights::Checkpoint::open(path).unwrap();
        let whole = |name: &str| golden.integers(name).unwrap().unwrap();
        let real = |name: &str| golden.root().weight(name, golden.shape(name).unwrap()).unwrap().to_array().unwrap();
        let setting = |name: &str| golden.metadata()[name].parse::<f32>().unwrap();
        let (width, height) = (17, 12);
        let masks = |name: &str| -> Vec<Mask> {
            let marks = whole(name);
            marks
                .chunks(width * height)
                .map(|marks| Mask::new(width, height, marks.iter().map(|&mark| mark != 0).collect()))
                .collect()
        };
        let (regions, objects) = (masks("masks"), masks("object_masks"));
        let largest = objects.iter().map(Mask::area).max().unwrap() as f32 / (width * height) as f32;
        assert!((largest - real("object_area").data()[0]).abs() < 1e-6);
        let objects = objects.into_iter().map(|object| (object.clone(), object.area())).collect();
        let around = Surroundings { saliency: Some(real("map_saliency")), objects };
        let measured: Vec<_> = regions.iter().map(|region| around.measure(region)).collect();
        let prompts = SaaPrompts { overlap: setting("overlap"), ..SaaPrompts::naive(&OwnPrompts::default()) };
        let is_kept =
            |at: usize| candidates::judged(&measured[at], (&prompts, &Choices::PAPER, setting("area_share") * largest)) == Fate::Kept;
        let expected: Vec<bool> = whole("is_small").iter().zip(whole("is_on_object")).map(|(&small, on)| small * on != 0).collect();
        assert_eq!((0..regions.len()).map(is_kept).collect::<Vec<bool>>(), expected);
        assert!(expected.contains(&true) && expected.contains(&false));

        let scores = real("scores");
        for (name, choices) in [("released", Choices::RELEASED), ("paper", Choices::PAPER)] {
            let of_region =
                |(region, &score): (&regions::Measured, &f32)| confidence::rescored(score, region.saliency, choices.exponent).score;
            let rescored: Vec<f32> = measured.iter().zip(scores.data()).map(of_region).collect();
            let near = |found: &[f32], truth: &Array| found.iter().zip(truth.data()).all(|(a, b)| (a - b).abs() < 2e-6 * b.abs().max(1.0));
            assert!(near(&rescored, &real(&format!("rescored_{name}"))), "{name}: {rescored:?}");
            let best = confidence::best(&rescored, setting("kept") as usize);
            assert_eq!(best.iter().map(|&at| at as i64).collect::<Vec<_>>(), whole(&format!("best_{name}")), "{name}");
            let mut fusion = Fusion::new((height, width));
            best.iter().for_each(|&at| fusion.add(&regions[at], rescored[at]));
            assert!(near(fusion.map(choices.denominator).data(), &real(&format!("fused_{name}"))), "{name}");
        }
    }
}
