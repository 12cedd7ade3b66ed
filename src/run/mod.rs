//! Runs recordings: on a GPU through wgpu, or on the CPU twins. The only folder that says `wgpu::`.

mod bandwidth;
mod device;
mod diff;
mod gpu;
mod profile;
mod program;
mod reference;
mod single;

pub use bandwidth::copy_bandwidth;
pub use device::{AdapterReport, Device, DeviceOptions, DeviceWish, adapters};
pub use diff::{Divergence, diff, worst};
pub use profile::{Memory, Profile, Row};
pub use program::Program;
pub use single::{Launched, Timing, expected};
