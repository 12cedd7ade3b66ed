//! The top-level API: a [`Detector`] finds defects in one image, a [`Job`] in many images, with records and pictures. A [`MaskJob`]
//! segments boxes on one image; a [`BoxFinder`] finds what a caption names, in one image or in a job's.

mod boxes;
mod builder;
mod calibrate;
mod detector;
mod job;
mod many;
mod masks;
mod pipeline;
mod recovery;
mod region;
mod scoring;

pub use crate::methods::Finding;
pub use boxes::{BoxFinder, BoxOptions, FoundBoxes};
pub use builder::{DetectorBuilder, Plan};
pub use calibrate::{Calibrated, CalibrationJob, CalibrationOptions};
pub use detector::Detector;
pub use job::{Job, JobObserver, JobOptions, Outcome, Saved, Task, Unobserved};
pub use many::{Inspect, Inspected, default_threads, inspect_many};
pub use masks::{FoundMasks, MaskFinder, MaskJob, MaskOptions};
pub use recovery::{DeviceRequest, Recoverable};
pub use region::RegionOfInterest;
pub use scoring::{ScoreOptions, Scoring};
