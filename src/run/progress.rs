//! Progress of a run, reported to a callback.

use std::sync::{Arc, Mutex};

use crate::run::faults::lock;

/// Progress of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Share of the program's estimated work that is done, 0 to 1.
    pub share: f64,
    /// The last weight that was read: a path that names the part of the network.
    pub at: &'a str,
}

/// Callback that receives each progress update.
pub type Observer = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// The registered callback, if any; shared by all clones of a device.
#[derive(Clone, Default)]
pub(super) struct Observed(Arc<Mutex<Option<Observer>>>);

impl Observed {
    pub fn set(&self, observer: Option<Observer>) {
        *lock(&self.0) = observer;
    }

    pub fn report(&self, done: u64, of: u64, at: &str) {
        // Not under the lock: the observer may take its time.
        let observer = lock(&self.0).clone();
        if let Some(observer) = observer {
            observer(Progress { share: if of == 0 { 1.0 } else { done as f64 / of as f64 }, at });
        }
    }
}
