//! Where numbers are kept for later runs.

use std::path::PathBuf;

use zsas::methods::cache::{Cache, Key};
use zsas::{Array, Result, Shape};

use crate::cli::env;

/// The array of a key, of this shape: from `$ZSAS_CACHE`, or the user's own cache folder, else computed and kept there; nothing is kept where
/// `$ZSAS_CACHE` is empty.
pub fn array(key: &Key, shape: impl Into<Shape>, compute: impl FnOnce() -> Result<Array>) -> Result<Array> {
    Cache::at(folder()).array(key, shape, compute)
}

fn folder() -> Option<PathBuf> {
    match std::env::var_os(env::CACHE) {
        Some(folder) if folder.is_empty() => None,
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("zsas-gpu")),
    }
}
