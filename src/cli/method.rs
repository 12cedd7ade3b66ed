//! Options of the verbs that score photos: everything that decides a score, and how a detector is opened by them. What is inspected and
//! compared with are options of their own, since a data set says it itself.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use indicatif::ProgressBar;
use zsas::files::write_whole;
use zsas::image::ReadOptions;
use zsas::inputs::{self, Input, LeftOut};
use zsas::inspect::{Detector, DetectorBuilder, Plan, RegionOfInterest};
use zsas::methods::saa::Part;
use zsas::methods::{self, BuildStep, Memory, MultiCrop, Reading, Reference, References, Tiles};
use zsas::{Checkpoint, Code, Error, Result};

use crate::cli::device::{DeviceArgs, lose_at};
use crate::cli::numbers::parse_count;
use crate::cli::photos::PhotoArgs;
use crate::cli::signals::Signals;
use crate::cli::{cache, choice, of_weights, talk, usage};

/// The options that decide a score, whatever is inspected.
#[derive(Args, Debug)]
pub struct MethodArgs {
    /// How anomalies are found; `auto` takes the strongest method whose weights are on this machine
    #[arg(long, value_parser = choice::method(), default_value = "auto")]
    method: String,

    /// A snapshot, a folder of snapshots named by network, or `embedded`; without it $ZSAS_WEIGHTS, then those inside this binary, on which
    /// utad, saliency, patchcore, spade and padim run
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Whether a method follows the published code, the paper's equations or a public reproduction; by default the method's own choice, which
    /// `run.json` names
    #[arg(long, value_parser = choice::reading())]
    reading: Option<Reading>,

    /// Parts of saa+ to leave out, as in the ablations of its paper
    #[arg(long, value_parser = choice::part(), value_delimiter = ',', value_name = "PART")]
    without: Vec<Part>,

    #[command(flatten)]
    pub photos: PhotoArgs,

    /// Views of a photo whose scores are averaged (winclip, winclip+) [default: none]
    #[arg(long, value_parser = choice::views(), help_heading = "Class and references")]
    multi_crop: Option<MultiCrop>,

    /// Inspect the whole photo in squares, N along its shorter side (utad, patchcore, spade, padim, which without it inspect the central square, utad
    /// less a tenth on each side); 1: squares as large as the shorter side; more are smaller, and see smaller defects
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "What is inspected")]
    tiles: Option<NonZeroUsize>,

    /// Share of their side that neighbouring squares overlap by [default: 0.2, or what the method needs: 0.25 for utad]
    #[arg(long, value_name = "SHARE", requires = "tiles", help_heading = "What is inspected")]
    tile_overlap: Option<f64>,

    /// Inspect the pixels alone that are not black in this mask, which is as large as the upright photos; not for methods that score the photo
    /// as a whole (winclip, winclip+, clip-ac, image-tiling, spade)
    #[arg(long, value_name = "MASK", help_heading = "What is inspected")]
    roi: Option<PathBuf>,

    /// Photos in work at the same time; by default one for each core and one more
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Device")]
    parallel: Option<NonZeroUsize>,

    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What is inspected, and the good photos it is compared with.
#[derive(Args, Debug)]
pub struct SubjectArgs {
    /// What is inspected, in English, as `bottle` or `metal nut`; a class of MVTec AD, VisA, MPDD, KSDD2 (`ksdd2`) or MTD (`mtd`) by its
    /// folder, or any other [default: object]
    #[arg(long, value_name = "NAME", conflicts_with = "profile", help_heading = "Class and references")]
    class: Option<String>,

    /// Class, threshold, phrases of its own for good and bad ones (methods on CLIP) and captions (`[saa]`), from a TOML file
    #[arg(long, value_name = "FILE", help_heading = "Class and references")]
    pub profile: Option<PathBuf>,

    /// Photos of good ones to compare with (winclip+, patchcore, spade, padim): files, folders, globs; inputs are written before it
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., help_heading = "Class and references")]
    normal: Vec<PathBuf>,

    /// The memory of good photos that an earlier run saved (`--save-memory`), instead of `--normal`
    #[arg(long, value_name = "FILE", conflicts_with = "normal", help_heading = "Class and references")]
    memory: Option<PathBuf>,

    /// Save the memory of the good photos, for `--memory` of later runs
    #[arg(long, value_name = "FILE", requires = "normal", help_heading = "Class and references")]
    save_memory: Option<PathBuf>,
}

/// Reference images that were found, and what their folders hold beside them.
#[derive(Default)]
pub struct FoundReferences {
    inputs: Vec<Input>,
    /// What was left out.
    pub left_out: LeftOut,
}

impl MethodArgs {
    /// Threads that work on photos, where it was said how many.
    pub fn threads(&self) -> Option<usize> {
        self.parallel.map(NonZeroUsize::get)
    }

    /// The choices as the library takes them.
    pub fn builder(&self, building: &Building) -> Result<DetectorBuilder> {
        let builder = Detector::builder()
            .method(&self.method)
            .reading(self.reading)
            .views(self.multi_crop)
            .tiles(self.tiles()?)
            .without(self.without.iter().copied())
            .precision(self.device.precision.0)
            .device(self.device.options()?)
            .cache(cache::folder())
            .region_of_interest(self.region()?)
            .observe_building(Arc::new(building.observer()))
            .lose_device_at(lose_at()?);
        Ok(match &self.weights {
            Some(place) => builder.weights(place),
            None => builder,
        })
    }

    /// Whether the method is left open.
    pub fn is_automatic(&self) -> bool {
        self.method == "auto"
    }

    /// Whether the method that is named is told what is inspected.
    pub fn takes_text(&self) -> Result<bool> {
        Ok(methods::named(&self.method)?.inputs.text)
    }

    /// Whether the method that is named compares with reference images.
    pub fn needs_references(&self) -> Result<bool> {
        Ok(methods::named(&self.method)?.inputs.references == References::Required)
    }

    /// The squares of `--tiles`.
    fn tiles(&self) -> Result<Option<Tiles>> {
        self.tiles.map(|count| Tiles::new(count.get(), self.tile_overlap)).transpose()
    }

    /// Refuses a region that has the size of none of these photos.
    pub fn check_region<'a>(&self, photos: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        self.region()?.map_or(Ok(()), |region| region.check_any(photos, &self.photos.options()))
    }

    /// The region of `--roi`.
    fn region(&self) -> Result<Option<RegionOfInterest>> {
        self.roi.as_deref().map(|file| RegionOfInterest::open(file, &self.photos.options())).transpose()
    }

    /// The plan of a builder: weights are found; an error names the option that named them.
    pub fn plan(&self, builder: DetectorBuilder) -> Result<Plan> {
        builder.plan().map_err(of_weights(self.weights.as_deref()))
    }

    /// Opens the device and builds the method, and says which method was chosen and what the device is; `Err` holds the signal that stopped it.
    pub fn open(&self, plan: Plan, building: &Building) -> Result<std::result::Result<Detector, u8>> {
        if plan.is_automatic() && !building.is_quiet {
            say_choice(&plan);
        }
        let opened = plan.open().map_err(of_weights(self.weights.as_deref()));
        building.finish();
        let detector = match (opened, building.signals.received()) {
            (Err(_), Some(number)) => return Ok(Err(number)),
            (opened, _) => opened?,
        };
        self.device.describe(&detector.device(), building.is_quiet);
        Ok(Ok(detector))
    }
}

impl SubjectArgs {
    /// Finds contradictions that need no file and no device.
    pub fn check(&self) -> Result<()> {
        if self.normal.iter().any(|path| path.as_os_str() == "-") {
            return Err(usage("`--normal` takes files, folders and globs; a list on standard input is for the photos to be scored"));
        }
        self.save_memory.as_deref().map_or(Ok(()), check_target)
    }

    /// The files of `--normal`; the output folder is not searched.
    pub fn find_references(&self, output: &Path) -> Result<FoundReferences> {
        if self.normal.is_empty() {
            return Ok(FoundReferences::default());
        }
        let unusable = |error: Error| Error::new(Code::Reference, error.message()).context("as reference images, given by `--normal`");
        let inputs::Found { inputs, left_out } = inputs::find(&self.normal, output).map_err(unusable)?;
        Ok(FoundReferences { inputs, left_out })
    }

    /// A builder with the subject and the reference images.
    pub fn add_to(&self, builder: DetectorBuilder, found: FoundReferences, read: ReadOptions, is_quiet: bool) -> Result<DetectorBuilder> {
        let mut builder = builder.references(references(found.inputs, read, is_quiet)?);
        if let Some(class) = &self.class {
            builder = builder.class(class);
        }
        if let Some(file) = &self.profile {
            builder = builder.profile(file);
        }
        if let Some(file) = &self.memory {
            builder = builder.memory(file);
        }
        Ok(builder)
    }

    /// Whether the memory of the good photos is to be saved under this name.
    pub fn saves_memory_to(&self, file: &Path) -> bool {
        self.save_memory.as_deref() == Some(file)
    }

    /// Saves the memory of the good photos, where that was asked for.
    pub fn save_memory(&self, detector: &Detector) -> Result<()> {
        let Some(file) = &self.save_memory else { return Ok(()) };
        detector.memory_file()?.map_or(Ok(()), |bytes| write_whole(file, &bytes))
    }
}

/// Reference images, each decoded once to see that it can be.
fn references(files: Vec<Input>, read: ReadOptions, is_quiet: bool) -> Result<Vec<Reference>> {
    let open = |input: Input| Reference::file(input.path, input.file, read);
    let references: Vec<Reference> = files.into_iter().map(open).collect::<Result<_>>()?;
    let mut said = HashSet::new();
    for reference in &references {
        for warning in reference.warnings.iter().filter(|warning| !is_quiet && said.insert(*warning)) {
            talk::say(format_args!("warning: reference image {}: {warning}; others like it are not named", reference.name));
        }
    }
    Ok(references)
}

/// Says which method was chosen and why, and how to get the next better one.
fn say_choice(plan: &Plan) {
    let method = plan.method();
    let weights: Vec<String> = plan
        .weights()
        .iter()
        .map(|found| format!("`{}` ({})", found.checkpoint.name(), found.origin))
        .collect();
    let better = match (method.inputs.text, plan.has_references()) {
        _ if method.name == "saa+" => "the strongest here",
        (true, true) => "the strongest here with good photos",
        (true, false) => {
            "the strongest here without good photos; `--normal PHOTOS` makes it winclip+, `--method saa+` says how to get weights of saa+"
        }
        (false, _) => "the strongest here; `--method winclip` says how to get weights of CLIP, which know objects",
    };
    talk::say(format_args!("method: {} on the weights {}: {better}", method.name, weights.join(", ")));
}

/// Refuses to write a memory over anything but a memory, or into a folder that does not exist, before hours of work.
fn check_target(file: &Path) -> Result<()> {
    check_folder("--save-memory", file)?;
    if file.exists() && !Checkpoint::open(file).is_ok_and(|checkpoint| Memory::is_memory(&checkpoint)) {
        return Err(usage(format!("`--save-memory {}` would overwrite a file that is no memory", file.display())));
    }
    Ok(())
}

/// Refuses a file in a folder that does not exist.
pub fn check_folder(option: &str, file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::new(Code::NotFound, format!("`{option} {}`: there is no folder `{}`", file.display(), folder.display())))
}

/// Progress bars for the building of a method.
pub struct Building {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    is_quiet: bool,
    signals: Signals,
}

impl Building {
    /// Bars that are not shown where it is to be quiet; a signal ends the building.
    pub fn new(is_quiet: bool, signals: &Signals) -> Building {
        Building { bar: Arc::default(), is_quiet, signals: signals.clone() }
    }

    /// Shows each step; an error where a signal came, which ends the building.
    fn observer(&self) -> impl Fn(BuildStep) -> Result<()> + Send + Sync + 'static {
        let (bar, is_quiet, signals) = (Arc::clone(&self.bar), self.is_quiet, self.signals.clone());
        move |step| {
            if let Some(number) = signals.received() {
                return Err(usage(format!("stopped by signal {number}")));
            }
            let (done, count, what) = match step {
                BuildStep::Prompts(done, count) => (done, count, "prompts"),
                BuildStep::References(done, count) => (done, count, "references"),
            };
            if matches!(step, BuildStep::Prompts(0, _)) && !is_quiet {
                talk::say(format_args!("embedding {count} prompts, once for this class, these weights and this device"));
            }
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            let bar = bar.get_or_insert_with(|| talk::progress(count as u64, is_quiet).with_message(what));
            bar.set_position(done as u64);
            if done == count {
                bar.finish_and_clear();
            }
            Ok(())
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
