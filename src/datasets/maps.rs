//! Maps of a data set's test photos, made by any program: which file of a folder is the map of which photo.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::draft::below;
use crate::datasets::{Category, Dataset, Sample};
use crate::error::{Code, Error, Result};
use crate::files::read_limited;
use crate::image::MAP_EXTENSIONS;
use crate::inputs::{RESULTS, files_below, path_text};

/// Most lines of an error.
const MAX_SHOWN: usize = 20;

/// Most bytes of the records of a run.
const MAX_RECORDS: u64 = 1 << 32;

/// Version of the records that are read.
const RECORD_VERSION: u32 = 1;

/// The map of a test photo.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleMap {
    /// Its file, for [`read_map`](crate::image::read_map).
    pub file: PathBuf,
    /// The score of the photo, where the records of a run say it; else it follows from the map.
    pub score: Option<f32>,
}

/// Folders of maps, of which one holds the map of each photo.
///
/// The map of a photo is the file, ending in `.tiff`, `.tif`, `.npy` or `.png` in either case, whose name without that ending is one of
///
/// - `CLASS/PATH`, PATH being the photo's below its class, with or without the photo's own ending: `bottle/test/crack/001.tiff`,
///   `bottle/test/crack/001.png.tiff`;
/// - the photo's path below the root of the data set, or the same behind the name of the root's folder, where that differs;
/// - where the data set has one class and none of these is there: PATH alone, `test/crack/001.png.tiff`.
///
/// Where `results.jsonl` lies in the folder, or in `CLASS` in it, it is the output of a run of this program: the map is then the one in the
/// record whose `path` or `output` is one of these with the photo's ending, or whose `path` ends so behind a `/`; in `CLASS` PATH alone serves
/// too. Two files or records that fit one photo are an error.
pub struct Maps(Vec<MapFolder>);

/// A folder of maps.
struct MapFolder {
    folder: PathBuf,
    /// Files by their path below the folder without ending.
    files: HashMap<String, Vec<PathBuf>>,
    /// The records of a run that wrote to the folder itself.
    run: Option<Run>,
}

/// Why a photo has no map.
enum Fault {
    /// There is none.
    Missing(String),
    /// There are several.
    Ambiguous(String),
}

type Found = std::result::Result<SampleMap, Fault>;

impl Maps {
    /// Looks through folders. Errors: [`Code::NotFound`], [`Code::Io`], and [`Code::Dataset`] for records of another version.
    pub fn open(folders: &[PathBuf]) -> Result<Maps> {
        folders.iter().map(|folder| MapFolder::open(folder)).collect::<Result<_>>().map(Maps)
    }

    /// The maps of all test photos, by class and in the order of the samples; `None` for a photo without one where `is_lenient`.
    ///
    /// Fails with [`Code::Dataset`], listing the photos without a map, or with several.
    pub fn of(&self, dataset: &Dataset, is_lenient: bool) -> Result<Vec<Vec<Option<SampleMap>>>> {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for class in &dataset.classes {
            let own = self
                .0
                .iter()
                .map(|folder| Run::read(&folder.folder.join(&class.name)))
                .collect::<Result<Vec<_>>>()?;
            let mut of_sample = |sample: &Sample| match self.find(dataset, class, sample, &own) {
                Ok(map) => Some(map),
                Err(Fault::Missing(_)) if is_lenient => None,
                Err(Fault::Missing(why) | Fault::Ambiguous(why)) => {
                    faults.push(format!("`{}` {why}", sample.path));
                    None
                }
            };
            found.push(class.test.iter().map(&mut of_sample).collect());
        }
        if faults.is_empty() { Ok(found) } else { Err(refused(&faults)) }
    }

    /// The one map of a photo in all folders; `own` are the runs of its class in each.
    fn find(&self, dataset: &Dataset, class: &Category, sample: &Sample, own: &[Option<Run>]) -> Found {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (folder, own) in self.0.iter().zip(own) {
            match folder.find(sample, &Names::new(dataset, class, sample, own.is_some()), own.as_ref()) {
                Ok(map) => found.push(map),
                Err(Fault::Missing(why)) => missing.push(why),
                Err(ambiguous) => return Err(ambiguous),
            }
        }
        match found.len() {
            0 => {
                missing.dedup();
                Err(Fault::Missing(missing.join("; ")))
            }
            1 => Ok(found.remove(0)),
            count => Err(Fault::Ambiguous(format!("has a map in {count} of the folders"))),
        }
    }
}

/// The error that lists these faults.
fn refused(faults: &[String]) -> Error {
    let photos = if faults.len() == 1 { "1 photo".to_owned() } else { format!("{} photos", faults.len()) };
    let error = faults
        .iter()
        .take(MAX_SHOWN)
        .cloned()
        .fold(Error::new(Code::Dataset, format!("no single map for {photos}")), Error::context);
    let rest = faults.len().saturating_sub(MAX_SHOWN);
    let error = if rest > 0 { error.context(format!("and {rest} more")) } else { error };
    error.hint(format!("a map is named `CLASS/PATH` below its folder, like its photo, and ends in .{}", MAP_EXTENSIONS.join(", .")))
}

impl MapFolder {
    /// Looks through a folder.
    fn open(folder: &Path) -> Result<MapFolder> {
        if !folder.is_dir() {
            return Err(Error::new(Code::NotFound, format!("`{}` is no folder", folder.display())));
        }
        let run = Run::read(folder)?;
        let mut files: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for file in files_below(folder, &MAP_EXTENSIONS)?.0 {
            files.entry(below(folder, &file.with_extension(""))).or_default().push(file);
        }
        Ok(MapFolder { folder: folder.to_owned(), files, run })
    }

    fn find(&self, sample: &Sample, names: &Names, own: Option<&Run>) -> Found {
        match own.or(self.run.as_ref()) {
            Some(run) => run.find(names),
            None => self.find_file(sample, names),
        }
    }

    fn find_file(&self, sample: &Sample, names: &Names) -> Found {
        for names in [&names.full, &names.short] {
            let stems: BTreeSet<String> = names.iter().flat_map(|name| [name.clone(), without_ending(name)]).collect();
            // In the folder of the data set itself, a photo has its own name and is not its map.
            let files: Vec<&PathBuf> = stems
                .iter()
                .filter_map(|stem| self.files.get(stem))
                .flatten()
                .filter(|file| !is_same(file, &sample.image))
                .collect();
            match files[..] {
                [] => {}
                [file] => return Ok(SampleMap { file: file.clone(), score: None }),
                _ => {
                    let names: Vec<String> = files.iter().map(|file| format!("`{}`", below(&self.folder, file))).collect();
                    return Err(Fault::Ambiguous(format!("fits several maps: {}", names.join(", "))));
                }
            }
        }
        let stems: Vec<String> = names.full.iter().chain(&names.short).map(|name| format!("`{}.*`", without_ending(name))).collect();
        Err(Fault::Missing(format!("has no map: looked for {}", stems.join(", "))))
    }
}

/// Names under which the map of a photo is looked for, with the photo's ending.
struct Names {
    /// Those that name the whole place of a photo.
    full: BTreeSet<String>,
    /// Those that serve where there is one class; looked for where there is none of the others.
    short: BTreeSet<String>,
}

impl Names {
    fn new(dataset: &Dataset, class: &Category, sample: &Sample, is_of_class: bool) -> Names {
        let path = sample.path.trim_start_matches('/').to_owned();
        let in_class = path.strip_prefix(&format!("{}/", class.name)).unwrap_or(&path).to_owned();
        let mut full = BTreeSet::from([format!("{}/{in_class}", class.name), path.clone()]);
        if let Some(root) = dataset.root.file_name() {
            full.insert(format!("{}/{path}", path_text(Path::new(root))));
        }
        let short = if dataset.classes.len() == 1 || is_of_class { BTreeSet::from([in_class]) } else { BTreeSet::new() };
        Names { full, short }
    }
}

/// The records of a run.
struct Run {
    folder: PathBuf,
    /// By the names of their files, which are unique.
    records: BTreeMap<String, Record>,
    /// Names of records by the last part of their paths and names.
    by_last: HashMap<String, BTreeSet<String>>,
}

/// What a record says of a map.
#[derive(Deserialize)]
struct Record {
    v: u32,
    path: String,
    output: Option<String>,
    score: Option<f32>,
    map: Option<RecordedMap>,
    error: Option<RecordedError>,
}

#[derive(Deserialize)]
struct RecordedMap {
    file: Option<String>,
}

#[derive(Deserialize)]
struct RecordedError {
    message: String,
}

impl Run {
    /// The records in a folder; `None` where it is no run's output.
    fn read(folder: &Path) -> Result<Option<Run>> {
        let file = folder.join(RESULTS);
        if !file.is_file() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&read_limited(&file, MAX_RECORDS, Code::Dataset)?).into_owned();
        let mut run = Run { folder: folder.to_owned(), records: BTreeMap::new(), by_last: HashMap::new() };
        // A line that is torn is that of a run that was killed; its photo has no record.
        for record in text.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok()) {
            if record.v != RECORD_VERSION {
                let message = format!("`{}` holds records of version {}, which this program cannot read", file.display(), record.v);
                return Err(Error::new(Code::Dataset, message));
            }
            let name = record.output.clone().unwrap_or_else(|| record.path.clone());
            for text in [&name, &record.path] {
                run.by_last.entry(last_part(text).to_owned()).or_default().insert(name.clone());
            }
            run.records.insert(name, record);
        }
        Ok(Some(run))
    }

    fn find(&self, names: &Names) -> Found {
        // A path that ends in a short name may be that of another class's photo.
        for (names, ends_count) in [(&names.full, true), (&names.short, false)] {
            match self.fitting(names, ends_count)[..] {
                [] => {}
                [record] => return self.map_of(record),
                ref several => {
                    let paths: Vec<String> = several.iter().map(|record| format!("`{}`", record.path)).collect();
                    return Err(Fault::Ambiguous(format!("fits several records: {}", paths.join(", "))));
                }
            }
        }
        let looked: Vec<String> = names.full.iter().chain(&names.short).map(|name| format!("`{name}`")).collect();
        Err(Fault::Missing(format!("has no record in `{}`: looked for {}", self.folder.join(RESULTS).display(), looked.join(", "))))
    }

    fn fitting(&self, names: &BTreeSet<String>, ends_count: bool) -> Vec<&Record> {
        let candidates: BTreeSet<&String> = names.iter().filter_map(|name| self.by_last.get(last_part(name))).flatten().collect();
        let fits = |record: &Record| {
            let is = |text: &str| names.contains(text);
            let ends = |text: &str| {
                names
                    .iter()
                    .any(|name| text.strip_suffix(name.as_str()).is_some_and(|before| before.ends_with('/')))
            };
            is(&record.path) || record.output.as_deref().is_some_and(is) || ends_count && ends(&record.path)
        };
        candidates.into_iter().map(|name| &self.records[name]).filter(|record| fits(record)).collect()
    }

    fn map_of(&self, record: &Record) -> Found {
        if let Some(error) = &record.error {
            return Err(Fault::Missing(format!("failed in that run: {}", error.message)));
        }
        let unsaved = || Fault::Missing("has a record, but its map was not saved".to_owned());
        let file = self.folder.join(record.map.as_ref().and_then(|map| map.file.as_ref()).ok_or_else(unsaved)?);
        if !file.is_file() {
            return Err(Fault::Missing(format!("has a record, but its map `{}` is not there", file.display())));
        }
        Ok(SampleMap { file, score: record.score })
    }
}

/// The text of a path without the ending of its last name.
fn without_ending(path: &str) -> String {
    path_text(&Path::new(path).with_extension(""))
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether two paths lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}
