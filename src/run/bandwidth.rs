//! Memory bandwidth of a device, measured by copying a buffer.

use crate::error::Result;
use crate::kernels::{Activation, Unary};
use crate::run::device::Device;
use crate::tensor::DType;

/// Bytes per second of copying `len` f32 with the element-wise kernel, reads and writes counted, the median of `repetitions`.
pub fn copy_bandwidth(device: &Device, len: usize, repetitions: usize) -> Result<f64> {
    let kernel = Unary { activation: Activation::Identity, scale: 1.0, offset: 0.0, len };
    let implementation = device.implementation(&kernel, DType::F32);
    let timing = device.time(&kernel, &implementation, DType::F32, &[&vec![1.0; len]], repetitions)?;
    Ok(2.0 * 4.0 * len as f64 / (timing.median() * 1e-9))
}
