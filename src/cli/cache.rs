//! Cache folder for prompt embeddings and compiled kernels.

use std::path::PathBuf;

use crate::cli::env;

/// The cache folder: `$ZSAS_CACHE`, else the user's own; `None` where `$ZSAS_CACHE` is empty, or the user has none.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os(env::CACHE) {
        Some(folder) if folder.is_empty() => None,
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("zsas-gpu")),
    }
}
