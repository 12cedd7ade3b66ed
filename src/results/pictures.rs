//! Pictures of an image: float map, mask, heatmap, overlay, candidates, and thumbnails for the report.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::error::{Code, Error, Remedy, Result};
use crate::image::{Filter, Mask, Rgb, colorize, encode_mask_png, encode_rgb_png, encode_tiff, overlay, paint_border, resize_pillow};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::methods::Finding;
use crate::results::candidates::paint_candidates;
use crate::results::{Output, owned, thumbs};
use crate::tensor::Array;

/// Opacity of the hottest colour on the overlay.
pub const OPACITY: f32 = 0.75;

/// Colour of the border of the region of interest on the overlay: a light blue, which the map's colours do not have.
const REGION: [u8; 3] = [0, 200, 255];

/// Longest side of the report's thumbnails.
const THUMB_SIDE: usize = 320;

/// JPEG quality of the report's thumbnails.
const THUMB_QUALITY: u8 = 82;

/// Kind of picture that is written for each image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// `NAME.tiff`
    Map,
    /// `NAME.mask.png`
    Mask,
    /// `NAME.overlay.png`
    Overlay,
    /// `NAME.heatmap.png`
    Heatmap,
    /// `NAME.candidates.png`
    Candidates,
}

impl Picture {
    /// All of them.
    pub const ALL: [Picture; 5] = [Picture::Map, Picture::Mask, Picture::Overlay, Picture::Heatmap, Picture::Candidates];

    /// Those that are written unasked.
    pub const USUAL: [Picture; 4] = [Picture::Map, Picture::Mask, Picture::Overlay, Picture::Heatmap];

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Picture::Map => "map",
            Picture::Mask => "mask",
            Picture::Overlay => "overlay",
            Picture::Heatmap => "heatmap",
            Picture::Candidates => "candidates",
        }
    }

    /// Ending of the file's name, without the point before it.
    pub const fn ending(self) -> &'static str {
        match self {
            Picture::Map => "tiff",
            Picture::Mask => "mask.png",
            Picture::Overlay => "overlay.png",
            Picture::Heatmap => "heatmap.png",
            Picture::Candidates => "candidates.png",
        }
    }

    /// Name of the file of an image of this name.
    pub fn file(self, name: &str) -> String {
        format!("{name}.{}", self.ending())
    }

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            Picture::Map => "Float map (TIFF, f32, one channel)",
            Picture::Mask => "Pixels at or above the level, 0 and 255 (PNG)",
            Picture::Overlay => "Image with the map laid over it (PNG)",
            Picture::Heatmap => "The map in colours (PNG)",
            Picture::Candidates => "All boxes of saa+ or saa, with what became of each (PNG); only on request",
        }
    }
}

/// Writer of the pictures of each image: which kinds, and the colour range.
pub struct Pictures {
    chosen: Vec<Picture>,
    range: RangeInclusive<f32>,
    has_thumbs: bool,
}

impl Pictures {
    /// A writer of the requested pictures, by default of all usual ones that are possible: a mask needs a level.
    ///
    /// Errors: an empty range, a mask that is requested without a level, or candidates of a method that has none.
    pub fn new(
        requested: Option<&[Picture]>,
        level: Option<f32>,
        range: [f32; 2],
        has_candidates: bool,
        has_thumbs: bool,
    ) -> Result<Pictures> {
        if range[0].partial_cmp(&range[1]) != Some(std::cmp::Ordering::Less) {
            let message = format!("the colour range {}..{} of these weights is empty", range[0], range[1]);
            return Err(Error::new(Code::WeightsMismatch, message).hint(Remedy::GiveRange));
        }
        let mut chosen = requested.unwrap_or(&Picture::USUAL).to_vec();
        if requested.is_some_and(|requested| requested.contains(&Picture::Mask)) && level.is_none() {
            return Err(Error::new(Code::Usage, "a mask needs a value to cut the map at, and this method comes without one")
                .hint(Remedy::GiveThreshold));
        }
        if chosen.contains(&Picture::Candidates) && !has_candidates {
            return Err(Error::new(Code::Usage, "only `saa+` and `saa` have candidates to draw"));
        }
        chosen.retain(|&one| one != Picture::Mask || level.is_some());
        Ok(Pictures { chosen, range: range[0]..=range[1], has_thumbs })
    }

    /// Names of the files that are written.
    pub fn names(&self) -> Vec<String> {
        self.chosen.iter().map(|picture| picture.as_str().to_owned()).collect()
    }

    /// The values drawn as the coldest and the hottest colour.
    pub fn range(&self) -> [f32; 2] {
        [*self.range.start(), *self.range.end()]
    }

    /// The files of an image of this name.
    pub fn files(&self, name: &str) -> Vec<String> {
        let pictures = self.chosen.iter().map(|picture| picture.file(name));
        pictures.chain(thumbs(name).into_iter().filter(|_| self.has_thumbs)).collect()
    }

    /// Writes the files of an image; returns their names. Where one cannot be written, those before it are removed again.
    pub fn write(&self, output: &Output, name: &str, image: &Rgb, finding: &Finding, mask: Option<&Mask>) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let written = self.write_each(output, name, image, finding, mask, &mut files);
        if written.is_err() {
            // Best effort: they have no record, and the error is what matters.
            files.iter().for_each(|file| drop(owned::remove(output.root(), file)));
        }
        written.map(|()| files)
    }

    fn write_each(
        &self,
        output: &Output,
        name: &str,
        image: &Rgb,
        finding @ Finding { map, candidates, .. }: &Finding,
        mask: Option<&Mask>,
        files: &mut Vec<String>,
    ) -> Result<()> {
        let drawn = drawn(finding);
        let covered = (self.chosen.contains(&Picture::Overlay) || self.has_thumbs).then(|| {
            let mut covered = overlay(image, &drawn, self.range.clone(), OPACITY);
            finding.region.iter().for_each(|region| paint_border(&mut covered, region, REGION));
            covered
        });
        for picture in &self.chosen {
            let bytes = match picture {
                Picture::Map => Some(encode_tiff(map)?),
                Picture::Mask => mask.map(encode_mask_png).transpose()?,
                Picture::Heatmap => Some(encode_rgb_png(&colorize(&drawn, self.range.clone()))?),
                Picture::Overlay => covered.as_ref().map(encode_rgb_png).transpose()?,
                Picture::Candidates => candidates.as_ref().map(|found| encode_rgb_png(&paint_candidates(image, found))).transpose()?,
            };
            if let Some(bytes) = bytes {
                files.push(output.write(&picture.file(name), &bytes)?);
            }
        }
        if let Some(covered) = covered.as_ref().filter(|_| self.has_thumbs) {
            for (file, picture) in thumbs(name).iter().zip([image, covered]) {
                files.push(output.write(file, &thumbnail(picture)?)?);
            }
        }
        Ok(())
    }
}

/// The map as it is drawn: NaN outside the region of interest, which has the coldest colour in any range.
fn drawn(Finding { map, region, .. }: &Finding) -> Cow<'_, Array> {
    let Some(region) = region else { return Cow::Borrowed(map) };
    let mut map = map.clone();
    let outside = map.data_mut().iter_mut().zip(region.data()).filter(|(_, is_inside)| !**is_inside);
    outside.for_each(|(value, _)| *value = f32::NAN);
    Cow::Owned(map)
}

/// The picture at most 320 pixels on a side, as JPEG.
pub fn thumbnail(picture: &Rgb) -> Result<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    let longest = width.max(height);
    let scaled = |side: usize| (side * THUMB_SIDE / longest).max(1);
    let small = if longest > THUMB_SIDE { &resize_pillow(picture, scaled(width), scaled(height), Filter::Bilinear) } else { picture };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, THUMB_QUALITY)
        .write_image(small.data(), small.width() as u32, small.height() as u32, ExtendedColorType::Rgb8)
        .map_err(|error| Error::new(Code::Io, format!("cannot encode a JPEG: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_needs_a_level_only_when_it_is_asked_for() {
        let names = |requested: Option<&[Picture]>, level| {
            Pictures::new(requested, level, [0.0, 1.0], false, false).map(|pictures| pictures.names())
        };
        assert_eq!(names(None, Some(0.5)).unwrap(), ["map", "mask", "overlay", "heatmap"]);
        assert_eq!(names(None, None).unwrap(), ["map", "overlay", "heatmap"]);
        assert_eq!(names(Some(&[]), None).unwrap(), [""; 0]);
        assert_eq!(names(Some(&[Picture::Mask]), None).unwrap_err().code(), Code::Usage);
        assert!(Pictures::new(None, None, [1.0, 1.0], false, false).is_err());
        assert_eq!(names(Some(&[Picture::Candidates]), None).unwrap_err().code(), Code::Usage);
        let of_saa = Pictures::new(Some(&[Picture::Candidates]), None, [0.0, 1.0], true, false).unwrap();
        assert_eq!(of_saa.names(), ["candidates"]);
    }

    #[test]
    fn the_thinnest_image_has_a_small_picture() {
        assert!(thumbnail(&Rgb::new(1, 5000, vec![9; 15_000])).is_ok());
        assert!(thumbnail(&Rgb::new(1, 1, vec![9; 3])).is_ok());
    }

    #[test]
    fn an_image_whose_last_picture_cannot_be_written_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path(), crate::results::Existing::Refuse).unwrap();
        std::fs::create_dir(folder.path().join("a.heatmap.png")).unwrap();
        let (image, found) = (Rgb::new(8, 8, vec![9; 192]), Finding::whole(Array::new([8, 8], vec![0.5; 64]), 0.5));
        let pictures = Pictures::new(None, None, [0.0, 1.0], false, false).unwrap();
        assert_eq!(pictures.write(&output, "a", &image, &found, None).unwrap_err().code(), Code::Output);
        assert!(!folder.path().join("a.tiff").exists());
        assert_eq!(pictures.write(&output, "b", &image, &found, None).unwrap(), ["b.tiff", "b.overlay.png", "b.heatmap.png"]);
    }
}
