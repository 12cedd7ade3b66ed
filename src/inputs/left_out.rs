//! Counts of files and folders that a search left out, by reason.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::uninspected::Reason;

/// Counts of files and folders that a search left out. In JSON a map from the reason, or the ending of an unsupported format, to a count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LeftOut {
    counts: BTreeMap<String, usize>,
}

impl LeftOut {
    /// Counts so many for a reason.
    pub(crate) fn count(&mut self, reason: Reason, count: usize) {
        if count > 0 {
            *self.counts.entry(reason.as_str().to_owned()).or_default() += count;
        }
    }

    /// Counts a file of an unsupported format by its ending, such as `heic`.
    pub(super) fn count_ending(&mut self, ending: &str) {
        *self.counts.entry(format!(".{ending}")).or_default() += 1;
    }

    /// Adds the counts of another search.
    pub fn add(&mut self, other: &LeftOut) {
        for (label, count) in &other.counts {
            *self.counts.entry(label.clone()).or_default() += count;
        }
    }

    /// True where nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many for this reason.
    pub fn of(&self, reason: Reason) -> usize {
        self.counts.get(reason.as_str()).copied().unwrap_or(0)
    }
}

impl fmt::Display for LeftOut {
    /// `2 .heic, 1 link`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .counts
            .iter()
            .map(|(label, count)| format!("{count} {}", if label.starts_with('.') { label.clone() } else { label.replace('_', " ") }))
            .collect();
        f.write_str(&parts.join(", "))
    }
}
