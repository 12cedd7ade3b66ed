//! Stored floats of any width, turned into f32, and whole numbers.

use half::{bf16, f16};
use safetensors::Dtype;

/// The values of little-endian bytes as f32, an f64 rounded to nearest; `None` for a type that holds no plain floats.
pub(super) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => map_chunks(bytes, f32::from_le_bytes),
        Dtype::F16 => map_chunks(bytes, |x| f16::from_le_bytes(x).to_f32()),
        Dtype::BF16 => map_chunks(bytes, |x| bf16::from_le_bytes(x).to_f32()),
        Dtype::F64 => map_chunks(bytes, |x| f64::from_le_bytes(x) as f32),
        _ => return None,
    })
}

/// The values of little-endian bytes of whole numbers; `None` for any other type.
pub(super) fn to_i64(dtype: Dtype, bytes: &[u8]) -> Option<Vec<i64>> {
    Some(match dtype {
        Dtype::I64 => map_chunks(bytes, i64::from_le_bytes),
        Dtype::I32 => map_chunks(bytes, |x| i64::from(i32::from_le_bytes(x))),
        _ => return None,
    })
}

/// True for the types that [`to_f32`] takes.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

// Chunk by chunk, since a tensor need not lie at a multiple of its element's size.
fn map_chunks<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|&chunk| element(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_decodes_known_bit_patterns() {
        // 1.5, −2 and the smallest subnormal of f16, 2⁻²⁴
        let f16s = [0x00, 0x3e, 0x00, 0xc0, 0x01, 0x00];
        assert_eq!(to_f32(Dtype::F16, &f16s).unwrap(), [1.5, -2.0, 2f32.powi(-24)]);
        // the upper halves of the f32 1.5 (3fc00000) and −2 (c0000000)
        assert_eq!(to_f32(Dtype::BF16, &[0xc0, 0x3f, 0x00, 0xc0]).unwrap(), [1.5, -2.0]);
        assert_eq!(to_f32(Dtype::F32, &[0, 0, 0xc0, 0x3f]).unwrap(), [1.5]);
        assert_eq!(to_f32(Dtype::F64, &0.1f64.to_le_bytes()).unwrap(), [0.1f32]);
    }

    #[test]
    fn whole_numbers_keep_their_sign_and_floats_are_none() {
        assert_eq!(to_i64(Dtype::I64, &(-3i64).to_le_bytes()).unwrap(), [-3]);
        assert_eq!(to_i64(Dtype::I32, &(-3i32).to_le_bytes()).unwrap(), [-3]);
        assert_eq!(to_i64(Dtype::F32, &[0; 4]), None);
    }

    #[test]
    fn is_float_agrees_with_what_is_decoded() {
        use Dtype::*;
        for dtype in [
            BOOL,
            F4,
            F6_E2M3,
            F6_E3M2,
            U8,
            I8,
            F8_E5M2,
            F8_E4M3,
            F8_E8M0,
            F8_E4M3FNUZ,
            F8_E5M2FNUZ,
            I16,
            U16,
            F16,
            BF16,
            I32,
            U32,
            F32,
            C64,
            F64,
            I64,
            U64,
        ] {
            assert_eq!(is_float(dtype), to_f32(dtype, &[]).is_some(), "{dtype}");
        }
    }
}
