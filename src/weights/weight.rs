//! A named weight that is read, converted and rearranged only when a device asks for it.

use crate::error::{Code, Error, Result};
use crate::tensor::{Array, Shape, unique_id};
use std::fmt;
use std::sync::Arc;

/// A name, a shape, and a way to get the values. Cheap to clone; no value is held.
///
/// A transform keeps the name and returns a weight whose values are computed in [`Weight::to_array`].
#[derive(Clone)]
pub struct Weight {
    name: Arc<str>,
    shape: Shape,
    file: Option<Arc<str>>,
    id: u64,
    source: Arc<Source>,
}

type Source = dyn Fn() -> Result<Array> + Send + Sync;

impl Weight {
    /// A weight that `source` computes, e.g. from several others; `source` must return the shape stated.
    pub fn new(name: impl Into<Arc<str>>, shape: impl Into<Shape>, source: impl Fn() -> Result<Array> + Send + Sync + 'static) -> Weight {
        Weight::lazy(name, shape.into(), None, source)
    }

    /// A weight with these values.
    pub fn from_array(name: impl Into<Arc<str>>, array: Array) -> Weight {
        Weight::new(name, array.shape(), move || Ok(array.clone()))
    }

    /// [`Weight::new`] with the file to name in errors.
    pub(super) fn lazy(
        name: impl Into<Arc<str>>,
        shape: Shape,
        file: Option<Arc<str>>,
        source: impl Fn() -> Result<Array> + Send + Sync + 'static,
    ) -> Weight {
        Weight { name: name.into(), shape, file, id: unique_id(), source: Arc::new(source) }
    }

    /// The full name in the checkpoint, e.g. `layer1.0.conv1.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of what [`Weight::to_array`] returns.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// A number that clones share and no other weight or constant of this process has: the key of a cache of uploads.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Reads the values as f32 and applies the transforms; fails with [`Code::WeightsNonfinite`] on NaN or infinity.
    pub fn to_array(&self) -> Result<Array> {
        let array = (self.source)()?;
        let found = array.shape();
        assert!(found == self.shape, "weight `{}` is stated as {}, its source gave {found}", self.name, self.shape);
        match array.data().iter().position(|x| !x.is_finite()) {
            None => Ok(array),
            Some(at) => Err(self.nonfinite(at, array.data()[at])),
        }
    }

    fn nonfinite(&self, at: usize, value: f32) -> Error {
        let message = format!("tensor `{}` holds {value} at {:?}", self.name, position(self.shape, at));
        self.in_file(Error::new(Code::WeightsNonfinite, message))
    }

    /// Adds the file to an error about this weight.
    pub(super) fn in_file(&self, error: Error) -> Error {
        match &self.file {
            Some(file) => error.context(format!("in `{file}`")),
            None => error,
        }
    }

    /// This weight with `transform` applied on reading, which must return the shape stated; the name stays.
    pub fn map(&self, shape: impl Into<Shape>, transform: impl Fn(Array) -> Result<Array> + Send + Sync + 'static) -> Weight {
        let parent = self.clone();
        Weight::lazy(Arc::clone(&self.name), shape.into(), self.file.clone(), move || transform(parent.to_array()?))
    }

    /// The same values under another shape; panics where the lengths differ.
    #[track_caller]
    pub fn reshaped(&self, shape: impl Into<Shape>) -> Weight {
        let shape = shape.into();
        assert!(shape.len() == self.shape.len(), "weight `{}` {} cannot be reshaped to {shape}", self.name, self.shape);
        self.map(shape, move |array| Ok(array.reshape(shape)))
    }

    /// `[n, k]` → `[k, n]`; panics unless there are two axes.
    #[track_caller]
    pub fn transposed(&self) -> Weight {
        let [n, k] = self.shape.axes();
        self.map([k, n], move |matrix| Ok(Array::new([k, n], outputs_last(matrix.data(), [n, k, 1], k))))
    }

    /// Stacks matrices of equal width, or concatenates vectors, under the name of the first; panics when widths differ or there is none.
    #[track_caller]
    pub fn stacked(parts: &[Weight]) -> Weight {
        let width = &parts[0].shape.sizes()[1..];
        assert!(parts.iter().all(|part| &part.shape.sizes()[1..] == width), "weight `{}`: stacked with another width", parts[0].name);
        let mut sizes = parts[0].shape.sizes().to_vec();
        sizes[0] = parts.iter().map(|part| part.shape.sizes()[0]).sum();
        let (shape, parts) = (Shape::new(&sizes), parts.to_vec());
        Weight::lazy(Arc::clone(&parts[0].name), shape, parts[0].file.clone(), move || {
            let arrays = parts.iter().map(Weight::to_array).collect::<Result<Vec<Array>>>()?;
            Ok(Array::new(shape, arrays.iter().flat_map(|array| array.data()).copied().collect()))
        })
    }

    /// The rows `rows` of a matrix, or the elements `rows` of a vector.
    #[track_caller]
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Weight {
        let mut sizes = self.shape.sizes().to_vec();
        assert!(rows.end <= sizes[0], "weight `{}` {} has no rows {rows:?}", self.name, self.shape);
        let width: usize = sizes[1..].iter().product();
        sizes[0] = rows.len();
        let shape = Shape::new(&sizes);
        self.map(shape, move |array| Ok(Array::new(shape, array.data()[rows.start * width..rows.end * width].to_vec())))
    }

    /// A filter `[o, i, kh, kw]` as channels-last kernels read it: `[kh, kw, i', o]`, with i' = i rounded up to a
    /// multiple of `pad_to` and the added input channels zero; panics unless there are four axes.
    #[track_caller]
    pub fn channels_last_filter(&self, pad_to: usize) -> Weight {
        assert!(pad_to > 0, "weight `{}`: channels cannot be padded to a multiple of 0", self.name);
        let [outputs, inputs, kh, kw] = self.shape.axes();
        let padded = inputs.next_multiple_of(pad_to);
        let shape = Shape::from([kh, kw, padded, outputs]);
        self.map(shape, move |filter| Ok(Array::new(shape, outputs_last(filter.data(), [outputs, inputs, kh * kw], padded))))
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({} {})", self.name, self.shape)
    }
}

/// `[outputs, inputs, taps]` → `[taps, padded, outputs]`, the inputs from `inputs` to `padded` being zero.
fn outputs_last(x: &[f32], [outputs, inputs, taps]: [usize; 3], padded: usize) -> Vec<f32> {
    let mut y = vec![0.0; taps * padded * outputs];
    for input in 0..inputs {
        for tap in 0..taps {
            let row = &mut y[(tap * padded + input) * outputs..][..outputs];
            for (output, value) in row.iter_mut().enumerate() {
                *value = x[(output * inputs + input) * taps + tap];
            }
        }
    }
    y
}

/// The index along each axis of the element at a flat position.
fn position(shape: Shape, mut at: usize) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .sizes()
        .iter()
        .rev()
        .map(|&size| {
            let along = at % size;
            at /= size;
            along
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{checkpoint, serialized};
    use crate::weights::{Checkpoint, StoredType};

    fn counting<const N: usize>(shape: [usize; N]) -> Weight {
        let shape = Shape::from(shape);
        let values = (1..=shape.len()).map(|x| x as f32).collect();
        Weight::from_array("w", Array::new(shape, values))
    }

    #[test]
    fn a_transposed_matrix_has_rows_and_columns_exchanged() {
        let transposed = counting([2, 3]).transposed();
        assert_eq!(transposed.shape(), Shape::from([3, 2]));
        // 1 2 3 / 4 5 6
        assert_eq!(transposed.to_array().unwrap().data(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn a_filter_becomes_channels_last_with_zeros_for_the_added_channels() {
        // [o, i, kh, kw] = [2, 3, 1, 2]: output 0 is 1 2 | 3 4 | 5 6, output 1 is 7 8 | 9 10 | 11 12
        let filter = counting([2, 3, 1, 2]).channels_last_filter(4);
        assert_eq!(filter.shape(), Shape::from([1, 2, 4, 2]));
        #[rustfmt::skip]
        let expected = [
            1.0, 7.0,  3.0, 9.0,  5.0, 11.0,  0.0, 0.0, // kw = 0: pairs of outputs for each input
            2.0, 8.0,  4.0, 10.0, 6.0, 12.0,  0.0, 0.0, // kw = 1
        ];
        assert_eq!(filter.to_array().unwrap().data(), expected);
    }

    #[test]
    fn a_filter_that_needs_no_padding_keeps_its_size() {
        let filter = counting([1, 4, 1, 1]).channels_last_filter(4);
        assert_eq!(filter.shape(), Shape::from([1, 1, 4, 1]));
        assert_eq!(filter.to_array().unwrap().data(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(counting([5, 3, 2, 2]).channels_last_filter(1).shape(), Shape::from([2, 2, 3, 5]));
    }

    #[test]
    fn a_reshaped_weight_keeps_its_values() {
        let flat = counting([2, 3]).reshaped([6]);
        assert_eq!(flat.to_array().unwrap(), Array::new([6], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }

    #[test]
    fn stacked_weights_follow_each_other_and_rows_take_them_apart() {
        let stacked = Weight::stacked(&[counting([1, 2]), counting([2, 2])]);
        assert_eq!(stacked.to_array().unwrap(), Array::new([3, 2], vec![1.0, 2.0, 1.0, 2.0, 3.0, 4.0]));
        assert_eq!(stacked.rows(1..3).to_array().unwrap(), counting([2, 2]).to_array().unwrap());
        assert_eq!(Weight::stacked(&[counting([2]), counting([1])]).rows(1..3).to_array().unwrap().data(), [2.0, 1.0]);
    }

    #[test]
    fn clones_share_an_id_and_transforms_get_their_own() {
        let weight = counting([2, 2]);
        assert_eq!(weight.id(), weight.clone().id());
        assert_ne!(weight.id(), weight.transposed().id());
        assert_ne!(counting([1]).id(), counting([1]).id());
        assert_eq!(weight.transposed().name(), "w");
    }

    #[test]
    fn nothing_is_read_before_it_is_asked_for() {
        let weight = Weight::new("w", [1, 1], || panic!("read too early"));
        let _ = weight.transposed().reshaped([1, 1, 1, 1]).channels_last_filter(4);
    }

    #[test]
    fn nan_and_infinity_are_refused_naming_tensor_index_and_file() {
        for (bad, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            let root = checkpoint(&[("a.b", &[2, 3], &[0.0, 1.0, 2.0, bad, 4.0, bad])]).root();
            let weight = root.weight("a.b", [2, 3]).unwrap();
            let error = weight.to_array().unwrap_err();
            assert_eq!(error.code(), Code::WeightsNonfinite);
            assert_eq!(error.message(), format!("tensor `a.b` holds {shown} at [1, 0]"));
            assert!(format!("{error:#}").ends_with("\n  in `test.safetensors`"));
            // A transform reports where the value lies in the file, not where it would have gone.
            assert_eq!(weight.transposed().to_array().unwrap_err().message(), error.message());
        }
    }

    #[test]
    fn an_f64_beyond_f32_is_refused_as_infinite() {
        let bytes = serialized(&[("a", StoredType::F64, &[], 1e300f64.to_le_bytes().to_vec())]);
        let weight = Checkpoint::from_bytes("test.safetensors", bytes).unwrap().root().weight("a", []).unwrap();
        assert_eq!(weight.to_array().unwrap_err().message(), "tensor `a` holds inf at []");
    }

    #[test]
    fn half_floats_are_read_as_f32() {
        let bytes = serialized(&[
            ("half", StoredType::F16, &[2], vec![0x00, 0x3e, 0x00, 0xc0]),
            ("brain", StoredType::BF16, &[2], vec![0xc0, 0x3f, 0x00, 0xc0]),
        ]);
        let root = Checkpoint::from_bytes("test.safetensors", bytes).unwrap().root();
        for name in ["half", "brain"] {
            assert_eq!(root.weight(name, [2]).unwrap().to_array().unwrap().data(), [1.5, -2.0], "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "weight `w` is stated as [2], its source gave [3]")]
    fn a_source_of_another_shape_is_our_bug() {
        let _ = Weight::new("w", [2], || Ok(Array::zeros([3]))).to_array();
    }
}
