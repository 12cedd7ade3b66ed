//! What an evaluation came to: metrics by class and draw, their macro means, and what stands beside them in the literature.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::datasets::Dataset;
use crate::evaluation::{FewShot, MadeBy, MeasureOptions, Metric, Published, Values};
use crate::metrics::Measured;

/// Version of the format of `evaluation.json`.
const VERSION: u32 = 1;

/// Why a mean is not defined.
const UNDEFINED: &str = "not defined for each of the values that the mean is of";

/// Content of `evaluation.json`. Equal maps give equal bytes, whatever machine, order or number of runs made them.
#[derive(Serialize)]
pub struct Evaluated {
    v: u32,
    /// Layout of the data set.
    pub dataset: &'static str,
    /// What was noted while the data set was read: mismatches that were allowed, choices that were made.
    pub notes: Vec<String>,
    /// How maps were measured.
    pub options: MeasureOptions,
    /// The classes, in the order of the data set.
    pub classes: Vec<ClassResult>,
    /// Macro mean: the plain mean over classes, then over draws of reference images, with the standard deviation over draws.
    pub mean: Spread,
    /// Published figures of the same method on the same data set.
    pub published: Vec<&'static Published>,
}

/// Values of metrics, and how they vary between draws of reference images.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Means.
    pub values: Values,
    /// Standard deviations (n − 1) where there are several draws.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub deviations: BTreeMap<Metric, f64>,
}

/// The results of a class.
#[derive(Serialize)]
pub struct ClassResult {
    /// Name of the class.
    pub name: String,
    /// Test photos without a defect.
    pub normal: usize,
    /// Test photos with a defect.
    pub anomalous: usize,
    /// Photos that have no map and are left out of all metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_scored: Vec<String>,
    /// Photos whose defects have no mask and that are left out of the metrics of pixels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_mask: Vec<String>,
    /// Each run: one, or one for each draw of reference images.
    pub runs: Vec<RunResult>,
    /// Mean over the draws.
    pub mean: Spread,
}

/// The results of one run over a class.
#[derive(Serialize)]
pub struct RunResult {
    /// The draw of reference images.
    #[serde(flatten)]
    pub draw: Option<FewShot>,
    /// What made the maps; null for another program.
    pub made_by: Option<MadeBy>,
    /// The metrics.
    pub values: Values,
    /// Threshold at which the F1 of image scores is largest.
    pub image_threshold: Option<f32>,
    /// Threshold at which the F1 of pixels is largest.
    pub pixel_threshold: Option<f32>,
    /// AUPIMO of each anomalous image whose mask is known; null where it is not defined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aupimo: Vec<PhotoValue>,
    /// The normal photos with the highest scores, highest first.
    pub false_alarms: Vec<Extreme>,
    /// The anomalous photos with the lowest scores, lowest first.
    pub misses: Vec<Extreme>,
    /// Curves, for drawing.
    #[serde(skip)]
    pub curves: Curves,
}

/// A value of one photo.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhotoValue {
    /// Path of the photo below the root of the data set.
    pub path: String,
    /// The value.
    pub value: Option<f64>,
}

/// A photo at the wrong end of the scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extreme {
    /// Path of the photo below the root of the data set.
    pub path: String,
    /// Its score.
    pub score: f32,
}

/// The curves of a run: points (x, y) in [0, 1].
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// False against true positive rate of images.
    pub image_roc: Vec<[f64; 2]>,
    /// Recall against precision of images.
    pub image_pr: Vec<[f64; 2]>,
    /// False against true positive rate of pixels.
    pub pixel_roc: Vec<[f64; 2]>,
    /// Recall against precision of pixels.
    pub pixel_pr: Vec<[f64; 2]>,
    /// False positive rate against mean overlap of regions.
    pub pro: Vec<[f64; 2]>,
}

impl Evaluated {
    /// The results of a data set from those of its classes.
    pub fn new(dataset: &Dataset, options: MeasureOptions, classes: Vec<ClassResult>) -> Evaluated {
        let draws = classes.iter().map(|class| class.runs.len()).min().unwrap_or(0);
        let of_draw = |draw: usize| mean(classes.iter().map(|class| &class.runs[draw].values));
        let macro_means: Vec<Values> = (0..draws).map(of_draw).collect();
        let published = classes
            .first()
            .map_or_else(Vec::new, |class| Published::beside(dataset.layout, classes.len(), &class.runs));
        Evaluated {
            v: VERSION,
            dataset: dataset.layout.as_str(),
            notes: dataset.notes.clone(),
            options,
            mean: Spread::of(&macro_means.iter().collect::<Vec<_>>()),
            classes,
            published,
        }
    }

    /// The metrics that were computed, in the order of tables.
    pub fn metrics(&self) -> Vec<Metric> {
        Metric::ALL.into_iter().filter(|metric| self.mean.values.contains_key(metric)).collect()
    }

    /// Name of the method, where the maps are ours.
    pub fn method(&self) -> Option<&str> {
        self.classes.first()?.runs.first()?.made_by.as_ref()?.parameter("method")
    }
}

impl Spread {
    /// Mean and standard deviation over draws.
    pub fn of(draws: &[&Values]) -> Spread {
        let values = mean(draws.iter().copied());
        let deviation = |(metric, mean): (&Metric, &Measured)| {
            let centre = mean.value.filter(|_| draws.len() > 1)?;
            let squares = draws
                .iter()
                .map(|draw| draw.get(metric).and_then(|measured| measured.value).map_or(0.0, |value| (value - centre).powi(2)));
            Some((*metric, (squares.sum::<f64>() / (draws.len() - 1) as f64).sqrt()))
        };
        Spread { deviations: values.iter().filter_map(deviation).collect(), values }
    }
}

/// The plain mean of each metric; not defined where one of its values is not.
fn mean<'a>(all: impl Iterator<Item = &'a Values> + Clone) -> Values {
    let metrics: BTreeSet<Metric> = all.clone().flat_map(|values| values.keys().copied()).collect();
    let of = |metric: Metric| {
        let found: Option<Vec<Measured>> = all.clone().map(|values| values.get(&metric).copied()).collect();
        let found = found.unwrap_or_default();
        let sum: Option<f64> = found.iter().map(|measured| measured.value).sum();
        let (count, errors) = (found.len() as f64, found.iter().map(|measured| measured.error).sum::<f64>());
        match sum.filter(|_| count > 0.0) {
            Some(sum) => Measured { value: Some(sum / count), error: errors / count, reason: None },
            None => Measured::undefined(UNDEFINED),
        }
    };
    metrics.into_iter().map(|metric| (metric, of(metric))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(auroc: Option<f64>) -> Values {
        let reason = auroc.is_none().then_some("one class only");
        Values::from([(Metric::ImageAuroc, Measured { value: auroc, error: 0.01, reason })])
    }

    #[test]
    fn draws_have_a_mean_and_a_standard_deviation() {
        let spread = Spread::of(&[&values(Some(0.9)), &values(Some(0.8)), &values(Some(0.7))]);
        assert!((spread.values[&Metric::ImageAuroc].value.unwrap() - 0.8).abs() < 1e-12);
        assert!((spread.deviations[&Metric::ImageAuroc] - 0.1).abs() < 1e-12, "{spread:?}");
        assert!(Spread::of(&[&values(Some(0.9))]).deviations.is_empty());
    }

    #[test]
    fn a_mean_of_something_undefined_is_undefined() {
        let mean = mean([&values(Some(0.9)), &values(None)].into_iter());
        assert_eq!(mean[&Metric::ImageAuroc], Measured::undefined(UNDEFINED));
    }
}
