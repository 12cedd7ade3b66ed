//! Encodes numbers, f32 on the host, as bytes of a storage type, and decodes them.

use crate::tensor::DType;

/// Bytes of numbers in a storage type.
pub(super) fn encode(values: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => bytemuck::cast_slice(values).to_vec(),
        DType::F16 => {
            let halves: Vec<half::f16> = values.iter().map(|&value| half::f16::from_f32(value)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
        DType::U32 => {
            let whole: Vec<u32> = values.iter().map(|&value| value as u32).collect();
            bytemuck::cast_slice(&whole).to_vec()
        }
    }
}

/// Numbers from their bytes in a storage type.
pub(super) fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F32 => bytemuck::pod_collect_to_vec(bytes),
        DType::F16 => bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes).into_iter().map(f32::from).collect(),
        DType::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(bytes).into_iter().map(|whole| whole as f32).collect(),
    }
}
