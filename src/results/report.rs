//! Report: `report.html`, one static page with all images in order of their scores.

use std::borrow::Cow;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use data_encoding::BASE64;

use crate::error::Result;
use crate::results::html::{escape, fill, url};
use crate::results::owned::regular_file;
use crate::results::{BoxRun, Earlier, InferRun, Output, Parameters, Picture, PromptParameters, REPORT, RunFile, thumbs};

const TEMPLATE: &str = include_str!("report.html");

/// Thumbnails up to this many bytes together are embedded in the page, so that it can be sent as one file; otherwise it links to them.
const MAX_EMBEDDED_BYTES: usize = 8 << 20;

/// Bars of the histogram.
const BARS: usize = 48;

/// What the report of a run says beside its images.
pub struct ReportText {
    /// What images are ordered by, after their number: `images by anomaly`.
    title: &'static str,
    /// What a second picture shows that lies over an image, and how it is switched on.
    layer: &'static str,
    toggle: &'static str,
    /// Where the threshold slider starts; at the score that a tenth of the images exceed where there is no value.
    start: Option<f32>,
    origin: Cow<'static, str>,
    /// Values of the coldest and the hottest colour, where there are colours.
    range: Option<[f32; 2]>,
    foot: &'static str,
    facts: Vec<(&'static str, String)>,
    has_overlays: bool,
}

impl ReportText {
    /// The text of a run that scores images.
    pub fn of_scores(run: &InferRun) -> ReportText {
        let parameters = &run.parameters;
        let tiles = parameters
            .tiles
            .map_or_else(String::new, |tiles| format!(", {} tiles along the shorter side", tiles.count()));
        let region = parameters
            .roi
            .as_ref()
            .map_or_else(String::new, |region| format!(", a region of interest of {:.1} % of the frame", 100.0 * region.share));
        let Parameters { method, reading, views, precision, .. } = parameters;
        let method = format!("{method}, reading {reading}, views {views}{tiles}{region}, {precision}");
        let prompt = parameters.language.as_ref().map_or_else(|| "none".to_owned(), PromptParameters::summary);
        ReportText {
            title: "images by anomaly",
            layer: "where it differs",
            toggle: "maps on",
            start: parameters.threshold.or(parameters.level),
            origin: match (&parameters.calibration, parameters.threshold, parameters.level) {
                (Some(calibration), ..) => {
                    Cow::Owned(escape(&format!("It starts at the threshold of the calibration. {}.", calibration.confidence)))
                }
                (None, Some(_), _) => "It starts at the threshold of the run.".into(),
                (None, None, Some(_)) => "It starts at the value that came with the weights.".into(),
                (None, None, None) => "It starts where a tenth of the images lie above.".into(),
            },
            range: Some(parameters.range),
            foot: "Colours mean the same on every image: an image that stays dark is unsuspicious. Scores of different methods or weights \
                   cannot be compared.",
            facts: facts(run, [("Method", method), ("Prompt", prompt)]),
            has_overlays: parameters.save.iter().any(|picture| picture == Picture::Overlay.as_str()),
        }
    }

    /// The text of a run that detects what a caption names.
    pub fn of_boxes(run: &BoxRun) -> ReportText {
        let parameters = &run.parameters;
        ReportText {
            title: "images by their best box",
            layer: "what was found",
            toggle: "boxes on",
            start: Some(parameters.box_threshold),
            origin: "It starts at the box threshold of the run; images without a box have none above it.".into(),
            range: None,
            foot: "Each phrase has a colour of its own. Scores are probabilities of the network, not of a defect.",
            facts: facts(
                run,
                [("Network", format!("{}, {}", parameters.network, parameters.precision)), ("Looked for", parameters.phrases.join(" · "))],
            ),
            has_overlays: parameters.save.contains(&Picture::Overlay.as_str()),
        }
    }
}

/// Writes the report of all records in the folder.
pub fn write(output: &Output, text: &ReportText) -> Result<()> {
    let (mut scored, failed): (Vec<Earlier>, Vec<Earlier>) = output.records()?.into_iter().partition(Earlier::is_ok);
    scored.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let cards = cards(output.root(), &scored, text);
    output.write(REPORT, page(&scored, &failed, &cards, text).as_bytes()).map(drop)
}

fn score(earlier: &Earlier) -> f32 {
    // An image without a box has no score.
    earlier.score.unwrap_or(0.0)
}

/// The page: the template, filled.
fn page(scored: &[Earlier], failed: &[Earlier], cards: &str, text: &ReportText) -> String {
    let (low, high) = ends(scored);
    let start = text.start.unwrap_or_else(|| upper(scored)).clamp(low, high);
    fill(TEMPLATE, |name, page| match name {
        "count" => page.push_str(&scored.len().to_string()),
        "cards" => page.push_str(cards),
        "failures" => page.push_str(&failures(failed)),
        "bars" => page.push_str(&bars(scored, low, high)),
        "low" => page.push_str(&low.to_string()),
        "high" => page.push_str(&high.to_string()),
        "start" => page.push_str(&start.to_string()),
        "title" => page.push_str(text.title),
        "layer" => page.push_str(text.layer),
        "toggle" => page.push_str(text.toggle),
        "origin" => page.push_str(&text.origin),
        "legend" => page.push_str(&legend(text.range)),
        "foot" => page.push_str(text.foot),
        "facts" => page.extend(
            text.facts
                .iter()
                .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value))),
        ),
        unknown => panic!("the report has no `{unknown}`"),
    })
}

/// Lowest and highest score; where they are equal, a range around them.
fn ends(scored: &[Earlier]) -> (f32, f32) {
    let low = scored.iter().map(score).fold(f32::INFINITY, f32::min);
    let high = scored.iter().map(score).fold(f32::NEG_INFINITY, f32::max);
    match (low.is_finite() && high.is_finite(), low < high) {
        (true, true) => (low, high),
        (true, false) => (low - 0.5, low + 0.5),
        (false, _) => (0.0, 1.0),
    }
}

/// The score that a tenth of the images exceed: start of the threshold slider where there is no threshold and no level.
fn upper(scored: &[Earlier]) -> f32 {
    scored.get(scored.len() / 10).map_or(0.0, score)
}

/// The colours and the values that they stand for.
fn legend(range: Option<[f32; 2]>) -> String {
    range.map_or_else(String::new, |[cold, hot]| {
        let title = "The same colours mean the same values on every image";
        format!(r#"<div class="legend" title="{title}">Map {cold:.3} <span></span> {hot:.3}</div>"#)
    })
}

/// What ran: facts of this kind of run, then those of every run.
fn facts<P: serde::Serialize, I: serde::Serialize>(run: &RunFile<P, I>, own: [(&'static str, String); 2]) -> Vec<(&'static str, String)> {
    let commit = run.commit.map_or_else(String::new, |commit| format!(" ({commit})"));
    let warnings = if run.warnings.is_empty() { "none about the whole run".to_owned() } else { run.warnings.join("; ") };
    let not_inspected = if run.uninspected.is_empty() { "nothing".to_owned() } else { run.uninspected.lines().join("; ") };
    let shared = [
        ("Weights", run.weights.name.clone()),
        ("Warnings", warnings),
        ("Not inspected", not_inspected),
        ("Device", run.device.clone()),
        ("Program", format!("zsas-gpu {}{commit}", run.version)),
    ];
    own.into_iter().chain(shared).collect()
}

/// Histogram of the scores, as SVG bars in a box of [`BARS`] by 1.
fn bars(scored: &[Earlier], low: f32, high: f32) -> String {
    let mut counts = [0_usize; BARS];
    for earlier in scored {
        let place = (score(earlier) - low) / (high - low) * BARS as f32;
        counts[(place as usize).min(BARS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut svg = String::new();
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // Square roots: a single odd image beside hundreds of good ones stays visible.
        let height = (*count as f64 / most as f64).sqrt();
        let _ = write!(svg, r#"<rect x="{:.2}" y="{:.4}" width="0.8" height="{height:.4}"/>"#, at as f64 + 0.1, 1.0 - height);
    }
    svg
}

fn failures(failed: &[Earlier]) -> String {
    if failed.is_empty() {
        return String::new();
    }
    let mut html = format!("<section><h2>{} not scored</h2><table><tr><th>Image</th><th>Code</th><th>Why</th></tr>", failed.len());
    for earlier in failed {
        let (code, message) = earlier.error.as_ref().map_or(("", ""), |error| (&error.code, &error.message));
        let _ =
            write!(html, "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>", escape(&earlier.path), escape(code), escape(message));
    }
    html + "</table></section>"
}

/// One list item per image.
fn cards(root: &Path, scored: &[Earlier], text: &ReportText) -> String {
    let overlay = |name: &str| Some(Picture::Overlay.file(name)).filter(|file| text.has_overlays && regular_file(root, file).is_some());
    let sources = sources(root, scored);
    let mut html = String::new();
    for (earlier, [image, heat]) in scored.iter().zip(&sources) {
        let (path, score) = (escape(&earlier.path), score(earlier));
        let [width, height] = earlier.size.unwrap_or([1, 1]);
        let open = overlay(earlier.name()).map_or_else(|| r#"<a tabindex="0">"#.to_owned(), |file| format!(r#"<a href="{}">"#, url(&file)));
        let _ = write!(html, r#"<li class="card" data-score="{score}">{open}"#);
        if image.is_empty() {
            html.push_str(r#"<span class="frame none">no small picture</span>"#);
        } else {
            let _ = write!(html, r#"<span class="frame"><img loading="lazy" decoding="async" src="{image}" alt="{path}">"#);
            let _ = write!(html, r#"<img class="heat" loading="lazy" decoding="async" src="{heat}" alt=""></span>"#);
        }
        let _ =
            write!(html, r#"</a><p><b>{score:.3}</b> <small>{width}×{height}</small></p><p class="path" title="{path}">{path}</p></li>"#);
    }
    html
}

/// The `src` of the thumbnails of each image: embedded data, a link, or empty where the file is missing.
///
/// Only regular files inside the folder are read or linked to, whatever the records name.
fn sources(root: &Path, scored: &[Earlier]) -> Vec<[String; 2]> {
    let size = |file: &str| {
        regular_file(root, file)
            .and_then(|path| path.metadata().ok())
            .map_or(0, |metadata| metadata.len() as usize)
    };
    let all: usize = scored.iter().flat_map(|earlier| thumbs(earlier.name())).map(|file| size(&file)).sum();
    let is_embedded = all <= MAX_EMBEDDED_BYTES;
    let source = |file: String| match regular_file(root, &file) {
        Some(path) if is_embedded => {
            fs::read(path).map_or_else(|_| String::new(), |bytes| format!("data:image/jpeg;base64,{}", BASE64.encode(&bytes)))
        }
        Some(_) => url(&file),
        None => String::new(),
    };
    log::info!("{} KiB of small pictures {} the report", all >> 10, if is_embedded { "go into" } else { "lie beside" });
    scored.iter().map(|earlier| thumbs(earlier.name()).map(source)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lines: &[&str]) -> Vec<Earlier> {
        lines.iter().map(|line| Earlier::parse(line).unwrap()).collect()
    }

    #[test]
    fn a_planted_record_embeds_nothing_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir_all(root.join("report/lot")).unwrap();
        fs::write(folder.path().join("secret.photo.jpg"), "secret").unwrap();
        fs::write(root.join("report/lot/a.png.photo.jpg"), "foobar").unwrap();
        let absolute = folder.path().join("secret").to_str().unwrap().replace('\\', "/");
        let planted = format!(r#"{{"v":1,"path":"{absolute}","status":"ok","score":1.0}}"#);
        let scored = records(&[
            r#"{"v":1,"path":"lot/a.png","status":"ok","score":2.0}"#,
            r#"{"v":1,"path":"b.png","output":"../../secret","status":"ok","score":1.0}"#,
            r#"{"v":1,"path":"c.png","output":"lot/../../../secret","status":"ok","score":1.0}"#,
            &planted,
        ]);
        let [own, planted @ ..] = &sources(&root, &scored)[..] else { panic!("four records") };
        assert_eq!(own, &["data:image/jpeg;base64,Zm9vYmFy".to_owned(), String::new()]);
        assert!(planted.iter().flatten().all(String::is_empty), "{planted:?}");
    }

    #[test]
    #[cfg(unix)]
    fn the_report_reads_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir_all(root.join("report")).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("report/a.png.photo.jpg")).unwrap();
        let scored = records(&[r#"{"v":1,"path":"a.png","status":"ok","score":2.0}"#]);
        assert_eq!(sources(&root, &scored), [[String::new(), String::new()]]);
    }

    #[test]
    fn many_small_pictures_lie_beside_the_page() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("report")).unwrap();
        fs::write(folder.path().join("report/a b.png.photo.jpg"), vec![0; MAX_EMBEDDED_BYTES + 1]).unwrap();
        let scored = records(&[r#"{"v":1,"path":"a b.png","status":"ok","score":2.0}"#]);
        assert_eq!(sources(folder.path(), &scored), [["./report/a%20b.png.photo.jpg".to_owned(), String::new()]]);
    }

    #[test]
    fn one_score_still_has_a_range() {
        let one = Earlier::parse(r#"{"v":1,"path":"a","status":"ok","score":2.0}"#).unwrap();
        assert_eq!(ends(std::slice::from_ref(&one)), (1.5, 2.5));
        assert_eq!(ends(&[]), (0.0, 1.0));
        assert!(bars(&[one], 1.5, 2.5).contains(r#"height="1.0000""#));
    }
}
