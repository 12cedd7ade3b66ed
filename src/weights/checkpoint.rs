//! Checkpoint: the open files of one network's weights, and an index of their tensors.

use super::decode;
use super::header::Header;
use super::identity::{FileHash, Identity};
use super::scope::Scope;
use super::snapshot::{self, Snapshot};
use super::source::Source;
use crate::error::{Code, Context, Error, Result};
use crate::files::{read_limited, sha256};
use crate::tensor::{Array, MAX_RANK, Shape};
use safetensors::Dtype;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most unread tensors that one log line names.
const MAX_UNREAD_SHOWN: usize = 10;

/// Most bytes of a configuration; published ones have some thousands.
const MAX_COMPANION_BYTES: u64 = 4 << 20;

/// Opened weights. Clones share the open files and the record of what was read.
#[derive(Clone)]
pub struct Checkpoint {
    contents: Arc<Contents>,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, an index of shards, or a hub snapshot folder that holds either.
    ///
    /// A folder gives `model.safetensors`, else its `*.safetensors.index.json`, else its only other set of weights; [`Checkpoint::all_in`]
    /// gives them all. Only headers are read. Fails with [`Code::WeightsMissing`] where nothing is found, and with [`Code::WeightsFormat`]
    /// where a file is damaged or of another kind.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        Checkpoint::of_snapshot(path, Snapshot::locate(path)?)
    }

    /// Opens every set of weights in a folder, by the name of the file that stands for it; what cannot be opened comes with the reason.
    ///
    /// Fails with [`Code::WeightsMissing`] where there is none.
    pub fn all_in(folder: &Path) -> Result<Vec<(String, Result<Checkpoint>)>> {
        let open = |candidate: snapshot::Candidate| {
            let checkpoint = candidate.snapshot.and_then(|snapshot| Checkpoint::of_snapshot(&candidate.file, snapshot));
            (snapshot::shown(&candidate.file), checkpoint)
        };
        Ok(snapshot::candidates(folder)?.into_iter().map(open).collect())
    }

    /// Opens the files of a snapshot; `path` stands for it in messages.
    fn of_snapshot(path: &Path, snapshot: Snapshot) -> Result<Checkpoint> {
        let mut contents = Contents::new(path.display().to_string(), Some(snapshot.folder));
        for file in &snapshot.files {
            let name = file.display().to_string();
            contents.add(name.clone(), Source::open(file).context(|| format!("in `{name}`"))?)?;
        }
        for (tensor, file) in &snapshot.promised {
            contents.expect(tensor, &file.display().to_string())?;
        }
        contents.index = snapshot.index.map(|(file, sha256)| FileHash { file: snapshot::shown(&file), sha256 });
        Ok(Checkpoint { contents: Arc::new(contents) })
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
        let mut contents = Contents::new(name.to_string(), None);
        contents.add(name.to_string(), Source::Held(bytes))?;
        Ok(Checkpoint { contents: Arc::new(contents) })
    }

    /// Name of what was opened, for messages.
    pub fn name(&self) -> &str {
        &self.contents.name
    }

    /// The folder of the files, where `config.json` lies; `None` for weights from bytes.
    pub fn folder(&self) -> Option<&Path> {
        self.contents.folder.as_deref()
    }

    /// The files that were read so far: those of tensors, the index of shards, and companions. None for weights from bytes.
    pub fn files(&self) -> Vec<PathBuf> {
        let Some(folder) = self.folder() else { return Vec::new() };
        let companions = self.contents.companions.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = self.contents.index.iter().map(|index| &index.file).chain(companions.keys());
        let tensors = self.contents.files.iter().map(|(name, _)| PathBuf::from(name));
        tensors.chain(beside.map(|name| folder.join(name))).collect()
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

    /// Whether a file of this name lies beside the weights.
    pub fn has_companion(&self, name: &str) -> bool {
        self.folder().is_some_and(|folder| folder.join(name).exists())
    }

    /// The bytes of a small file beside the weights, such as `config.json`; `None` where there is none. Read once: what a model was made
    /// from is what [`Checkpoint::identity`] hashes.
    ///
    /// Fails with [`Code::WeightsFormat`] where it is no regular file or has more than 4 MiB.
    pub fn companion(&self, name: &str) -> Result<Option<Arc<[u8]>>> {
        let Some(folder) = self.folder() else { return Ok(None) };
        let mut companions = self.contents.companions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = companions.get(name) {
            return Ok(known.clone());
        }
        let bytes = match read_limited(&folder.join(name), MAX_COMPANION_BYTES, Code::WeightsFormat) {
            Ok(bytes) => Some(Arc::from(bytes)),
            Err(error) if error.code() == Code::NotFound => None,
            Err(error) => return Err(error),
        };
        companions.insert(name.to_owned(), bytes.clone());
        Ok(bytes)
    }

    /// A JSON file beside the weights, such as `config.json`; `None` where there is none.
    ///
    /// Fails with [`Code::WeightsFormat`] naming the file when it is not what `T` describes.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.companion(name)? else { return Ok(None) };
        let path = self.folder().map(|folder| folder.join(name)).unwrap_or_default();
        let wrong = |error| Error::new(Code::WeightsFormat, format!("`{}` is not what a model of this kind has: {error}", path.display()));
        serde_json::from_slice(&text).map(Some).map_err(wrong)
    }

    /// Every file that these weights are made of, with its hash: files of tensors, the index, and those of `configurations` that are there.
    ///
    /// The first call reads all files whole. Fails with [`Code::WeightsFormat`] where a file was changed since it was opened.
    pub fn identity(&self, configurations: &[&str]) -> Result<Identity> {
        let mut files = Vec::new();
        for (name, source) in &self.contents.files {
            let sha256 = source.sha256().context(|| format!("in `{name}`"))?;
            files.push(FileHash { file: snapshot::shown(Path::new(name)), sha256 });
        }
        files.extend(self.contents.index.clone());
        for name in configurations {
            if let Some(bytes) = self.companion(name)? {
                files.push(FileHash { file: (*name).to_owned(), sha256: sha256(&bytes) });
            }
        }
        Ok(Identity { name: self.name().to_owned(), files })
    }

    /// The values of a tensor of whole numbers; `None` when it is missing or holds others.
    ///
    /// Fails with [`Code::WeightsFormat`] where the file was changed since it was opened.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(stored) = self.contents.tensors.get(name) else { return Ok(None) };
        stored.mark_read();
        Ok(decode::to_i64(stored.dtype, &self.contents.bytes(stored)?))
    }

    /// The root scope, above all tensors.
    pub fn root(&self) -> Scope {
        Scope::root(Arc::clone(&self.contents))
    }

    /// Logs and returns the names of the tensors that no model read, once all models are loaded.
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

/// Contents of a checkpoint, which its [`Scope`]s and [`Weight`](super::Weight)s share.
pub(super) struct Contents {
    /// Name of what was opened, for messages.
    pub name: String,
    folder: Option<PathBuf>,
    files: Vec<(String, Source)>,
    index: Option<FileHash>,
    /// Small files beside the weights that were asked for; `None` for one that is not there.
    companions: Mutex<BTreeMap<String, Option<Arc<[u8]>>>>,
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
    range: Range<u64>,
    read: AtomicBool,
}

impl Stored {
    /// The shape, unless it has more axes than a [`Shape`] may have.
    pub fn shape(&self) -> Option<Shape> {
        (self.sizes.len() <= MAX_RANK).then(|| Shape::new(&self.sizes))
    }

    /// Marks this tensor as known to a model.
    pub fn mark_read(&self) {
        self.read.store(true, Ordering::Relaxed);
    }

    fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }
}

impl Contents {
    fn new(name: String, folder: Option<PathBuf>) -> Contents {
        Contents {
            name,
            folder,
            files: Vec::new(),
            index: None,
            companions: Mutex::default(),
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
        }
    }

    /// Adds the tensors of a file.
    fn add(&mut self, name: String, source: Source) -> Result<()> {
        let header = source.head().and_then(|head| Header::parse(&head, source.len()));
        let header = header.context(|| format!("in `{name}`"))?;
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
                range: (header.data_start + first) as u64..(header.data_start + last) as u64,
                read: AtomicBool::new(false),
            };
            self.tensors.insert(tensor, stored);
        }
        self.files.push((name, source));
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

    /// Name of the file that holds a tensor, for messages.
    pub fn file_of(&self, stored: &Stored) -> &str {
        &self.files[stored.file].0
    }

    /// A tensor as it is stored.
    fn bytes(&self, stored: &Stored) -> Result<Cow<'_, [u8]>> {
        let (name, source) = &self.files[stored.file];
        source.read(stored.range.clone()).context(|| format!("in `{name}`"))
    }

    /// The values of a tensor of floats; panics for any other, which a [`Scope`] does not hand out.
    pub fn to_array(&self, stored: &Stored, shape: Shape) -> Result<Array> {
        let values = decode::to_f32(stored.dtype, &self.bytes(stored)?).expect("a scope hands out floats only");
        Ok(Array::new(shape, values))
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
    fn a_weight_outlives_its_checkpoint() {
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
    fn the_identity_of_an_index_notices_a_changed_shard_and_a_changed_configuration() {
        let folder = sharded(r#""a":"m-1-of-2.safetensors","b":"m-2-of-2.safetensors""#, "b");
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        let identity = || {
            let checkpoint = Checkpoint::open(folder.path().join("m.safetensors.index.json")).unwrap();
            checkpoint.identity(&["open_clip_config.json", "config.json"]).unwrap()
        };
        let first = identity();
        let names: Vec<&str> = first.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["m-1-of-2.safetensors", "m-2-of-2.safetensors", "m.safetensors.index.json", "config.json"]);
        assert_eq!(identity().fingerprint(), first.fingerprint());

        let other = serialized(&[("b", Dtype::F32, &[1], f32_bytes(&[3.0]))]);
        fs::write(folder.path().join("m-2-of-2.safetensors"), other).unwrap();
        let second = identity();
        assert_ne!(second.files[1], first.files[1]);
        assert_eq!(second.files[0], first.files[0]);
        fs::write(folder.path().join("config.json"), "{ }").unwrap();
        assert_ne!(identity().fingerprint(), second.fingerprint());
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_and_a_huge_file_for_a_configuration_are_refused() {
        let folder = sharded(r#""a":"m-1-of-2.safetensors","b":"m-2-of-2.safetensors""#, "b");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(folder.path().join("pipe.json"))
                .status()
                .unwrap()
                .success()
        );
        fs::File::create(folder.path().join("huge.json")).unwrap().set_len(MAX_COMPANION_BYTES + 1).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        for name in ["pipe.json", "huge.json"] {
            assert_eq!(checkpoint.companion(name).unwrap_err().code(), Code::WeightsFormat, "{name}");
        }
        assert!(checkpoint.companion("none.json").unwrap().is_none());
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
