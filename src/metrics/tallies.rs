//! All metrics that are computed from groups of pixels in descending order.

use crate::metrics::counts::Totals;
use crate::metrics::group::Group;
use crate::metrics::overlap::{Overlap, OverlapTally};
use crate::metrics::ranking::{Ranking, RankingTally};

/// Computes [`Ranking`] and [`Overlap`].
///
/// Neighbouring groups without anomalous pixels count as one, which changes no metric: so the result does not depend on how they were divided, to
/// the last bit.
pub(super) struct Tallies {
    ranking: RankingTally,
    overlap: OverlapTally,
    /// Normal pixels that were not passed on yet.
    negatives: Group,
}

impl Tallies {
    pub fn new(totals: Totals) -> Tallies {
        let Totals { positives, negatives, regions, .. } = totals;
        Tallies {
            ranking: RankingTally::new(positives, negatives),
            overlap: OverlapTally::new(negatives, regions),
            negatives: Group::default(),
        }
    }

    /// Adds groups, each below those before it.
    pub fn push(&mut self, groups: impl Iterator<Item = Group>) {
        for group in groups {
            if group.positives == 0 {
                self.negatives = Group { negatives: self.negatives.negatives + group.negatives, ..group };
            } else {
                self.pass_negatives();
                self.pass(&group);
            }
        }
    }

    pub fn finish(mut self) -> (Ranking, Overlap) {
        self.pass_negatives();
        (self.ranking.finish(), self.overlap.finish())
    }

    fn pass_negatives(&mut self) {
        let negatives = std::mem::take(&mut self.negatives);
        if negatives.negatives > 0 {
            self.pass(&negatives);
        }
    }

    fn pass(&mut self, group: &Group) {
        self.ranking.push(group);
        self.overlap.push(group);
    }
}
