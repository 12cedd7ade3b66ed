//! The identity of weights: every file that affects results, with its hash.

use serde::Serialize;

/// Weights as records name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The path that was opened, or the name of embedded weights.
    pub name: String,
    /// Files of tensors by name, the index of shards, then configurations.
    pub files: Vec<FileHash>,
}

/// A file and its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileHash {
    /// Name within its folder.
    pub file: String,
    /// SHA-256 of the bytes that were read, in hexadecimal.
    pub sha256: String,
}

impl Identity {
    /// The hashes of all files as one text, which is the same for equal weights in any folder.
    pub fn fingerprint(&self) -> String {
        let hashes: Vec<&str> = self.files.iter().map(|file| file.sha256.as_str()).collect();
        hashes.join(",")
    }
}
