//! Conditions of scores: everything that decides them, so that scores made under others are never compared.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::error::Result;
use crate::methods::Tiles;
use crate::results::{Parameters, to_json};
use crate::weights::{FileHash, Identity};

/// Keys of [`Parameters`] that change no score: what is decided on it, and what is drawn. Whatever is not named here is a condition.
const AFTER_THE_SCORE: [&str; 5] = ["threshold", "level", "range", "save", "calibration"];

/// Keys that are compared before the others, from which these follow.
const FIRST: [&str; 2] = ["method", "reading"];

/// Everything that decides scores: the choices that a detector was built from, its weights, its reference images, how images are read.
///
/// Device and version of the program are no part of it: their scores agree to rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// SHA-256 of the pixels of each reference image, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// SHA-256 of the features of the reference images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Method, reading, class, phrases, views, precision and whatever else [`Parameters`] hold of a detector.
    pub detector: Table,
    /// How image files are read.
    pub read: Table,
    /// The files of the weights.
    pub weights: Vec<FileHash>,
}

impl Conditions {
    /// The conditions of a run; `memory` is the hash of the features of its reference images, where it is known.
    pub fn of(parameters: &Parameters, weights: &Identity, memory: Option<String>) -> Conditions {
        // Through JSON text, which has the shortest decimals of each number.
        let json: Json = serde_json::from_str(&to_json(parameters)).unwrap_or_else(|error| panic!("our own records are read: {error}"));
        let mut detector = table(json);
        AFTER_THE_SCORE.iter().for_each(|key| drop(detector.remove(*key)));
        // A region of interest is what its mask marks, wherever that lies.
        if let Some(Value::Table(region)) = detector.get_mut("roi") {
            region.remove("path");
        }
        let mut read = taken_table(&mut detector, "read");
        // Limits decide which files are read, not how.
        read.remove("limits");
        let references = take_references(&mut detector);
        Conditions { references, memory, detector, read, weights: weights.files.clone() }
    }

    /// The first choice of a detector, or file of weights, in which these differ, with both values.
    pub fn differing_detector(&self, now: &Conditions) -> Option<String> {
        differing(&self.detector, &now.detector, "").or_else(|| differing_weights(&self.weights, &now.weights))
    }

    /// How the reference images differ: neither are they the same images in the same order, nor have they the same features.
    pub fn differing_references(&self, now: &Conditions) -> Option<String> {
        let has_none = |conditions: &Conditions| conditions.references.is_empty() && conditions.memory.is_none();
        let are_same_images = !self.references.is_empty() && self.references == now.references;
        let are_same_features = self.memory.is_some() && self.memory == now.memory;
        if are_same_images || are_same_features || has_none(self) && has_none(now) {
            return None;
        }
        if self.references.is_empty() || now.references.is_empty() {
            return Some(format!("the memory of reference images was {}, now {}", features(self), features(now)));
        }
        let [before, after] = [self, now].map(|conditions| conditions.references.len());
        let at = self.references.iter().zip(&now.references).position(|(before, after)| before != after);
        Some(match at {
            Some(at) => {
                let [before, after] = [self, now].map(|conditions| short(&conditions.references[at]));
                format!("reference image {} was {before}, now {after}", at + 1)
            }
            None => format!("there were {before} reference images, now {after}"),
        })
    }

    /// The first difference in how image files are read, with both values.
    pub fn differing_read(&self, now: &Conditions) -> Option<String> {
        differing(&self.read, &now.read, "read.")
    }

    /// A text among the choices of the detector, by its keys.
    pub fn text(&self, keys: &[&str]) -> Option<&str> {
        self.value(keys)?.as_str()
    }

    /// The squares that images were inspected in.
    ///
    /// Errors with [`Code::Usage`](crate::Code::Usage): squares that are not possible.
    pub fn tiles(&self) -> Result<Option<Tiles>> {
        let number = |key: &str| self.value(&["tiles", key]);
        let Some(count) = number("count").and_then(Value::as_integer) else { return Ok(None) };
        Tiles::new(usize::try_from(count).unwrap_or(0), number("overlap").and_then(Value::as_float)).map(Some)
    }

    /// The texts of a list among the choices of the detector, by its keys; none where it is missing.
    pub fn texts(&self, keys: &[&str]) -> Vec<String> {
        let list = self.value(keys).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn value(&self, keys: &[&str]) -> Option<&Value> {
        let (last, tables) = keys.split_last()?;
        tables.iter().try_fold(&self.detector, |table, key| table.get(*key)?.as_table())?.get(*last)
    }
}

/// A JSON object as TOML, which has no null: such keys are left out.
fn table(json: Json) -> Table {
    match value(json) {
        Some(Value::Table(table)) => table,
        _ => panic!("parameters are an object"),
    }
}

fn value(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(is) => Value::Boolean(is),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Integer(whole),
            None => Value::Float(number.as_f64()?),
        },
        Json::String(text) => Value::String(text),
        Json::Array(values) => Value::Array(values.into_iter().filter_map(value).collect()),
        Json::Object(object) => Value::Table(object.into_iter().filter_map(|(key, json)| Some((key, value(json)?))).collect()),
    })
}

fn taken_table(table: &mut Table, key: &str) -> Table {
    match table.remove(key) {
        Some(Value::Table(taken)) => taken,
        _ => Table::new(),
    }
}

/// Takes the reference images and their memory out of the parameters, wherever they stand: they are compared by their content, not by path.
fn take_references(detector: &mut Table) -> Vec<String> {
    let mut references = detector.remove("references");
    detector.remove("memory");
    if let Some(Value::Table(language)) = detector.get_mut("language") {
        references = references.or(language.remove("references"));
        language.remove("memory");
    }
    let hash = |reference: &Value| reference.get("sha256").and_then(Value::as_str).map(str::to_owned);
    references.iter().flat_map(|list| list.as_array().into_iter().flatten()).filter_map(hash).collect()
}

/// The first key of two tables whose values differ, with both.
fn differing(before: &Table, now: &Table, path: &str) -> Option<String> {
    let first = FIRST.iter().map(|key| (*key).to_owned());
    let others = before.keys().chain(now.keys()).cloned();
    first.chain(others).find_map(|key| match (before.get(&key), now.get(&key)) {
        (a, b) if a == b => None,
        (Some(Value::Table(a)), Some(Value::Table(b))) => differing(a, b, &format!("{path}{key}.")),
        (a, b) => Some(format!("`{path}{key}` was {}, now {}", shown(a), shown(b))),
    })
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("`{}`", value.to_string().trim_matches('"')))
}

fn differing_weights(before: &[FileHash], now: &[FileHash]) -> Option<String> {
    if before.len() != now.len() {
        return Some(format!("the weights were {} files, now {}", before.len(), now.len()));
    }
    let (a, b) = before.iter().zip(now).find(|(a, b)| a.sha256 != b.sha256)?;
    Some(format!("the weights `{}` were {}, now `{}` is {}", a.file, short(&a.sha256), b.file, short(&b.sha256)))
}

fn features(conditions: &Conditions) -> String {
    conditions.memory.as_deref().map_or_else(|| "nothing".to_owned(), short)
}

/// The beginning of a hash, for messages.
fn short(hash: &str) -> String {
    format!("{}…", hash.chars().take(12).collect::<String>())
}
