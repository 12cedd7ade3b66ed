//! The top-level API: a [`Detector`] finds defects in one image, a [`Job`] in many images, with records and pictures. A [`MaskJob`]
//! segments boxes on one image.

mod builder;
mod detector;
mod job;
mod many;
mod masks;
mod pipeline;
mod recovery;

pub use crate::methods::Finding;
pub use builder::{DetectorBuilder, Plan};
pub use detector::Detector;
pub use job::{Job, JobObserver, JobOptions, Outcome, Unobserved};
pub use many::{Inspected, default_threads, inspect_many};
pub use masks::{FoundMasks, MaskFinder, MaskJob, MaskOptions};
pub use recovery::{DeviceRequest, Recoverable};
