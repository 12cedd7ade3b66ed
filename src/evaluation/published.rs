//! Published figures of methods on data sets, as data with their sources.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::datasets::Layout;
use crate::evaluation::{Metric, RunResult};

/// All figures that are known.
pub static PUBLISHED: LazyLock<Vec<Published>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("published.toml")).unwrap_or_else(|error| panic!("published.toml is ours: {error}"));
    file.published
});

#[derive(Deserialize)]
struct File {
    published: Vec<Published>,
}

/// Figures of one method on one data set, in percent.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The method.
    pub method: String,
    /// Layout of the data set.
    #[serde(skip_serializing)]
    pub dataset: String,
    /// Number of reference images, for methods that compare with some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shots: Option<usize>,
    /// Paper or program.
    pub source: String,
    /// What to know about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    mean: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    deviations: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    classes: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Published {
    /// The mean over classes, in percent, where it was published.
    pub fn mean(&self, metric: Metric) -> Option<f64> {
        self.mean.get(metric.as_str()).copied()
    }

    /// Figures to stand beside those of these runs over so many classes: of the same method, data set and number of reference images. Published means are
    /// over all classes, so there are none beside a part of these.
    pub(super) fn beside(layout: Layout, classes: usize, runs: &[RunResult]) -> Vec<&'static Published> {
        let all_classes = match layout {
            Layout::Mvtec => 15,
            Layout::Visa => 12,
            Layout::Ksdd2 | Layout::Mtd => 1,
            Layout::Mpdd | Layout::Btad | Layout::Folder | Layout::Manifest => 0,
        };
        let Some(run) = runs.first().filter(|_| classes == all_classes) else { return Vec::new() };
        let method = run.made_by.as_ref().and_then(|made_by| made_by.parameter("method"));
        let shots = run.draw.and_then(|draw| draw.shots);
        let is_same = |one: &&Published| Some(one.method.as_str()) == method && one.dataset == layout.as_str() && one.shots == shots;
        PUBLISHED.iter().filter(is_same).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods;

    #[test]
    fn every_figure_is_of_a_known_method_data_set_and_metric() {
        for one in PUBLISHED.iter() {
            assert!(methods::named(&one.method).is_ok(), "{}", one.method);
            assert!(Layout::ALL.iter().any(|layout| layout.as_str() == one.dataset), "{}", one.dataset);
            let figures = one.classes.values().flatten().chain(&one.mean).chain(&one.deviations);
            for (name, figure) in figures {
                assert!(Metric::ALL.iter().any(|metric| metric.as_str() == name), "{name}");
                assert!((0.0..=100.0).contains(figure), "{name} {figure}");
            }
        }
    }

    #[test]
    fn means_over_classes_are_those_that_were_published() {
        let mut compared = 0;
        for one in PUBLISHED.iter().filter(|one| !one.classes.is_empty()) {
            for name in one.classes.values().next().unwrap().keys() {
                let mean = one.classes.values().map(|figures| figures[name]).sum::<f64>() / one.classes.len() as f64;
                // Figures of classes and their mean are rounded to a tenth each.
                assert!((mean - one.mean[name]).abs() < 0.11, "{} {} {name}: {mean}", one.method, one.source);
                compared += 1;
            }
        }
        assert!(compared > 10);
    }
}
