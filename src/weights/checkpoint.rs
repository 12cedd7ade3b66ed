//! The weights of one network as they lie on disk: files mapped into memory, and an index of their tensors.

use super::decode;
use super::header::Header;
use super::scope::Scope;
use super::snapshot::Snapshot;
use crate::error::{Code, Context, Error, Result};
use crate::tensor::{Array, MAX_RANK, Shape};
use memmap2::Mmap;
use safetensors::Dtype;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::{Bound, Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most unread tensors that one log line names.
const MAX_UNREAD_SHOWN: usize = 10;

/// Opened weights. Clones share the mapping and the record of what was read.
#[derive(Clone)]
pub struct Checkpoint {
    contents: Arc<Contents>,
    folder: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, an index of shards, or a hub snapshot folder that holds either.
    ///
    /// A folder gives `model.safetensors`, else its `*.safetensors.index.json`, else its only `*.safetensors`.
    /// Only headers are read. Fails with [`Code::WeightsMissing`] where nothing is found, and with
    /// [`Code::WeightsFormat`] where a file is damaged or of another kind.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        let snapshot = Snapshot::locate(path)?;
        let mut contents = Contents::new(path.display().to_string());
        for file in &snapshot.files {
            let name = file.display().to_string();
            contents.add(name.clone(), map(file).context(|| format!("in `{name}`"))?)?;
        }
        for (tensor, file) in &snapshot.promised {
            contents.expect(tensor, &file.display().to_string())?;
        }
        Ok(Checkpoint { contents: Arc::new(contents), folder: Some(snapshot.folder) })
    }

    /// Opens the bytes of a safetensors file that is part of the program; `name` stands for it in messages.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Checkpoint> {
        Checkpoint::held(name, Cow::Borrowed(bytes))
    }

    /// Opens the bytes of a safetensors file that was read elsewhere; `name` stands for it in messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Checkpoint> {
        Checkpoint::held(name, Cow::Owned(bytes))
    }

    fn held(name: &str, bytes: Cow<'static, [u8]>) -> Result<Checkpoint> {
        let mut contents = Contents::new(name.to_string());
        contents.add(name.to_string(), Bytes::Held(bytes))?;
        Ok(Checkpoint { contents: Arc::new(contents), folder: None })
    }

    /// What was opened, as messages call it.
    pub fn name(&self) -> &str {
        &self.contents.name
    }

    /// The folder of the files, where `config.json` lies; `None` for weights from bytes.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The `__metadata__` of the file; of shards that disagree the first counts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.contents.metadata
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contents.tensors.keys().map(String::as_str)
    }

    /// True when there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.contents.tensors.contains_key(name)
    }

    /// Shape of a tensor; `None` when there is none, or when it has more than [`MAX_RANK`] axes.
    pub fn shape(&self, name: &str) -> Option<Shape> {
        self.contents.tensors.get(name)?.shape()
    }

    /// How a tensor is stored; `None` when there is none.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        Some(self.contents.tensors.get(name)?.dtype)
    }

    /// A JSON file beside the weights, such as `config.json`; `None` where there is none.
    ///
    /// Fails with [`Code::WeightsFormat`] naming the file when it is not what `T` describes.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(name)) else { return Ok(None) };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("cannot read `{}`", path.display()), &error)),
        };
        let wrong = |error| Error::new(Code::WeightsFormat, format!("`{}` is not what a model of this kind has: {error}", path.display()));
        serde_json::from_slice(&text).map(Some).map_err(wrong)
    }

    /// The values of a tensor of whole numbers; `None` when it is missing or holds others.
    pub fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let stored = self.contents.tensors.get(name)?;
        stored.mark_read();
        decode::to_i64(stored.dtype, self.contents.bytes(stored))
    }

    /// The path above all tensors.
    pub fn root(&self) -> Scope {
        Scope::root(Arc::clone(&self.contents))
    }

    /// Logs and returns the names of the tensors that nobody asked for, once all models are loaded.
    ///
    /// Published files carry a few; many of them mean that a part of the network was forgotten.
    pub fn finish(&self) -> Vec<String> {
        let tensors = &self.contents.tensors;
        let unread: Vec<String> = tensors.iter().filter(|(_, tensor)| !tensor.is_read()).map(|(name, _)| name.clone()).collect();
        if !unread.is_empty() {
            let shown = unread[..unread.len().min(MAX_UNREAD_SHOWN)].join(", ");
            let dots = if unread.len() > MAX_UNREAD_SHOWN { ", …" } else { "" };
            log::info!("{} of {} tensors of `{}` were not used: {shown}{dots}", unread.len(), tensors.len(), self.name());
        }
        for name in &unread {
            log::debug!("not used: `{name}` in `{}`", self.name());
        }
        unread
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({}, {} tensors)", self.name(), self.contents.tensors.len())
    }
}

/// Maps a file into memory.
fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(|error| Error::io("cannot open the weights", &error))?;
    // SAFETY: the mapping is only ever read, and only as plain bytes, for which every bit pattern is valid. It is
    // undefined what those bytes are, and the process may be killed, if another process changes or truncates the
    // file meanwhile. That cannot be ruled out from here; hub caches and our own downloads replace files by
    // renaming, which leaves an existing mapping intact.
    let mapping = unsafe { Mmap::map(&file) };
    mapping.map(Bytes::Mapped).map_err(|error| Error::io("cannot map the weights into memory", &error))
}

/// The bytes of a whole file.
enum Bytes {
    Mapped(Mmap),
    Held(Cow<'static, [u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(mapping) => mapping,
            Bytes::Held(bytes) => bytes,
        }
    }
}

/// What [`Scope`]s and [`Weight`](super::Weight)s share of a checkpoint.
pub(super) struct Contents {
    /// What was opened, as messages call it.
    pub name: String,
    files: Vec<(String, Bytes)>,
    metadata: BTreeMap<String, String>,
    /// All tensors by name.
    pub tensors: BTreeMap<String, Stored>,
}

/// One tensor in a file.
pub(super) struct Stored {
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Size along each axis; a file may hold more axes than a [`Shape`] does.
    pub sizes: Vec<usize>,
    file: usize,
    range: Range<usize>,
    read: AtomicBool,
}

impl Stored {
    /// The shape, unless it has more axes than a [`Shape`] may have.
    pub fn shape(&self) -> Option<Shape> {
        (self.sizes.len() <= MAX_RANK).then(|| Shape::new(&self.sizes))
    }

    /// Notes that a model knows this tensor.
    pub fn mark_read(&self) {
        self.read.store(true, Ordering::Relaxed);
    }

    fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }
}

impl Contents {
    fn new(name: String) -> Contents {
        Contents { name, files: Vec::new(), metadata: BTreeMap::new(), tensors: BTreeMap::new() }
    }

    /// Adds the tensors of a file.
    fn add(&mut self, name: String, bytes: Bytes) -> Result<()> {
        let header = Header::parse(&bytes).context(|| format!("in `{name}`"))?;
        for (key, value) in header.metadata {
            self.metadata.entry(key).or_insert(value);
        }
        let file = self.files.len();
        for (tensor, info) in header.tensors {
            if let Some(other) = self.tensors.get(&tensor) {
                let message = format!("tensor `{tensor}` is in two files");
                let places = format!("in `{}` and `{name}`", self.files[other.file].0);
                return Err(Error::new(Code::WeightsFormat, message).context(places));
            }
            let (first, last) = info.data_offsets;
            let stored = Stored {
                dtype: info.dtype,
                sizes: info.shape,
                file,
                range: header.data_start + first..header.data_start + last,
                read: AtomicBool::new(false),
            };
            self.tensors.insert(tensor, stored);
        }
        self.files.push((name, bytes));
        Ok(())
    }

    /// Fails unless the tensor is in that file.
    fn expect(&self, tensor: &str, file: &str) -> Result<()> {
        match self.tensors.get(tensor) {
            Some(stored) if self.file_of(stored) == file => Ok(()),
            _ => {
                let message = format!("tensor `{tensor}` is not where the index of shards says");
                Err(Error::new(Code::WeightsFormat, message).context(format!("in `{file}`")))
            }
        }
    }

    /// The tensors whose names start with `prefix`.
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.tensors
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(_, stored)| stored)
    }

    /// The file that holds a tensor, as messages call it.
    pub fn file_of(&self, stored: &Stored) -> &str {
        &self.files[stored.file].0
    }

    /// A tensor as it is stored.
    fn bytes(&self, stored: &Stored) -> &[u8] {
        &self.files[stored.file].1[stored.range.clone()]
    }

    /// The values of a tensor of floats; panics for any other, which a [`Scope`] does not hand out.
    pub fn to_array(&self, stored: &Stored, shape: Shape) -> Array {
        let values = decode::to_f32(stored.dtype, self.bytes(stored)).expect("a scope hands out floats only");
        Array::new(shape, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{checkpoint, f32_bytes, file, serialized};
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn a_file_opens_with_names_shapes_types_and_metadata() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ü w.safetensors");
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "a":{"dtype":"U8","shape":[1,1,1,1,1,1],"data_offsets":[8,9]}}"#;
        fs::write(&path, file(header, &[0; 9])).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(checkpoint.metadata()["format"], "pt");
        assert_eq!(checkpoint.folder(), Some(folder.path()));
        assert_eq!(checkpoint.shape("b"), Some(Shape::from([2])));
        assert_eq!(checkpoint.shape("a"), None, "more axes than a shape holds");
        assert_eq!(checkpoint.dtype("a"), Some(Dtype::U8));
        assert!(checkpoint.contains("a") && !checkpoint.contains("c"));
        assert_eq!(checkpoint.dtype("c"), None);
    }

    #[test]
    fn a_mapped_weight_outlives_its_checkpoint() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, serialized(&[("a", Dtype::F32, &[2], f32_bytes(&[1.0, -2.0]))])).unwrap();
        let weight = Checkpoint::open(folder.path()).unwrap().root().weight("a", [2]).unwrap();
        assert_eq!(weight.to_array().unwrap().data(), [1.0, -2.0]);
    }

    #[test]
    fn static_bytes_open_without_a_file() {
        let header = r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let bytes: &'static [u8] = file(header, &f32_bytes(&[7.0])).leak();
        let checkpoint = Checkpoint::from_static("built-in", bytes).unwrap();
        assert_eq!(checkpoint.root().weight("a", []).unwrap().to_array().unwrap().data(), [7.0]);
        assert_eq!(checkpoint.folder(), None);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = TempDir::new().unwrap();
        for (name, bytes) in [("empty", &b""[..]), ("pickle", b"PK\x03\x04\0\0\x08\x08\0\0")] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = Checkpoint::open(&path).unwrap_err();
            assert_eq!(error.code(), Code::WeightsFormat);
            assert!(format!("{error:#}").contains(&format!("in `{}`", path.display())), "{error:?}");
        }
    }

    /// A folder of two shards and an index with this map.
    fn sharded(weight_map: &str, second: &str) -> TempDir {
        let folder = TempDir::new().unwrap();
        let shard = |name: &str, value| serialized(&[(name, Dtype::F32, &[1], f32_bytes(&[value]))]);
        fs::write(folder.path().join("m-1-of-2.safetensors"), shard("a", 1.0)).unwrap();
        fs::write(folder.path().join("m-2-of-2.safetensors"), shard(second, 2.0)).unwrap();
        let index = format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{{{weight_map}}}}}"#);
        fs::write(folder.path().join("m.safetensors.index.json"), index).unwrap();
        folder
    }

    #[test]
    fn shards_are_read_as_one_checkpoint() {
        let folder = sharded(r#""a":"m-1-of-2.safetensors","b":"m-2-of-2.safetensors""#, "b");
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
        let values = ["a", "b"].map(|name| checkpoint.root().weight(name, [1]).unwrap().to_array().unwrap());
        assert_eq!(values.each_ref().map(|array| array.data()[0]), [1.0, 2.0]);
        assert!(checkpoint.finish().is_empty());
    }

    #[test]
    fn shards_that_contradict_their_index_or_each_other_are_refused() {
        let swapped = sharded(r#""a":"m-2-of-2.safetensors","b":"m-1-of-2.safetensors""#, "b");
        let error = Checkpoint::open(swapped.path()).unwrap_err();
        assert_eq!(error.code(), Code::WeightsFormat);
        assert_eq!(error.message(), "tensor `a` is not where the index of shards says");

        let absent = sharded(r#""a":"m-1-of-2.safetensors","c":"m-2-of-2.safetensors""#, "b");
        assert!(Checkpoint::open(absent.path()).unwrap_err().message().contains("`c`"));

        let doubled = sharded(r#""a":"m-1-of-2.safetensors","x":"m-2-of-2.safetensors""#, "a");
        let error = Checkpoint::open(doubled.path()).unwrap_err();
        assert_eq!(error.code(), Code::WeightsFormat);
        assert_eq!(error.message(), "tensor `a` is in two files");
    }

    #[test]
    fn tensors_that_nobody_asked_for_are_reported() {
        let checkpoint = checkpoint(&[
            ("conv1.weight", &[1], &[1.0]),
            ("fc.bias", &[1], &[1.0]),
            ("fc.weight", &[1], &[1.0]),
            ("fc2", &[1], &[1.0]),
            ("bn1.count", &[1], &[1.0]),
        ]);
        let root = checkpoint.root();
        root.weight("conv1.weight", [1]).unwrap();
        root.at("bn1").ignore("count");
        assert!(root.contains("fc.bias"), "looking does not count as reading");
        root.shape("fc.bias").unwrap();
        assert_eq!(checkpoint.finish(), ["fc.bias", "fc.weight", "fc2"]);
        root.ignore("fc");
        assert_eq!(checkpoint.finish(), ["fc2"], "`fc` is not a part of its path");
    }
}
