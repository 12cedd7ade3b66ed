//! Options for opening a device.

use std::path::PathBuf;

use crate::kernels::Tier;
use crate::run::adapter::DeviceChoice;
use crate::run::schedule::SubmitLimits;
use crate::shader::Library;

/// Options for opening a device.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Which device to open.
    pub choice: DeviceChoice,
    /// A tier to use instead of the adapter's own, where a driver misbehaves or for comparison.
    pub tier: Option<Tier>,
    /// Shader files to use instead of the embedded ones.
    pub library: Library,
    /// Limits of a dispatch and of a submission. Without it, what suits the adapter.
    pub submit_limits: Option<SubmitLimits>,
    /// Limit of the bytes held on the device, for users who share it; a program that needs more is refused before anything of it is
    /// allocated. Without it, what the driver gives, and on the CPU three quarters of the memory that was free when it was
    /// opened.
    pub memory: Option<u64>,
    /// Largest number of runs of one program in flight, each with buffers of its own: the first set is made when the program is
    /// compiled, further ones when a thread finds none free, as far as memory allows. Without it, what suits the adapter. The CPU has all
    /// its threads compute one run at a time.
    pub runs_at_once: Option<usize>,
    /// Threads of the CPU as a device, up to [`MAX_THREADS`](crate::run::MAX_THREADS). Without it, `$RAYON_NUM_THREADS`, else as many as the
    /// system lets this process use.
    pub threads: Option<usize>,
    /// A folder in which compiled pipelines are kept for later runs, where the driver can hand them out. Without it they are kept nowhere.
    pub cache: Option<PathBuf>,
}
