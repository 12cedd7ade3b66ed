//! Budget of a device: the bytes that programs hold on it, their limit, and the weights and constants that programs share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{Plan, Value, ValueId};
use crate::run::faults::lock;
use crate::tensor::DType;

/// Limit of the bytes held on a device, and the count of them.
pub(super) struct Budget {
    limit: u64,
    held: Arc<AtomicU64>,
}

/// Bytes that count as long as this lives.
pub(super) struct Held {
    bytes: u64,
    all: Arc<AtomicU64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget { limit, held: Arc::default() }
    }

    /// Bytes of everything that lives.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts bytes that are about to be allocated: of two threads that want the last room, one is refused.
    pub(super) fn take(&self, bytes: u64, what: &str) -> Result<Held> {
        let within = |held: u64| held.checked_add(bytes).filter(|&total| total <= self.limit);
        match self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => Ok(Held { bytes, all: Arc::clone(&self.held) }),
            Err(held) => Err(self.refusal(bytes, held, &format!("; they are for {what}"))),
        }
    }

    /// Refuses a plan that needs more memory than may be held, before anything of it is allocated, naming its largest tensor: `missing` bytes
    /// of weights and constants, `beside` of everything else.
    pub(super) fn check_plan(&self, plan: &Plan, missing: u64, beside: u64) -> Result<()> {
        let (held, needed) = (self.held(), missing + beside);
        log::debug!("memory: {held} bytes are held, {missing} of weights are to come, {beside} of everything else");
        if held.saturating_add(needed) <= self.limit {
            return Ok(());
        }
        let largest = plan.nodes.iter().max_by_key(|node| plan.values[node.output].bytes());
        let largest = largest.map_or_else(String::new, |node| format!("; the largest of its tensors is that of {node}"));
        Err(self.refusal(needed, held, &largest))
    }

    fn refusal(&self, needed: u64, held: u64, why: &str) -> Error {
        let message = format!("{needed} bytes are needed beside the {held} that are held, more than the {} allowed{why}", self.limit);
        Error::new(Code::GpuMemory, message).hint(Remedy::RaiseMemoryLimit)
    }
}

/// Weights and constants on a device, as long as a program holds them.
pub(super) struct SharedUploads<T>(Mutex<HashMap<(u64, DType), Weak<T>>>);

impl<T> Default for SharedUploads<T> {
    fn default() -> SharedUploads<T> {
        SharedUploads(Mutex::default())
    }
}

impl<T> SharedUploads<T> {
    /// The upload of a value at its storage type, if a program holds it.
    pub(super) fn get(&self, value: &Value) -> Option<Arc<T>> {
        lock(&self.0).get(&key(value)).and_then(Weak::upgrade)
    }

    /// Keeps an upload for other programs.
    pub(super) fn insert(&self, value: &Value, upload: &Arc<T>) {
        let mut all = lock(&self.0);
        all.retain(|_, held| held.strong_count() > 0);
        all.insert(key(value), Arc::downgrade(upload));
    }

    /// The values of a plan that would have to be uploaded.
    pub(super) fn missing<'p>(&self, plan: &'p Plan) -> Vec<&'p Value> {
        let values = plan.uploads.iter().map(|&id: &ValueId| &plan.values[id]);
        values.filter(|value| self.get(value).is_none()).collect()
    }
}

/// Panics on a value that each run computes or is given.
fn key(value: &Value) -> (u64, DType) {
    (value.source.upload_key().expect("a plan uploads weights and constants"), value.dtype)
}
