//! Metrics of a ranking: how well scores separate what is anomalous from what is normal (AUROC, AP, AUPR, F1-max), with ROC and PR curve.

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::metrics::curve::Curve;
use crate::metrics::group::Group;
use crate::metrics::key::{key_of, score_of};
use crate::metrics::measured::{Measured, NO_NEGATIVES, NO_POSITIVES, Sum};

/// Metrics of scores against labels. Whatever has a score ≥ t is predicted to be anomalous; equal scores share one threshold t.
///
/// Without an anomalous or without a normal score nothing is defined: values are `None` and curves empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// Number of anomalous scores, P.
    pub positives: u64,
    /// Number of normal scores, N.
    pub negatives: u64,
    /// Area under the ROC curve: P(s⁺ > s⁻) + ½·P(s⁺ = s⁻).
    pub auroc: Measured,
    /// Average precision: Σ (Rₙ − Rₙ₋₁)·Pₙ, with steps.
    pub ap: Measured,
    /// Area under the precision-recall curve by trapezoids, from precision 1 at recall 0; some papers call it AP or AUPR.
    pub aupr_trapezoid: Measured,
    /// Largest F1 = 2·TP / (P + TP + FP) over all thresholds.
    pub f1_max: Measured,
    /// The highest threshold at which F1 is largest; where [`Ranking::f1_max`] has an error, F1 there is within twice the error of the largest.
    pub f1_threshold: Option<f32>,
    /// ROC curve from `[0, 0]` to `[1, 1]`: false positive rate, true positive rate; at most 500 points.
    pub roc: Vec<[f64; 2]>,
    /// Precision-recall curve from `[0, 1]` to recall 1: recall, precision; at most 500 points.
    pub pr: Vec<[f64; 2]>,
}

/// Metrics of images, from (score, whether the image is anomalous). Exact. NaN is an error.
pub fn image_metrics(scores: &[(f32, bool)]) -> Result<Ranking> {
    let groups = tied_groups(scores)?;
    let count = |of: fn(&Group) -> u64| groups.iter().map(of).sum();
    let mut tally = RankingTally::new(count(|group| group.positives), count(|group| group.negatives));
    groups.iter().for_each(|group| tally.push(group));
    Ok(tally.finish())
}

/// Equal scores as groups, highest first.
pub(super) fn tied_groups(scores: &[(f32, bool)]) -> Result<Vec<Group>> {
    if let Some(at) = scores.iter().position(|(score, _)| score.is_nan()) {
        return Err(Error::new(Code::Nonfinite, format!("score {} of {} is NaN", at + 1, scores.len())));
    }
    let mut keys: Vec<(u32, bool)> = scores.iter().map(|&(score, is_anomalous)| (key_of(score), is_anomalous)).collect();
    keys.sort_unstable();
    let group = |equal: &[(u32, bool)]| {
        let positives = equal.iter().filter(|(_, is_anomalous)| *is_anomalous).count();
        let negatives = equal.len() - positives;
        Group {
            positives: positives as u64,
            negatives: negatives as u64,
            overlap: 0,
            lowest: equal[0].0,
            is_tied: true,
        }
    };
    Ok(keys.chunk_by(|a, b| a.0 == b.0).rev().map(group).collect())
}

/// Computes a [`Ranking`] from groups in descending order.
///
/// Within a group that is not tied, p positives and n negatives come in an unknown order behind `tp` and `fp` higher ones:
///
/// - AUROC loses between 0 and p·n of P·N pairs.
/// - AP: each positive's precision is at most that behind all positives and no negative of the group. That of the i-th is at least (tp + i) /
///   (tp + i + fp + n) =: L(i), as at least i positives and at most n negatives of the group stand at its threshold.
/// - AUPR: no point's precision is above that same bound. Each point of recall tp + j has at least L(j), which is concave in j, so that the
///   trapezoids over any choice of points contain at least that over the whole group, (L(0) + L(p)) / 2·p.
/// - F1-max: F1 behind the group is attained; no point within has more than all positives and no negative of the group.
pub(super) struct RankingTally {
    total: [u64; 2],
    passed: [u64; 2],
    /// Pairs in the wrong order, twice, at least and at most.
    lost: [u128; 2],
    ap: [Sum; 2],
    aupr: [Sum; 2],
    precision: f64,
    f1: [f64; 2],
    f1_key: Option<u32>,
    roc: Curve,
    pr: Curve,
}

impl RankingTally {
    pub fn new(positives: u64, negatives: u64) -> RankingTally {
        RankingTally {
            total: [positives, negatives],
            passed: [0; 2],
            lost: [0; 2],
            ap: [Sum::default(); 2],
            aupr: [Sum::default(); 2],
            precision: 1.0,
            f1: [0.0; 2],
            f1_key: None,
            roc: Curve::from([0.0, 0.0]),
            pr: Curve::from([0.0, 1.0]),
        }
    }

    pub fn push(&mut self, group: &Group) {
        // One order is all there is.
        let is_exact = group.is_tied || group.positives == 0;
        self.push_pairs(group, is_exact);
        self.push_precision(group, is_exact);
        self.push_f1(group, is_exact);
        self.passed = [self.passed[0] + group.positives, self.passed[1] + group.negatives];
        self.push_points();
    }

    fn push_pairs(&mut self, group: &Group, is_exact: bool) {
        let [positives, negatives] = [group.positives, group.negatives].map(u128::from);
        let above = 2 * positives * u128::from(self.passed[1]);
        let within = if is_exact { [positives * negatives; 2] } else { [0, 2 * positives * negatives] };
        self.lost = [self.lost[0] + above + within[0], self.lost[1] + above + within[1]];
    }

    fn push_precision(&mut self, group: &Group, is_exact: bool) {
        let [positives, negatives] = [group.positives, group.negatives].map(|count| count as f64);
        let [tp, fp] = self.passed.map(|count| count as f64);
        let precision = (tp + positives) / (tp + positives + fp + negatives);
        if is_exact {
            self.ap.iter_mut().for_each(|sum| sum.add(positives * precision));
            self.aupr.iter_mut().for_each(|sum| sum.add(positives * (self.precision + precision) / 2.0));
        } else {
            let best = (tp + positives) / (tp + positives + fp);
            self.ap[0].add(least_precision(tp, fp + negatives, positives));
            self.ap[1].add(positives * best);
            let first = if negatives == 0.0 { self.precision } else { tp / (tp + fp + negatives) };
            self.aupr[0].add(positives * (first + precision) / 2.0);
            self.aupr[1].add(positives * best);
        }
        self.precision = precision;
    }

    fn push_f1(&mut self, group: &Group, is_exact: bool) {
        let f1 = |tp: u64, fp: u64| 2.0 * tp as f64 / (self.total[0] + tp + fp) as f64;
        let [tp, fp] = self.passed;
        let behind = f1(tp + group.positives, fp + group.negatives);
        let within = if is_exact { behind } else { f1(tp + group.positives, fp) };
        if behind > self.f1[0] {
            (self.f1[0], self.f1_key) = (behind, Some(group.lowest));
        }
        self.f1[1] = self.f1[1].max(within);
    }

    fn push_points(&mut self) {
        let [recall, false_rate] = [0, 1].map(|at| self.passed[at] as f64 / self.total[at].max(1) as f64);
        self.roc.push([false_rate, recall]);
        self.pr.push([recall, self.precision]);
    }

    pub fn finish(self) -> Ranking {
        let [positives, negatives] = self.total;
        if positives == 0 || negatives == 0 {
            return undefined(positives, negatives);
        }
        assert!(self.passed == self.total, "groups hold {:?} scores of {:?}", self.passed, self.total);
        let pairs = 2 * u128::from(positives) * u128::from(negatives);
        let [best, worst] = self.lost.map(|lost| (pairs - lost) as f64 / pairs as f64);
        let mean = |sums: [Sum; 2]| Measured::within(sums[0].value() / positives as f64, sums[1].value() / positives as f64);
        Ranking {
            positives,
            negatives,
            auroc: Measured::within(worst, best),
            ap: mean(self.ap),
            aupr_trapezoid: mean(self.aupr),
            f1_max: Measured::within(self.f1[0], self.f1[1]),
            f1_threshold: self.f1_key.map(score_of),
            roc: self.roc.finish(),
            pr: self.pr.finish(),
        }
    }
}

/// A bound from below of Σ (tp + i) / (tp + i + fp) over i = 1…positives, the summed precision of positives one by one behind all negatives.
///
/// Each term is 1 − fp / (m + i) with m = tp + fp, and Σ 1 / (m + i) ≤ ln((m + positives + ½) / (m + ½)), as 1/x is convex.
fn least_precision(tp: f64, fp: f64, positives: f64) -> f64 {
    positives - fp * (positives / (tp + fp + 0.5)).ln_1p()
}

fn undefined(positives: u64, negatives: u64) -> Ranking {
    let none = Measured::undefined(if positives == 0 { NO_POSITIVES } else { NO_NEGATIVES });
    Ranking {
        positives,
        negatives,
        auroc: none,
        ap: none,
        aupr_trapezoid: none,
        f1_max: none,
        f1_threshold: None,
        roc: Vec::new(),
        pr: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(scores: &[(f32, bool)]) -> Ranking {
        image_metrics(scores).unwrap()
    }

    #[test]
    fn a_ranking_by_hand() {
        // + at 0.9, both at 0.5, − at 0.1: of 4 pairs 3 are right and 1 is tied.
        let found = ranking(&[(0.9, true), (0.5, true), (0.5, false), (0.1, false)]);
        assert_eq!(found.auroc, Measured::exact(3.5 / 4.0));
        // Precisions 1, 2/3 at recalls 1/2, 1.
        assert_eq!(found.ap, Measured::exact(0.5 + 0.5 * (2.0 / 3.0)));
        assert_eq!(found.aupr_trapezoid, Measured::exact(0.5 + 0.5 * (1.0 + 2.0 / 3.0) / 2.0));
        assert_eq!((found.f1_max, found.f1_threshold), (Measured::exact(0.8), Some(0.5)));
        assert_eq!(found.roc, [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]);
        assert_eq!(found.pr, [[0.0, 1.0], [0.5, 1.0], [1.0, 2.0 / 3.0], [1.0, 0.5]]);
    }

    #[test]
    fn zeros_of_either_sign_tie_and_a_split_tie_would_differ() {
        assert_eq!(ranking(&[(0.0, true), (-0.0, false)]).auroc, Measured::exact(0.5));
        assert_eq!(ranking(&[(1e-45, true), (-0.0, false)]).auroc, Measured::exact(1.0));
    }

    #[test]
    fn nan_is_an_error_and_infinity_is_the_highest_score() {
        let error = image_metrics(&[(1.0, true), (f32::NAN, false)]).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Nonfinite, "score 2 of 2 is NaN"));
        let found = ranking(&[(f32::INFINITY, true), (3.0, false), (f32::NEG_INFINITY, false)]);
        assert_eq!((found.auroc, found.f1_threshold), (Measured::exact(1.0), Some(f32::INFINITY)));
    }

    #[test]
    fn one_class_alone_has_no_value_but_a_reason() {
        assert_eq!(ranking(&[(1.0, true)]).auroc, Measured::undefined(NO_NEGATIVES));
        assert_eq!(ranking(&[(1.0, false)]).f1_max, Measured::undefined(NO_POSITIVES));
        assert_eq!(ranking(&[]).ap.value, None);
    }

    /// Every order of the scores of a group, with every choice of ties, stays in the group's bracket.
    #[test]
    fn brackets_hold_for_every_order_within_a_group() {
        let (before, after) = ([(9.0, true), (8.0, false), (7.0, true)], [(0.5, true), (0.4, false)]);
        for labels in 0..1 << 5 {
            for ties in 0..1 << 4 {
                let mut score = 6.0;
                let inside: Vec<(f32, bool)> = (0..5)
                    .map(|at| {
                        score -= if at > 0 && ties >> (at - 1) & 1 == 1 { 0.0 } else { 1.0 };
                        (score, labels >> at & 1 == 1)
                    })
                    .collect();
                for before in [&before[..], &before[1..2], &[]] {
                    let all = [before, &inside, &after].concat();
                    let exact = ranking(&all);
                    let bracket = grouped(before, &inside, &after);
                    for (metric, exact, found) in [
                        ("auroc", exact.auroc, bracket.auroc),
                        ("ap", exact.ap, bracket.ap),
                        ("aupr", exact.aupr_trapezoid, bracket.aupr_trapezoid),
                        ("f1", exact.f1_max, bracket.f1_max),
                    ] {
                        let off = (exact.value.unwrap() - found.value.unwrap()).abs();
                        assert!(off <= found.error + 1e-15, "{metric} is {off} off, beyond {} ({all:?})", found.error);
                    }
                }
            }
        }
    }

    /// The ranking with the scores in the middle as one group.
    fn grouped(before: &[(f32, bool)], inside: &[(f32, bool)], after: &[(f32, bool)]) -> Ranking {
        let middle = tied_groups(inside).unwrap();
        let positives = middle.iter().map(|group| group.positives).sum();
        let group = Group {
            positives,
            negatives: inside.len() as u64 - positives,
            overlap: 0,
            lowest: middle[middle.len() - 1].lowest,
            is_tied: middle.len() == 1,
        };
        let groups = [tied_groups(before).unwrap(), vec![group], tied_groups(after).unwrap()].concat();
        let count = |of: fn(&Group) -> u64| groups.iter().map(of).sum();
        let mut tally = RankingTally::new(count(|group| group.positives), count(|group| group.negatives));
        groups.iter().for_each(|group| tally.push(group));
        tally.finish()
    }
}
