//! Tables of an evaluation: Markdown, which a terminal shows as well, and CSV.

use crate::error::{Code, Error, Result};
use crate::evaluation::{Evaluated, Metric, Published, RunResult, Spread};
use crate::metrics::Measured;

/// Errors below this are not worth a digit of a table in percent.
const SHOWN_ERROR: f64 = 5e-4;

/// What stands where a metric is not defined.
const NONE: &str = "–";

/// The results as a Markdown table: a row for each class, then the macro mean and the published figures, in percent.
pub fn markdown(evaluated: &Evaluated) -> String {
    let metrics = evaluated.metrics();
    let mut rows = vec![head(&metrics)];
    rows.extend(evaluated.classes.iter().map(|class| row(&class.name, &class.mean, &metrics)));
    rows.push(row("**mean**", &evaluated.mean, &metrics));
    let mut text = aligned(&rows);
    if !evaluated.published.is_empty() {
        let mut rows = vec![head(&metrics)];
        rows.extend(evaluated.published.iter().map(|published| published_row(published, &metrics)));
        text += "\nPublished:\n\n";
        text += &aligned(&rows);
    }
    text += &footnotes(evaluated, &metrics);
    text
}

fn head(metrics: &[Metric]) -> Vec<String> {
    std::iter::once(String::new())
        .chain(metrics.iter().map(|metric| metric.title().to_owned()))
        .collect()
}

fn row(name: &str, spread: &Spread, metrics: &[Metric]) -> Vec<String> {
    let cell = |metric: &Metric| {
        let value = spread.values.get(metric).map_or_else(|| NONE.to_owned(), percent);
        spread
            .deviations
            .get(metric)
            .map_or_else(|| value.clone(), |deviation| format!("{value} ± {:.1}", 100.0 * deviation))
    };
    std::iter::once(name.to_owned()).chain(metrics.iter().map(cell)).collect()
}

fn published_row(published: &Published, metrics: &[Metric]) -> Vec<String> {
    let cell = |metric: &Metric| published.mean(*metric).map_or_else(|| NONE.to_owned(), |figure| figure.to_string());
    std::iter::once(published.source.clone()).chain(metrics.iter().map(cell)).collect()
}

/// A value in percent, with its error where that would show.
fn percent(measured: &Measured) -> String {
    match measured.value {
        None => NONE.to_owned(),
        Some(value) if measured.error < SHOWN_ERROR => format!("{:.1}", 100.0 * value),
        Some(value) => format!("{:.1} (±{:.2})", 100.0 * value, 100.0 * measured.error),
    }
}

/// What the table leaves out: photos, errors, reasons.
fn footnotes(evaluated: &Evaluated, metrics: &[Metric]) -> String {
    let mut notes = evaluated.notes.clone();
    for class in &evaluated.classes {
        for (what, paths) in
            [("have no map and are left out", &class.not_scored), ("have no mask and count as images only", &class.without_mask)]
        {
            if !paths.is_empty() {
                notes.push(format!("{}: {} photos {what}", class.name, paths.len()));
            }
        }
        for metric in metrics {
            if let Some(reason) = class.runs.iter().find_map(|run| run.values.get(metric)?.reason) {
                notes.push(format!("{}: {} is not defined: {reason}", class.name, metric.as_str()));
            }
        }
    }
    let largest = metrics
        .iter()
        .filter_map(|metric| evaluated.mean.values.get(metric))
        .map(|measured| measured.error)
        .fold(0.0, f64::max);
    if largest > 0.0 {
        notes.push(format!("the error of binning is at most {largest:.1e} in the means; an exact run has none"));
    }
    if let Some(side) = evaluated.options.size {
        notes.push(format!("maps and masks were resized to {side}×{side}"));
    }
    notes.iter().map(|note| format!("\n- {note}")).collect::<String>() + if notes.is_empty() { "" } else { "\n" }
}

/// Rows as a Markdown table whose columns are aligned in a terminal; the first row is the head.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let cell = |(column, text): (usize, &String)| {
        let space = " ".repeat(widths[column] - text.chars().count());
        if column == 0 { format!(" {text}{space} |") } else { format!(" {space}{text} |") }
    };
    let line = |row: &Vec<String>| format!("|{}\n", row.iter().enumerate().map(cell).collect::<String>());
    let rule = |(column, width): (usize, &usize)| {
        let (dashes, end) = ("-".repeat(width - usize::from(column > 0)), if column > 0 { ":" } else { "" });
        format!(" {dashes}{end} |")
    };
    let rule = format!("|{}\n", widths.iter().enumerate().map(rule).collect::<String>());
    let (head, rest) = rows.split_at(1);
    head.iter().map(line).chain([rule]).chain(rest.iter().map(line)).collect()
}

/// The results as CSV, as fractions of 1 with all digits: a row for each class and draw, and one for the macro mean.
///
/// Columns: class, shots, seed, then each metric; an empty field where it is not defined.
pub fn csv(evaluated: &Evaluated) -> Result<Vec<u8>> {
    let metrics = evaluated.metrics();
    let mut table = csv::Writer::from_writer(Vec::new());
    let unwritten = |error: csv::Error| Error::new(Code::Io, format!("cannot write CSV: {error}"));
    let head = ["class", "shots", "seed"].into_iter().chain(metrics.iter().map(|metric| metric.as_str()));
    table.write_record(head).map_err(unwritten)?;
    for class in &evaluated.classes {
        for run in &class.runs {
            let cells = draw_cells(run).into_iter().chain(metrics.iter().map(|metric| number(run.values.get(metric))));
            table.write_record(std::iter::once(class.name.clone()).chain(cells)).map_err(unwritten)?;
        }
    }
    let cells = metrics.iter().map(|metric| number(evaluated.mean.values.get(metric)));
    table
        .write_record(["mean".to_owned(), String::new(), String::new()].into_iter().chain(cells))
        .map_err(unwritten)?;
    table.into_inner().map_err(|error| Error::new(Code::Io, format!("cannot write CSV: {error}")))
}

fn draw_cells(run: &RunResult) -> [String; 2] {
    let Some(draw) = run.draw else { return [String::new(), String::new()] };
    [draw.shots.map_or_else(|| "all".to_owned(), |shots| shots.to_string()), draw.seed.to_string()]
}

fn number(measured: Option<&Measured>) -> String {
    measured.and_then(|measured| measured.value).map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [vec![String::new(), "AP".to_owned()], vec!["größe".to_owned(), "91.8 ± 0.3".to_owned()]];
        assert_eq!(aligned(&rows), "|       |         AP |\n| ----- | ---------: |\n| größe | 91.8 ± 0.3 |\n");
    }

    #[test]
    fn an_error_is_shown_where_it_would_change_a_digit() {
        let measured = |value, error| Measured { value, error, reason: None };
        assert_eq!(percent(&measured(Some(0.91785), 1e-7)), "91.8");
        assert_eq!(percent(&measured(Some(0.91785), 0.0123)), "91.8 (±1.23)");
        assert_eq!(percent(&measured(None, 0.0)), "–");
    }
}
