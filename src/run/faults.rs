//! Faults of a device: error scopes, waiting with a timeout, and the fault after which nothing runs any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::run::adapter::AdapterReport;

/// Timeouts of a submission: a GPU that needs longer hangs; a software adapter may be busy.
const GPU_TIMEOUT: Duration = Duration::from_secs(60);
const SOFTWARE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Takes a lock; a thread that panicked while holding it left nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fault of a device that was made lost, to test the handling of it.
pub(super) fn lost_on_request() -> Error {
    Error::new(Code::DeviceLost, "the device was lost on request")
}

/// The faults of one device; clones share them.
#[derive(Clone)]
pub(super) struct Faults {
    device: wgpu::Device,
    adapter: String,
    timeout: Duration,
    fault: Arc<Mutex<Option<Error>>>,
}

impl Faults {
    /// Keeps the first fault that the device reports from now on.
    pub(super) fn watch(device: &wgpu::Device, adapter: &AdapterReport) -> Faults {
        let fault: Arc<Mutex<Option<Error>>> = Arc::default();
        let keep = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("{error}");
            lock(&keep).get_or_insert_with(|| translate(&error, "running"));
        }));
        let keep = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| {
            let said = if message.is_empty() { String::new() } else { format!(": {message}") };
            let error = Error::new(Code::DeviceLost, format!("the device was lost ({reason:?}){said}"));
            *lock(&keep) = Some(error);
        });
        let timeout = if adapter.is_software() { SOFTWARE_TIMEOUT } else { GPU_TIMEOUT };
        Faults { device: device.clone(), adapter: adapter.name.clone(), timeout, fault }
    }

    /// The first fault since the device was opened, if any: nothing runs after one.
    pub(super) fn check(&self) -> Result<()> {
        match &*lock(&self.fault) {
            None => Ok(()),
            Some(fault) => Err(Error::new(fault.code(), fault.message().to_owned())),
        }
    }

    /// Destroys the device.
    pub(super) fn lose(&self) {
        self.device.destroy();
        // The callback comes with the next poll.
        let _ = self.device.poll(wgpu::PollType::Poll);
        lock(&self.fault).get_or_insert_with(lost_on_request);
    }

    /// Runs `make`, which creates wgpu objects, in error scopes; what wgpu reports becomes an error that names `what`.
    pub(super) fn scoped<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = make();
        let faults = [pollster::block_on(internal.pop()), pollster::block_on(memory.pop()), pollster::block_on(validation.pop())];
        match faults.into_iter().flatten().next() {
            None => Ok(made),
            Some(fault) => {
                self.check()?;
                Err(translate(&fault, what))
            }
        }
    }

    /// Waits for a submission, or for all so far, with a timeout.
    pub(super) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(self.timeout) });
        if let Err(error) = waited {
            let fault = match error {
                wgpu::PollError::Timeout => {
                    Error::new(Code::GpuTimeout, format!("{} did not answer within {} s", self.adapter, self.timeout.as_secs()))
                }
                error => Error::new(Code::DeviceLost, format!("waiting for {}: {error}", self.adapter)),
            };
            lock(&self.fault).get_or_insert(fault);
        }
        self.check()
    }
}

fn translate(error: &wgpu::Error, what: &str) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::new(Code::GpuMemory, format!("{what}: out of device memory"))
            .hint("close other programs that use the GPU, or use a smaller image"),
        other => Error::new(Code::Gpu, format!("{what}: {other}")),
    }
}
