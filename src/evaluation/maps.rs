//! The maps of a class: found in folders of our own runs, or of any other program.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::datasets::{Category, Dataset, Maps, Sample, SampleMap};
use crate::error::{Code, Error, Remedy, Result};
use crate::evaluation::FewShot;
use crate::files::file_name;
use crate::results::{Earlier, RESULTS, RUN, regular_file};

/// Folder of our own runs, in the folder of an evaluation.
const RUNS: &str = "runs";

/// Missing maps that an error names.
const MAX_NAMED: usize = 5;

/// The maps of a class that one run made.
pub struct ClassMaps<'d> {
    /// The draw of reference images, for methods that compare with some.
    pub draw: Option<FewShot>,
    /// What made them; `None` for those of another program.
    pub made_by: Option<MadeBy>,
    /// Each test photo, in the order of the data set.
    pub photos: Vec<PhotoMap<'d>>,
}

/// A test photo and what was found in it.
pub struct PhotoMap<'d> {
    /// The photo.
    pub sample: &'d Sample,
    /// Its score, where a record has one; else the largest value of its map is taken.
    pub score: Option<f32>,
    /// The file of its map; `None` for a photo that was not scored.
    pub map: Option<PathBuf>,
}

/// What made maps: parts of the run file of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MadeBy {
    /// Version of the program.
    pub version: Value,
    /// Commit it was built from.
    pub commit: Value,
    /// Identity of the weights.
    pub weights: Value,
    /// Parameters that change results.
    pub parameters: Value,
}

/// The folder in which the maps of a class lie.
pub(super) fn runs_of(root: &Path, class: &str, draw: Option<FewShot>) -> PathBuf {
    let folder = root.join(RUNS).join(file_name(class));
    draw.map_or_else(|| folder.clone(), |draw| folder.join(draw.folder()))
}

/// The maps of each class in these folders: one entry for each draw of reference images, or a single one.
///
/// Folders of our own runs are parts of one run and joined. Errors with [`Code::Dataset`]: parts that were made with other parameters, a photo that
/// two parts scored differently, photos without a map; the last are left out where `is_lenient`.
pub fn maps_of<'d>(dataset: &'d Dataset, folders: &[PathBuf], is_lenient: bool) -> Result<Vec<Vec<ClassMaps<'d>>>> {
    let maps = found_maps(dataset, folders, is_lenient)?;
    check_one_evaluation(&maps)?;
    Ok(maps)
}

fn found_maps<'d>(dataset: &'d Dataset, folders: &[PathBuf], is_lenient: bool) -> Result<Vec<Vec<ClassMaps<'d>>>> {
    let is_ours = |category: &Category| folders.iter().any(|folder| !draws_in(folder, &category.name).is_empty());
    if !dataset.classes.iter().any(is_ours) {
        let found = Maps::open(folders)?.of(dataset, is_lenient)?;
        return Ok(dataset
            .classes
            .iter()
            .zip(found)
            .map(|(category, found)| vec![of_other_program(category, found)])
            .collect());
    }
    dataset.classes.iter().map(|category| runs_over(category, folders, is_lenient)).collect()
}

/// Refuses runs of several methods, settings or numbers of reference images: their mean would be one of nothing.
fn check_one_evaluation(maps: &[Vec<ClassMaps<'_>>]) -> Result<()> {
    let mut runs = maps.iter().flatten();
    let Some(first) = runs.next() else { return Ok(()) };
    let shots = |run: &ClassMaps<'_>| run.draw.map(|draw| draw.shots);
    for run in runs {
        let differing = match (&first.made_by, &run.made_by) {
            (Some(before), Some(now)) => before.difference(now, &["language"]),
            (None, None) => None,
            _ => Some("program".to_owned()),
        };
        let differing = differing.or_else(|| (shots(first) != shots(run)).then(|| "number of reference images".to_owned()));
        if let Some(what) = differing {
            let message = format!("maps of several evaluations lie together: they were made with different {what}");
            return Err(Error::new(Code::Dataset, message).hint("give each evaluation an output folder of its own"));
        }
    }
    Ok(())
}

/// Our own runs over a class, one for each draw of reference images.
fn runs_over<'d>(category: &'d Category, folders: &[PathBuf], is_lenient: bool) -> Result<Vec<ClassMaps<'d>>> {
    let draws: BTreeSet<Option<FewShot>> = folders.iter().flat_map(|folder| draws_in(folder, &category.name)).collect();
    if draws.is_empty() {
        return Err(Error::new(Code::Dataset, format!("the class `{}` has no maps", category.name)).hint(Remedy::FinishMaps));
    }
    let runs = draws.into_iter().map(|draw| joined(category, folders, draw)).collect::<Result<Vec<_>>>()?;
    runs.iter().try_for_each(|run| refuse_missing(category, run, is_lenient))?;
    Ok(runs)
}

/// The draws that a folder of ours holds of a class.
pub(super) fn draws_in(folder: &Path, class: &str) -> Vec<Option<FewShot>> {
    let runs = runs_of(folder, class, None);
    let has_run = |folder: &Path| folder.join(RUN).is_file();
    let names = fs::read_dir(&runs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let few_shot = names.filter_map(|name| FewShot::of_folder(&name)).filter(|draw| has_run(&runs.join(draw.folder())));
    has_run(&runs).then_some(None).into_iter().chain(few_shot.map(Some)).collect()
}

/// The parts of one run, joined.
fn joined<'d>(category: &'d Category, folders: &[PathBuf], draw: Option<FewShot>) -> Result<ClassMaps<'d>> {
    let mut made_by: Option<MadeBy> = None;
    let mut found: HashMap<String, (f32, PathBuf)> = HashMap::new();
    for folder in folders
        .iter()
        .map(|folder| runs_of(folder, &category.name, draw))
        .filter(|folder| folder.join(RUN).is_file())
    {
        let own = MadeBy::read(&folder)?;
        match &made_by {
            Some(first) => {
                if let Some(what) = first.difference(&own, &[]) {
                    let message = format!("`{}` was made with other {what} than the parts before it", folder.display());
                    return Err(Error::new(Code::Dataset, message).hint("join parts of one evaluation only"));
                }
            }
            None => made_by = Some(own),
        }
        for (path, score, map) in scored(&folder)? {
            match found.get(&path) {
                Some((other, _)) if other.to_bits() != score.to_bits() => {
                    let message = format!("`{path}` has the score {other} in one part and {score} in another");
                    return Err(Error::new(Code::Dataset, message).hint("each photo belongs to one part"));
                }
                Some(_) => {}
                None => drop(found.insert(path, (score, map))),
            }
        }
    }
    let photo = |sample: &'d Sample| {
        let (score, map) = found.remove(&sample.path).unzip();
        PhotoMap { sample, score, map }
    };
    Ok(ClassMaps { draw, made_by, photos: category.test.iter().map(photo).collect() })
}

/// Path, score and map of each photo that has them in a folder of ours.
fn scored(folder: &Path) -> Result<Vec<(String, f32, PathBuf)>> {
    let path = folder.join(RESULTS);
    let text = fs::read_to_string(&path).map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))?;
    let of_line = |line: &str| {
        let record = Earlier::parse(line).filter(Earlier::is_ok)?;
        let map = record.files.iter().find(|file| file.ends_with(".tiff"))?;
        Some((record.path.clone(), record.score?, regular_file(folder, map)?))
    };
    Ok(text.lines().filter_map(of_line).collect())
}

/// Maps of another program.
fn of_other_program(category: &Category, found: Vec<Option<SampleMap>>) -> ClassMaps<'_> {
    let photo = |(sample, found): (_, Option<SampleMap>)| {
        let (score, map) = found.map(|found| (found.score, found.file)).unzip();
        PhotoMap { sample, score: score.flatten(), map }
    };
    ClassMaps { draw: None, made_by: None, photos: category.test.iter().zip(found).map(photo).collect() }
}

/// Refuses a class of which photos have no map.
fn refuse_missing(category: &Category, maps: &ClassMaps<'_>, is_lenient: bool) -> Result<()> {
    let missing: Vec<&str> = maps
        .photos
        .iter()
        .filter(|photo| photo.map.is_none())
        .map(|photo| photo.sample.path.as_str())
        .collect();
    if missing.is_empty() || is_lenient && missing.len() < maps.photos.len() {
        return Ok(());
    }
    let named = missing[..missing.len().min(MAX_NAMED)].iter().map(|path| format!("\n  {path}")).collect::<String>();
    let message = format!("{} of the {} test photos of `{}` have no map:{named}", missing.len(), maps.photos.len(), category.name);
    let more = if missing.len() > MAX_NAMED { "\n  …" } else { "" };
    Err(Error::new(Code::Dataset, message + more).hint(Remedy::FinishMaps))
}

impl MadeBy {
    /// Reads what made the maps of a folder.
    fn read(folder: &Path) -> Result<MadeBy> {
        let path = folder.join(RUN);
        let damaged = |why: String| Error::new(Code::Dataset, format!("`{}` {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))?;
        let mut run: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|error| damaged(format!("is damaged: {error}")))?;
        let mut take = |key: &str| run.remove(key).ok_or_else(|| damaged(format!("lacks `{key}`")));
        Ok(MadeBy {
            version: take("version")?,
            commit: take("commit")?,
            weights: take("weights")?,
            parameters: take("parameters")?,
        })
    }

    /// The first part in which two differ, parameters of these names aside. Neither do colour range and level count, which follow from the others and, to
    /// the last bit, from the device.
    fn difference(&self, other: &MadeBy, aside: &[&str]) -> Option<String> {
        if self.weights.get("files") != other.weights.get("files") {
            return Some("weights".to_owned());
        }
        let counts = |key: &str| !["range", "level"].contains(&key) && !aside.contains(&key);
        let keys: BTreeSet<&String> = [self, other]
            .into_iter()
            .filter_map(|one| one.parameters.as_object())
            .flat_map(|object| object.keys())
            .collect();
        let differs = |key: &&&String| counts(key) && self.parameters.get(key.as_str()) != other.parameters.get(key.as_str());
        if let Some(key) = keys.iter().find(differs) {
            return Some(format!("parameters (`{key}`)"));
        }
        ((&self.version, &self.commit) != (&other.version, &other.commit)).then(|| "versions of the program".to_owned())
    }

    /// A parameter that is a text, such as the method.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters.get(key)?.as_str()
    }
}
