//! Storage types of numbers on a device, and the precision of a recording.

use std::fmt;

/// Storage type of a device tensor. Arithmetic of real numbers accumulates in f32 whatever the storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE float.
    #[default]
    F32,
    /// 16-bit IEEE float; needs an adapter with `SHADER_F16`.
    F16,
    /// 32-bit whole number without sign: numbers of rows, ends of ranges. The host holds it as f32, exact below 2²⁴.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 => 2,
        }
    }

    /// The value after a round trip through this storage (round half to even; fractions of whole numbers are cut off).
    pub fn round(self, value: f64) -> f64 {
        match self {
            DType::F32 => f64::from(value as f32),
            DType::F16 => f64::from(half::f16::from_f64(value)),
            DType::U32 => f64::from(value as u32),
        }
    }

    /// Unit roundoff of the storage: half the distance from 1 to the next number.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            DType::F32 => 2f64.powi(-24),
            DType::F16 => 2f64.powi(-11),
            DType::U32 => 0.0,
        }
    }

    /// Half the smallest subnormal: what a value near zero may lose.
    pub fn underflow(self) -> f64 {
        match self {
            DType::F32 => f64::from(f32::MIN_POSITIVE),
            DType::F16 => 2f64.powi(-25),
            DType::U32 => 0.0,
        }
    }
}

impl fmt::Display for DType {
    /// The WGSL name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
        })
    }
}

/// Storage of weights and activations in a whole recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Everything in f32: the parity setting.
    #[default]
    F32,
    /// Weights and activations in f16; biases, inputs, outputs and scores stay f32.
    Mixed,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::Mixed];

    /// The name in records and options: that of the storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Mixed => "f16",
        }
    }

    /// The storage of weights and activations.
    pub fn storage(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::Mixed => DType::F16,
        }
    }
}
