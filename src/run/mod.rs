//! Runs recordings: on a GPU through wgpu, on the CPU by native kernels, or on the f64 reference executor. The only folder that says `wgpu::`.
//!
//! - A *launch* is one kernel on its operands, as a model recorded it: a [`Node`](crate::graph::Node) of the graph.
//! - A *dispatch* is some of the workgroups of a launch, sent by one command. A long launch is cut into several dispatches, within
//!   [`SubmitLimits::dispatch`].
//! - A *submission* is the dispatches that are handed to the device's queue together, within [`SubmitLimits::submission`]. Progress is
//!   reported after each.
//! - A *run* is all submissions of a [`Program`] on one set of inputs.
//!
//! Layers above measure *stages*, the parts of a method's work on one image (preprocessing, device, postprocessing); there is none here.

mod adapter;
mod bench;
mod budget;
mod buffer_set;
mod codec;
mod cpu;
mod device;
mod diff;
mod faults;
mod gpu;
mod launch;
mod machine;
mod memory;
mod options;
mod pending;
mod pipeline_cache;
mod pipelines;
mod profile;
mod program;
mod progress;
mod readback;
mod reference;
mod schedule;
mod trial;
mod value;

pub use adapter::{AdapterReport, DeviceChoice, adapters, hidden_adapters};
pub use bench::{KernelBench, KernelTimes, RunTimes};
pub use cpu::MAX_THREADS;
pub use device::Device;
pub use diff::{Divergence, diff, worst};
pub use options::DeviceOptions;
pub use pending::Pending;
pub use profile::{LaunchProfile, MemoryUse, Row};
pub use program::Program;
pub use progress::{Observer, Progress};
pub use schedule::SubmitLimits;
pub use trial::{Launched, Timing, expected};
pub use value::{Input, Value};
