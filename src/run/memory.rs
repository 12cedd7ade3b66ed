//! Memory of a device: buffers whose bytes are counted, the limit of these bytes, and the weights and constants that programs share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::error::{Code, Error, Result};
use crate::graph::{Plan, Value};
use crate::run::budget::{Budget, Held, SharedUploads};
use crate::run::codec::encode;
use crate::run::faults::{Faults, lock};

/// Largest number of bytes in upload: until they have arrived, wgpu holds them a second time.
const MAX_PENDING_UPLOAD_BYTES: u64 = 64 << 20;

/// A buffer whose bytes are counted as long as it lives.
pub(super) struct TrackedBuffer {
    pub(super) buffer: wgpu::Buffer,
    _held: Held,
}

/// A holder of memory that it can release.
pub(super) trait Reclaim: Send + Sync {
    /// Releases memory that is not in use; returns whether there was any.
    fn release(&self) -> bool;
}

/// Memory that is held on one device.
pub(super) struct DeviceMemory {
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Faults,
    adapter: String,
    max_buffer: u64,
    max_binding: u64,
    budget: Budget,
    uploads: SharedUploads<TrackedBuffer>,
    /// Bytes written since the queue was last waited for.
    pending_upload_bytes: AtomicU64,
    reclaimable: Mutex<Vec<Weak<dyn Reclaim>>>,
}

impl DeviceMemory {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue, faults: &Faults, adapter: &str, limit: Option<u64>) -> DeviceMemory {
        let limits = device.limits();
        DeviceMemory {
            device: device.clone(),
            queue: queue.clone(),
            faults: faults.clone(),
            adapter: adapter.to_owned(),
            max_buffer: limits.max_buffer_size,
            max_binding: limits.max_storage_buffer_binding_size,
            budget: Budget::new(limit.unwrap_or(u64::MAX)),
            uploads: SharedUploads::default(),
            pending_upload_bytes: AtomicU64::default(),
            reclaimable: Mutex::default(),
        }
    }

    /// Bytes of all buffers that live.
    pub(super) fn held(&self) -> u64 {
        self.budget.held()
    }

    /// A zeroed buffer of at least `bytes`, counted in [`DeviceMemory::held`] and within the limit.
    pub(super) fn buffer(&self, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> Result<TrackedBuffer> {
        let size = padded(bytes);
        if size > self.max_buffer {
            let message = format!("{label} needs {size} bytes, {} allows {} per buffer", self.adapter, self.max_buffer);
            return Err(Error::new(Code::GpuMemory, message));
        }
        let held = self.budget.take(size, label)?;
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.faults.scoped(label, || self.device.create_buffer(&descriptor))?;
        Ok(TrackedBuffer { buffer, _held: held })
    }

    /// The buffer of a weight or constant, uploaded unless a program holds it already. It goes when the last of them does.
    ///
    /// Panics on a value that each run computes or is given.
    pub(super) fn upload(&self, value: &Value) -> Result<Arc<TrackedBuffer>> {
        if let Some(buffer) = self.uploads.get(value) {
            return Ok(buffer);
        }
        let array = value.source.to_array()?.expect("a plan uploads weights and constants");
        let mut bytes = encode(array.data(), value.dtype);
        bytes.resize(bytes.len().next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT as usize), 0);
        let label = value.source.to_string();
        self.check_binding(&label, padded(bytes.len()))?;
        let buffer = Arc::new(self.buffer(&label, bytes.len(), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST)?);
        self.queue.write_buffer(&buffer.buffer, 0, &bytes);
        let pending = self.pending_upload_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if pending > MAX_PENDING_UPLOAD_BYTES {
            self.queue.submit([]);
            self.faults.wait(None)?;
            self.pending_upload_bytes.store(0, Ordering::Relaxed);
        }
        self.uploads.insert(value, &buffer);
        Ok(buffer)
    }

    /// Refuses a plan that needs more memory than may be held. `beside` are the bytes that it needs beside its weights and constants.
    pub(super) fn check_plan(&self, plan: &Plan, beside: u64) -> Result<()> {
        let missing = self.uploads.missing(plan).into_iter().map(|value| padded(value.bytes())).sum();
        self.budget.check_plan(plan, missing, beside)
    }

    /// Refuses a binding larger than the adapter allows, naming the tensor and the limit.
    pub(super) fn check_binding(&self, label: &str, bytes: u64) -> Result<()> {
        let limit = self.max_binding;
        if bytes <= limit {
            return Ok(());
        }
        let message = format!("{label} takes {bytes} bytes, {} binds at most {limit}", self.adapter);
        Err(Error::new(Code::GpuMemory, message).hint("use a smaller image, or an adapter with larger bindings"))
    }

    /// Registers a holder, which is asked to release memory when there is too little.
    pub(super) fn add_reclaimable(&self, source: Weak<dyn Reclaim>) {
        let mut all = lock(&self.reclaimable);
        all.retain(|held| held.strong_count() > 0);
        all.push(source);
    }

    /// Asks all holders to release memory; returns whether any did.
    pub(super) fn reclaim(&self) -> bool {
        let all: Vec<Arc<dyn Reclaim>> = lock(&self.reclaimable).iter().filter_map(Weak::upgrade).collect();
        all.iter().fold(false, |released, source| source.release() | released)
    }
}

/// Size of the buffer for so many bytes: whole vec4, and never empty.
pub(super) fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(16).max(16) as u64
}
