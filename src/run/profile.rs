//! Profile of a program: device time and rates of each launch.

use std::fmt;

use serde::Serialize;

use crate::graph::Node;
use crate::kernels::{NATIVE, Tier};

/// One launch of a profiled run.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Kernel family.
    pub kernel: String,
    /// Stem of the WGSL file that ran, or [`NATIVE`].
    pub file: String,
    /// First weight read.
    pub weight: Option<String>,
    /// The line of the model that recorded the launch.
    pub line: String,
    /// Shape of the result.
    pub shape: String,
    /// Device time in microseconds.
    pub microseconds: f64,
    /// 10⁹ floating-point operations per second.
    pub gflops: f64,
    /// 10⁹ bytes per second, counting each operand once.
    pub gigabytes_per_second: f64,
}

impl Row {
    pub(super) fn new(node: &Node, file: &str, nanoseconds: f64) -> Row {
        let work = node.kernel.work();
        let operands = node.kernel.operands();
        let bytes = operands.iter().map(|operand| operand.len * operand.storage.dtype(node.elem).size()).sum::<usize>() as f64;
        Row {
            kernel: node.kernel.name().to_owned(),
            file: file.to_owned(),
            weight: node.weight.clone(),
            line: node.line(),
            shape: node.shape.to_string(),
            microseconds: nanoseconds / 1e3,
            gflops: work.flops as f64 / nanoseconds,
            gigabytes_per_second: bytes / nanoseconds,
        }
    }
}

/// All launches of one run.
#[derive(Clone, Debug, Serialize)]
pub struct LaunchProfile {
    /// Device and driver.
    pub device: String,
    /// Tier of kernels; `None` for native ones.
    pub tier: Option<Tier>,
    /// Launches in order.
    pub rows: Vec<Row>,
    /// What the device holds for it.
    pub memory: MemoryUse,
}

/// Bytes on the device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryUse {
    /// Held: weights, inputs, intermediates, results, parameters; of all programs on the device.
    pub held: u64,
    /// Bytes of weights, inputs, and the intermediates alive at the busiest launch: a lower bound of every plan.
    pub live: u64,
}

impl LaunchProfile {
    /// Device time of all launches in milliseconds.
    pub fn milliseconds(&self) -> f64 {
        self.rows.iter().map(|row| row.microseconds).sum::<f64>() / 1e3
    }
}

impl fmt::Display for LaunchProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.device)?;
        writeln!(f, "{:>10} {:>6} {:>9} {:>8}  {:<16} {:<20} weight, line", "µs", "%", "GFLOP/s", "GB/s", "file", "result")?;
        let total = self.milliseconds() * 1e3;
        for row in &self.rows {
            // Native forms have the names of their kernels.
            let file = if row.file == NATIVE { &row.kernel } else { &row.file };
            writeln!(
                f,
                "{:>10.1} {:>6.1} {:>9.1} {:>8.2}  {:<16} {:<20} {} {}",
                row.microseconds,
                100.0 * row.microseconds / total,
                row.gflops,
                row.gigabytes_per_second,
                file,
                row.shape,
                row.weight.as_deref().unwrap_or("–"),
                row.line
            )?;
        }
        writeln!(f, "{:>10.1} µs in {} launches", total, self.rows.len())?;
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        writeln!(f, "device memory: {:.1} MB held, {:.1} MB of live tensors", megabytes(self.memory.held), megabytes(self.memory.live))?;
        write!(f, "Rows must not be summed to compare a fused with an unfused recording.")
    }
}
