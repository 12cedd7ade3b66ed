//! Runs recordings: on a GPU through wgpu, or on the CPU twins. The only folder that says `wgpu::`.

mod bandwidth;
mod device;
mod diff;
mod gpu;
mod profile;
mod program;
mod progress;
mod reference;
mod schedule;
mod single;

pub use bandwidth::copy_bandwidth;
pub use device::{AdapterReport, Device, DeviceOptions, DeviceWish, adapters};
pub use diff::{Divergence, diff, worst};
pub use profile::{Memory, Profile, Row};
pub use program::Program;
pub use progress::{Observer, Progress};
pub use schedule::Pace;
pub use single::{Launched, Timing, expected};
