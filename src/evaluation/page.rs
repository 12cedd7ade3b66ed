//! The page of an evaluation: the table, the curves of each class, and its worst false alarms and misses with their maps.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use data_encoding::BASE64;

use crate::datasets::{Dataset, Sample};
use crate::error::Result;
use crate::evaluation::{ClassMaps, ClassResult, Evaluated, Extreme, Metric, RunResult, Spread, maps_of};
use crate::image::{ReadOptions, Rgb, overlay, read_map};
use crate::results::html::{escape, fill};
use crate::results::{OPACITY, thumbnail};
use crate::tensor::Array;

const TEMPLATE: &str = include_str!("page.html");

/// Where the photos and maps of the page come from.
pub struct Photos<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// Folders of maps.
    pub folders: &'a [PathBuf],
    /// How photos are read.
    pub read: ReadOptions,
}

/// The page; `curves` are the SVG of each class.
pub(super) fn html(evaluated: &Evaluated, curves: &[String], photos: &Photos<'_>) -> Result<String> {
    let maps = maps_of(photos.dataset, photos.folders, true)?;
    let of_class = |((class, curves), runs): ((&ClassResult, &String), &Vec<ClassMaps<'_>>)| section(class, curves, runs, photos.read);
    let classes = evaluated.classes.iter().zip(curves).zip(&maps).map(of_class).collect::<Result<String>>()?;
    let title = format!("{} · {}", evaluated.method().unwrap_or("maps"), evaluated.dataset);
    Ok(fill(TEMPLATE, |name, page| match name {
        "title" => page.push_str(&escape(&title)),
        "table" => page.push_str(&table(evaluated)),
        "notes" => page.extend(evaluated.notes.iter().map(|note| format!("<li>{}</li>", escape(note)))),
        "classes" => page.push_str(&classes),
        unknown => panic!("the page has no `{unknown}`"),
    }))
}

/// The metrics of all classes, in percent, and the published figures.
fn table(evaluated: &Evaluated) -> String {
    let metrics = evaluated.metrics();
    let head: String = metrics.iter().map(|metric| format!("<th>{}</th>", metric.title())).collect();
    let mut html = format!("<table><thead><tr><th></th>{head}</tr></thead><tbody>");
    let cell = |spread: &Spread, metric: &Metric| match spread.values.get(metric).and_then(|measured| measured.value) {
        Some(value) => {
            let deviation = spread
                .deviations
                .get(metric)
                .map_or_else(String::new, |deviation| format!(" ± {:.1}", 100.0 * deviation));
            format!("<td>{:.1}{deviation}</td>", 100.0 * value)
        }
        None => "<td>–</td>".to_owned(),
    };
    for class in &evaluated.classes {
        let cells: String = metrics.iter().map(|metric| cell(&class.mean, metric)).collect();
        let name = escape(&class.name);
        let _ = write!(html, r##"<tr><th><a href="#{name}">{name}</a></th>{cells}</tr>"##);
    }
    let cells: String = metrics.iter().map(|metric| cell(&evaluated.mean, metric)).collect();
    let _ = write!(html, r#"<tr class="mean"><th>mean</th>{cells}</tr>"#);
    for published in &evaluated.published {
        let cells: String = metrics
            .iter()
            .map(|metric| {
                published
                    .mean(*metric)
                    .map_or_else(|| "<td>–</td>".to_owned(), |figure| format!("<td>{figure}</td>"))
            })
            .collect();
        let _ = write!(html, r#"<tr class="published"><th>{}</th>{cells}</tr>"#, escape(&published.source));
    }
    html + "</tbody></table>"
}

/// A class: its curves, and for its first run the photos at the wrong ends.
fn section(class: &ClassResult, curves: &str, maps: &[ClassMaps<'_>], read: ReadOptions) -> Result<String> {
    let name = escape(&class.name);
    let mut html =
        format!(r#"<section id="{name}"><h2>{name}</h2><p>{} normal, {} anomalous photos</p>{curves}"#, class.normal, class.anomalous);
    let (Some(run), Some(maps)) = (class.runs.first(), maps.first()) else { return Ok(html + "</section>") };
    if class.runs.len() > 1 {
        html += "<p>Photos of the first draw of reference images.</p>";
    }
    html += &row("Normal photos with the highest scores", &run.false_alarms, run, maps, read)?;
    html += &row("Anomalous photos with the lowest scores", &run.misses, run, maps, read)?;
    Ok(html + "</section>")
}

/// Photos beside each other, each with its map.
fn row(title: &str, extremes: &[Extreme], run: &RunResult, maps: &ClassMaps<'_>, read: ReadOptions) -> Result<String> {
    let mut html = format!("<h3>{title}</h3><ul>");
    for extreme in extremes {
        let Some(photo) = maps.photos.iter().find(|photo| photo.sample.path == extreme.path) else { continue };
        let pictures = match &photo.map {
            // The results are measured by now: a photo that cannot be shown is said where it would be.
            Some(map) => read_map(map)
                .and_then(|map| pictures(photo.sample, &map, run, read))
                .unwrap_or_else(|error| format!("<p>cannot be shown: {}</p>", escape(error.message()))),
            None => String::new(),
        };
        let path = escape(&extreme.path);
        let _ = write!(html, "<li>{pictures}<p><b>{:.3}</b> {path}</p></li>", extreme.score);
    }
    Ok(html + "</ul>")
}

/// The photo and the photo with its map, as embedded JPEG.
fn pictures(sample: &Sample, map: &Array, run: &RunResult, read: ReadOptions) -> Result<String> {
    let photo = read.open(&sample.image)?.image;
    let [height, width] = map.shape().axes();
    let mut shown = vec![photo];
    if (shown[0].width(), shown[0].height()) == (width, height) {
        shown.push(overlay(&shown[0], map, range(map, run), OPACITY));
    }
    let embed = |picture: &Rgb| {
        thumbnail(picture).map(|bytes| format!(r#"<img loading="lazy" alt="" src="data:image/jpeg;base64,{}">"#, BASE64.encode(&bytes)))
    };
    shown.iter().map(embed).collect()
}

/// The values drawn as the coldest and the hottest colour: those of the run, else 0 and the largest value of the map.
fn range(map: &Array, run: &RunResult) -> RangeInclusive<f32> {
    let of_run = || {
        let range = run.made_by.as_ref()?.parameters.get("range")?;
        let end = |at: usize| Some(range.get(at)?.as_f64()? as f32);
        Some(end(0)?..=end(1)?)
    };
    let largest = map.data().iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    of_run().unwrap_or(0.0..=largest)
}
