//! Identity of an image file, to detect whether it changed since it was scored.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::files::sha256;

/// Size, time and content of an image file when it was scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Size in bytes.
    pub bytes: u64,
    /// When it was last written, in nanoseconds since 1970; null where the file system does not say.
    pub modified_ns: Option<u64>,
    /// SHA-256 of its bytes in hexadecimal.
    pub sha256: String,
}

impl SourceFile {
    /// Reads the identity of a file; `None` where it cannot be read.
    pub fn of(file: &Path) -> Option<SourceFile> {
        let (bytes, modified_ns) = stamp(file)?;
        Some(SourceFile { bytes, modified_ns, sha256: sha256(&fs::read(file).ok()?) })
    }

    /// Whether a file is still this one: of the same size, and untouched or of the same content.
    pub fn is(&self, file: &Path) -> bool {
        match stamp(file) {
            Some((bytes, _)) if bytes != self.bytes => false,
            Some((_, modified)) if modified.is_some() && modified == self.modified_ns => true,
            Some(_) => fs::read(file).is_ok_and(|content| sha256(&content) == self.sha256),
            None => false,
        }
    }
}

fn stamp(file: &Path) -> Option<(u64, Option<u64>)> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Some((metadata.len(), since.and_then(|since| u64::try_from(since.as_nanos()).ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_where_size_is_the_same_and_time_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "abc").unwrap();
        let source = SourceFile::of(&file).unwrap();
        assert!(source.is(&file));
        let older = SourceFile { modified_ns: Some(1), ..source.clone() };
        assert!(older.is(&file), "touched");
        fs::write(&file, "abd").unwrap();
        assert!(!older.is(&file), "other content");
        fs::write(&file, "abcd").unwrap();
        assert!(!source.is(&file), "other size");
        fs::remove_file(&file).unwrap();
        assert!(!source.is(&file), "gone");
    }
}
