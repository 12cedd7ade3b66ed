//! Arrays as the bytes of a safetensors file.

use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::error::{Code, Error, Result};
use crate::tensor::Array;

/// The bytes of a safetensors file of f32 arrays, with its `__metadata__`.
///
/// Errors: two arrays of one name.
pub fn to_safetensors<'a>(arrays: impl IntoIterator<Item = (&'a str, &'a Array)>, metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let refused = |error| Error::new(Code::Io, format!("the arrays do not form a safetensors file: {error}"));
    let bytes_of = |array: &Array| array.data().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let stored: Vec<(&str, &Array, Vec<u8>)> = arrays.into_iter().map(|(name, array)| (name, array, bytes_of(array))).collect();
    let mut views = Vec::new();
    for (name, array, bytes) in &stored {
        views.push((*name, TensorView::new(Dtype::F32, array.shape().sizes().to_vec(), bytes).map_err(refused)?));
    }
    let metadata: HashMap<String, String> = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    safetensors::serialize(views, (!metadata.is_empty()).then_some(metadata)).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;

    #[test]
    fn arrays_and_metadata_come_back_from_the_bytes() {
        let array = Array::new([1, 2, 1, 2], vec![1.0, -2.0, 0.5, 3e9]);
        let read = Checkpoint::from_bytes("test", to_safetensors([("layer1", &array)], &[("format", "x")]).unwrap()).unwrap();
        assert_eq!(read.root().weight("layer1", array.shape()).unwrap().to_array().unwrap(), array);
        assert_eq!(read.metadata()["format"], "x");
    }
}
