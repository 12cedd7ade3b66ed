//! Several views of a photo whose probabilities are averaged (WinCLIP, Jeong et al. 2023, "multi-crop"; the paper does not say which).

use crate::image::Rgb;

/// Share of each side that a crop of [`MultiCrop::Five`] keeps: 224 of 256, as AlexNet cut its photos (Krizhevsky et al. 2012).
const CROP_SHARE: f64 = 224.0 / 256.0;

/// Share of the shorter side between the tiles of [`MultiCrop::Tile`].
const TILE_STEP: f64 = 0.8;

/// Which views of a photo decide its score in language. Maps, and distances to references, are of the whole photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiCrop {
    /// The whole photo.
    #[default]
    None,
    /// Squares of the shorter side along the longer one, as a public reproduction does for elongated photos.
    Tile,
    /// Four corners and the centre.
    Five,
    /// The five, and each mirrored.
    Ten,
}

impl MultiCrop {
    /// The name users see.
    pub fn as_str(self) -> &'static str {
        match self {
            MultiCrop::None => "none",
            MultiCrop::Tile => "tile",
            MultiCrop::Five => "five",
            MultiCrop::Ten => "ten",
        }
    }

    /// The views.
    pub fn views(self, photo: &Rgb) -> Vec<Rgb> {
        let (height, width) = (photo.height(), photo.width());
        match self {
            MultiCrop::None => vec![photo.clone()],
            MultiCrop::Tile => {
                let side = height.min(width);
                let starts = tile_starts(height.max(width), side);
                let tile = |start| if width >= height { photo.crop(start, 0, side, side) } else { photo.crop(0, start, side, side) };
                starts.into_iter().map(tile).collect()
            }
            MultiCrop::Five => corners_and_centre(photo),
            MultiCrop::Ten => {
                let mut views = corners_and_centre(photo);
                let mirrored: Vec<Rgb> = views.iter().map(Rgb::mirrored).collect();
                views.extend(mirrored);
                views
            }
        }
    }
}

/// Where tiles of `side` start along `length`: every ⌊0.8·side⌋, those that would pass the end flush with it.
///
/// The last tile may thus occur twice, as in the reproduction this follows (mala-lab/WinCLIP); a square is one tile.
fn tile_starts(length: usize, side: usize) -> Vec<usize> {
    if length == side {
        return vec![0];
    }
    let step = ((TILE_STEP * side as f64) as usize).max(1);
    (0..length).step_by(step).map(|start| start.min(length - side)).collect()
}

fn corners_and_centre(photo: &Rgb) -> Vec<Rgb> {
    let kept = |length: usize| ((CROP_SHARE * length as f64).round_ties_even() as usize).max(1);
    let (width, height) = (kept(photo.width()), kept(photo.height()));
    let (right, bottom) = (photo.width() - width, photo.height() - height);
    let corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right / 2, bottom / 2)];
    corners.map(|(left, top)| photo.crop(left, top, width, height)).to_vec()
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
        let photo = Rgb::new(16, 8, (0..16 * 8 * 3).map(|at| at as u8).collect());
        assert_eq!(MultiCrop::None.views(&photo).len(), 1);
        let five = MultiCrop::Five.views(&photo);
        assert!(five.iter().all(|view| (view.width(), view.height()) == (14, 7)));
        let ten = MultiCrop::Ten.views(&photo);
        assert_eq!((ten.len(), ten[7].data()), (10, five[2].mirrored().data()));
        let tall = Rgb::new(4, 10, vec![7; 120]);
        assert!(MultiCrop::Tile.views(&tall).iter().all(|view| (view.width(), view.height()) == (4, 4)));
    }
}
