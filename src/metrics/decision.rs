//! What a threshold decides: counts of right and wrong decisions, F1 and IoU; and what is left to do at a fixed rate of one kind of error.

use serde::Serialize;

use crate::error::Result;
use crate::metrics::key::key_of;
use crate::metrics::measured::{Measured, NO_NEGATIVES, NO_POSITIVES};
use crate::metrics::pixels::Pixels;
use crate::metrics::ranking::tied_groups;

/// Right and wrong decisions at a threshold: what scores at least as high is taken for anomalous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Anomalous, and taken for it.
    pub true_positives: u64,
    /// Normal, but taken for anomalous.
    pub false_positives: u64,
    /// Anomalous, but taken for normal.
    pub false_negatives: u64,
    /// Normal, and taken for it.
    pub true_negatives: u64,
}

impl Confusion {
    /// The decisions about (score, whether it is anomalous). NaN is an error.
    pub fn at(scores: &[(f32, bool)], threshold: f32) -> Result<Confusion> {
        let mut found = Confusion::default();
        for group in tied_groups(scores)? {
            found.count(group.positives, group.negatives, group.lowest >= key_of(threshold));
        }
        Ok(found)
    }

    pub(super) fn add(&mut self, pixels: &Pixels, threshold: f32) {
        let key = key_of(threshold);
        let positives = pixels.positives.partition_point(|&(one, _)| one < key) as u64;
        let negatives = pixels.negatives.partition_point(|&one| one < key) as u64;
        self.count(positives, negatives, false);
        self.count(pixels.positives.len() as u64 - positives, pixels.negatives.len() as u64 - negatives, true);
    }

    fn count(&mut self, positives: u64, negatives: u64, is_found: bool) {
        if is_found {
            (self.true_positives, self.false_positives) = (self.true_positives + positives, self.false_positives + negatives);
        } else {
            (self.false_negatives, self.true_negatives) = (self.false_negatives + positives, self.true_negatives + negatives);
        }
    }

    /// 2·TP / (2·TP + FP + FN).
    pub fn f1(&self) -> Measured {
        let wrong = self.false_positives + self.false_negatives;
        self.share(2 * self.true_positives, 2 * self.true_positives + wrong)
    }

    /// Intersection over union: TP / (TP + FP + FN).
    pub fn iou(&self) -> Measured {
        self.share(self.true_positives, self.true_positives + self.false_positives + self.false_negatives)
    }

    fn share(&self, part: u64, whole: u64) -> Measured {
        if self.true_positives + self.false_negatives == 0 {
            return Measured::undefined(NO_POSITIVES);
        }
        Measured::exact(part as f64 / whole as f64)
    }
}

/// F1 at a threshold, of (score, whether it is anomalous). NaN is an error.
pub fn f1_at(scores: &[(f32, bool)], threshold: f32) -> Result<Measured> {
    Ok(Confusion::at(scores, threshold)?.f1())
}

/// IoU at a threshold, of (score, whether it is anomalous). NaN is an error.
pub fn iou_at(scores: &[(f32, bool)], threshold: f32) -> Result<Measured> {
    Ok(Confusion::at(scores, threshold)?.iou())
}

/// The largest true negative rate at a threshold that misses at most a share `fnr` of what is anomalous: how many good parts nobody has to look at.
///
/// The threshold is the highest score with that rate; `anomalib`'s PGn interpolates between scores instead. NaN is an error.
pub fn tnr_at_fnr(scores: &[(f32, bool)], fnr: f64) -> Result<Measured> {
    let rates = rates(scores)?;
    Ok(rates.map_or_else(Measured::undefined, |rates| {
        Measured::exact(rates.iter().find(|rates| rates.false_negative <= fnr).map_or(0.0, |rates| rates.true_negative))
    }))
}

/// The largest true positive rate at a threshold that takes at most a share `fpr` of what is normal for anomalous. NaN is an error.
pub fn tpr_at_fpr(scores: &[(f32, bool)], fpr: f64) -> Result<Measured> {
    let rates = rates(scores)?;
    Ok(rates.map_or_else(Measured::undefined, |rates| {
        Measured::exact(
            rates
                .iter()
                .rev()
                .find(|rates| rates.false_positive <= fpr)
                .map_or(0.0, |rates| rates.true_positive),
        )
    }))
}

/// The rates at a threshold, each a quotient of whole numbers, so that a bound like 1/20 is met.
struct Rates {
    true_positive: f64,
    false_positive: f64,
    false_negative: f64,
    true_negative: f64,
}

/// The rates at a threshold above all scores and at each distinct score, highest first, or why they are not defined.
fn rates(scores: &[(f32, bool)]) -> Result<std::result::Result<Vec<Rates>, &'static str>> {
    let groups = tied_groups(scores)?;
    let positives = scores.iter().filter(|(_, is_anomalous)| *is_anomalous).count() as u64;
    let negatives = scores.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return Ok(Err(if positives == 0 { NO_POSITIVES } else { NO_NEGATIVES }));
    }
    let rates = |tp: u64, fp: u64| Rates {
        true_positive: tp as f64 / positives as f64,
        false_positive: fp as f64 / negatives as f64,
        false_negative: (positives - tp) as f64 / positives as f64,
        true_negative: (negatives - fp) as f64 / negatives as f64,
    };
    let (mut tp, mut fp) = (0, 0);
    let behind = groups.iter().map(|group| {
        (tp, fp) = (tp + group.positives, fp + group.negatives);
        rates(tp, fp)
    });
    Ok(Ok(std::iter::once(rates(0, 0)).chain(behind).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [(f32, bool); 8] =
        [(0.9, true), (0.8, true), (0.7, false), (0.6, true), (0.5, true), (0.5, false), (0.2, false), (-0.0, false)];

    #[test]
    fn decisions_by_hand() {
        let found = Confusion::at(&SCORES, 0.6).unwrap();
        assert_eq!(found, Confusion { true_positives: 3, false_positives: 1, false_negatives: 1, true_negatives: 3 });
        assert_eq!((found.f1(), found.iou()), (Measured::exact(0.75), Measured::exact(0.6)));
        // A score at the threshold passes it, and 0 is −0.
        assert_eq!(Confusion::at(&SCORES, 0.0).unwrap().true_negatives, 0);
        assert_eq!(f1_at(&SCORES, 2.0).unwrap(), Measured::exact(0.0));
        assert_eq!(iou_at(&[(1.0, false)], 0.5).unwrap(), Measured::undefined(NO_POSITIVES));
    }

    #[test]
    fn rates_by_hand() {
        // One in four may be missed: the threshold is 0.6, and three of four good ones pass.
        assert_eq!(tnr_at_fnr(&SCORES, 0.25).unwrap(), Measured::exact(0.75));
        assert_eq!(tnr_at_fnr(&SCORES, 0.05).unwrap(), Measured::exact(0.5));
        assert_eq!(tpr_at_fpr(&SCORES, 0.05).unwrap(), Measured::exact(0.5));
        assert_eq!(tpr_at_fpr(&SCORES, 0.25).unwrap(), Measured::exact(0.75));
        assert_eq!(tpr_at_fpr(&[(1.0, true)], 0.1).unwrap(), Measured::undefined(NO_NEGATIVES));
        // 1/20 is 0.05.
        let twenty: Vec<(f32, bool)> = (0..40).map(|at| (at as f32, at >= 20 || at == 10)).filter(|(score, _)| *score != 20.0).collect();
        assert_eq!(tnr_at_fnr(&twenty, 0.05).unwrap(), Measured::exact(1.0));
        assert!(tnr_at_fnr(&[(f32::NAN, true)], 0.1).is_err());
    }
}
