//! Candidates of SAA+: boxes that a caption found, filtered by what is known of the object (Cao et al. 2023, eq. 4).

use serde::Serialize;

use crate::image::BoundingBox;
use crate::methods::Candidate;
use crate::methods::saa::confidence::{self, Rescored};
use crate::methods::saa::regions::Measured;
use crate::methods::saa::{Area, Choices, DefectCaption, Location, ObjectBound, OwnName, SaaPrompts};
use crate::text::Caption;

/// What SAA+ made of an image: its objects, and every box that was probable enough.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Boxes of the object, with their scores.
    pub objects: Vec<([f32; 4], f32)>,
    /// Area of the largest object as a share of the image; 1 where none was found.
    pub object_area: f32,
    /// Boxes of defects, in the order of captions and queries.
    pub regions: Vec<RegionCandidate>,
}

/// A box that a caption of a defect found, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionCandidate {
    /// The caption.
    pub caption: String,
    /// The phrase of the caption to which most of its tokens' probability belongs; `None` where none has any.
    pub phrase: Option<String>,
    /// The words of the caption that are probable enough.
    pub tokens: String,
    /// x0, y0, x1, y1 in pixels of the image, which they may leave.
    pub corners: [f32; 4],
    /// Area of the box as a share of the image.
    pub area: f32,
    /// The largest probability of a token.
    pub score: f32,
    /// What its saliency made of the score; `None` where a filter removed it before.
    pub rescored: Option<Rescored>,
    /// Whether it is part of the map, or why not.
    pub fate: Fate,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is part of the map.
    Kept,
    /// Its box is empty in f32, or its region where that is measured.
    Empty,
    /// Its area is not below θ_area of the object's.
    TooLarge,
    /// Its words contain the name of the object.
    NamesObject,
    /// Its region overlaps each object too little: θ_IoU.
    OffObject,
    /// K others have higher scores.
    NotAmongBest,
}

impl RegionCandidate {
    /// Its score, rescored where that was done.
    pub fn final_score(&self) -> f32 {
        self.rescored.map_or(self.score, |rescored| rescored.score)
    }
}

impl Candidates {
    /// Numbers of the candidates that no filter has removed so far.
    pub(super) fn left(&self) -> Vec<usize> {
        (0..self.regions.len()).filter(|&at| self.regions[at].fate == Fate::Kept).collect()
    }

    /// Keeps the `count` of those left that have the highest scores.
    pub(super) fn keep_best(&mut self, count: usize) {
        let left = self.left();
        let scores: Vec<f32> = left.iter().map(|&at| self.regions[at].final_score()).collect();
        let best = confidence::best(&scores, count);
        for (_, &at) in left.iter().enumerate().filter(|(rank, _)| !best.contains(rank)) {
            self.regions[at].fate = Fate::NotAmongBest;
        }
    }
}

impl Fate {
    /// All of them, in the order of the filters.
    pub const ALL: [Fate; 6] = [Fate::Empty, Fate::TooLarge, Fate::NamesObject, Fate::OffObject, Fate::NotAmongBest, Fate::Kept];

    /// A few words for a user.
    pub fn about(self) -> &'static str {
        match self {
            Fate::Kept => "kept",
            Fate::Empty => "empty",
            Fate::TooLarge => "too large for a defect",
            Fate::NamesObject => "names the object itself",
            Fate::OffObject => "not on the object",
            Fate::NotAmongBest => "not among the best",
        }
    }
}

/// Boxes of the object: probable enough and, where that is asked for, smaller than the image divided by the number of objects.
pub(super) fn objects(found: &[Candidate], prompts: &SaaPrompts, choices: &Choices) -> Vec<Candidate> {
    let most = match choices.object_bound {
        ObjectBound::ByCount => 1.0 / prompts.count as f32,
        ObjectBound::Unbounded => f32::INFINITY,
    };
    let is_object = |candidate: &&Candidate| candidate.score() > prompts.box_threshold && candidate.area > 0.0 && candidate.area < most;
    found
        .iter()
        .filter(is_object)
        .filter(|candidate| BoundingBox::new(candidate.corners).is_ok())
        .cloned()
        .collect()
}

/// Candidates of a caption: all boxes that are probable enough. Those that a filter of boxes removes say so.
///
/// `most` is the largest area of a defect as a share of the image.
pub(super) fn defects(
    found: &[Candidate],
    caption: &Caption,
    defect: &DefectCaption,
    (prompts, choices, most): (&SaaPrompts, &Choices, f32),
) -> Vec<RegionCandidate> {
    let candidate = |candidate: &Candidate| {
        let names_object = || caption.released_phrase(&candidate.probabilities, prompts.text_threshold).contains(&defect.filter);
        let label = caption.label(&candidate.probabilities, prompts.text_threshold);
        let fate = if BoundingBox::new(candidate.corners).is_err() {
            Fate::Empty
        } else if choices.area == Area::Boxes && candidate.area >= most {
            Fate::TooLarge
        } else if choices.own_name == OwnName::Dropped && names_object() {
            Fate::NamesObject
        } else {
            Fate::Kept
        };
        RegionCandidate {
            caption: defect.caption.clone(),
            phrase: label.phrase.map(|phrase| caption.phrases()[phrase].clone()),
            tokens: label.tokens,
            corners: candidate.corners,
            area: candidate.area,
            score: candidate.score(),
            rescored: None,
            fate,
        }
    };
    found.iter().filter(|candidate| candidate.score() > prompts.box_threshold).map(candidate).collect()
}

/// What becomes of a candidate by its region; `most` is the largest area of a defect as a share of the image.
pub(super) fn judged(region: &Measured, (prompts, choices, most): (&SaaPrompts, &Choices, f32)) -> Fate {
    if choices.area == Area::Regions && region.area == 0.0 {
        Fate::Empty
    } else if choices.area == Area::Regions && region.area >= most {
        Fate::TooLarge
    } else if choices.location == Location::OnObject && region.overlap.is_some_and(|overlap| overlap <= prompts.overlap) {
        Fate::OffObject
    } else {
        Fate::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(area: f32, probabilities: &[f32]) -> Candidate {
        Candidate { corners: [1.0, 1.0, 5.0, 3.0], area, probabilities: probabilities.to_vec() }
    }

    fn prompts() -> SaaPrompts {
        SaaPrompts { count: 4, ..SaaPrompts::naive(&Default::default()) }
    }

    #[test]
    fn an_object_is_smaller_than_its_share_of_the_image_unless_nothing_bounds_it() {
        let found = [candidate(0.25, &[0.9]), candidate(0.24, &[0.9]), candidate(0.1, &[0.1]), candidate(0.0, &[0.9])];
        let areas = |choices: &Choices| objects(&found, &prompts(), choices).iter().map(|object| object.area).collect::<Vec<f32>>();
        assert_eq!(areas(&Choices::RELEASED), [0.24]);
        assert_eq!(areas(&Choices::PAPER), [0.25, 0.24]);
    }

    /// Tokens of `defect on nut.`: [CLS] defect on nut . [SEP].
    #[test]
    fn a_candidate_says_which_filter_removed_it() {
        let caption = Caption::verbatim("defect on nut").unwrap();
        let defect = DefectCaption { caption: "defect on nut".to_owned(), filter: "nut".to_owned() };
        let of_defect = [0.0, 0.6, 0.0, 0.05, 0.0, 0.0];
        let of_nut = [0.0, 0.6, 0.0, 0.2, 0.0, 0.0];
        let found = [
            candidate(0.5, &of_defect),
            candidate(0.2, &of_nut),
            candidate(0.2, &of_defect),
            candidate(0.2, &[0.1; 6]),
            Candidate { corners: [2.0; 4], ..candidate(0.2, &of_defect) },
        ];
        let fates = |choices: &Choices| {
            let all = defects(&found, &caption, &defect, (&prompts(), choices, 0.5));
            all.iter().map(|one| (one.fate, one.tokens.clone())).collect::<Vec<_>>()
        };
        let named = |fate, phrase: &str| (fate, phrase.to_owned());
        // Areas are compared strictly; a box no token of which is above the threshold is no candidate.
        assert_eq!(
            fates(&Choices::RELEASED),
            [
                named(Fate::TooLarge, "defect"),
                named(Fate::NamesObject, "defect nut"),
                named(Fate::Kept, "defect"),
                named(Fate::Empty, "defect")
            ]
        );
        assert_eq!(fates(&Choices::PAPER)[..2], [named(Fate::Kept, "defect"), named(Fate::Kept, "defect nut")]);
    }

    #[test]
    fn in_the_paper_regions_are_measured_and_lie_on_the_object() {
        let judge = |area: f32, overlap: f32, least: f32, choices: &Choices| {
            let prompts = SaaPrompts { overlap: least, ..prompts() };
            judged(&Measured { area, overlap: Some(overlap), saliency: None }, (&prompts, choices, 0.5))
        };
        assert_eq!(judge(0.5, 0.9, 0.0, &Choices::PAPER), Fate::TooLarge);
        assert_eq!(judge(0.4, 0.0, 0.0, &Choices::PAPER), Fate::OffObject);
        assert_eq!(judge(0.4, 0.5, 0.5, &Choices::PAPER), Fate::OffObject, "a half is not above a half");
        assert_eq!(judge(0.4, 0.6, 0.5, &Choices::PAPER), Fate::Kept);
        assert_eq!((judge(0.0, 0.0, 0.0, &Choices::PAPER), judge(0.0, 0.0, 0.0, &Choices::RELEASED)), (Fate::Empty, Fate::Kept));
        assert_eq!(judge(0.9, 0.0, 0.5, &Choices::RELEASED), Fate::Kept);
        let nowhere = Measured { area: 0.4, overlap: None, saliency: None };
        assert_eq!(judged(&nowhere, (&prompts(), &Choices::PAPER, 0.5)), Fate::Kept, "there is no object to lie on");
    }
}
