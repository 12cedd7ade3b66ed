//! Safetensors files made by hand, for the tests of this folder.

use super::Checkpoint;
use safetensors::tensor::{Dtype, TensorView};

/// A file with this header, whatever it says, and these data.
pub(super) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The bytes of f32 values as files hold them.
pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A valid file with tensors of any type.
pub(super) fn serialized(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// A checkpoint `test.safetensors` of f32 tensors.
pub(super) fn checkpoint(tensors: &[(&str, &[usize], &[f32])]) -> Checkpoint {
    let tensors: Vec<_> = tensors.iter().map(|&(name, shape, values)| (name, Dtype::F32, shape, f32_bytes(values))).collect();
    Checkpoint::from_bytes("test.safetensors", serialized(&tensors)).unwrap()
}
