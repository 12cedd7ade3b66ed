//! Which weights: those the user names, those of `$ZSAS_WEIGHTS`, else those inside the binary.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use zsas::files::{hex, sha256};
use zsas::models::embedded;
use zsas::{Checkpoint, Code, Error, Result};

/// The word that asks for the weights inside the binary.
pub const EMBEDDED: &str = "embedded";

/// Files beside the tensors that say what these do not.
const CONFIGURATIONS: [&str; 2] = ["open_clip_config.json", "config.json"];

/// Weights that were found, and where.
pub struct Chosen {
    /// The opened file or files.
    pub checkpoint: Checkpoint,
    /// Why these, for the user: `inside this binary`, `named by --weights`.
    pub origin: &'static str,
    files: Vec<PathBuf>,
    identity: OnceCell<Identity>,
}

/// Weights as `run.json` names them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// Path, or the name of the embedded weights.
    pub name: String,
    /// Hash of each file.
    pub files: Vec<FileHash>,
}

/// A file and its hash.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileHash {
    /// Name within the snapshot.
    pub file: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Kinds of snapshots, by the names their folders have among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// Convolutional features.
    WideResnet,
    /// Photos and texts.
    Clip,
    /// CLIP with a decoder.
    Clipseg,
    /// Masks of boxes.
    Sam,
}

impl Snapshot {
    const ALL: [Snapshot; 4] = [Snapshot::WideResnet, Snapshot::Clip, Snapshot::Clipseg, Snapshot::Sam];

    /// Name of its folder in a folder of snapshots.
    pub fn folder(self) -> &'static str {
        match self {
            Snapshot::WideResnet => "wide-resnet",
            Snapshot::Clip => "clip",
            Snapshot::Clipseg => "clipseg",
            Snapshot::Sam => "sam",
        }
    }

    /// Where its weights are published, and the files that are needed; none for those inside the binary.
    fn published(self) -> Option<(&'static str, [&'static str; 2])> {
        match self {
            Snapshot::WideResnet => None,
            Snapshot::Clip => {
                Some(("timm/vit_base_patch16_plus_clip_240.laion400m_e31", ["open_clip_model.safetensors", "open_clip_config.json"]))
            }
            Snapshot::Clipseg => Some(("CIDAS/clipseg-rd64-refined", ["model.safetensors", "config.json"])),
            Snapshot::Sam => Some(("facebook/sam-vit-base", ["model.safetensors", "config.json"])),
        }
    }

    /// Names of tensors of which its files hold one.
    fn signature(self) -> &'static [&'static str] {
        match self {
            Snapshot::WideResnet => &["conv1.weight"],
            Snapshot::Clip => &["visual.conv1.weight", "vision_model.embeddings.class_embedding"],
            Snapshot::Clipseg => &["decoder.film_mul.weight"],
            Snapshot::Sam => &["vision_encoder.pos_embed"],
        }
    }

    /// Whether these are weights of its kind.
    fn signs(self, checkpoint: &Checkpoint) -> bool {
        self.signature().iter().any(|name| checkpoint.contains(name))
    }

    /// The commands that fetch it.
    pub fn remedy(self) -> String {
        let Some((repository, files)) = self.published() else {
            return "`--weights embedded` needs no file".to_owned();
        };
        let folder = self.folder();
        let fetch = |file| {
            format!("  curl -fL --create-dirs -o snapshots/{folder}/{file} https://huggingface.co/{repository}/resolve/main/{file}\n")
        };
        format!("fetch them, then pass `--weights snapshots`:\n{}", files.map(fetch).concat().trim_end())
    }
}

/// Finds the weights of a network.
///
/// `wish` is a snapshot, a folder of snapshots, a file, or `embedded`. Without it `$ZSAS_WEIGHTS` may hold the network; a folder that holds
/// other networks only is passed over. Fails with [`Code::WeightsMissing`] naming the places tried and the remedy.
pub fn choose(snapshot: Snapshot, wish: Option<&Path>) -> Result<Chosen> {
    if let Some(wish) = wish {
        return if wish == Path::new(EMBEDDED) {
            open_embedded(snapshot, "asked for")
        } else {
            open(snapshot, wish, "named by `--weights`")
        };
    }
    match from_environment() {
        None => open_embedded(snapshot, "inside this binary"),
        Some(folder) if holds_others_only(snapshot, &folder) => {
            log::info!("`{}` of ${} holds no `{}`", folder.display(), super::env::WEIGHTS, snapshot.folder());
            open_embedded(snapshot, "inside this binary")
        }
        Some(folder) => open(snapshot, &folder, "named by $ZSAS_WEIGHTS"),
    }
}

/// Whether [`choose`] would find weights of this kind where the user points.
pub fn is_there(snapshot: Snapshot, wish: Option<&Path>) -> bool {
    let place = wish.map(Path::to_owned).or_else(from_environment);
    place.is_some_and(|place| place.join(snapshot.folder()).is_dir() || holds(snapshot, &place) == Some(true))
}

/// Whether what lies at a path is of this kind; `None` where nothing can be opened.
fn holds(snapshot: Snapshot, path: &Path) -> Option<bool> {
    let checkpoint = Checkpoint::open(path).ok()?;
    Some(snapshot.signs(&checkpoint))
}

fn from_environment() -> Option<PathBuf> {
    std::env::var_os(super::env::WEIGHTS).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty())
}

fn open_embedded(snapshot: Snapshot, origin: &'static str) -> Result<Chosen> {
    if snapshot != Snapshot::WideResnet {
        let message = format!("there are no weights of `{}`, nor are they inside this binary", snapshot.folder());
        let error = Error::new(Code::WeightsMissing, message);
        return Err(error
            .context(format!("looked for `--weights` and ${}", super::env::WEIGHTS))
            .hint(snapshot.remedy()));
    }
    Ok(Chosen { checkpoint: embedded::textures()?, origin, files: Vec::new(), identity: OnceCell::new() })
}

fn open(snapshot: Snapshot, wish: &Path, origin: &'static str) -> Result<Chosen> {
    let nested = wish.join(snapshot.folder());
    let path = if nested.is_dir() { nested.clone() } else { wish.to_owned() };
    let checkpoint = Checkpoint::open(&path).map_err(|error| match error.code() {
        Code::WeightsMissing => error
            .context(format!("tried `{}`, then `{}`, {origin}", nested.display(), wish.display()))
            .hint(format!("`--weights` takes a safetensors file, a snapshot, or a folder of snapshots; {}", snapshot.remedy())),
        _ => error,
    })?;
    if !snapshot.signs(&checkpoint)
        && let Some(other) = Snapshot::ALL.into_iter().find(|other| other.signs(&checkpoint))
    {
        let message = format!("`{}` holds weights of `{}`, not of `{}`", path.display(), other.folder(), snapshot.folder());
        return Err(Error::new(Code::WeightsMismatch, message).hint(snapshot.remedy()));
    }
    log::info!("weights: `{}`, {origin}", path.display());
    let files = weight_files(&path)?;
    Ok(Chosen { checkpoint, origin, files, identity: OnceCell::new() })
}

/// True for a folder of snapshots, or a snapshot, of other networks.
fn holds_others_only(snapshot: Snapshot, place: &Path) -> bool {
    let is_folder_of_others = || place.is_dir() && safetensors_in(place).is_ok_and(|files| files.is_empty());
    !place.join(snapshot.folder()).exists() && (is_folder_of_others() || holds(snapshot, place) == Some(false))
}

/// The files that were read: those of [`tensor_files`], and the configurations beside them, which decide about results too.
fn weight_files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = tensor_files(path)?;
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let configurations = CONFIGURATIONS.iter().filter_map(|name| Some(folder?.join(name)));
    files.extend(configurations.filter(|file| file.is_file()));
    Ok(files)
}

/// The file itself, `model.safetensors` of a snapshot, else all of its shards.
fn tensor_files(path: &Path) -> Result<Vec<PathBuf>> {
    let usual = path.join("model.safetensors");
    if path.is_file() {
        Ok(vec![path.to_owned()])
    } else if usual.is_file() {
        Ok(vec![usual])
    } else {
        safetensors_in(path)
    }
}

fn safetensors_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(format!("reading `{}`", folder.display()), &error))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    Ok(files)
}

impl Chosen {
    /// Name and hashes; reads the files whole the first time.
    pub fn identity(&self) -> Result<Identity> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity.clone());
        }
        let identity = self.hash()?;
        Ok(self.identity.get_or_init(|| identity).clone())
    }

    /// The hashes of all files as one text: what tells these weights from others.
    pub fn fingerprint(&self) -> Result<String> {
        let hashes: Vec<String> = self.identity()?.files.into_iter().map(|file| file.sha256).collect();
        Ok(hashes.join(","))
    }

    fn hash(&self) -> Result<Identity> {
        let mut files = Vec::new();
        if self.files.is_empty() {
            files.push(FileHash { file: "textures.safetensors".to_owned(), sha256: sha256(embedded::TEXTURES) });
        }
        for path in &self.files {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(FileHash { file, sha256: sha256_of(path)? });
        }
        Ok(Identity { name: self.checkpoint.name().to_owned(), files })
    }
}

fn sha256_of(path: &Path) -> Result<String> {
    let unreadable = |error| Error::io(format!("hashing `{}`", path.display()), &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).map_err(unreadable)? {
            0 => return Ok(hex(&hash.finalize())),
            len => hash.update(&block[..len]),
        }
    }
}
