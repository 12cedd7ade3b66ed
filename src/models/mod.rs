//! Published networks, named as published. Each reads its sizes from the checkpoint and records into a graph; none knows a device.

pub mod clip;
mod clipseg;
pub mod embedded;
pub mod sam;
mod wide_resnet;

pub use clipseg::ClipSeg;
pub use sam::Sam;
pub use wide_resnet::WideResNet;
