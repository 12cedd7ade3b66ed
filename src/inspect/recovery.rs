//! Recovery of a lost device: it is opened again, what ran on it is built again, and the task is tried once more, alone.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::{Code, Error, Remedy, Result};
use crate::run::{Device, DeviceOptions, Observer};

/// Tasks in a row whose retry loses the device too, before it is given up.
const MAX_LOST_IN_A_ROW: usize = 3;

/// Which device, its progress callback, and when it is lost on purpose.
#[derive(Clone, Default)]
pub struct DeviceRequest {
    /// Which device, and how it is opened.
    pub options: DeviceOptions,
    /// Receives the progress of each run.
    pub observer: Option<Observer>,
    /// Numbers of attempts, counted from 1, before which the device is lost on purpose, so that recovery can be tested.
    pub lose_at: HashSet<usize>,
}

impl DeviceRequest {
    /// Opens the device.
    pub fn open(&self) -> Result<Device> {
        let device = Device::open(&self.options)?;
        device.observe(self.observer.clone());
        Ok(device)
    }
}

/// An attempt that failed, and the device if the attempt found it lost.
struct Failed<T> {
    lost: Option<Arc<(Device, T)>>,
    error: Error,
}

/// Builds something on a device.
type Build<T> = Box<dyn Fn(&Device) -> Result<T> + Send + Sync>;

/// Something built on a device, with the means to build it again. Shared by reference between threads.
pub struct Recoverable<T> {
    request: DeviceRequest,
    build: Build<T>,
    opened: RwLock<Arc<(Device, T)>>,
    /// Held shared by a first attempt and alone by a retry: a task that loses the device twice takes no other task with it.
    retry_lock: RwLock<()>,
    lost_in_a_row: AtomicUsize,
    attempts: AtomicUsize,
    /// What made it give up.
    fault: Mutex<Option<Error>>,
}

impl<T> Recoverable<T> {
    /// Opens the device and builds on it.
    pub fn open(request: DeviceRequest, build: impl Fn(&Device) -> Result<T> + Send + Sync + 'static) -> Result<Recoverable<T>> {
        Recoverable::on(request.open()?, request, build)
    }

    /// Builds on a device that the request opened.
    pub fn on(
        device: Device,
        request: DeviceRequest,
        build: impl Fn(&Device) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Recoverable<T>> {
        let built = build(&device)?;
        Ok(Recoverable {
            request,
            build: Box::new(build),
            opened: RwLock::new(Arc::new((device, built))),
            retry_lock: RwLock::new(()),
            lost_in_a_row: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            fault: Mutex::new(None),
        })
    }

    /// The device in use, and what is built on it.
    pub fn current(&self) -> Arc<(Device, T)> {
        Arc::clone(&self.opened.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether losses of the device were asked for at numbered attempts, so that tasks have to be run one after the other.
    pub fn is_sequential(&self) -> bool {
        !self.request.lose_at.is_empty()
    }

    /// What made it give up, if it did: every further task fails with it.
    pub fn fault(&self) -> Option<Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a task. Where the device is lost or hangs, it is opened again and the task tried once more, while no other task runs.
    ///
    /// Errors concern this task, unless [`Recoverable::fault`] says that the device was given up.
    pub fn run<R>(&self, task: impl Fn(&T) -> Result<R>) -> Result<R> {
        let attempted = {
            let _shared = self.retry_lock.read().unwrap_or_else(PoisonError::into_inner);
            self.attempt(&task)
        };
        let (lost, error) = match attempted {
            Ok(done) => return Ok(done),
            Err(Failed { lost: Some(lost), error }) => (lost, error),
            Err(Failed { lost: None, error }) => return Err(error),
        };
        let _alone = self.retry_lock.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        log::info!("tried once more: {error}");
        self.reopen(&lost, &error)?;
        self.attempt(&task).map_err(|Failed { lost, error }| match lost {
            Some(lost) => self.lost_again(&lost, &error).err().unwrap_or(error),
            None => error,
        })
    }

    fn attempt<R>(&self, task: impl Fn(&T) -> Result<R>) -> std::result::Result<R, Failed<T>> {
        if let Some(error) = self.fault() {
            return Err(Failed { lost: None, error });
        }
        let opened = self.current();
        if self.request.lose_at.contains(&(self.attempts.fetch_add(1, Ordering::Relaxed) + 1)) {
            opened.0.lose();
        }
        let done = task(&opened.1).map_err(|error| Failed { lost: opened.0.fault().is_some().then_some(opened), error })?;
        self.lost_in_a_row.store(0, Ordering::Relaxed);
        Ok(done)
    }

    /// Opens the device again and builds on it, unless another thread has done so since `lost` was in use.
    fn reopen(&self, lost: &Arc<(Device, T)>, error: &Error) -> Result<()> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&opened, lost) {
            return Ok(());
        }
        log::warn!("{error}; the device is opened again");
        let again = || -> Result<(Device, T)> {
            let device = self.request.open()?;
            if device.identity() != lost.0.identity() {
                let message = format!("{} was lost and is not there any more, only {}", lost.0.name(), device.name());
                return Err(Error::new(Code::DeviceLost, message));
            }
            let built = (self.build)(&device)?;
            Ok((device, built))
        };
        *opened = Arc::new(again().map_err(|error| self.give_up(error.context("opening the device again after it was lost")))?);
        Ok(())
    }

    /// After a retry lost the device too: opens it for the next task, or gives up.
    fn lost_again(&self, opened: &Arc<(Device, T)>, error: &Error) -> Result<()> {
        if self.lost_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 < MAX_LOST_IN_A_ROW {
            return self.reopen(opened, error);
        }
        let error = error.clone().context(format!("for {MAX_LOST_IN_A_ROW} images in a row, each tried twice"));
        Err(self.give_up(error.hint(Remedy::TestDevice)))
    }

    fn give_up(&self, error: Error) -> Error {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error).clone()
    }
}
