//! Runs recordings: on a GPU through wgpu, or on the f64 reference executor. The only folder that says `wgpu::`.

mod adapter;
mod bandwidth;
mod codec;
mod device;
mod diff;
mod faults;
mod gpu;
mod launch;
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
mod seat;
mod trial;
mod value;

pub use adapter::{AdapterReport, DeviceChoice, adapters};
pub use bandwidth::copy_bandwidth;
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
