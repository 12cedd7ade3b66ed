//! Published networks, named as published. Each reads its sizes from the checkpoint and records into a graph; none depends on a device.

pub mod catalog;
pub mod clip;
pub mod clipseg;
pub mod embedded;
pub mod grounding_dino;
pub mod raw;
pub mod sam;
mod settings;
pub mod store;
pub mod wide_resnet;

pub use catalog::{NETWORKS, NetworkInfo};
pub use clipseg::ClipSeg;
pub use grounding_dino::GroundingDino;
pub use sam::Sam;
pub use wide_resnet::WideResNet;
