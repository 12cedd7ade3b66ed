//! Region of interest: the part of every image that is inspected, as a mask of the images' own size.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::files::sha256;
use crate::image::{BoundingBox, Mask, MaskFile, Palette, ReadOptions, read_mask};
use crate::methods::Finding;
use crate::results::RegionParameters;
use crate::uninspected::{Reason, Uninspected};

/// Region of interest: the pixels that are inspected, the same ones in every image.
///
/// Outside of it nothing is reported: neither score nor mask nor regions nor pictures know of a defect there. A method still sees all of its
/// frame, so that the inside is compared with the outside as without a region.
#[derive(Clone, Debug)]
pub struct RegionOfInterest {
    mask: Arc<Mask>,
    path: Option<String>,
}

impl RegionOfInterest {
    /// The marked pixels of a mask.
    ///
    /// Errors with [`Code::Region`] where nothing is marked.
    pub fn new(mask: Mask) -> Result<RegionOfInterest> {
        if mask.area() == 0 {
            let message = "the region of interest is empty: no pixel of its mask is marked";
            return Err(Error::new(Code::Region, message).hint("paint what is to be inspected in white, the rest in black"));
        }
        Ok(RegionOfInterest { mask: Arc::new(mask), path: None })
    }

    /// The pixels of a mask file that are not black, turned upright as images are.
    ///
    /// Errors: a file that is no image, one with several values beside black, of which nobody knows whether all of them are meant (a photo, or
    /// a mask blurred by lossy compression), marks that are transparent, or none.
    pub fn open(path: &Path, read: &ReadOptions) -> Result<RegionOfInterest> {
        let of_file = || {
            let MaskFile { mask, values, transparent } = read_mask(path, Palette::Colors, read)?;
            let paint = "paint what is to be inspected in white, the rest in black, and save it as PNG";
            if values > 1 {
                return Err(Error::new(Code::Region, format!("the mask has {values} values beside black, and one is wanted")).hint(paint));
            }
            if transparent > 0 {
                return Err(Error::new(Code::Region, "the mask has marks that are transparent").hint(paint));
            }
            RegionOfInterest::new(mask)
        };
        let unusable = |error: Error| error.context(format!("as a region of interest, `{}`", path.display()));
        Ok(RegionOfInterest { path: Some(path.display().to_string()), ..of_file().map_err(unusable)? })
    }

    /// The mask.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Its entry in `run.json`.
    pub fn parameters(&self) -> RegionParameters {
        let (width, height) = (self.mask.width(), self.mask.height());
        let marks: Vec<u8> = self.mask.data().iter().map(|&is_marked| u8::from(is_marked)).collect();
        RegionParameters {
            path: self.path.clone(),
            sha256: sha256(&marks),
            size: [width, height],
            share: self.mask.area() as f64 / (width * height) as f64,
        }
    }

    /// Refuses an image of another size.
    ///
    /// Errors with [`Code::Region`]: the mask is never resized, since nobody knows whether the image was scaled, cut or turned.
    pub fn check(&self, width: usize, height: usize) -> Result<()> {
        if (width, height) == (self.mask.width(), self.mask.height()) {
            return Ok(());
        }
        let message = format!("the image is {width}×{height}, but the region of interest {}×{}", self.mask.width(), self.mask.height());
        Err(Error::new(Code::Region, message)
            .hint("a region has the size of the images, after they are turned upright: make one for each size"))
    }

    /// Refuses images none of which has the region's size, by their headers: all would fail one by one.
    ///
    /// Errors with [`Code::Region`].
    pub fn check_any<'a>(&self, files: impl IntoIterator<Item = &'a Path>, read: &ReadOptions) -> Result<()> {
        let mut refused = Ok(());
        for file in files {
            // An image that cannot be read fails by itself.
            let Ok(size) = read.announced_size(file) else { continue };
            let fits = self.check(size.width, size.height);
            if fits.is_ok() {
                return Ok(());
            }
            refused =
                refused.and(fits.map_err(|error| error.context(format!("no image is of its size; the first is `{}`", file.display()))));
        }
        refused
    }

    /// Restricts a finding to the region: values outside become `coldest`, the score the largest value inside, as far as the method inspects
    /// that; the part of the region that it does not inspect is named. Where it inspects nothing of it, the score is `coldest`.
    ///
    /// Panics where the image was not [checked](RegionOfInterest::check).
    pub(super) fn restrict(&self, finding: &mut Finding, coldest: f32) {
        let [height, width]: [usize; 2] = finding.map.shape().axes();
        assert!((width, height) == (self.mask.width(), self.mask.height()), "a region of another size than the image");
        let is_seen = |at: usize| finding.inspected.is_none_or(|bounds| holds(bounds, at % width, at / width));
        let (mut score, mut unseen) = (coldest, 0);
        for (at, value) in finding.map.data_mut().iter_mut().enumerate() {
            match (self.mask.data()[at], is_seen(at)) {
                (true, true) => score = score.max(*value),
                (true, false) => unseen += 1,
                (false, _) => *value = coldest,
            }
        }
        finding.score = score;
        finding.region = Some(Arc::clone(&self.mask));
        let is_outside = |part: &Uninspected| part.reason == Reason::OutsideCrop;
        assert!(finding.inspected.is_some() || !finding.uninspected.iter().any(is_outside), "a method says which part it inspects");
        finding.uninspected.retain(|part| !is_outside(part));
        if unseen > 0 {
            finding.uninspected.push(Uninspected::outside_crop(unseen as f64 / self.mask.area() as f64));
        }
    }
}

/// Whether the centre of a pixel lies in a box.
fn holds(bounds: BoundingBox, column: usize, row: usize) -> bool {
    let [x0, y0, x1, y1] = bounds.corners();
    let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
    (x0..x1).contains(&x) && (y0..y1).contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Array;

    fn region(marks: &[u8]) -> RegionOfInterest {
        RegionOfInterest::new(Mask::new(4, marks.len() / 4, marks.iter().map(|&mark| mark > 0).collect())).unwrap()
    }

    fn restricted(region: &RegionOfInterest, finding: &Finding) -> Finding {
        let mut finding = finding.clone();
        region.restrict(&mut finding, 0.0);
        finding
    }

    const MAP: [f32; 8] = [9.0, 1.0, 2.0, 8.0, 7.0, 3.0, 4.0, 6.0];

    #[test]
    fn the_score_is_the_largest_value_inside_and_nothing_is_marked_outside() {
        let whole = Finding::whole(Array::new([2, 4], MAP.to_vec()), 9.0);
        let found = restricted(&region(&[0, 1, 1, 0, 0, 1, 1, 0]), &whole);
        assert_eq!((found.score, found.map.data()), (4.0, &[0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0][..]));
        assert!(found.uninspected.is_empty());
        // Even below every value, and of a map that is hot everywhere.
        assert_eq!(found.mask(-1e9).area(), 4);
        assert_eq!((found.regions(2.0).len(), found.regions(2.0)[0].bbox), (1, [1, 0, 2, 2]));
        let all = restricted(&region(&[1; 8]), &whole);
        assert_eq!((all.score, all.map.data(), all.mask(6.0).area()), (9.0, &MAP[..], 4));
    }

    #[test]
    fn the_part_of_a_region_that_a_method_leaves_out_is_named() {
        let centre = BoundingBox::new([1.0, 0.0, 3.0, 2.0]).unwrap();
        let part = Finding::of_part(Array::new([2, 4], MAP.to_vec()), 4.0, centre);
        assert_eq!(part.uninspected, [Uninspected::outside_crop(0.5)]);
        // Two pixels inside, one outside, whose value counts for nothing.
        let found = restricted(&region(&[1, 1, 1, 0, 0, 0, 0, 0]), &part);
        assert_eq!((found.score, found.uninspected), (2.0, vec![Uninspected::outside_crop(1.0 / 3.0)]));
        let inside = restricted(&region(&[0, 1, 1, 0, 0, 0, 0, 0]), &part);
        assert_eq!((inside.score, inside.uninspected), (2.0, vec![]));
        let outside = restricted(&region(&[1, 0, 0, 1, 0, 0, 0, 0]), &part);
        assert_eq!((outside.score, outside.uninspected), (0.0, vec![Uninspected::outside_crop(1.0)]));
    }

    #[test]
    fn a_region_is_neither_empty_nor_resized() {
        let error = RegionOfInterest::new(Mask::new(2, 2, vec![false; 4])).unwrap_err();
        assert_eq!(error.code(), Code::Region);
        let region = region(&[1, 0, 0, 0, 0, 0, 0, 1]);
        assert!(region.check(4, 2).is_ok());
        assert_eq!(region.check(2, 4).unwrap_err().message(), "the image is 2×4, but the region of interest 4×2");
        let parameters = region.parameters();
        assert_eq!((parameters.size, parameters.share), ([4, 2], 0.25));
        assert_eq!(parameters.sha256, sha256(&[1, 0, 0, 0, 0, 0, 0, 1]));
    }
}
