//! Memory of WinCLIP+: the features of normal reference images, with which the features of an image are compared.

use crate::error::{Code, Error, Remedy, Result};
use crate::tensor::{Array, Precision};
use crate::weights::{Checkpoint, to_safetensors};

/// Features of reference images, rows of unit length. Those of all positions are pooled, since the association ignores position (WinCLIP+,
/// §4.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Rows of each kind of feature, in the order of [`KINDS`].
    pub features: [Array; 3],
}

/// The kinds of features, as a file names them: patch tokens of the last block, small and mid windows.
pub const KINDS: [&str; 3] = ["patches", "windows_2", "windows_3"];

/// Metadata that marks a file as a memory.
const FORMAT: (&str, &str) = ("format", "zsas-gpu winclip memory 1");

/// Metadata key of the weights and precision that computed the features.
const IDENTITY: &str = "features";

/// Metadata key of the class that the reference images show.
const CLASS: &str = "class";

/// Largest accepted deviation of a row's length from 1.
const LENGTH_TOLERANCE: f64 = 1e-3;

impl Memory {
    /// The features of several references, one after the other; panics when there is none.
    pub fn of(references: &[[Array; 3]]) -> Memory {
        let joined = |kind: usize| {
            let cols = references[0][kind].shape().cols();
            let data: Vec<f32> = references.iter().flat_map(|one| one[kind].data()).copied().collect();
            Array::new([data.len() / cols, cols], data)
        };
        Memory { features: [0, 1, 2].map(joined) }
    }

    /// Serialises the memory as a safetensors file. `identity` names the weights and precision that computed the features, `class` what the
    /// images show.
    pub fn to_bytes(&self, identity: &str, class: &str) -> Result<Vec<u8>> {
        to_safetensors(KINDS.into_iter().zip(&self.features), &[FORMAT, (IDENTITY, identity), (CLASS, class)])
    }

    /// The class that the reference images show, where the file names it.
    pub fn class(file: &Checkpoint) -> Option<&str> {
        file.metadata().get(CLASS).map(String::as_str)
    }

    /// The precision in which its features were computed, by what [`Memory::to_bytes`] was given.
    pub fn precision(file: &Checkpoint) -> Option<Precision> {
        let identity = file.metadata().get(IDENTITY)?;
        Precision::ALL
            .into_iter()
            .find(|precision| identity.ends_with(&format!(" in {}", precision.as_str())))
    }

    /// Reads a memory that [`Memory::to_bytes`] wrote.
    ///
    /// Errors with [`Code::Reference`] when the file is no memory, or holds features of other weights or another precision.
    pub fn from_checkpoint(file: &Checkpoint, identity: &str) -> Result<Memory> {
        let refused = |message: String| Error::new(Code::Reference, message).hint(Remedy::MakeMemoryAgain);
        let metadata = file.metadata();
        if !Memory::is_memory(file) {
            return Err(refused(format!("`{}` is no memory of reference images", file.name())));
        }
        match metadata.get(IDENTITY) {
            Some(found) if found == identity => {}
            found => {
                let found = found.map_or("nothing", String::as_str);
                return Err(refused(format!("`{}` holds features of {found}, this run makes those of {identity}", file.name())));
            }
        }
        let root = file.root();
        let mut features = Vec::new();
        for kind in KINDS {
            let read = || {
                let [rows, cols] = root.sizes(kind)?;
                root.weight(kind, [rows, cols])?.to_array()
            };
            features.push(read().map_err(|error: Error| refused(format!("`{}` is damaged: {}", file.name(), error.message())))?);
        }
        if let Some(at) = features.iter().position(|rows| !has_unit_rows(rows)) {
            return Err(refused(format!("`{}` of `{}` has rows that are not of unit length", KINDS[at], file.name())));
        }
        let features = features.try_into().map_err(|_| refused("a memory has three kinds of features".to_owned()))?;
        Ok(Memory { features })
    }

    /// True for the bytes of a file that [`Memory::to_bytes`] wrote.
    pub fn is_memory(file: &Checkpoint) -> bool {
        file.metadata().get(FORMAT.0).map(String::as_str) == Some(FORMAT.1)
    }
}

fn has_unit_rows(rows: &Array) -> bool {
    let length = |row: &[f32]| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    rows.data()
        .chunks_exact(rows.shape().cols())
        .all(|row| (length(row) - 1.0).abs() <= LENGTH_TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let one = |x: f32| [Array::new([1, 2], vec![x, 0.0]), Array::new([2, 1], vec![x; 2]), Array::new([1, 1], vec![-x])];
        Memory::of(&[one(1.0), one(-1.0)])
    }

    #[test]
    fn references_follow_each_other() {
        let memory = memory();
        assert_eq!(memory.features[0], Array::new([2, 2], vec![1.0, 0.0, -1.0, 0.0]));
        assert_eq!(memory.features[1].shape().sizes(), [4, 1]);
    }

    #[test]
    fn a_memory_comes_back_from_its_file_but_not_for_other_weights() {
        let bytes = memory().to_bytes("weights a", "bottle").unwrap();
        let file = Checkpoint::from_bytes("m.safetensors", bytes).unwrap();
        assert_eq!(Memory::class(&file), Some("bottle"));
        assert_eq!(Memory::from_checkpoint(&file, "weights a").unwrap(), memory());
        let error = Memory::from_checkpoint(&file, "weights b").unwrap_err();
        assert_eq!(error.code(), Code::Reference);
        assert_eq!(error.message(), "`m.safetensors` holds features of weights a, this run makes those of weights b");
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        let mut long = memory();
        long.features[1].data_mut()[0] = 2.0;
        let file = Checkpoint::from_bytes("m", long.to_bytes("w", "bottle").unwrap()).unwrap();
        let error = Memory::from_checkpoint(&file, "w").unwrap_err();
        assert_eq!(error.message(), "`windows_2` of `m` has rows that are not of unit length");
    }

    #[test]
    fn any_other_file_is_refused() {
        let bytes = to_safetensors([], &[]).unwrap();
        let error = Memory::from_checkpoint(&Checkpoint::from_bytes("x", bytes).unwrap(), "").unwrap_err();
        assert_eq!(error.message(), "`x` is no memory of reference images");
    }
}
