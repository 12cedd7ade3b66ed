//! What methods that know words are told: the class, its prompts as prototypes, and good photos.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use zsas::files::{sha256, write_whole};
use zsas::image::Rgb;
use zsas::methods::Profile;
use zsas::methods::language::{embed_texts, prototype};
use zsas::methods::prompts::{Class, PromptEnsemble, clipseg};
use zsas::methods::winclip::{Memory, MultiCrop};
use zsas::models::clip::{Clip, until_end};
use zsas::text::ClipTokenizer;
use zsas::{Array, Checkpoint, Code, Device, Error, Precision, Result};

use crate::cli::infer::method::MethodName;
use crate::cli::inputs::{self, PhotoArgs};
use crate::cli::{cache, talk, usage};

/// What is inspected when nobody says.
const ANYTHING: &str = "object";

/// Options of the methods that know words.
#[derive(Args, Debug)]
pub struct LanguageArgs {
    /// What is inspected, in English, as `bottle` or `metal nut`; a class of MVTec AD, VisA or MPDD by its folder, or any other [default:
    /// object]
    #[arg(long, value_name = "NAME", conflicts_with = "profile", help_heading = "Class and references")]
    class: Option<String>,

    /// Class, phrases of its own for good and bad ones, and threshold, from a TOML file
    #[arg(long, value_name = "FILE", help_heading = "Class and references")]
    profile: Option<PathBuf>,

    /// Good photos to compare with (winclip+): files, folders, globs; inputs are written before it
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., help_heading = "Class and references")]
    normal: Vec<PathBuf>,

    /// What an earlier run remembered of good photos (`--save-memory`), instead of `--normal`
    #[arg(long, value_name = "FILE", conflicts_with = "normal", help_heading = "Class and references")]
    memory: Option<PathBuf>,

    /// Keep what is remembered of the good photos, for `--memory` of later runs
    #[arg(long, value_name = "FILE", requires = "normal", help_heading = "Class and references")]
    save_memory: Option<PathBuf>,

    /// Views of a photo whose probabilities are averaged into its score (winclip, winclip+)
    #[arg(long, value_enum, default_value_t, help_heading = "Class and references")]
    multi_crop: MultiCropWish,
}

/// Which views are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum MultiCropWish {
    /// The whole photo
    #[default]
    None,
    /// Squares along the longer side
    Tile,
    /// Four corners and the centre
    Five,
    /// The five, and each mirrored
    Ten,
}

impl LanguageArgs {
    /// Whether there is a profile, which may hold a threshold.
    pub fn has_profile(&self) -> bool {
        self.profile.is_some()
    }

    /// Whether good photos are given, as files or remembered.
    pub fn has_references(&self) -> bool {
        !self.normal.is_empty() || self.memory.is_some()
    }

    /// Whether anything is said that only a method with words understands.
    pub fn is_used(&self) -> bool {
        self.class.is_some() || self.profile.is_some() || self.has_references() || self.multi_crop != MultiCropWish::None
    }

    /// Checks what was said against the method, and reads profile and references; before weights or a device are touched.
    ///
    /// Errors: an option that the method does not take, a wrong profile, references that are missing or cannot be decoded.
    pub fn resolve(&self, method: MethodName, output: &Path, photos: PhotoArgs) -> Result<Language> {
        self.check(method)?;
        let (class, threshold) = match (&self.profile, &self.class) {
            (Some(file), _) => {
                let profile = read_profile(file)?;
                (profile.class, profile.threshold)
            }
            (None, Some(name)) => (Class::named(name)?, None),
            (None, None) => (Class::named(ANYTHING)?, None),
        };
        let references = if self.normal.is_empty() { Vec::new() } else { find_references(&self.normal, output, photos)? };
        let memory_file = self.memory.as_deref().map(open_memory).transpose()?;
        if let Some(file) = &self.save_memory {
            check_target(file)?;
        }
        let multi_crop = match self.multi_crop {
            MultiCropWish::None => MultiCrop::None,
            MultiCropWish::Tile => MultiCrop::Tile,
            MultiCropWish::Five => MultiCrop::Five,
            MultiCropWish::Ten => MultiCrop::Ten,
        };
        Ok(Language {
            class,
            threshold,
            multi_crop,
            references,
            memory_file,
            save_memory: self.save_memory.clone(),
            embedded: OnceCell::new(),
            memory: OnceCell::new(),
        })
    }

    fn check(&self, method: MethodName) -> Result<()> {
        let name = method.as_str();
        if self.normal.iter().any(|path| path.as_os_str() == "-") {
            return Err(usage("`--normal` takes files, folders and globs; a list on standard input is for the photos to be scored"));
        }
        if method == MethodName::WinClipPlus && !self.has_references() {
            let error = Error::new(Code::Reference, format!("{name} compares with good photos, and none are given"));
            return Err(error.hint("add `--normal PHOTO_OR_FOLDER`, or take `--method winclip`, which needs none"));
        }
        if method != MethodName::WinClipPlus && self.has_references() {
            return Err(usage(format!("{name} takes no good photos")).hint("`--method winclip+` does"));
        }
        if !method.takes_views() && self.multi_crop != MultiCropWish::None {
            return Err(usage(format!("{name} takes one view of a photo")).hint("`--multi-crop` is for winclip and winclip+"));
        }
        if !method.is_in_words() && self.is_used() {
            return Err(
                usage(format!("{name} knows no words")).hint("`--class` and `--profile` are for winclip and the other methods on CLIP")
            );
        }
        Ok(())
    }
}

fn read_profile(file: &Path) -> Result<Profile> {
    let name = file.display().to_string();
    let text = std::fs::read(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("there is no profile `{name}`")),
        _ => Error::io(format!("reading the profile `{name}`"), &error),
    })?;
    let text = String::from_utf8(text).map_err(|_| Error::new(Code::Config, "not UTF-8").context(format!("in `{name}`")))?;
    Profile::parse(&text, &name)
}

/// All references, each decoded once to see that it can be: one that is left out would silently change every score.
fn find_references(paths: &[PathBuf], output: &Path, photos: PhotoArgs) -> Result<Vec<Reference>> {
    let found = inputs::find(paths, output).map_err(|error| unusable(&error, ""))?;
    let look = |input: inputs::Input| {
        let mut reference = Reference { path: input.path, file: input.file, photos, sha256: String::new() };
        reference.sha256 = sha256(reference.photo()?.data());
        Ok(reference)
    };
    found.into_iter().map(look).collect()
}

fn unusable(error: &Error, place: &str) -> Error {
    let error = Error::new(Code::Reference, error.message()).context(format!("as a reference photo, given by `--normal`{place}"));
    error.hint("every reference counts in every score: mend it, or leave it out")
}

/// A good photo. It is decoded when it is needed: many large ones need not be in memory together.
struct Reference {
    path: String,
    file: PathBuf,
    photos: PhotoArgs,
    /// Of its pixels.
    sha256: String,
}

impl Reference {
    fn photo(&self) -> Result<Rgb> {
        let decoded = self.photos.open(&self.file);
        decoded
            .map(|decoded| decoded.image)
            .map_err(|error| unusable(&error, &format!(": `{}`", self.path)))
    }
}

/// A file of what was remembered, opened.
struct MemoryFile {
    path: String,
    checkpoint: Checkpoint,
    sha256: String,
}

fn open_memory(file: &Path) -> Result<MemoryFile> {
    let path = file.display().to_string();
    let refused = |error: Error| Error::new(Code::Reference, error.message()).context(format!("as a memory of good photos, `{path}`"));
    let bytes = std::fs::read(file).map_err(|error| refused(Error::io("it cannot be read", &error)))?;
    let sha256 = sha256(&bytes);
    let checkpoint = Checkpoint::from_bytes(&path, bytes).map_err(refused)?;
    Ok(MemoryFile { path, checkpoint, sha256 })
}

/// Refuses to write a memory over anything but a memory, or into a folder that is not there, before hours of work.
fn check_target(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("`--save-memory {}`: there is no folder `{}`", file.display(), folder.display())));
    }
    if file.exists() && !Checkpoint::open(file).is_ok_and(|checkpoint| Memory::is_memory(&checkpoint)) {
        return Err(usage(format!("`--save-memory {}` would overwrite a file that is no memory", file.display())));
    }
    Ok(())
}

/// What a method is told, with what was made of it: a device that is opened anew does not start over.
pub struct Language {
    /// What is inspected.
    pub class: Class,
    /// The threshold of the profile.
    pub threshold: Option<f32>,
    /// The views that decide a score.
    pub multi_crop: MultiCrop,
    references: Vec<Reference>,
    memory_file: Option<MemoryFile>,
    save_memory: Option<PathBuf>,
    embedded: OnceCell<Array>,
    memory: OnceCell<Memory>,
}

/// What of it decides about results, for `run.json`.
#[derive(Debug, Serialize)]
pub struct Told {
    class: String,
    normal: Vec<String>,
    anomalous: Vec<String>,
    multi_crop: &'static str,
    references: Vec<Seen>,
    memory: Option<Seen>,
}

impl Told {
    /// In a line.
    pub fn in_words(&self) -> String {
        let good = match (&self.memory, self.references.len()) {
            (Some(memory), _) => format!(", compared with the memory `{}`", memory.path),
            (None, 0) => String::new(),
            (None, count) => format!(", compared with {count} good photo{}", if count == 1 { "" } else { "s" }),
        };
        let phrases = self.normal.len() + self.anomalous.len();
        let more = if phrases > 0 { format!(", {phrases} phrases of its own") } else { String::new() };
        let views = if self.multi_crop == MultiCrop::None.as_str() { String::new() } else { format!(", views: {}", self.multi_crop) };
        format!("class {}{more}{good}{views}", self.class)
    }
}

/// A file, and the hash of what was read from it.
#[derive(Debug, Serialize)]
struct Seen {
    path: String,
    sha256: String,
}

impl Language {
    /// What decides about results.
    pub fn told(&self) -> Told {
        let seen = |path: &str, sha256: &str| Seen { path: path.to_owned(), sha256: sha256.to_owned() };
        Told {
            class: self.class.name.clone(),
            normal: self.class.normal.clone(),
            anomalous: self.class.anomalous.clone(),
            multi_crop: self.multi_crop.as_str(),
            references: self.references.iter().map(|reference| seen(&reference.path, &reference.sha256)).collect(),
            memory: self.memory_file.as_ref().map(|file| seen(&file.path, &file.sha256)),
        }
    }

    /// The prototypes of both states `[2, embed]`, from the cache if these prompts went through this tower before.
    pub fn prototypes(&self, run: &Run<'_>, ensemble: &PromptEnsemble) -> Result<Array> {
        self.once(&self.embedded, || {
            let prompts: Vec<&str> = ensemble.normal.iter().chain(&ensemble.anomalous).map(String::as_str).collect();
            let ids = run.tokenize(&prompts);
            cache::array(&run.key("prototypes", &(&ids, ensemble.content())), || {
                let count = ensemble.normal.len();
                let embeddings = run.embed(&ids)?;
                let embed = embeddings.shape().cols();
                let (normal, anomalous) = embeddings.data().split_at(count * embed);
                let one = |rows: &[f32]| prototype(&Array::new([rows.len() / embed, embed], rows.to_vec()), ensemble.average);
                Ok(Array::new([2, embed], [one(normal), one(anomalous)].concat()))
            })
        })
    }

    /// What ClipSeg is asked for: embeddings `[texts, embed]` of its texts, not normalised, from the cache if there.
    pub fn conditionals(&self, run: &Run<'_>) -> Result<Array> {
        self.once(&self.embedded, || {
            let texts = clipseg(&self.class);
            let ids = run.tokenize(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            cache::array(&run.key("conditionals", &ids), || run.embed(&ids))
        })
    }

    /// What is remembered of the good photos; `None` where there are none.
    pub fn memory(&self, run: &Run<'_>) -> Result<Option<&Memory>> {
        if self.references.is_empty() && self.memory_file.is_none() {
            return Ok(None);
        }
        if let Some(memory) = self.memory.get() {
            return Ok(Some(memory));
        }
        let memory = self.remember(run)?;
        Ok(Some(self.memory.get_or_init(|| memory)))
    }

    fn remember(&self, run: &Run<'_>) -> Result<Memory> {
        let identity = format!("the weights {} in {}", run.weights, run.precision_name());
        if let Some(file) = &self.memory_file {
            return Memory::from_checkpoint(&file.checkpoint, &identity);
        }
        let photos = self.references.iter().map(Reference::photo);
        let bar = talk::progress(self.references.len() as u64, run.is_quiet).with_message("references");
        let memory = Memory::remember(run.device, run.clip, photos, run.precision, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        if let Some(file) = &self.save_memory {
            write_whole(file, &memory.to_bytes(&identity)?)?;
        }
        Ok(memory)
    }

    fn once(&self, cell: &OnceCell<Array>, make: impl FnOnce() -> Result<Array>) -> Result<Array> {
        if let Some(array) = cell.get() {
            return Ok(array.clone());
        }
        let array = make()?;
        Ok(cell.get_or_init(|| array).clone())
    }
}

/// What texts and references are run on.
pub struct Run<'a> {
    /// Where.
    pub device: &'a Device,
    /// The towers.
    pub clip: &'a Clip,
    /// Hash of the weights.
    pub weights: String,
    /// How numbers are stored.
    pub precision: Precision,
    /// No talk.
    pub is_quiet: bool,
}

impl Run<'_> {
    fn precision_name(&self) -> &'static str {
        match self.precision {
            Precision::F32 => "f32",
            Precision::Mixed => "f16",
        }
    }

    /// The key of numbers that follow from texts, this tower and this device, to the last bit.
    fn key(&self, kind: &'static str, content: &impl Serialize) -> cache::Key {
        cache::Key::new(kind, &(&self.weights, self.precision_name(), self.device.name(), content))
    }

    /// Token ids of texts, each up to its end. Those that are too long are cut, with a warning.
    fn tokenize(&self, texts: &[&str]) -> Vec<Vec<u32>> {
        let tokenizer = ClipTokenizer::new();
        let context = self.clip.text.context();
        let tokens: Vec<_> = texts.iter().map(|text| tokenizer.encode(text, context)).collect();
        let cut = tokens.iter().filter(|tokens| tokens.is_truncated).count();
        if cut > 0 {
            log::warn!("{cut} of {} prompts are longer than the text tower's {context} tokens and are cut", texts.len());
        }
        tokens.iter().map(|tokens| until_end(&tokens.ids)).collect()
    }

    /// Embeddings of texts given as ids `[texts, embed]`, projected and not normalised.
    fn embed(&self, ids: &[Vec<u32>]) -> Result<Array> {
        if !self.is_quiet {
            talk::say(format_args!("embedding {} prompts, once for this class, these weights and this device", ids.len()));
        }
        let bar = talk::progress(ids.len() as u64, self.is_quiet).with_message("prompts");
        let embeddings = embed_texts(self.device, self.clip, ids, self.precision, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        Ok(embeddings)
    }
}
