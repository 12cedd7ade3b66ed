//! Numbers that are dear to compute and follow from content alone, kept on disk under the hash of that content.

use std::path::{Path, PathBuf};

use serde::Serialize;
use zsas::files::{sha256, write_whole};
use zsas::weights::to_safetensors;
use zsas::{Array, Checkpoint, Code, Error, Result};

use crate::cli::{COMMIT, VERSION, env, talk};

/// Name of the array in a file.
const ARRAY: &str = "array";

/// What an array follows from.
pub struct Key {
    kind: &'static str,
    hash: String,
}

impl Key {
    /// The key of everything that decides about an array of this kind. The version and commit of this program are part of it.
    pub fn new(kind: &'static str, content: &impl Serialize) -> Key {
        let text = talk::to_json(&(VERSION, COMMIT, kind, content));
        Key { kind, hash: sha256(text.as_bytes()) }
    }

    fn file(&self) -> Option<PathBuf> {
        Some(folder()?.join(self.kind).join(format!("{}.safetensors", self.hash)))
    }
}

/// The cache folder: `$ZSAS_CACHE`, else the user's own; none where `$ZSAS_CACHE` is empty.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os(env::CACHE) {
        Some(folder) if folder.is_empty() => None,
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("zsas-gpu")),
    }
}

/// The array of a key: from disk, else computed and kept. A cache that cannot be read or written costs time, nothing else.
pub fn array(key: &Key, compute: impl FnOnce() -> Result<Array>) -> Result<Array> {
    let Some(file) = key.file() else { return compute() };
    if file.is_file() {
        match read(&file) {
            Ok(array) => {
                log::info!("{}: from `{}`", key.kind, file.display());
                return Ok(array);
            }
            Err(error) => log::warn!("{} are computed anew: {error}", key.kind),
        }
    }
    let array = compute()?;
    if let Err(error) = write(&file, &array) {
        log::warn!("{} are not kept for the next run: {error}", key.kind);
    }
    Ok(array)
}

fn read(file: &Path) -> Result<Array> {
    let checkpoint = Checkpoint::open(file)?;
    let shape = checkpoint
        .shape(ARRAY)
        .ok_or_else(|| Error::new(Code::Io, format!("`{}` holds no array", file.display())))?;
    checkpoint.root().weight(ARRAY, shape)?.to_array()
}

fn write(file: &Path, array: &Array) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|error| Error::io(format!("making `{}`", folder.display()), &error))?;
    write_whole(file, &to_safetensors([(ARRAY, array)], &[])?)
}
