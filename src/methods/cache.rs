//! On-disk cache of arrays that are expensive to compute, such as prompt embeddings, keyed by a hash of everything they depend on.
//!
//! A cached file is used only where its key, its shape and the hash of its numbers match; otherwise it is computed again, with a warning.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::files::{sha256, write_whole};
use crate::tensor::{Array, Shape};
use crate::weights::{Checkpoint, to_safetensors};

/// Name of the array in a file.
const ARRAY: &str = "array";

/// Metadata key of the hash of the array's numbers.
const HASH: &str = "sha256";

/// A folder of cached arrays, or a cache that is off.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    root: Option<PathBuf>,
}

/// Key of a cached array: its kind, and a hash of everything it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    kind: &'static str,
    hash: String,
}

impl Key {
    /// The key of an array of this kind that depends on `content`. The version and commit of this library are part of it.
    pub fn new(kind: &'static str, content: &impl Serialize) -> Key {
        let text = serde_json::to_string(&(env!("CARGO_PKG_VERSION"), option_env!("ZSAS_COMMIT"), kind, content));
        Key {
            kind,
            hash: sha256(text.unwrap_or_else(|error| panic!("our own keys serialise: {error}")).as_bytes()),
        }
    }
}

impl Cache {
    /// A cache in this folder, which is made when it is needed; without a folder nothing is cached.
    pub fn at(root: Option<PathBuf>) -> Cache {
        Cache { root }
    }

    /// The array of a key, of this shape: read from disk, else computed and written.
    ///
    /// A cache that cannot be read or written costs time only. Errors are those of `compute`.
    pub fn array(&self, key: &Key, shape: impl Into<Shape>, compute: impl FnOnce() -> Result<Array>) -> Result<Array> {
        let shape = shape.into();
        let Some(file) = self.file(key) else { return compute() };
        if file.exists() {
            match read(&file, shape) {
                Ok(array) => {
                    log::info!("{}: from `{}`", key.kind, file.display());
                    return Ok(array);
                }
                Err(error) => log::warn!("{} are computed anew, as `{}` cannot be used: {error}", key.kind, file.display()),
            }
        }
        let array = compute()?;
        assert!(array.shape() == shape, "{} of shape {shape} were asked for, computed were {}", key.kind, array.shape());
        if let Err(error) = write(&file, &array) {
            log::warn!("{} are not kept for the next run: {error}", key.kind);
        }
        Ok(array)
    }

    fn file(&self, key: &Key) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join(key.kind).join(format!("{}.safetensors", key.hash)))
    }
}

fn read(file: &Path, shape: Shape) -> Result<Array> {
    let wrong = |message: String| Error::new(Code::Io, message);
    if !file.is_file() {
        return Err(wrong("it is no regular file".to_owned()));
    }
    let checkpoint = Checkpoint::open(file)?;
    let array = checkpoint.root().weight(ARRAY, shape)?.to_array()?;
    if checkpoint.metadata().get(HASH) != Some(&hash(&array)) {
        return Err(wrong("its numbers are not those that were kept".to_owned()));
    }
    if array.data().iter().all(|&x| x == 0.0) {
        return Err(wrong("all of its numbers are zero".to_owned()));
    }
    Ok(array)
}

fn write(file: &Path, array: &Array) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|error| Error::io(format!("making `{}`", folder.display()), &error))?;
    write_whole(file, &to_safetensors([(ARRAY, array)], &[(HASH, &hash(array))])?)
}

/// SHA-256 of the numbers as a file holds them.
fn hash(array: &Array) -> String {
    let bytes: Vec<u8> = array.data().iter().flat_map(|x| x.to_le_bytes()).collect();
    sha256(&bytes)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn an_array_is_computed_once_and_anew_where_what_was_kept_does_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(Some(folder.path().to_owned()));
        let key = Key::new("numbers", &["content"]);
        let expected = Array::new([2, 2], vec![1.0, -2.0, 3.0, 0.0]);
        let computed = Cell::new(0);
        let array = || {
            cache.array(&key, [2, 2], || {
                computed.set(computed.get() + 1);
                Ok(expected.clone())
            })
        };
        assert_eq!(array().unwrap(), expected);
        assert_eq!((array().unwrap(), computed.get()), (expected.clone(), 1));

        let file = cache.file(&key).unwrap();
        let whole = fs::read(&file).unwrap();
        let garbled = |at: usize| {
            whole
                .iter()
                .enumerate()
                .map(|(i, &byte)| if i == at { byte ^ 1 } else { byte })
                .collect::<Vec<u8>>()
        };
        let other = |array: &Array| to_safetensors([(ARRAY, array)], &[(HASH, &hash(array))]).unwrap();
        let wrong = [
            garbled(whole.len() - 14),
            whole[..whole.len() - 1].to_vec(),
            Vec::new(),
            to_safetensors([(ARRAY, &expected)], &[]).unwrap(),
            other(&Array::new([1, 4], expected.data().to_vec())),
            other(&Array::new([2, 2], vec![0.0; 4])),
            other(&Array::new([2, 2], vec![f32::NAN; 4])),
        ];
        for (at, bytes) in (2..).zip(wrong) {
            fs::write(&file, bytes).unwrap();
            assert_eq!((array().unwrap(), computed.get()), (expected.clone(), at));
            assert_eq!((array().unwrap(), computed.get()), (expected.clone(), at), "kept again");
        }
    }

    #[test]
    fn without_a_folder_nothing_is_kept_and_other_content_is_another_key() {
        let one = || Ok(Array::new([1], vec![1.0]));
        assert_eq!(Cache::at(None).array(&Key::new("a", &1), [1], one).unwrap(), one().unwrap());
        assert_ne!(Key::new("a", &1).hash, Key::new("a", &2).hash);
        assert_ne!(Key::new("a", &1).hash, Key::new("b", &1).hash);
    }
}
