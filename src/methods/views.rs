//! Views of an image (multi-crop): parts that a method inspects one by one.
//!
//! WinCLIP (Jeong et al. 2023) averages their scores; the paper does not say which views.

use crate::error::{Code, Error, Remedy, Result};
use crate::image::Rgb;

/// Share of each side that a crop of [`MultiCrop::Five`] keeps: 224 of 256, as AlexNet cut its images (Krizhevsky et al. 2012).
const CROP_SHARE: f64 = 224.0 / 256.0;

/// Share of the shorter side between the tiles of [`MultiCrop::Tile`].
const TILE_STEP: f64 = 0.8;

/// Most views of an image; each needs one run of the tower.
const MAX_VIEWS: usize = 64;

/// Which views of an image decide its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiCrop {
    /// One view.
    #[default]
    None,
    /// Squares as large as the shorter side, as in a public reproduction for elongated images.
    Tile,
    /// Crops of 7/8 of each side.
    Five,
    /// The crops of [`MultiCrop::Five`], also mirrored left to right.
    Ten,
}

impl MultiCrop {
    /// All choices of views.
    pub const ALL: [MultiCrop; 4] = [MultiCrop::None, MultiCrop::Tile, MultiCrop::Five, MultiCrop::Ten];

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            MultiCrop::None => "The whole image",
            MultiCrop::Tile => "Squares along the longer side",
            MultiCrop::Five => "Four corners and the centre",
            MultiCrop::Ten => "The five, and each mirrored",
        }
    }

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            MultiCrop::None => "none",
            MultiCrop::Tile => "tile",
            MultiCrop::Five => "five",
            MultiCrop::Ten => "ten",
        }
    }

    /// The views of an image.
    ///
    /// Errors with [`Code::TooSmall`]: an image so elongated that its tiles would be more than 64.
    pub fn views(self, image: &Rgb) -> Result<Vec<View>> {
        let (height, width) = (image.height(), image.width());
        Ok(match self {
            MultiCrop::None => vec![View { left: 0, top: 0, width, height, is_mirrored: false }],
            MultiCrop::Tile => tiles(width, height)?,
            MultiCrop::Five => corners_and_centre(width, height),
            MultiCrop::Ten => {
                let five = corners_and_centre(width, height);
                let mirrored = five.iter().map(|&view| View { is_mirrored: true, ..view });
                five.iter().copied().chain(mirrored).collect()
            }
        })
    }
}

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    is_mirrored: bool,
}

impl View {
    /// Cuts the view out of an image.
    pub fn of(self, image: &Rgb) -> Rgb {
        let crop = image.crop(self.left, self.top, self.width, self.height);
        if self.is_mirrored { crop.mirrored() } else { crop }
    }
}

fn tiles(width: usize, height: usize) -> Result<Vec<View>> {
    let side = height.min(width);
    let starts = tile_starts(height.max(width), side);
    if starts.len() > MAX_VIEWS {
        let message = format!("an image of {width}×{height} would be cut into {} tiles, more than {MAX_VIEWS}", starts.len());
        return Err(Error::new(Code::TooSmall, message).hint(Remedy::UseOtherViews));
    }
    let tile = |start| if width >= height { (start, 0) } else { (0, start) };
    let view = |(left, top)| View { left, top, width: side, height: side, is_mirrored: false };
    Ok(starts.into_iter().map(tile).map(view).collect())
}

/// Start of each tile of `side` along `length`: every ⌊0.8·side⌋; a tile that would pass the end is moved back to end with it.
///
/// The last tile may thus occur twice, as in the reproduction this follows (mala-lab/WinCLIP); a square is one tile.
fn tile_starts(length: usize, side: usize) -> Vec<usize> {
    if length == side {
        return vec![0];
    }
    let step = ((TILE_STEP * side as f64) as usize).max(1);
    (0..length).step_by(step).map(|start| start.min(length - side)).collect()
}

fn corners_and_centre(image_width: usize, image_height: usize) -> Vec<View> {
    let kept = |length: usize| ((CROP_SHARE * length as f64).round_ties_even() as usize).max(1);
    let (width, height) = (kept(image_width), kept(image_height));
    let (right, bottom) = (image_width - width, image_height - height);
    let corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right / 2, bottom / 2)];
    corners.map(|(left, top)| View { left, top, width, height, is_mirrored: false }).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_step_by_four_fifths_and_end_flush() {
        assert_eq!(tile_starts(1284, 1168), [0, 116]);
        assert_eq!(tile_starts(1500, 1000), [0, 500]);
        assert_eq!(tile_starts(17, 10), [0, 7, 7], "8 and 16 are both pulled back");
        assert_eq!(tile_starts(7, 7), [0]);
    }

    #[test]
    fn views_are_of_the_sizes_stated_and_ten_ends_with_mirrors() {
        let image = Rgb::new(16, 8, (0..16 * 8 * 3).map(|at| at as u8).collect());
        let views = |crop: MultiCrop| -> Vec<Rgb> { crop.views(&image).unwrap().into_iter().map(|view| view.of(&image)).collect() };
        assert_eq!(views(MultiCrop::None), std::slice::from_ref(&image));
        let (five, ten) = (views(MultiCrop::Five), views(MultiCrop::Ten));
        assert!(five.iter().all(|view| (view.width(), view.height()) == (14, 7)));
        assert_eq!((ten.len(), &ten[7]), (10, &five[2].mirrored()));
        let tall = Rgb::new(4, 10, vec![7; 120]);
        let tiles = MultiCrop::Tile.views(&tall).unwrap();
        assert!(tiles.iter().all(|view| (view.width, view.height, view.left) == (4, 4, 0)));
        assert_eq!(MultiCrop::Tile.views(&Rgb::new(1000, 2, vec![0; 6000])).unwrap_err().code(), Code::TooSmall);
    }
}
