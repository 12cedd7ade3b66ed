//! A GPU compute engine for finding defects in photos without training on them.
//!
//! Layers, each using only those above it:
//!
//! - [`error`], [`files`], [`uninspected`], [`tensor`]: the error type; files written whole; what was not inspected; arrays on the host
//! - [`weights`]: safetensors files; [`image`]: photos, exact resizing, maps; [`shader`]: WGSL text and reflection
//! - [`kernels`]: what each kernel computes, with its f64 twin
//! - [`graph`]: the recording a model writes
//! - [`run`]: devices and programs; the only place that knows `wgpu`
//! - [`text`]: prompts as token ids
//! - [`nn`], [`models`]: layers and published networks
//! - [`methods`]: published ways to turn features into anomaly maps

pub mod error;
pub mod files;
pub mod graph;
pub mod image;
pub mod inspect;
pub mod kernels;
pub mod methods;
pub mod models;
pub mod nn;
pub mod run;
pub mod shader;
pub mod tensor;
pub mod text;
pub mod uninspected;
pub mod weights;

pub use error::{Code, Error, Remedy, Result};
pub use graph::{Graph, Tensor};
pub use kernels::Tier;
pub use run::{Device, DeviceOptions, DeviceWish, Program};
pub use tensor::{Array, DType, Precision, Shape};
pub use weights::Checkpoint;
