//! The record of a scored image in `results.jsonl`, and the decision rule of a run: its threshold and its level.

use std::borrow::Cow;

use crate::image::{Mask, Region, regions};
use crate::methods::Finding;
use crate::uninspected::Uninspected;
use serde::Serialize;

use crate::results::{CandidatesRecord, Decision, Head, Milliseconds, Named, Picture, SourceFile};

/// The record of an image that was scored.
#[derive(Debug, Serialize)]
pub struct ScoredRecord {
    #[serde(flatten)]
    head: Head,
    class: Option<String>,
    /// Anomaly of the image.
    pub score: f32,
    /// Whether the score reaches the threshold; null without one.
    pub decision: Option<Decision>,
    threshold: Option<Threshold>,
    /// Values of the map from here on belong to mask and regions.
    level: Option<f32>,
    map: MapSummary,
    regions: Option<Vec<Region>>,
    /// What the map was made of, for methods that look for boxes.
    #[serde(flatten)]
    candidates: Option<CandidatesRecord>,
    /// Files written for the image, relative to the output folder.
    files: Vec<String>,
    /// Identity of the file that was read.
    input: Option<SourceFile>,
    /// Parts of the image that were not inspected.
    pub uninspected: Vec<Uninspected>,
    ms: Milliseconds,
    warnings: Vec<String>,
}

/// The threshold of the score, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Scores from here on are anomalous.
    pub value: f32,
    /// `flag`: given for this run by the caller; `profile`: taken from the profile; `calibration:` and a rule in a word, as `q0.995`: taken
    /// from a calibration.
    pub source: Cow<'static, str>,
}

impl Threshold {
    /// The decision on an image's score; `uninspected` are the parts of the image that were not inspected.
    pub fn decide(&self, score: f32, uninspected: &[Uninspected]) -> Decision {
        match (score >= self.value, uninspected.is_empty()) {
            (true, _) => Decision::Anomalous,
            (false, true) => Decision::Normal,
            (false, false) => Decision::NormalInPart,
        }
    }
}

/// Summary of a map: three statistics, and the file it was saved to.
#[derive(Debug, PartialEq, Serialize)]
pub struct MapSummary {
    max: f32,
    p99: f32,
    mean: f32,
    file: Option<String>,
}

/// Decision rule of a run: threshold and level, with the method and class that they belong to.
///
/// - The *threshold* is compared with the score of an image: from there on the image is anomalous. It is given by the caller, by a
///   calibration or by a profile; without one there is no decision.
/// - The *level* is compared with each value of the map: from there on a pixel belongs to the mask and to a region. A calibration has one of
///   its own; else it is the threshold where there is one, else the level stored with the weights
///   ([`Scale::level`](crate::methods::Scale::level)); without any there is no mask.
#[derive(Clone, Debug)]
pub struct DecisionRule {
    /// Name of the method.
    pub method: &'static str,
    /// Class of the inspected object; `None` where the method takes no text.
    pub class: Option<String>,
    /// Threshold of the score, where one was given.
    pub threshold: Option<Threshold>,
    /// Level of the mask and regions, where there is one.
    pub level: Option<f32>,
}

impl DecisionRule {
    /// The mask of pixels that reach the level, and its connected regions; `None` without a level.
    pub fn mark(&self, scored: &Finding) -> Option<(Mask, Vec<Region>)> {
        self.level.map(|level| {
            let mask = scored.mask(level);
            let regions = regions(&mask, &scored.map);
            (mask, regions)
        })
    }

    /// The record of a scored image.
    pub fn record(
        &self,
        named: &Named,
        scored: &Finding,
        regions: Option<Vec<Region>>,
        files: Vec<String>,
        input: Option<SourceFile>,
        ms: Milliseconds,
    ) -> ScoredRecord {
        let [height, width] = scored.map.shape().axes();
        ScoredRecord {
            head: Head::new(&named.path, named.output(), [width, height], self.method),
            class: self.class.clone(),
            score: scored.score,
            decision: self.threshold.as_ref().map(|threshold| threshold.decide(scored.score, &scored.uninspected)),
            threshold: self.threshold.clone(),
            level: self.level,
            map: summarize(scored, files.iter().find(|file| file.ends_with(Picture::Map.ending())).cloned()),
            regions,
            candidates: scored.candidates.as_ref().map(|found| CandidatesRecord::new(found, [width, height])),
            files,
            input,
            uninspected: scored.uninspected.clone(),
            ms,
            warnings: scored.warnings.clone(),
        }
    }
}

/// Largest value, 99th percentile by nearest rank, and mean of a map, as far as it lies in the region of interest.
fn summarize(scored: &Finding, file: Option<String>) -> MapSummary {
    let map = scored.map.data();
    let mut values = match &scored.region {
        Some(region) => map
            .iter()
            .zip(region.data())
            .filter(|(_, is_inside)| **is_inside)
            .map(|(&value, _)| value)
            .collect(),
        None => map.to_vec(),
    };
    let sum: f64 = values.iter().map(|&x| f64::from(x)).sum();
    let rank = (values.len() * 99).div_ceil(100).saturating_sub(1);
    let (_, &mut p99, above) = values.select_nth_unstable_by(rank, f32::total_cmp);
    let max = above.iter().copied().fold(p99, f32::max);
    MapSummary { max, p99, mean: (sum / values.len() as f64) as f32, file }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::results::Earlier;
    use crate::tensor::Array;

    #[test]
    fn the_percentile_is_the_nearest_rank() {
        let summary =
            |map: Array, region: Option<Mask>| summarize(&Finding { region: region.map(Arc::new), ..Finding::whole(map, 0.0) }, None);
        let map = Array::new([10, 20], (0..200).map(|x| x as f32).collect());
        // The 99th of 100 parts of 200 values ends with the 198th value, which is 197.
        assert_eq!(summary(map.clone(), None), MapSummary { max: 199.0, p99: 197.0, mean: 99.5, file: None });
        assert_eq!(summary(Array::new([1, 1], vec![-2.0]), None), MapSummary { max: -2.0, p99: -2.0, mean: -2.0, file: None });
        // Of the first 100 values, 0 to 99, the 99th is 98.
        let region = Mask::new(20, 10, (0..200).map(|at| at < 100).collect());
        assert_eq!(summary(map, Some(region)), MapSummary { max: 99.0, p99: 98.0, mean: 49.5, file: None });
    }

    #[test]
    fn a_line_is_read_back_and_a_torn_one_is_not() {
        let scored = Finding::whole(Array::new([1, 2], vec![0.0, 1.0]), 1.0);
        let rule = DecisionRule {
            method: "utad",
            class: None,
            threshold: Some(Threshold { value: 0.5, source: "flag".into() }),
            level: Some(0.5),
        };
        let (_, regions) = rule.mark(&scored).unwrap();
        let named = Named { file: "a.png".into(), path: "a.png".to_owned(), name: "a.png~2".to_owned() };
        let record = rule.record(&named, &scored, Some(regions), vec![], None, Milliseconds::default());
        let line = serde_json::to_string(&record).unwrap();
        assert!(line.starts_with(
            r#"{"v":1,"path":"a.png","output":"a.png~2","status":"ok","size":[2,1],"method":"utad","class":null,"score":1.0"#
        ));
        assert!(line.contains(r#""decision":"anomalous","threshold":{"value":0.5,"source":"flag"},"level":0.5"#));
        let earlier = Earlier::parse(&line).unwrap();
        assert!(earlier.is_ok());
        assert_eq!((earlier.name(), earlier.decision), ("a.png~2", Some(Decision::Anomalous)));
        assert!(Earlier::parse(&line[..line.len() - 1]).is_none());
        assert!(Earlier::parse(&line.replacen("1", "2", 1)).is_none());
    }
}
