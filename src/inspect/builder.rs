//! Builder of a detector: its options are checked against each other before weights are read or a device is opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Code, Error, Remedy, Result};
use crate::files::{read_limited, sha256};
use crate::image::{Decoded, ReadOptions, Rgb};
use crate::inspect::scoring::parameters;
use crate::inspect::{Detector, DeviceRequest, RegionOfInterest};
use crate::methods::cache::Cache;
use crate::methods::memory::Memory;
use crate::methods::prompts::Class;
use crate::methods::saa::{OwnPrompts, Part};
use crate::methods::{
    self, BuildObserver, METHODS, MethodInfo, MultiCrop, Precomputed, Profile, Reading, Recipe, Reference, References, SaaOptions,
    SaaSettings, ScoreOf, Tiles,
};
use crate::models::store::{self, FoundWeights, Origin};
use crate::models::{NetworkInfo, clip};
use crate::results::{Calibration, Conditions, NamedHash, PromptParameters};
use crate::run::{DeviceOptions, Observer};
use crate::tensor::Precision;
use crate::weights::Checkpoint;

/// Most bytes of a memory of reference images.
const MAX_MEMORY_BYTES: u64 = 1 << 36;

/// Builder of a [`Detector`]. Every option has a default: without any, the strongest method whose weights are on this machine runs on the
/// best device.
#[derive(Clone, Default)]
pub struct DetectorBuilder {
    method: Option<String>,
    reading: Option<Reading>,
    subject: Option<Subject>,
    references: Vec<Reference>,
    memory: Option<PathBuf>,
    views: Option<MultiCrop>,
    tiles: Option<Tiles>,
    region: Option<RegionOfInterest>,
    without: Vec<Part>,
    weights: Option<PathBuf>,
    precision: Option<Precision>,
    calibration: Option<Calibration>,
    device: DeviceRequest,
    cache: Cache,
    build_observer: Option<BuildObserver>,
}

#[derive(Clone)]
enum Subject {
    Named(String),
    Class(Class),
    Profile(PathBuf),
}

/// A plan of a detector: checked options and found weights; the device is not open yet.
pub struct Plan {
    recipe: Recipe,
    weights: Vec<FoundWeights>,
    /// The precision that was asked for; without it the device decides.
    precision: Option<Precision>,
    threshold: Option<f32>,
    prompt: Option<PromptParameters>,
    region: Option<RegionOfInterest>,
    is_automatic: bool,
    calibration: Option<Calibration>,
    device: DeviceRequest,
}

impl DetectorBuilder {
    /// The method, by its name in [`methods::METHODS`]; `auto`, the default, is the strongest whose weights are on this machine.
    pub fn method(mut self, name: impl Into<String>) -> Self {
        self.method = Some(name.into()).filter(|name| name != "auto");
        self
    }

    /// Reading of the method: published code or paper; by default the method's own choice.
    pub fn reading(mut self, reading: Option<Reading>) -> Self {
        self.reading = reading;
        self
    }

    /// Class of the inspected object, such as `bottle` or `metal nut`; `object` by default.
    pub fn class(mut self, name: impl Into<String>) -> Self {
        self.subject = Some(Subject::Named(name.into()));
        self
    }

    /// Class of the inspected object, with further phrases for the normal and the anomalous state.
    pub fn phrases(mut self, class: Class) -> Self {
        self.subject = Some(Subject::Class(class));
        self
    }

    /// A profile: class, phrases and threshold in a TOML file.
    pub fn profile(mut self, file: impl Into<PathBuf>) -> Self {
        self.subject = Some(Subject::Profile(file.into()));
        self
    }

    /// Reference images of normal objects.
    pub fn references(mut self, references: impl IntoIterator<Item = Reference>) -> Self {
        self.references.extend(references);
        self
    }

    /// A file with an earlier detector's memory of reference images, instead of reference images.
    pub fn memory(mut self, file: impl Into<PathBuf>) -> Self {
        self.memory = Some(file.into());
        self
    }

    /// The views of an image whose probabilities are averaged into its score; one view by default.
    pub fn views(mut self, views: impl Into<Option<MultiCrop>>) -> Self {
        self.views = views.into();
        self
    }

    /// Squares that together cover an image and are inspected one by one, for methods that inspect the centre of it alone.
    pub fn tiles(mut self, tiles: Option<Tiles>) -> Self {
        self.tiles = tiles;
        self
    }

    /// The part of every image that is inspected: its score is the largest value of the map within. By default all of it.
    pub fn region_of_interest(mut self, region: Option<RegionOfInterest>) -> Self {
        self.region = region;
        self
    }

    /// Parts of SAA+ to leave out, as in the ablations of its paper.
    pub fn without(mut self, parts: impl IntoIterator<Item = Part>) -> Self {
        self.without.extend(parts);
        self.without.sort_unstable();
        self.without.dedup();
        self
    }

    /// Where the weights are: a snapshot, a folder of snapshots named by network, a file, or [`store::EMBEDDED`]; by default those of
    /// `$ZSAS_WEIGHTS`, else those inside the library.
    pub fn weights(mut self, place: impl Into<PathBuf>) -> Self {
        self.weights = Some(place.into());
        self
    }

    /// How weights and activations are stored; by default as [`MethodInfo::precision_on`] the device says.
    pub fn precision(mut self, precision: impl Into<Option<Precision>>) -> Self {
        self.precision = precision.into();
        self
    }

    /// A calibration: its threshold and level decide. Method, reading, views, class, phrases, parts to leave out and precision are its own
    /// where they are not chosen; whatever differs is refused.
    pub fn calibration(mut self, calibration: Calibration) -> Self {
        self.calibration = Some(calibration);
        self
    }

    /// Which device, and how it is opened.
    pub fn device(mut self, options: DeviceOptions) -> Self {
        self.device.options = options;
        self
    }

    /// Folder of the cache of prompt embeddings; none by default.
    pub fn cache(mut self, folder: Option<PathBuf>) -> Self {
        self.cache = Cache::at(folder);
        self
    }

    /// A callback that receives the progress of embedding prompts and of reading references.
    pub fn observe_building(mut self, observer: BuildObserver) -> Self {
        self.build_observer = Some(observer);
        self
    }

    /// A callback that receives the progress of each run on the device.
    pub fn observe_device(mut self, observer: Observer) -> Self {
        self.device.observer = Some(observer);
        self
    }

    /// Numbers of attempts, counted from 1, before which the device is given up, so that recovery can be tested.
    #[doc(hidden)]
    pub fn lose_device_at(mut self, attempts: HashSet<usize>) -> Self {
        self.device.lose_at = attempts;
        self
    }

    /// Finds the weights, opens the device and builds the method.
    ///
    /// Errors: those of [`DetectorBuilder::plan`] and [`Plan::open`].
    pub fn open(self) -> Result<Detector> {
        self.plan()?.open()
    }

    /// Checks the choices against each other and finds the weights; opens no device.
    ///
    /// Errors: options that the method does not support, a wrong profile or memory, weights that are missing or of another network, a
    /// calibration that does not fit.
    pub fn plan(mut self) -> Result<Plan> {
        self.choose_as_calibrated()?;
        // The user's files first: what is wrong with them is said even where weights are missing.
        let Profile { class, threshold, saa } = match &self.subject {
            Some(Subject::Profile(file)) => Profile::read(file)?,
            Some(Subject::Class(class)) => Profile::of(class.clone()),
            Some(Subject::Named(name)) => Profile::of(Class::named(name)?),
            None => Profile::of(Class::named(Class::ANYTHING)?),
        };
        let (memory_file, memory) = self.memory.as_deref().map(open_memory).transpose()?.unzip();
        // Phrases and threshold of a profile without `[saa]` were made with a method on CLIP.
        let is_for_clip = saa == OwnPrompts::default() && (threshold.is_some() || !(class.normal.is_empty() && class.anomalous.is_empty()));
        let method = self.choose_method(is_for_clip, memory_file.as_ref())?;
        self.check(method)?;
        if let (Some(kind), Some(file)) = (method.inputs.memory, &memory_file) {
            kind.check(file)?;
        }
        let reading = method.reading(self.reading)?;
        let has_saa = saa != OwnPrompts::default();
        let saa = SaaSettings::of(method, reading, &class, &SaaOptions { own: saa, without: self.without.clone() })?;
        if has_saa && saa.is_none() {
            log::warn!("`[saa]` of the profile is for the methods saa+ and saa; `{}` does not read it", method.name);
        }
        if saa.is_some() && !(class.normal.is_empty() && class.anomalous.is_empty()) {
            log::warn!("`normal` and `anomalous` of the profile are for methods on CLIP; `{}` reads `[saa]`", method.name);
        }
        let weights = method
            .networks
            .iter()
            .filter(|network| saa.as_ref().is_none_or(|saa| saa.needs(network)))
            .map(|network| store::find(network, self.weights.as_deref()))
            .collect::<Result<Vec<_>>>()?;
        if let Some(found) = weights.iter().find(|found| weights.len() > 1 && found.origin == Origin::EmbeddedDefault) {
            // Those inside the library are of textures: saliency by them would pass for that of the published network.
            let message = format!("`{}` needs weights of `{}`, and none were named", method.name, found.network);
            return Err(Error::new(Code::WeightsMissing, message).hint(found.network.fetch()));
        }
        let identity = store::identity(&weights)?;
        // A memory fits one precision only.
        let precision = self.precision.or_else(|| memory_file.as_ref().and_then(Memory::precision));
        let recipe = Recipe {
            method,
            reading,
            // Where it is left open, `Plan::open` asks the device.
            precision: precision.unwrap_or_default(),
            checkpoints: weights.iter().map(|found| found.checkpoint.clone()).collect(),
            fingerprint: identity.fingerprint(),
            class,
            views: self.views.unwrap_or_default(),
            tiles: self
                .tiles
                .zip(method.inputs.tiles)
                .map(|(tiles, frame)| tiles.of_method(method.name, frame))
                .transpose()?,
            saa,
            references: self.references,
            memory_file,
            cache: self.cache,
            observer: self.build_observer,
            precomputed: Precomputed::default(),
        };
        let prompt = PromptParameters::of(&recipe, memory);
        if let Some(calibration) = &self.calibration {
            let now = Conditions::of(&parameters(&recipe, prompt.as_ref(), self.region.as_ref(), ReadOptions::default()), &identity, None);
            calibration
                .conditions
                .differing_detector(&now)
                .map_or(Ok(()), |differing| Err(calibration.mismatch(&differing)))?;
            if let Some(threshold) = threshold {
                log::warn!("the threshold {threshold} of the profile does not count: the calibration decides");
            }
        }
        Ok(Plan {
            recipe,
            weights,
            precision,
            threshold,
            prompt,
            region: self.region,
            is_automatic: self.method.is_none(),
            calibration: self.calibration,
            device: self.device,
        })
    }

    /// Makes the choices of the calibration where none were made. A method that was chosen has to be its own, or other options would be refused
    /// as not those of the method.
    fn choose_as_calibrated(&mut self) -> Result<()> {
        let Some(calibration) = self.calibration.clone() else { return Ok(()) };
        let conditions = &calibration.conditions;
        let method: &MethodInfo = calibrated(conditions, "method", METHODS, |method| method.name)?;
        if let Some(chosen) = self.method.as_deref().filter(|chosen| *chosen != method.name) {
            return Err(calibration.mismatch(&format!("`method` was `{}`, now `{chosen}`", method.name)));
        }
        self.method = Some(method.name.to_owned());
        self.reading = self.reading.or(Some(calibrated(conditions, "reading", &Reading::ALL, Reading::as_str)?));
        self.views = self.views.or(Some(calibrated(conditions, "views", &MultiCrop::ALL, MultiCrop::as_str)?));
        self.tiles = match self.tiles {
            None => conditions.tiles()?,
            chosen => chosen,
        };
        self.precision = self.precision.or(Some(calibrated(conditions, "precision", &Precision::ALL, Precision::as_str)?));
        if self.without.is_empty() && method.name == "saa+" {
            let left_out = conditions.texts(&["language", "saa", "without"]);
            self.without = Part::ALL.into_iter().filter(|part| left_out.iter().any(|name| name == part.as_str())).collect();
        }
        let class = conditions.text(&["language", "class"]).map(|name| Class {
            name: name.to_owned(),
            normal: conditions.texts(&["language", "normal"]),
            anomalous: conditions.texts(&["language", "anomalous"]),
        });
        self.subject = self.subject.take().or(class.map(Subject::Class));
        Ok(())
    }

    /// The requested method, else that of the memory, else the strongest whose weights are found.
    ///
    /// Text without weights of CLIP is an error, since a method without text would silently ignore it.
    fn choose_method(&self, is_for_clip: bool, memory: Option<&Checkpoint>) -> Result<&'static MethodInfo> {
        if let Some(name) = &self.method {
            return methods::named(name);
        }
        if let Some(info) = memory.and_then(methods::of_memory) {
            return Ok(info);
        }
        let is_there = |network: &'static NetworkInfo| store::is_there(network, self.weights.as_deref());
        let views = self.views.unwrap_or_default();
        let suits = |info: &MethodInfo| {
            let has_reading = self.reading.is_none_or(|reading| info.readings.contains(&reading));
            info.inputs.views.contains(&views) && has_reading && !(is_for_clip && info.name == "saa+") && self.check_part(info).is_ok()
        };
        let info = methods::strongest(self.has_references(), suits, is_there);
        let has_text = self.subject.is_some() || self.has_references();
        if has_text && !info.inputs.text && (self.tiles.is_some() || self.region.is_some()) {
            let message =
                "no method that is chosen automatically takes text or reference images and inspects tiles or a region of interest";
            return Err(Error::new(Code::Usage, message).hint("name a method, or leave one of the two out"));
        }
        if has_text && !info.inputs.text || !info.inputs.views.contains(&views) {
            return Err(self.no_text_weights());
        }
        Ok(info)
    }

    /// The error for text without weights of CLIP: why those that were found cannot be used, or how to fetch them.
    fn no_text_weights(&self) -> Error {
        let needed = "the class, profile, reference images or views that were given need weights of CLIP";
        match store::find_if_there(&clip::NETWORK, self.weights.as_deref()) {
            Err(error) => error.context(needed),
            Ok(_) => {
                let message = format!(
                    "{needed}, and none were found; the method `utad` needs none, nor do `patchcore`, `spade` and `padim`, which take reference images"
                );
                Error::new(Code::WeightsMissing, message).hint(clip::NETWORK.fetch())
            }
        }
    }

    fn has_references(&self) -> bool {
        !self.references.is_empty() || self.memory.is_some()
    }

    /// Refuses options that the method does not support.
    fn check(&self, method: &MethodInfo) -> Result<()> {
        let name = method.name;
        let refused = |message: String, remedy| Err(Error::new(Code::Usage, message).hint(remedy));
        if method.inputs.references == References::Required && !self.has_references() {
            return Err(method.no_references());
        }
        if method.inputs.references == References::None && self.has_references() {
            return refused(format!("`{name}` takes no reference images"), Remedy::UseMethodWithReferences);
        }
        let views = self.views.unwrap_or_default();
        if !method.inputs.views.contains(&views) {
            return refused(format!("`{name}` does not support the views `{}`", views.as_str()), Remedy::UseMethodWithViews);
        }
        self.check_part(method)?;
        if !method.inputs.text && self.subject.is_some() {
            return refused(format!("`{name}` takes no text"), Remedy::UseMethodWithText);
        }
        if !self.references.is_empty() && self.memory.is_some() {
            return Err(Error::new(Code::Usage, "reference images and a memory of them were given; one of the two is needed"));
        }
        Ok(())
    }

    /// Refuses tiles and a region of interest where the method has no use for them.
    fn check_part(&self, method: &MethodInfo) -> Result<()> {
        let name = method.name;
        match (&self.tiles, method.inputs.tiles) {
            (Some(tiles), Some(frame)) => drop(tiles.of_method(name, frame)?),
            (Some(_), None) => {
                let message = format!("`{name}` looks at the whole image at once, and cannot inspect it in tiles");
                return Err(Error::new(Code::Usage, message).hint(Remedy::UseMethodWithTiles));
            }
            (None, _) => {}
        }
        if self.region.is_some() && method.score == ScoreOf::Image {
            let message = format!("the score of `{name}` is of the whole image: what lies outside a region of interest would count in it");
            return Err(Error::new(Code::Usage, message).hint(Remedy::UseMethodWithRegion));
        }
        Ok(())
    }
}

/// The choice of this name among `all` that a calibration was made with.
fn calibrated<T: Copy>(conditions: &Conditions, key: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T> {
    let chosen = conditions.text(&[key]).unwrap_or_default();
    let unknown = || Error::new(Code::Calibration, format!("the calibration was made with the {key} `{chosen}`, which is not known here"));
    all.iter().copied().find(|&one| name(one) == chosen).ok_or_else(unknown)
}

impl Plan {
    /// The method.
    pub fn method(&self) -> &'static MethodInfo {
        self.recipe.method
    }

    /// Whether the method was chosen automatically.
    pub fn is_automatic(&self) -> bool {
        self.is_automatic
    }

    /// The weights of each of the method's networks.
    pub fn weights(&self) -> &[FoundWeights] {
        &self.weights
    }

    /// Whether there are reference images, or a memory of them.
    pub fn has_references(&self) -> bool {
        !self.recipe.references.is_empty() || self.recipe.memory_file.is_some()
    }

    /// The threshold of the calibration, else of the profile.
    pub fn threshold(&self) -> Option<f32> {
        self.calibration.as_ref().map(|calibration| calibration.threshold).or(self.threshold)
    }

    /// Opens the device and builds the method.
    ///
    /// Errors: no usable device, a device that cannot hold the weights, references or a memory that cannot be used.
    pub fn open(self) -> Result<Detector> {
        let device = self.device.open()?;
        let precision = self.precision.unwrap_or_else(|| self.recipe.method.precision_on(&device));
        if self.precision.is_none() {
            log::info!("`{}` runs in {} on {}", self.recipe.method.name, precision.as_str(), device.name());
        }
        let recipe = Recipe { precision, ..self.recipe };
        let detector = Detector::build(recipe, self.weights, self.threshold, self.prompt, self.device, device)?;
        let detector = detector.with_region(self.region);
        match self.calibration {
            Some(calibration) => detector.calibrated(calibration),
            None => Ok(detector),
        }
    }
}

impl Reference {
    /// A reference image in memory.
    pub fn image(name: impl Into<String>, image: Rgb) -> Reference {
        let sha256 = sha256(image.data());
        Reference {
            name: name.into(),
            sha256,
            warnings: Vec::new(),
            further_pages: 0,
            open: Arc::new(move || Ok(image.clone())),
        }
    }

    /// A reference image in a file: decoded once now, as a check, and again when it is needed.
    ///
    /// Errors with [`Code::Reference`] where it cannot be decoded: leaving out a reference would silently change every score.
    pub fn file(name: impl Into<String>, file: impl Into<PathBuf>, read: ReadOptions) -> Result<Reference> {
        let (name, file) = (name.into(), file.into());
        let open = {
            let name = name.clone();
            move || read.open(&file).map_err(|error| Reference::unusable(&name, &error))
        };
        let Decoded { image, warnings, uninspected } = open()?;
        let warnings = warnings.iter().filter(|warning| warning.is_once_a_run()).map(ToString::to_string).collect();
        let further_pages = uninspected.iter().map(|part| part.count).sum();
        Ok(Reference {
            name,
            sha256: sha256(image.data()),
            warnings,
            further_pages,
            open: Arc::new(move || Ok(open()?.image)),
        })
    }

    /// The error for a reference image that cannot be used.
    fn unusable(name: &str, error: &Error) -> Error {
        let error = Error::new(Code::Reference, error.message()).context(format!("as a reference image: `{name}`"));
        error.hint("every reference counts in every score: mend it, or leave it out")
    }
}

fn open_memory(file: &Path) -> Result<(Checkpoint, NamedHash)> {
    let name = file.display().to_string();
    let refused = |error: Error| Error::new(Code::Reference, error.message()).context(format!("as a memory of reference images, `{name}`"));
    let bytes = read_limited(file, MAX_MEMORY_BYTES, Code::Reference).map_err(refused)?;
    let sha256 = sha256(&bytes);
    let checkpoint = Checkpoint::from_bytes(&name, bytes).map_err(refused)?;
    if !Memory::is_memory(&checkpoint) {
        return Err(refused(Error::new(Code::Reference, "the file is no memory of reference images")).hint(Remedy::MakeMemoryAgain));
    }
    Ok((checkpoint, NamedHash { path: name, sha256 }))
}
