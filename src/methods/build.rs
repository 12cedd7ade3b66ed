//! Building a method: from a class to prototypes, from reference images to a memory, from weights to networks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;

use crate::error::{Code, Error, Remedy, Result};
use crate::image::Rgb;
use crate::methods::cache::{Cache, Key};
use crate::methods::memory::Memory;
use crate::methods::prompts::{Class, PromptEnsemble};
use crate::methods::text_prototypes::{embed_texts, prototype};
use crate::methods::{Method, MethodInfo, MultiCrop, Reading, SaaSettings, Tiles};
use crate::models::clip::{Clip, until_end};
use crate::run::Device;
use crate::tensor::{Array, Precision};
use crate::weights::Checkpoint;

/// A reference image of a normal object, decoded when it is needed: many large ones need not be in memory together.
#[derive(Clone)]
pub struct Reference {
    /// The path as given, or another name.
    pub name: String,
    /// SHA-256 of its pixels.
    pub sha256: String,
    /// What was done to its samples when it was decoded.
    pub warnings: Vec<String>,
    /// Pages of its file beside the first, which are not read.
    pub further_pages: usize,
    /// Decodes the image.
    pub open: Arc<dyn Fn() -> Result<Rgb> + Send + Sync>,
}

impl Reference {
    /// Its warnings, each with its name.
    pub fn warnings_with_name(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().map(|warning| format!("reference image {}: {warning}", self.name))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({}, {})", self.name, self.sha256)
    }
}

/// How far the building of a method has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildStep {
    /// Prompts embedded by the text tower, of how many; not reported where they come from a cache.
    Prompts(usize, usize),
    /// Reference images that went through the image tower, of how many.
    References(usize, usize),
}

/// Callback that receives the progress of building. An error of it ends the building.
pub type BuildObserver = Arc<dyn Fn(BuildStep) -> Result<()> + Send + Sync>;

/// Everything a method is built from but the device: kept, so that it can be built again where a device is lost.
pub struct Recipe {
    /// Entry of the method in the table of methods.
    pub method: &'static MethodInfo,
    /// Which source it follows: published code, the paper's equations, a reproduction.
    pub reading: Reading,
    /// How weights and activations are stored.
    pub precision: Precision,
    /// The weights of its networks, in their order.
    pub checkpoints: Vec<Checkpoint>,
    /// Hash of all files of the weights.
    pub fingerprint: String,
    /// What is inspected.
    pub class: Class,
    /// The views that decide a score.
    pub views: MultiCrop,
    /// The squares that an image is cut into; `None` where the method takes it as published.
    pub tiles: Option<Tiles>,
    /// What SAA or SAA+ does; `None` for other methods.
    pub saa: Option<SaaSettings>,
    /// Reference images.
    pub references: Vec<Reference>,
    /// A file of an earlier run's memory, in place of reference images.
    pub memory_file: Option<Checkpoint>,
    /// Cache of prompt embeddings.
    pub cache: Cache,
    /// Told how far building has come.
    pub observer: Option<BuildObserver>,
    /// What was computed on the first device, for the next.
    pub precomputed: Precomputed,
}

/// Text embeddings and memory, computed once and kept for the next device.
#[derive(Default)]
pub struct Precomputed {
    embeddings: Mutex<HashMap<Key, Array>>,
    memory: OnceLock<Arc<Memory>>,
}

impl Recipe {
    /// Builds the method on a device.
    ///
    /// Errors: weights of another network, a device that cannot hold them, references or a memory that cannot be used.
    pub fn build(&self, device: &Device) -> Result<Box<dyn Method>> {
        (self.method.build)(&BuildContext { recipe: self, device })
    }

    /// What the features of a memory are of: it fits these weights, tiles and precision only. What else a method does with an image is part of the
    /// format of its memory.
    pub fn memory_identity(&self) -> String {
        let tiles = self.tiles.map_or_else(String::new, |tiles| format!(", by {tiles},"));
        format!("the weights {}{tiles} in {}", self.fingerprint, self.precision.as_str())
    }

    /// The memory of the reference images, once the method is built; `None` for a method without.
    pub fn memory(&self) -> Option<&Memory> {
        self.precomputed.memory.get().map(Arc::as_ref)
    }

    /// The memory of the reference images as a file; `None` for a method without.
    pub fn memory_file(&self) -> Result<Option<Vec<u8>>> {
        self.memory().map(|memory| memory.to_bytes(&self.memory_identity(), &self.class.name)).transpose()
    }

    /// Refuses a memory of images of another class. One that was made without naming a class fits any.
    fn check_class(&self, file: &Checkpoint) -> Result<()> {
        match Memory::class(file) {
            Some(class) if class != self.class.name && class != Class::ANYTHING && self.class.name != Class::ANYTHING => {
                let message = format!("`{}` is a memory of `{class}`, and `{}` is inspected", file.name(), self.class.name);
                Err(Error::new(Code::Reference, message).hint(Remedy::MakeMemoryAgain))
            }
            _ => Ok(()),
        }
    }

    fn report(&self, step: BuildStep) -> Result<()> {
        self.observer.as_ref().map_or(Ok(()), |observer| observer(step))
    }
}

/// What the constructor of a method is given: the recipe and a device.
pub struct BuildContext<'a> {
    /// The recipe that it is built from.
    pub recipe: &'a Recipe,
    /// The device that it is built on.
    pub device: &'a Device,
}

impl BuildContext<'_> {
    /// The weights of the method's first network.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.recipe.checkpoints[0]
    }

    /// CLIP from the weights of the method's first network.
    pub fn clip(&self) -> Result<Clip> {
        let clip = Clip::load(self.checkpoint())?;
        self.checkpoint().finish();
        Ok(clip)
    }

    /// The prototypes of the normal and the anomalous state `[2, embed]`, rows of unit length.
    pub fn prototypes(&self, clip: &Clip, ensemble: &PromptEnsemble) -> Result<Array> {
        let prompts: Vec<&str> = ensemble.normal.iter().chain(&ensemble.anomalous).map(String::as_str).collect();
        let ids = token_ids(&prompts, clip)?;
        let shape = [2, clip.text.embed()];
        self.once(self.key("prototypes", &(&ids, ensemble.content())), shape, || {
            let embeddings = self.embed(clip, &ids)?;
            let embed = embeddings.shape().cols();
            let (normal, anomalous) = embeddings.data().split_at(ensemble.normal.len() * embed);
            let state = |rows: &[f32]| prototype(&Array::new([rows.len() / embed, embed], rows.to_vec()), ensemble.average);
            Ok(Array::new(shape, [state(normal), state(anomalous)].concat()))
        })
    }

    /// Embeddings of texts `[texts, embed]`, projected and not normalised.
    pub fn text_embeddings(&self, clip: &Clip, texts: &[String]) -> Result<Array> {
        let ids = token_ids(&texts.iter().map(String::as_str).collect::<Vec<_>>(), clip)?;
        self.once(self.key("conditionals", &ids), [ids.len(), clip.text.embed()], || self.embed(clip, &ids))
    }

    /// The memory of the reference images, or the one in the memory file; `None` where there are neither, or the method keeps none.
    ///
    /// `remember` makes it of the decoded images; it calls the function that it is given with the number of images that are done.
    pub fn memory(
        &self,
        remember: impl FnOnce(&mut dyn Iterator<Item = Result<Rgb>>, &mut dyn FnMut(usize) -> Result<()>) -> Result<Memory>,
    ) -> Result<Option<Arc<Memory>>> {
        let recipe = self.recipe;
        let Some(kind) = recipe.method.inputs.memory else { return Ok(None) };
        if let Some(memory) = recipe.precomputed.memory.get() {
            return Ok(Some(Arc::clone(memory)));
        }
        let memory = match &recipe.memory_file {
            Some(file) => {
                kind.check(file)?;
                recipe.check_class(file)?;
                Memory::read(file, kind, &recipe.memory_identity())?
            }
            None if recipe.references.is_empty() => return Ok(None),
            None => {
                let count = recipe.references.len();
                let mut images = recipe.references.iter().map(|reference| (reference.open)());
                remember(&mut images, &mut |done| recipe.report(BuildStep::References(done, count)))?
            }
        };
        Ok(Some(Arc::clone(recipe.precomputed.memory.get_or_init(|| Arc::new(memory)))))
    }

    /// The memory of a method that requires reference images, made as by [`BuildContext::memory`].
    ///
    /// Errors where there are no reference images and no memory.
    pub fn required_memory(
        &self,
        remember: impl FnOnce(&mut dyn Iterator<Item = Result<Rgb>>, &mut dyn FnMut(usize) -> Result<()>) -> Result<Memory>,
    ) -> Result<Arc<Memory>> {
        self.memory(remember)?.ok_or_else(|| self.recipe.method.no_references())
    }

    /// The key of numbers that follow from texts, this network, this device and its kernels, to the last bit.
    fn key(&self, kind: &'static str, content: &impl Serialize) -> Key {
        let tier = self.device.adapter().map(|adapter| adapter.tier);
        Key::new(kind, &(&self.recipe.fingerprint, self.recipe.precision.as_str(), self.device.identity(), tier, content))
    }

    /// Embeddings of this recipe: those kept from the device before, those of the cache, else computed.
    fn once(&self, key: Key, shape: [usize; 2], compute: impl FnOnce() -> Result<Array>) -> Result<Array> {
        let precomputed = || self.recipe.precomputed.embeddings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(array) = precomputed().get(&key) {
            return Ok(array.clone());
        }
        let array = self.recipe.cache.array(&key, shape, compute)?;
        Ok(precomputed().entry(key).or_insert(array).clone())
    }

    fn embed(&self, clip: &Clip, ids: &[Vec<u32>]) -> Result<Array> {
        self.recipe.report(BuildStep::Prompts(0, ids.len()))?;
        let report = |done| self.recipe.report(BuildStep::Prompts(done, ids.len()));
        embed_texts(self.device, clip, ids, self.recipe.precision, report)
    }
}

/// Token ids of texts, each up to its end. Those that are too long are cut, with a warning.
///
/// Errors: weights that were trained with another tokenizer.
fn token_ids(texts: &[&str], clip: &Clip) -> Result<Vec<Vec<u32>>> {
    let tokenizer = clip.tokenizer()?;
    let context = clip.text.context();
    let tokens: Vec<_> = texts.iter().map(|text| tokenizer.encode(text, context)).collect();
    let cut = tokens.iter().filter(|tokens| tokens.is_truncated).count();
    if cut > 0 {
        log::warn!("{cut} of {} prompts are longer than the text tower's {context} tokens and are cut", texts.len());
    }
    Ok(tokens.iter().map(|tokens| until_end(&tokens.ids)).collect())
}
