//! Results of a detection (GroundingDINO): the record of an image's boxes, a picture of them, and all boxes in COCO's format.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::image::{BoundingBox, ReadOptions, Rgb, distinct_color, encode_rgb_png, paint_box, paint_label};
use crate::results::pictures::thumbnail;
use crate::results::{Head, Invocation, Milliseconds, Output, Picture, RESULTS, RunFile, SourceFile, owned, thumbs, to_json};
use crate::uninspected::Uninspected;

/// All boxes of a run in COCO's format.
pub const COCO: &str = "coco.json";

/// The run file of a detection.
pub type BoxRun = RunFile<BoxParameters, Invocation>;

/// Parameters that change boxes.
#[derive(Clone, Debug, Serialize)]
pub struct BoxParameters {
    /// The network.
    pub network: &'static str,
    /// The caption that is read.
    pub caption: String,
    /// Its phrases.
    pub phrases: Vec<String>,
    /// Queries whose best token is more probable than this give a box.
    pub box_threshold: f32,
    /// Tokens that are more probable than this are named.
    pub text_threshold: f32,
    /// Of boxes that overlap more than this, the better one stays; null where all stay.
    pub nms: Option<f32>,
    /// Whose code is followed where two differ.
    pub semantics: &'static str,
    /// `f32`, `f16`.
    pub precision: &'static str,
    /// Pictures of each image.
    pub save: Vec<&'static str>,
    /// How images are read.
    pub read: ReadOptions,
}

/// The record of an image in which a caption was looked for.
#[derive(Debug, Serialize)]
pub struct BoxesRecord {
    /// The image.
    #[serde(flatten)]
    pub head: Head,
    /// The highest score of a box; null without one.
    pub score: Option<f32>,
    /// The boxes, the best first.
    pub boxes: Vec<BoxRecord>,
    /// Files written for the image, relative to the output folder.
    pub files: Vec<String>,
    /// Identity of the file that was read.
    pub input: Option<SourceFile>,
    /// Parts of the image that were not inspected.
    pub uninspected: Vec<Uninspected>,
    /// Time of each stage.
    pub ms: Milliseconds,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// The record of a box.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoxRecord {
    /// The box, cut at the edges of the image.
    #[serde(rename = "box")]
    pub bounds: BoundingBox,
    /// Left, top, width, height.
    pub bbox: [f32; 4],
    /// The phrase whose tokens are most probable together, though each may be less so than the score.
    pub phrase: Option<String>,
    /// The words that were found.
    pub tokens: String,
    /// The largest probability of a token, special ones included.
    pub score: f32,
    /// Position of the phrase in the caption, which decides the colour.
    #[serde(skip)]
    pub color: usize,
}

/// Writer of the pictures of an image's boxes.
pub struct BoxFiles {
    /// Whether the image with its boxes is written.
    pub has_overlay: bool,
    /// Whether small pictures for the report are written.
    pub has_thumbs: bool,
}

impl BoxFiles {
    /// Names of the files of an image of this name.
    pub fn names(&self, name: &str) -> Vec<String> {
        let overlay = self.has_overlay.then(|| Picture::Overlay.file(name));
        overlay.into_iter().chain(thumbs(name).into_iter().filter(|_| self.has_thumbs)).collect()
    }

    /// Draws the boxes, the best on top, and writes the files; returns their names. Where one cannot be written, those before it are removed.
    pub fn write(&self, output: &Output, name: &str, image: &Rgb, boxes: &[BoxRecord]) -> Result<Vec<String>> {
        if !self.has_overlay && !self.has_thumbs {
            return Ok(Vec::new());
        }
        let mut painted = image.clone();
        for found in boxes.iter().rev() {
            let color = distinct_color(found.color);
            paint_box(&mut painted, found.bounds, color);
            let what = found.phrase.as_deref().unwrap_or("?");
            paint_label(&mut painted, found.bounds, &format!("{what} {:.2}", found.score), color);
        }
        let mut files = Vec::new();
        let mut write = |name: &str, bytes: Vec<u8>| output.write(name, &bytes).map(|file| files.push(file));
        let written = (|| {
            if self.has_overlay {
                write(&Picture::Overlay.file(name), encode_rgb_png(&painted)?)?;
            }
            if self.has_thumbs {
                for (file, picture) in thumbs(name).iter().zip([image, &painted]) {
                    write(file, thumbnail(picture)?)?;
                }
            }
            Ok(())
        })();
        if written.is_err() {
            // Best effort: they have no record, and the error is what matters.
            files.iter().for_each(|file| drop(owned::remove(output.root(), file)));
        }
        written.map(|()| files)
    }
}

/// A record as far as [`write_coco`] needs it.
#[derive(Deserialize)]
struct Detected {
    path: String,
    status: String,
    #[serde(default)]
    size: [usize; 2],
    #[serde(default)]
    boxes: Vec<DetectedBox>,
}

#[derive(Deserialize)]
struct DetectedBox {
    bbox: [f32; 4],
    phrase: Option<String>,
    score: f32,
}

/// COCO's object detection format (Lin et al. 2014), with a score in each annotation.
#[derive(Serialize)]
struct Coco<'a> {
    images: Vec<CocoImage>,
    annotations: Vec<CocoAnnotation>,
    categories: Vec<CocoCategory<'a>>,
}

#[derive(Serialize)]
struct CocoImage {
    id: usize,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct CocoAnnotation {
    id: usize,
    image_id: usize,
    category_id: usize,
    bbox: [f32; 4],
    area: f32,
    iscrowd: u8,
    score: f32,
}

#[derive(Serialize)]
struct CocoCategory<'a> {
    id: usize,
    name: &'a str,
    supercategory: &'static str,
}

/// The records of a run that is over, of which each line is whole.
fn read_detected(path: &Path) -> Result<Vec<Detected>> {
    let text = fs::read_to_string(path).map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))?;
    let parse = |(at, line): (usize, &str)| {
        let damaged = |error| Error::new(Code::Io, format!("line {} of `{}` is no record: {error}", at + 1, path.display()));
        serde_json::from_str(line).map_err(damaged)
    };
    text.lines().enumerate().map(parse).collect()
}

/// Writes the boxes of all records in the folder as [`COCO`].
///
/// Categories are the phrases, from 1 on in their order; boxes of no phrase have the category `?`, the last one.
///
/// Errors: records that cannot be read or are none, [`Code::Io`]; see [`Output::write`].
pub fn write_coco(output: &Output, phrases: &[String]) -> Result<()> {
    let images = read_detected(&output.root().join(RESULTS))?;
    let detected = images.into_iter().filter(|image| image.status == "ok");
    let category = |phrase: Option<String>| {
        let known = phrase.and_then(|phrase| phrases.iter().position(|known| *known == phrase));
        known.unwrap_or(phrases.len()) + 1
    };
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (image_id, image) in (1..).zip(detected) {
        let [width, height] = image.size;
        images.push(CocoImage { id: image_id, file_name: image.path, width, height });
        for DetectedBox { bbox, phrase, score } in image.boxes {
            let (id, category_id, area) = (annotations.len() + 1, category(phrase), bbox[2] * bbox[3]);
            annotations.push(CocoAnnotation { id, image_id, category_id, bbox, area, iscrowd: 0, score });
        }
    }
    let names = phrases.iter().map(String::as_str).chain(["?"]);
    let categories = (1..).zip(names).map(|(id, name)| CocoCategory { id, name, supercategory: "" }).collect();
    output
        .write(COCO, format!("{}\n", to_json(&Coco { images, annotations, categories })).as_bytes())
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Existing;

    #[test]
    fn boxes_have_the_categories_of_their_phrases_and_damaged_records_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path(), Existing::Refuse).unwrap();
        let write = |records: &str| fs::write(folder.path().join(RESULTS), records).unwrap();
        let phrases = ["crack".to_owned(), "hole".to_owned()];
        let failed = r#"{"v":1,"path":"a.png","status":"error","error":{"code":"decode","message":"no image"}}"#;
        let found = r#"{"v":1,"path":"b.png","status":"ok","size":[8,9],"boxes":[
            {"bbox":[1,2,3,4],"phrase":"hole","score":0.5},{"bbox":[0,0,1,1],"phrase":null,"score":0.25}]}"#
            .replace('\n', "");
        write(&format!("{failed}\n{found}\n"));
        write_coco(&output, &phrases).unwrap();
        let coco: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join(COCO)).unwrap()).unwrap();
        assert_eq!(coco["images"], serde_json::json!([{"id": 1, "file_name": "b.png", "width": 8, "height": 9}]));
        let categories: Vec<_> = [0, 1].map(|at| coco["annotations"][at]["category_id"].as_u64()).to_vec();
        assert_eq!((categories, &coco["annotations"][0]["area"]), (vec![Some(2), Some(3)], &12.0.into()));

        write(&format!("{failed}\n{}\n", &found[..30]));
        let error = write_coco(&output, &phrases).unwrap_err();
        assert!(error.message().starts_with("line 2 of `"), "{error}");
        fs::remove_file(folder.path().join(RESULTS)).unwrap();
        assert!(write_coco(&output, &phrases).unwrap_err().message().starts_with("reading `"));
    }
}
