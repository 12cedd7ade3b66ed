//! The front door: a [`Detector`] finds defects in one image, a [`Job`] in a folder of them.

mod builder;
mod detector;
mod job;
mod many;
mod pipeline;
mod recovery;

pub use crate::methods::Finding;
pub use builder::{DetectorBuilder, Plan};
pub use detector::Detector;
pub use job::{Job, JobObserver, JobOptions, Outcome, Unobserved};
pub use many::{Inspected, default_threads, inspect_many};
pub use recovery::{DeviceRequest, Recoverable};
