//! Compiled pipelines kept in a folder for later runs, where the driver hands them out.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Code, Error, Result};
use crate::files::{read_limited, sha256, short_hash, write_whole};
use crate::run::faults::lock;

/// Hexadecimal digits of the hash that a file begins with.
const HASH: usize = 64;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// The driver's compiled pipelines, and the file they are kept in.
pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    file: PathBuf,
    /// Bytes that are in the file, or that the driver hands out for no pipeline.
    kept: Mutex<usize>,
}

impl PipelineCache {
    /// The pipelines that `folder` keeps for this adapter and driver; `None` where the driver hands none out.
    ///
    /// A file that is damaged or was written for another driver is not used.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo, folder: &Path) -> Option<PipelineCache> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(adapter)?;
        let driver = format!("{} {} {}", adapter.name, adapter.driver, adapter.driver_info);
        let file = folder.join("pipelines").join(format!("{key}_{}", short_hash(&driver)));
        let data = match read(&file) {
            Ok(data) => Some(data),
            Err(error) if error.code() == Code::NotFound => None,
            Err(error) => {
                log::info!("kernels are compiled anew: {error}");
                None
            }
        };
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("zsas"), data: data.as_deref(), fallback: true };
        // SAFETY: the hash in front of the data says that they are what an earlier `get_data` returned, whole; wgpu and the driver check in
        // addition that they are theirs.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        let kept = cache.get_data().map_or(0, |data| data.len());
        Some(PipelineCache { cache, file, kept: Mutex::new(kept) })
    }

    pub(super) fn wgpu(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes the file where the driver has more to keep than it holds. A folder that cannot be written costs time, nothing else.
    pub(super) fn keep(&self) {
        let mut kept = lock(&self.kept);
        let Some(data) = self.cache.get_data().filter(|data| data.len() > *kept) else { return };
        match write(&self.file, &data) {
            Ok(()) => *kept = data.len(),
            Err(error) => log::info!("compiled kernels are not kept: {error}"),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = read_limited(file, MAX_BYTES, Code::Io)?;
    let is_whole = bytes.len() >= HASH && sha256(&bytes[HASH..]).as_bytes() == &bytes[..HASH];
    if !is_whole {
        return Err(Error::new(Code::Io, format!("`{}` is damaged", file.display())));
    }
    bytes.drain(..HASH);
    Ok(bytes)
}

fn write(file: &Path, data: &[u8]) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|error| Error::io(format!("making `{}`", folder.display()), &error))?;
    write_whole(file, &[sha256(data).as_bytes(), data].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_come_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipelines").join("key");
        assert_eq!(read(&file).unwrap_err().code(), Code::NotFound);
        write(&file, b"compiled").unwrap();
        assert_eq!(read(&file).unwrap(), b"compiled");
        let whole = std::fs::read(&file).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[1..], b""] {
            std::fs::write(&file, damaged).unwrap();
            assert!(read(&file).unwrap_err().message().contains("is damaged"));
        }
    }
}
