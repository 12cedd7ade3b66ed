//! The bytes of one weights file, read piece by piece through one handle.
//!
//! A file is not mapped into memory: bytes of a mapping change, or end the process, when somebody rewrites or cuts the file. Here each read
//! reports this as an error. A file that is replaced by renaming another one over it does no harm, as the handle stays with the first.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::header::{LENGTH_BYTES, MAX_HEADER_BYTES};
use crate::error::{Code, Error, Result};
use crate::files::{hex, sha256};

/// Bytes that are read at once for a hash.
const BLOCK: usize = 1 << 20;

/// Number of first bytes that are enough to recognise a file of another format.
const MAGIC_BYTES: u64 = 64;

/// Where the bytes of a weights file come from.
pub(super) enum Source {
    /// A file on disk.
    Disk(DiskFile),
    /// Bytes that are part of the program or were read elsewhere.
    Held(Cow<'static, [u8]>),
}

/// A file on disk that stays open.
pub(super) struct DiskFile {
    /// Its length when it was opened.
    bytes: u64,
    handle: Mutex<Handle>,
    /// SHA-256 of its bytes in hexadecimal.
    sha256: OnceLock<String>,
}

/// The open file, and when it was last written as far as is known to be harmless.
struct Handle {
    file: File,
    modified: Option<SystemTime>,
}

impl Source {
    /// Opens a regular file.
    pub fn open(path: &Path) -> Result<Source> {
        let unreadable = |error| Error::io("cannot open the weights", &error);
        // Opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Error::new(Code::WeightsFormat, format!("`{}` is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let handle = Mutex::new(Handle { file, modified: metadata.modified().ok() });
        Ok(Source::Disk(DiskFile { bytes: metadata.len(), handle, sha256: OnceLock::new() }))
    }

    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Source::Disk(file) => file.bytes,
            Source::Held(bytes) => bytes.len() as u64,
        }
    }

    /// What [`Header::parse`](super::header::Header::parse) needs: the header of a safetensors file, else the first few bytes.
    pub fn head(&self) -> Result<Cow<'_, [u8]>> {
        let first = self.read(0..self.len().min(MAGIC_BYTES))?;
        let Some(length) = first.first_chunk::<LENGTH_BYTES>().map(|length| u64::from_le_bytes(*length)) else { return Ok(first) };
        if length > MAX_HEADER_BYTES as u64 {
            return Ok(first);
        }
        self.read(0..self.len().min(length + LENGTH_BYTES as u64))
    }

    /// Some of the bytes.
    ///
    /// Fails with [`Code::WeightsFormat`] where the file was changed since it was opened.
    pub fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        match self {
            Source::Disk(file) => file.read(range).map(Cow::Owned),
            Source::Held(bytes) => Ok(Cow::Borrowed(&bytes[range.start as usize..range.end as usize])),
        }
    }

    /// SHA-256 of all bytes in hexadecimal; computed once.
    pub fn sha256(&self) -> Result<String> {
        match self {
            Source::Disk(file) => file.known_sha256(),
            Source::Held(bytes) => Ok(sha256(bytes)),
        }
    }
}

impl DiskFile {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut handle = self.lock();
        let mut bytes = vec![0; (range.end - range.start) as usize];
        handle.fill(range.start, &mut bytes)?;
        // Checked after the read, so that a change before or during it is seen.
        self.check(&mut handle)?;
        Ok(bytes)
    }

    fn known_sha256(&self) -> Result<String> {
        let mut handle = self.lock();
        if self.sha256.get().is_none() {
            let hash = self.hash(&mut handle)?;
            self.check(&mut handle)?;
            return Ok(self.sha256.get_or_init(|| hash).clone());
        }
        self.check(&mut handle)?;
        Ok(self.sha256.get().cloned().unwrap_or_default())
    }

    /// Fails unless these are still the bytes that were opened: the length is the same, and either nobody wrote since or the hash, where it
    /// is known, is the same too.
    ///
    /// A change within the resolution of the file system's clock, some milliseconds, that keeps the length is not seen.
    fn check(&self, handle: &mut Handle) -> Result<()> {
        let metadata = handle.metadata()?;
        if metadata.len() != self.bytes {
            return Err(changed().context(format!("it had {} bytes, now it has {}", self.bytes, metadata.len())));
        }
        let modified = metadata.modified().ok();
        if modified == handle.modified {
            return Ok(());
        }
        let is_same = match self.sha256.get() {
            Some(known) => self.hash(handle)? == *known && handle.metadata()?.modified().ok() == modified,
            None => false,
        };
        if !is_same {
            return Err(changed());
        }
        handle.modified = modified;
        Ok(())
    }

    fn hash(&self, handle: &mut Handle) -> Result<String> {
        let mut hash = Sha256::new();
        let mut block = vec![0; BLOCK];
        let mut at = 0;
        while at < self.bytes {
            let block = &mut block[..BLOCK.min((self.bytes - at) as usize)];
            handle.fill(at, block)?;
            hash.update(&block);
            at += block.len() as u64;
        }
        Ok(hex(&hash.finalize()))
    }

    fn lock(&self) -> MutexGuard<'_, Handle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn metadata(&self) -> Result<Metadata> {
        self.file.metadata().map_err(|error| Error::io("cannot look at the weights", &error))
    }

    fn fill(&mut self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let mut read = || {
            self.file.seek(SeekFrom::Start(at))?;
            self.file.read_exact(bytes)
        };
        read().map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => changed().context(format!("it ends before byte {}", at + bytes.len() as u64)),
            _ => Error::io("cannot read the weights", &error),
        })
    }
}

fn changed() -> Error {
    Error::new(Code::WeightsFormat, "the weights changed during the run")
        .hint("replace weights by renaming, and not while a run reads them")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn rewrite(path: &Path, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        std::io::Write::write_all(&mut &file, bytes).unwrap();
        // A later time than the clock of the file system may have given.
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn a_file_that_was_cut_or_rewritten_is_an_error_and_one_that_was_replaced_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let opened = || {
            fs::write(&path, b"abcdef").unwrap();
            Source::open(&path).unwrap()
        };
        let source = opened();
        assert_eq!(&*source.read(1..3).unwrap(), b"bc");
        rewrite(&path, b"abcxef");
        assert_eq!(source.read(1..3).unwrap_err().message(), "the weights changed during the run");

        let source = opened();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert_eq!(source.read(1..3).unwrap_err().code(), Code::WeightsFormat);
        assert!(source.sha256().is_err());

        let source = opened();
        fs::write(folder.path().join("other"), b"123456").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert_eq!(&*source.read(0..6).unwrap(), b"abcdef");
        assert_eq!(source.sha256().unwrap(), sha256(b"abcdef"));
    }

    #[test]
    fn a_file_written_anew_with_the_same_bytes_is_the_same_once_its_hash_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        fs::write(&path, b"abcdef").unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!(source.sha256().unwrap(), sha256(b"abcdef"));
        rewrite(&path, b"abcdef");
        assert_eq!(&*source.read(0..2).unwrap(), b"ab");
        rewrite(&path, b"abcdeg");
        assert!(source.read(0..2).is_err(), "bytes elsewhere in the file changed");
        assert!(source.sha256().is_err());
    }
}
