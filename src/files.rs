//! Files of the library: written whole or not at all, read within a limit, named by hash.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::Builder;

use crate::error::{Code, Error, Result};

/// Writes a file so that a reader finds it whole, or as it was before: written beside, synced, renamed.
///
/// The folder has to exist. Fails with [`Code::Io`]; what was written beside is removed again.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        // Not named after the target, whose name may already be as long as the file system allows.
        let mut builder = Builder::new();
        builder.prefix(".zsas-").suffix(".tmp");
        // Temporary files are private by default; this one is to end like any other, under the user's umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|error| Error::io(format!("writing `{}`", path.display()), &error))
}

/// Reads a file that is expected to be small: a configuration, a profile.
///
/// Fails with [`Code::NotFound`] where it is missing, with `code` where it is no regular file (a pipe would be waited for) or has more than
/// `max_bytes`, and with [`Code::Io`] where reading fails.
pub fn read_limited(path: &Path, max_bytes: u64, code: Code) -> Result<Vec<u8>> {
    let refused = |why: String| Error::new(code, format!("`{}` {why}", path.display()));
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::new(Code::NotFound, format!("`{}` does not exist", path.display())),
        _ => Error::io(format!("reading `{}`", path.display()), &error),
    };
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(refused("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(refused(format!("has more than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// SHA-256 of bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a text, shortened to what keeps the names in a folder distinct.
pub fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text)[..6])
}

/// A text as the name of one file or folder: itself where it is one, else with a hash, so that two texts never share a name.
pub fn file_name(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if !text.is_empty() && !text.starts_with('.') && text.len() < 100 && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let kept: String = text.chars().filter(|&c| c.is_alphanumeric()).take(40).collect();
    format!("{kept}-{}", short_hash(text))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_folder_as_a_name() {
        assert_eq!(file_name("metal_nut"), "metal_nut");
        assert!(file_name("../../etc").starts_with("etc-"));
        assert_ne!(file_name("a/b"), file_name("ab"));
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        // As long as a name may be.
        let path = folder.path().join("ü".repeat(127));
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_and_a_folder_in_the_way_are_io_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_whole(&folder.path().join("no/file"), b"").unwrap_err().code(), Code::Io);
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert_eq!(write_whole(&folder.path().join("taken"), b"").unwrap_err().code(), Code::Io);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_small_file_is_read_and_a_long_or_odd_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(read_limited(&path, 3, Code::Config).unwrap_err().code(), Code::NotFound);
        write_whole(&path, b"abc").unwrap();
        assert_eq!(read_limited(&path, 3, Code::Config).unwrap(), b"abc");
        assert_eq!(read_limited(&path, 2, Code::Config).unwrap_err().code(), Code::Config);
        assert_eq!(read_limited(folder.path(), 2, Code::Config).unwrap_err().code(), Code::Config);
        #[cfg(unix)]
        assert_eq!(read_limited(Path::new("/dev/zero"), 2, Code::Config).unwrap_err().code(), Code::Config);
    }
}
