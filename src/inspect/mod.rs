//! The front door: a [`Detector`] finds defects in one image, a [`Job`] in many, with records, pictures and a report.

mod builder;
mod detector;
mod pipeline;
mod prompt;
mod recovery;

pub use builder::{DetectorBuilder, Plan};
pub use detector::{Detector, Finding};
pub use prompt::{NamedHash, PromptParameters};
pub use recovery::{DeviceRequest, Recoverable};
