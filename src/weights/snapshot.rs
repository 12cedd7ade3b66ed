//! Finds the safetensors files behind a path: one file, a hub snapshot folder, or an index with its shards.

use super::header::MAX_HEADER_BYTES;
use super::listing::UniqueMap;
use crate::error::{Code, Context, Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The file that a snapshot folder usually holds.
const USUAL_NAME: &str = "model.safetensors";
/// How the name of an index of shards ends.
const INDEX_SUFFIX: &str = ".safetensors.index.json";

/// The files of one set of weights.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The folder that holds the files.
    pub folder: PathBuf,
    /// The safetensors files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// For every tensor that an index lists, the file it should be in.
    pub promised: BTreeMap<String, PathBuf>,
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
        let file = if found.is_dir() { choose(path)? } else { path.to_path_buf() };
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        if is_index(&file) {
            let promised = read_index(&file, &folder).context(|| format!("in `{}`", file.display()))?;
            let shards: BTreeSet<_> = promised.values().cloned().collect();
            Ok(Snapshot { folder, files: shards.into_iter().collect(), promised })
        } else {
            Ok(Snapshot { folder, files: vec![file], promised: BTreeMap::new() })
        }
    }
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

/// The one file of a folder to open: the usual name, else an index of shards, else the only safetensors file.
fn choose(folder: &Path) -> Result<PathBuf> {
    let files = files_in(folder)?;
    if let Some(usual) = files.iter().find(|file| file.ends_with(USUAL_NAME)) {
        return Ok(usual.clone());
    }
    let indices: Vec<_> = files.iter().filter(|file| is_index(file)).collect();
    let tensors: Vec<_> = files.iter().filter(|file| has_extension(file, &["safetensors"])).collect();
    let candidates = if indices.is_empty() { tensors } else { indices };
    match candidates[..] {
        [only] => Ok(only.clone()),
        [] => Err(nothing_in(folder, &files)),
        _ => {
            let names: Vec<_> = candidates.iter().map(|file| shown_name(file)).collect();
            Err(missing(format!("`{}` holds several weights files: {}", folder.display(), names.join(", ")))
                .hint("pass the path of one of them"))
        }
    }
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

fn shown_name(file: &Path) -> String {
    format!("`{}`", file.file_name().unwrap_or_default().display())
}

/// The error for a folder without weights, naming what was looked for and what might be meant instead.
fn nothing_in(folder: &Path, files: &[PathBuf]) -> Error {
    let error = missing(format!("no weights in `{}`", folder.display()))
        .context(format!("looked for `{USUAL_NAME}`, `*{INDEX_SUFFIX}`, `*.safetensors`"));
    match files.iter().find(|file| has_extension(file, &["bin", "pth", "pt", "ckpt"])) {
        Some(pickle) => {
            error.hint(format!("{} may be a PyTorch checkpoint: convert it with `python tools/convert.py`", shown_name(pickle)))
        }
        None => error,
    }
}

/// Reads an index of shards: for every tensor the path of its file.
fn read_index(file: &Path, folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: UniqueMap<String>,
    }
    let wrong = |message| Error::new(Code::WeightsFormat, message);
    let unreadable = |error| Error::io("cannot read the index of shards", &error);
    let bytes = fs::metadata(file).map_err(unreadable)?.len();
    if bytes > MAX_HEADER_BYTES as u64 {
        return Err(wrong(format!("the index of shards has {bytes} bytes, more than {MAX_HEADER_BYTES}")));
    }
    let text = fs::read(file).map_err(unreadable)?;
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
    index.weight_map.0.into_iter().map(in_folder).collect()
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
        assert!(text.contains("hint: `pytorch_model.bin` may be a PyTorch checkpoint"), "{text}");
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
}
