//! The front door: a [`Detector`] finds defects in one image, [`inspect_many`] in many at a time.

mod builder;
mod detector;
mod many;
mod pipeline;
mod prompt;
mod recovery;

pub use builder::{DetectorBuilder, Plan};
pub use detector::{Detector, Finding};
pub use many::{Inspected, default_threads, inspect_many};
pub use prompt::{NamedHash, PromptParameters};
pub use recovery::{DeviceRequest, Recoverable};
