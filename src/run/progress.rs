//! Progress of a run, reported to a callback.

use std::sync::{Arc, Mutex};

use crate::graph::Plan;
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

    /// What reports the progress of a plan, called with the number of each launch after it.
    pub fn after_each<'p>(&'p self, plan: &'p Plan) -> impl FnMut(usize) + 'p {
        let cost = plan.nodes.iter().map(|node| node.kernel.work().cost()).sum();
        let mut done = 0;
        move |launch| {
            done += plan.nodes[launch].kernel.work().cost();
            self.report(done, cost, plan.weight_before(launch));
        }
    }

    pub fn report(&self, done: u64, of: u64, at: &str) {
        // Not under the lock: the observer may take its time.
        let observer = lock(&self.0).clone();
        if let Some(observer) = observer {
            observer(Progress { share: if of == 0 { 1.0 } else { done as f64 / of as f64 }, at });
        }
    }
}
