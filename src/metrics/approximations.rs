//! What papers print instead of exact metrics, at 200 thresholds between the lowest and the highest score, under names of their own.

use serde::Serialize;

use crate::image::Mask;
use crate::metrics::key::score_of;
use crate::metrics::measured::{Measured, NO_POSITIVES};
use crate::metrics::pixels::Scored;
use crate::metrics::region_f1::RegionCounts;
use crate::metrics::steps::{Reading, StepCounts, Thresholds};

const INFINITE: &str = "there is an infinite score, and no equal steps up to it";

/// What papers print instead of exact metrics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Approximations {
    /// AUPRO at thresholds min + k·(max − min) / 200, score > t, from points with a false positive rate < 0.3, stretched to 0…1.
    pub aupro_200: Measured,
    /// As SAA's code has it: thresholds max − k·(max − min) / 200, false positive rate ≤ 0.3, and holes of regions filled in the numerator.
    pub aupro_200_saa: Measured,
    /// F1 of regions, F_r, as SAA's code has it: the largest over the same thresholds; a predicted region is right where the intersection over
    /// union around it and a region of the mask is at least 0.6.
    pub region_f1_saa: Measured,
}

/// Counts maps at the thresholds that the lowest and the highest score of all maps give.
pub(super) struct Approximator(Result<[Thresholds; 2], &'static str>);

/// Counts at the thresholds of both readings.
pub(super) struct ApproximateCounts {
    common: StepCounts,
    saa: StepCounts,
    regions: RegionCounts,
}

impl Approximator {
    /// From the keys of the lowest and the highest score.
    pub fn new(extremes: Option<[u32; 2]>) -> Approximator {
        let Some([lowest, highest]) = extremes.map(|keys| keys.map(score_of)) else {
            return Approximator(Err(NO_POSITIVES));
        };
        if lowest.is_infinite() || highest.is_infinite() {
            return Approximator(Err(INFINITE));
        }
        Approximator(Ok([Reading::Common, Reading::Saa].map(|reading| Thresholds::new(lowest, highest, reading))))
    }

    pub fn count(&self, scored: &Scored) -> ApproximateCounts {
        let Ok([common, saa]) = &self.0 else { return ApproximateCounts::nothing() };
        let [_, width] = scored.map.shape().axes();
        let regions = scored.mask.as_ref().map(Mask::components).unwrap_or_default();
        let levels = saa.levels(scored.map.data());
        ApproximateCounts {
            common: StepCounts::of(Reading::Common, &common.levels(scored.map.data()), width, &regions),
            saa: StepCounts::of(Reading::Saa, &levels, width, &regions),
            regions: RegionCounts::of(&levels, width, &regions),
        }
    }

    pub fn finish(&self, counts: &ApproximateCounts) -> Approximations {
        let value = |of: &dyn Fn() -> Measured| match &self.0 {
            Ok(_) => of(),
            Err(reason) => Measured::undefined(reason),
        };
        Approximations {
            aupro_200: value(&|| counts.common.finish()),
            aupro_200_saa: value(&|| counts.saa.finish()),
            region_f1_saa: value(&|| counts.regions.finish()),
        }
    }
}

impl ApproximateCounts {
    pub fn nothing() -> ApproximateCounts {
        ApproximateCounts {
            common: StepCounts::new(Reading::Common),
            saa: StepCounts::new(Reading::Saa),
            regions: RegionCounts::new(),
        }
    }

    pub fn add(&mut self, other: &ApproximateCounts) {
        self.common.add(&other.common);
        self.saa.add(&other.saa);
        self.regions.add(&other.regions);
    }
}
