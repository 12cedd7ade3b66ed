//! Candidates of SAA+ in the record of an image, and a picture of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::image::{BoundingBox, Rgb, distinct_color, paint_box, paint_label};
use crate::methods::Candidates;
use crate::methods::saa::{Fate, RegionCandidate};

/// Colour of the boxes of objects.
const OBJECT_COLOR: [u8; 3] = [255; 3];

/// What the map of an image was made of.
#[derive(Debug, Serialize)]
pub struct CandidatesRecord {
    /// Whether no candidate is part of the map, which then is 0.
    no_candidates: bool,
    /// Area of the largest object as a share of the image; 1 where none was found.
    object_area: f32,
    /// Boxes of the object.
    objects: Vec<ObjectRecord>,
    /// The candidates that the map was made of, the highest final score first.
    candidates: Vec<CandidateRecord>,
    /// Numbers of those that fell, by reason.
    dropped: BTreeMap<Fate, usize>,
}

/// A box of the object.
#[derive(Debug, Serialize)]
struct ObjectRecord {
    #[serde(rename = "box")]
    bounds: [f32; 4],
    score: f32,
}

/// A candidate that is part of the map.
#[derive(Debug, Serialize)]
struct CandidateRecord {
    /// The box, cut at the edges of the image; whole where it lies outside.
    #[serde(rename = "box")]
    bounds: [f32; 4],
    caption: String,
    phrase: Option<String>,
    tokens: String,
    /// The largest probability of a token.
    score: f32,
    /// Factor of its saliency; null where scores are not rescored.
    saliency_factor: Option<f32>,
    /// Score times factor.
    final_score: f32,
}

impl CandidatesRecord {
    /// The record of the candidates on an image of this size.
    pub fn new(found: &Candidates, [width, height]: [usize; 2]) -> CandidatesRecord {
        let bounds = |corners: [f32; 4]| BoundingBox::clipped(corners, width, height).map_or(corners, BoundingBox::corners);
        let mut kept: Vec<&RegionCandidate> = found.regions.iter().filter(|candidate| candidate.fate == Fate::Kept).collect();
        kept.sort_by(|a, b| b.final_score().total_cmp(&a.final_score()));
        let mut dropped = BTreeMap::new();
        for candidate in found.regions.iter().filter(|candidate| candidate.fate != Fate::Kept) {
            *dropped.entry(candidate.fate).or_default() += 1;
        }
        CandidatesRecord {
            no_candidates: kept.is_empty(),
            object_area: found.object_area,
            objects: found
                .objects
                .iter()
                .map(|&(corners, score)| ObjectRecord { bounds: bounds(corners), score })
                .collect(),
            candidates: kept
                .into_iter()
                .map(|candidate| CandidateRecord {
                    bounds: bounds(candidate.corners),
                    caption: candidate.caption.clone(),
                    phrase: candidate.phrase.clone(),
                    tokens: candidate.tokens.clone(),
                    score: candidate.score,
                    saliency_factor: candidate.rescored.map(|rescored| rescored.factor),
                    final_score: candidate.final_score(),
                })
                .collect(),
            dropped,
        }
    }
}

/// The image with all its candidates, each in the colour of what became of it and with the reason; those that were kept lie on top, boxes of
/// the object are white.
pub(super) fn paint_candidates(image: &Rgb, found: &Candidates) -> Rgb {
    let mut painted = image.clone();
    let mut paint = |corners: [f32; 4], text: &str, color: [u8; 3]| {
        if let Some(bounds) = BoundingBox::clipped(corners, image.width(), image.height()) {
            paint_box(&mut painted, bounds, color);
            paint_label(&mut painted, bounds, text, color);
        }
    };
    for (corners, score) in &found.objects {
        paint(*corners, &format!("object {score:.2}"), OBJECT_COLOR);
    }
    for (number, fate) in Fate::ALL.into_iter().enumerate() {
        for candidate in found.regions.iter().rev().filter(|candidate| candidate.fate == fate) {
            let what = candidate.phrase.as_deref().unwrap_or(&candidate.caption);
            paint(candidate.corners, &format!("{what} {:.2}: {}", candidate.final_score(), fate.about()), distinct_color(number));
        }
    }
    painted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::saa::Rescored;

    fn found() -> Candidates {
        let candidate = |left: f32, score: f32, fate| RegionCandidate {
            caption: "crack. hole.".to_owned(),
            phrase: Some("crack".to_owned()),
            tokens: "crack".to_owned(),
            corners: [left, 12.0, left + 6.0, 19.0],
            area: 0.1,
            score,
            rescored: Some(Rescored { factor: 2.0, score: 2.0 * score }),
            fate,
        };
        Candidates {
            objects: vec![([0.0, 0.0, 30.0, 20.0], 0.75)],
            object_area: 0.5,
            regions: vec![
                candidate(-2.0, 0.25, Fate::Kept),
                candidate(8.0, 0.5, Fate::Kept),
                candidate(20.0, 0.125, Fate::NotAmongBest),
                RegionCandidate { rescored: None, ..candidate(20.0, 0.9, Fate::TooLarge) },
            ],
        }
    }

    #[test]
    fn a_record_lists_what_was_kept_and_counts_what_fell() {
        let text = serde_json::to_string(&CandidatesRecord::new(&found(), [32, 24])).unwrap();
        let candidate = |bounds: &str, score: &str, last: &str| {
            format!(
                r#"{{"box":{bounds},"caption":"crack. hole.","phrase":"crack","tokens":"crack","score":{score},"saliency_factor":2.0,"final_score":{last}}}"#
            )
        };
        let expected = format!(
            r#"{{"no_candidates":false,"object_area":0.5,"objects":[{{"box":[0.0,0.0,30.0,20.0],"score":0.75}}],"candidates":[{},{}],"dropped":{{"too_large":1,"not_among_best":1}}}}"#,
            candidate("[8.0,12.0,14.0,19.0]", "0.5", "1.0"),
            candidate("[0.0,12.0,4.0,19.0]", "0.25", "0.5"),
        );
        assert_eq!(text, expected);
        let nothing =
            serde_json::to_string(&CandidatesRecord::new(&Candidates { object_area: 1.0, ..Candidates::default() }, [32, 24])).unwrap();
        assert!(nothing.starts_with(r#"{"no_candidates":true,"object_area":1.0,"objects":[],"candidates":[],"dropped":{}"#), "{nothing}");
    }

    #[test]
    fn each_candidate_has_the_colour_of_its_fate() {
        let painted = paint_candidates(&Rgb::new(32, 24, vec![0; 32 * 24 * 3]), &found());
        let pixel = |x: usize, y: usize| &painted.data()[3 * (32 * y + x)..][..3];
        let color = |fate| distinct_color(Fate::ALL.iter().position(|&one| one == fate).unwrap());
        // The lower edges; letters lie above.
        assert_eq!(pixel(9, 18), color(Fate::Kept));
        assert_eq!(pixel(24, 18), color(Fate::NotAmongBest), "over the one that was too large");
        assert_eq!(pixel(29, 19), OBJECT_COLOR);
    }
}
