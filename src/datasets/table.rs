//! Lists of photos: rows with named fields, from CSV or JSONL.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::report::{Kind, Report};
use crate::error::{Code, Error, Result, nearest};
use crate::files::read_limited;

/// Most bytes of a list: millions of photos.
const MAX_BYTES: u64 = 1 << 30;

/// A list.
pub(super) struct Table {
    /// The file, for messages.
    file: String,
    /// Names of the fields that any row has.
    columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// A row: its line in the file, from 1, and its fields, each of one or several texts. Empty ones are missing.
pub(super) struct Row {
    pub line: u64,
    fields: BTreeMap<String, Vec<String>>,
}

impl Row {
    /// The text of a field.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).first().map(String::as_str)
    }

    /// The texts of a field.
    pub fn texts(&self, name: &str) -> &[String] {
        self.fields.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Table {
    /// Reads a CSV file, whose first line names the columns.
    ///
    /// Fails with [`Code::Dataset`], naming the line, where a row has more or fewer fields.
    pub fn read_csv(file: &Path) -> Result<Table> {
        let bytes = read_limited(file, MAX_BYTES, Code::Dataset)?;
        let refused = |error: csv::Error| {
            Error::new(Code::Dataset, format!("cannot read the list: {error}")).context(format!("in `{}`", file.display()))
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&bytes[..]);
        let columns: Vec<String> = reader.headers().map_err(refused)?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(refused)?;
            let line = record.position().map_or(0, csv::Position::line);
            let filled = columns.iter().zip(&record).filter(|(_, text)| !text.is_empty());
            rows.push(Row { line, fields: filled.map(|(name, text)| (name.clone(), vec![text.to_owned()])).collect() });
        }
        Ok(Table { file: file.display().to_string(), columns, rows })
    }

    /// Reads a JSONL file: an object in each line, whose values are texts or lists of texts; null is missing. Lines that are not so are reported.
    pub fn read_jsonl(file: &Path, report: &mut Report) -> Result<Table> {
        let bytes = read_limited(file, MAX_BYTES, Code::Dataset)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::new(Code::Dataset, "the list is not UTF-8").context(format!("in `{}`", file.display())))?;
        let mut table = Table { file: file.display().to_string(), columns: Vec::new(), rows: Vec::new() };
        for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            if text.trim().is_empty() {
                continue;
            }
            match fields(text) {
                Ok(fields) => {
                    let new: Vec<String> = fields.keys().filter(|name| !table.columns.contains(name)).cloned().collect();
                    table.columns.extend(new);
                    table.rows.push(Row { line, fields });
                }
                Err(why) => report.fault(Kind::Entry, &format!("line {line}"), &why),
            }
        }
        Ok(table)
    }

    /// Fails where a column is missing.
    pub fn check_columns(&self, needed: &[&str]) -> Result<()> {
        match needed.iter().find(|&&needed| !self.columns.iter().any(|column| column == needed)) {
            Some(missing) => {
                let message = format!("the list has no column `{missing}`, but {}", quoted(&self.columns));
                Err(Error::new(Code::Dataset, message).context(format!("in `{}`", self.file)))
            }
            None => Ok(()),
        }
    }

    /// Columns that are not among those that are known, each with the known one that it may have been meant to be.
    pub fn unknown_columns(&self, known: &[&str]) -> Vec<String> {
        let unknown = self.columns.iter().filter(|column| !known.contains(&column.as_str()));
        unknown
            .map(|column| match nearest(column, known.iter().copied()) {
                Some(near) => format!("`{column}` (did you mean `{near}`?)"),
                None => format!("`{column}`"),
            })
            .collect()
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The fields of a JSON object; why it has none otherwise.
fn fields(line: &str) -> std::result::Result<BTreeMap<String, Vec<String>>, String> {
    let object: BTreeMap<String, Value> = serde_json::from_str(line).map_err(|error| format!("is no JSON object: {error}"))?;
    let mut fields = BTreeMap::new();
    for (name, value) in object {
        let texts = match value {
            Value::Null => Vec::new(),
            Value::String(text) => vec![text],
            Value::Number(number) => vec![number.to_string()],
            Value::Array(items) => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                texts.ok_or_else(|| format!("has a list `{name}` that holds more than texts"))?
            }
            _ => return Err(format!("has a `{name}` that is neither a text nor a list of texts")),
        };
        fields.insert(name, texts.into_iter().filter(|text| !text.is_empty()).collect());
    }
    Ok(fields)
}
