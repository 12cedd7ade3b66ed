//! Finds the safetensors files behind a path: one file, an index with its shards, or what a hub folder holds of either.

use super::header::MAX_HEADER_BYTES;
use super::listing::UniqueMap;
use crate::error::{Code, Context, Error, Remedy, Result};
use crate::files::{read_limited, sha256};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The file that a snapshot folder usually holds.
pub(crate) const USUAL_NAME: &str = "model.safetensors";
/// How the name of an index of shards ends.
const INDEX_SUFFIX: &str = ".safetensors.index.json";
/// How names of PyTorch checkpoints end.
const PICKLES: [&str; 4] = ["bin", "pth", "pt", "ckpt"];
/// Largest number of shards that a file name may state.
const MAX_SHARDS: usize = 10_000;

/// The files of one set of weights.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The folder that holds the files.
    pub folder: PathBuf,
    /// The safetensors files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// The index of shards and the hash of what was read from it.
    pub index: Option<(PathBuf, String)>,
    /// The file of every tensor that an index lists.
    pub promised: BTreeMap<String, PathBuf>,
}

/// One set of weights among those that a folder holds.
pub(super) struct Candidate {
    /// The file that stands for it: the only one, the index, or the first shard.
    pub file: PathBuf,
    /// Its files, or why it is incomplete.
    pub snapshot: Result<Snapshot>,
}

impl Snapshot {
    /// Finds the files behind a path; reads none of them but an index.
    pub fn locate(path: &Path) -> Result<Snapshot> {
        let found = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => missing(format!("no weights at `{}`", path.display())),
            _ => Error::io(format!("cannot look at `{}`", path.display()), &error),
        })?;
        // Opening a pipe would wait for its writer.
        if !found.is_dir() && !found.is_file() {
            return Err(Error::new(Code::WeightsFormat, format!("`{}` is neither a file nor a folder", path.display())));
        }
        if found.is_dir() { choose(path)?.snapshot } else { Snapshot::of_file(path) }
    }

    /// A safetensors file, or an index with its shards.
    fn of_file(file: &Path) -> Result<Snapshot> {
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        if !is_index(file) {
            return Ok(Snapshot { folder, files: vec![file.to_path_buf()], index: None, promised: BTreeMap::new() });
        }
        let (promised, hash) = read_index(file, &folder).context(|| format!("in `{}`", file.display()))?;
        let shards: BTreeSet<_> = promised.values().cloned().collect();
        Ok(Snapshot { folder, files: shards.into_iter().collect(), index: Some((file.to_path_buf(), hash)), promised })
    }
}

/// All sets of weights in a folder, complete or not, by name. An error where there is none.
pub(super) fn candidates(folder: &Path) -> Result<Vec<Candidate>> {
    let files = files_in(folder)?;
    let (indices, others): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(|file| is_index(file));
    let tensors = others.into_iter().filter(|file| has_extension(file, &["safetensors"]));
    let mut found: Vec<Candidate> = indices
        .iter()
        .map(|file| Candidate { file: file.to_path_buf(), snapshot: Snapshot::of_file(file) })
        .collect();
    let listed: BTreeSet<PathBuf> = found
        .iter()
        .filter_map(|candidate| candidate.snapshot.as_ref().ok())
        .flat_map(|snapshot| snapshot.files.iter().cloned())
        .collect();
    let mut shards: BTreeMap<(String, usize), BTreeMap<usize, PathBuf>> = BTreeMap::new();
    for file in tensors.filter(|file| !listed.contains(*file)) {
        match shard_of(file) {
            // Shards of an index that cannot be used are no weights of their own.
            Some((stem, ..)) if indices.iter().any(|index| shown(index) == format!("{stem}{INDEX_SUFFIX}")) => {}
            Some((stem, number, count)) => drop(shards.entry((stem, count)).or_default().insert(number, file.clone())),
            None => found.push(Candidate { file: file.clone(), snapshot: Snapshot::of_file(file) }),
        }
    }
    found.extend(shards.into_iter().map(|((_, count), shards)| unindexed(folder, count, shards)));
    found.sort_by(|left, right| left.file.cmp(&right.file));
    if found.is_empty() { Err(nothing_in(folder, &files)) } else { Ok(found) }
}

/// The stem, number and count of a shard's name, `model-00001-of-00003.safetensors`.
fn shard_of(file: &Path) -> Option<(String, usize, usize)> {
    let name = file.file_name()?.to_str()?.strip_suffix(".safetensors")?;
    let (rest, count) = name.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&number).then(|| (stem.to_owned(), number, count))
}

/// Shards whose index is not there: enough where all of them are.
fn unindexed(folder: &Path, count: usize, shards: BTreeMap<usize, PathBuf>) -> Candidate {
    let files: Vec<PathBuf> = shards.into_values().collect();
    let file = files[0].clone();
    let snapshot = if count <= MAX_SHARDS && files.len() == count {
        Ok(Snapshot { folder: folder.to_path_buf(), files, index: None, promised: BTreeMap::new() })
    } else {
        let message = format!("{} of {count} shards are there, and no index", files.len());
        Err(missing(message)
            .context(format!("in `{}`", folder.display()))
            .hint("fetch the others, and the index"))
    };
    Candidate { file, snapshot }
}

fn missing(message: String) -> Error {
    Error::new(Code::WeightsMissing, message)
}

fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(INDEX_SUFFIX)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|extension| extensions.iter().any(|&x| extension == x))
}

/// The one set of weights of a folder to open where nothing is known of the network: the usual name, else an index of shards, else the only
/// other one.
fn choose(folder: &Path) -> Result<Candidate> {
    let mut found = candidates(folder)?;
    if let Some(usual) = found.iter().position(|candidate| candidate.file.ends_with(USUAL_NAME)) {
        return Ok(found.swap_remove(usual));
    }
    if found.iter().any(|candidate| is_index(&candidate.file)) {
        found.retain(|candidate| is_index(&candidate.file));
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|candidate| format!("`{}`", shown(&candidate.file))).collect();
        return Err(several(folder, &names));
    }
    Ok(found.swap_remove(0))
}

/// The error for a folder with several sets of weights, none of which is the usual one.
pub(super) fn several(folder: &Path, names: &[String]) -> Error {
    missing(format!("`{}` holds several weights files: {}", folder.display(), names.join(", "))).hint("pass the path of one of them")
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::io(format!("cannot list the folder `{}`", folder.display()), &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The name of a file without its folder.
pub(super) fn shown(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The error for a folder without weights, naming what was looked for and what might be meant instead.
fn nothing_in(folder: &Path, files: &[PathBuf]) -> Error {
    let error = missing(format!("no weights in `{}`", folder.display()))
        .context(format!("looked for `{USUAL_NAME}`, `*{INDEX_SUFFIX}`, `*.safetensors`"));
    match files.iter().find(|file| has_extension(file, &PICKLES)) {
        Some(pickle) => error
            .context(format!("`{}` may be a PyTorch checkpoint", shown(pickle)))
            .hint(Remedy::ConvertWeights),
        None => error,
    }
}

/// Reads an index of shards: for every tensor the path of its file; and the hash of the index.
fn read_index(file: &Path, folder: &Path) -> Result<(BTreeMap<String, PathBuf>, String)> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: UniqueMap<String>,
    }
    let wrong = |message| Error::new(Code::WeightsFormat, message);
    let text = read_limited(file, MAX_HEADER_BYTES as u64, Code::WeightsFormat)?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| wrong(format!("the index of shards is wrong: {error}")))?;
    if index.weight_map.0.is_empty() {
        return Err(wrong("the index of shards lists no tensors".to_string()));
    }
    let in_folder = |(tensor, name): (String, String)| {
        // An index must not lead out of its folder.
        if !matches!(Path::new(&name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
            return Err(wrong(format!("the index puts tensor `{tensor}` into `{name}`, which is no file name")));
        }
        let shard = folder.join(name);
        if !shard.is_file() {
            return Err(missing(format!("the shard `{}` is missing", shard.display()))
                .context(format!("which should hold tensor `{tensor}`"))
                .hint("fetch it; an index alone holds no weights"));
        }
        Ok((tensor, shard))
    };
    let promised = index.weight_map.0.into_iter().map(in_folder).collect::<Result<_>>()?;
    Ok((promised, sha256(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A folder with empty files of these names.
    fn folder(names: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    fn chosen(names: &[&str]) -> String {
        let folder = folder(names);
        let snapshot = Snapshot::locate(folder.path()).unwrap();
        assert_eq!(snapshot.folder, folder.path());
        snapshot.files[0].file_name().unwrap().to_str().unwrap().to_string()
    }

    #[test]
    fn a_folder_gives_the_usual_name_or_the_only_file() {
        assert_eq!(chosen(&["a.safetensors", "model.safetensors", "z.bin"]), "model.safetensors");
        assert_eq!(chosen(&["open_clip_model.safetensors", "config.json"]), "open_clip_model.safetensors");
    }

    #[test]
    fn a_missing_path_and_a_bare_folder_say_where_was_looked() {
        let error = Snapshot::locate(Path::new("/nowhere/w.safetensors")).unwrap_err();
        assert_eq!(error.code(), Code::WeightsMissing);
        assert_eq!(error.message(), "no weights at `/nowhere/w.safetensors`");

        let bare = folder(&["pytorch_model.bin"]);
        let error = Snapshot::locate(bare.path()).unwrap_err();
        assert_eq!(error.code(), Code::WeightsMissing);
        let text = format!("{error:#}");
        assert!(text.contains("looked for `model.safetensors`, `*.safetensors.index.json`, `*.safetensors`"), "{text}");
        assert!(text.contains("`pytorch_model.bin` may be a PyTorch checkpoint\n\nhint: only safetensors are read"), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_refused_before_it_is_opened() {
        let error = Snapshot::locate(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.code(), Code::WeightsFormat);
        assert_eq!(error.message(), "`/dev/zero` is neither a file nor a folder");
    }

    #[test]
    fn several_files_are_listed_and_none_is_guessed() {
        let two = folder(&["b.safetensors", "a.safetensors"]);
        let error = Snapshot::locate(two.path()).unwrap_err();
        assert_eq!(error.code(), Code::WeightsMissing);
        assert!(error.message().ends_with("holds several weights files: `a.safetensors`, `b.safetensors`"));
    }

    #[test]
    fn an_index_names_its_shards_and_stays_in_its_folder() {
        let shards = folder(&["1.safetensors", "2.safetensors"]);
        let index = shards.path().join("model.safetensors.index.json");
        let refusal = |text: &str| {
            fs::write(&index, text).unwrap();
            Snapshot::locate(shards.path()).unwrap_err()
        };
        for name in ["../1.safetensors", "/etc/passwd", "", ".", "a/1.safetensors"] {
            let error = refusal(&format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#));
            assert_eq!(error.code(), Code::WeightsFormat, "{name}");
            assert!(error.message().starts_with("the index puts tensor `a` into"), "{error}");
        }
        let error = refusal(r#"{"weight_map":{"a":"3.safetensors"}}"#);
        assert_eq!(error.code(), Code::WeightsMissing);
        assert!(error.message().ends_with("3.safetensors` is missing"));
        for text in ["", "{}", r#"{"weight_map":{}}"#, r#"{"weight_map":{"a":"1","a":"1"}}"#] {
            assert_eq!(refusal(text).code(), Code::WeightsFormat, "{text}");
        }

        fs::write(&index, r#"{"metadata":{"total_size":8},"weight_map":{"b":"2.safetensors","a":"1.safetensors"}}"#).unwrap();
        let snapshot = Snapshot::locate(shards.path()).unwrap();
        assert_eq!(snapshot.files, [shards.path().join("1.safetensors"), shards.path().join("2.safetensors")]);
        assert_eq!(snapshot.promised["b"], shards.path().join("2.safetensors"));
    }

    #[test]
    fn shards_without_their_index_are_one_set_if_complete() {
        let two = folder(&["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m-1-of-x.safetensors"]);
        let files = |folder: &Path| {
            candidates(folder)
                .unwrap()
                .into_iter()
                .map(|candidate| (shown(&candidate.file), candidate.snapshot))
        };
        let mut found: Vec<_> = files(two.path()).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].1.as_ref().unwrap().files.len(), 2);
        assert_eq!(found.remove(1).0, "m-1-of-x.safetensors");

        let half = folder(&["m-00002-of-00002.safetensors", "m-99999999999999999999-of-2.safetensors"]);
        let error = files(half.path()).next().unwrap().1.unwrap_err();
        assert_eq!(error.message(), "1 of 2 shards are there, and no index");
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_for_an_index_is_refused_and_not_waited_for() {
        let empty = folder(&[]);
        let index = empty.path().join("m.safetensors.index.json");
        assert!(std::process::Command::new("mkfifo").arg(&index).status().unwrap().success());
        assert_eq!(Snapshot::locate(&index).unwrap_err().code(), Code::WeightsFormat);
    }
}
