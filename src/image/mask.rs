//! Masks: the pixels of a map at or above a level, and their connected regions.

use serde::Serialize;

use crate::tensor::Array;

/// Mask: the marked pixels of an image, `[height, width]` row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    data: Vec<bool>,
}

impl Mask {
    /// The mask of these marks, `[height, width]` row-major. Panics where their number is another.
    #[track_caller]
    pub fn new(width: usize, height: usize, data: Vec<bool>) -> Mask {
        assert!(data.len() == width * height, "{} marks for a mask of {width}×{height}", data.len());
        Mask { width, height, data }
    }

    /// Marks the pixels of a map `[h, w]` whose value is at least `threshold`; NaN is not marked.
    #[track_caller]
    pub fn from_threshold(map: &Array, threshold: f32) -> Mask {
        let [height, width] = map.shape().axes();
        Mask { width, height, data: map.data().iter().map(|&score| score >= threshold).collect() }
    }

    /// Marks the pixels of a map `[h, w]` above 0; NaN is not marked.
    #[track_caller]
    pub fn of_positive(map: &Array) -> Mask {
        let [height, width] = map.shape().axes();
        Mask { width, height, data: map.data().iter().map(|&logit| logit > 0.0).collect() }
    }

    /// The pixels that both masks mark. Panics when the sizes differ.
    #[track_caller]
    pub fn and(&self, other: &Mask) -> Mask {
        let sizes = [(self.width, self.height), (other.width, other.height)];
        assert!(sizes[0] == sizes[1], "a mask is {}×{} and the other {}×{}", sizes[0].0, sizes[0].1, sizes[1].0, sizes[1].1);
        Mask { data: self.data.iter().zip(&other.data).map(|(&one, &other)| one && other).collect(), ..*self }
    }

    /// Number of marked pixels.
    pub fn area(&self) -> usize {
        self.data.iter().filter(|&&is_marked| is_marked).count()
    }

    /// Bounding box of the marked pixels: left, top, width and height; `None` for an empty mask.
    pub fn bbox(&self) -> Option<[usize; 4]> {
        let marked = || (0..self.data.len()).filter(|&at| self.data[at]);
        let (top, bottom) = (marked().next()? / self.width, marked().next_back()? / self.width);
        let (left, right) = marked()
            .map(|at| at % self.width)
            .fold((usize::MAX, 0), |(left, right), x| (left.min(x), right.max(x)));
        Some([left, top, right - left + 1, bottom - top + 1])
    }

    /// The connected regions, corners included, in the order of their first pixels: of each, its pixels as row-major indices.
    pub fn components(&self) -> Vec<Vec<usize>> {
        let mut left = self.data.clone();
        let mut components = Vec::new();
        for start in 0..left.len() {
            if left[start] {
                let mut pixels = Vec::new();
                flood(&mut left, start, self.width, |pixel| pixels.push(pixel));
                components.push(pixels);
            }
        }
        components
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The marks, `[height, width]`.
    pub fn data(&self) -> &[bool] {
        &self.data
    }
}

/// Connected region of a mask: marked pixels that touch each other, corners included. Coordinates count from 0 at the upper left.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// Left, top, width, height.
    pub bbox: [usize; 4],
    /// Number of pixels.
    pub area: usize,
    /// Largest value of the map within.
    pub score: f32,
    /// Mean x and y of the pixels' coordinates.
    pub centroid: [f64; 2],
}

/// The connected regions of `mask`, scored by `map` `[h, w]` of the same size.
///
/// Highest score first, then largest area, then upper left first. Panics when the sizes differ.
#[track_caller]
pub fn regions(mask: &Mask, map: &Array) -> Vec<Region> {
    let sizes = map.shape().axes();
    assert!(sizes == [mask.height, mask.width], "the map is {}×{} but the mask {}×{}", sizes[0], sizes[1], mask.height, mask.width);
    let mut left = mask.data.clone();
    let mut regions: Vec<Region> = Vec::new();
    for start in 0..left.len() {
        if left[start] {
            regions.push(take_region(&mut left, start, mask.width, map.data()));
        }
    }
    // A stable sort: equal regions keep the order of their first pixels.
    regions.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.area.cmp(&a.area)));
    regions
}

/// Removes the region around the pixel `start` from `left` and measures it.
fn take_region(left: &mut [bool], start: usize, width: usize, scores: &[f32]) -> Region {
    let (mut x0, mut y0, mut x1, mut y1) = (usize::MAX, usize::MAX, 0, 0);
    let (mut area, mut score, mut sum_x, mut sum_y) = (0, f32::NEG_INFINITY, 0, 0);
    flood(left, start, width, |pixel| {
        let (x, y) = (pixel % width, pixel / width);
        (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x), y1.max(y));
        (area, score, sum_x, sum_y) = (area + 1, score.max(scores[pixel]), sum_x + x, sum_y + y);
    });
    Region {
        bbox: [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
        area,
        score,
        centroid: [sum_x as f64 / area as f64, sum_y as f64 / area as f64],
    }
}

/// Removes the pixels that touch `start` over marked ones, corners included, from `left`, and visits each once.
pub(crate) fn flood(left: &mut [bool], start: usize, width: usize, mut visit: impl FnMut(usize)) {
    let height = left.len() / width;
    let mut pending = vec![start];
    left[start] = false;
    while let Some(pixel) = pending.pop() {
        visit(pixel);
        let (x, y) = (pixel % width, pixel / width);
        for near_y in y.saturating_sub(1)..(y + 2).min(height) {
            for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                let near = near_y * width + near_x;
                if std::mem::take(&mut left[near]) {
                    pending.push(near);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_connect_and_the_highest_score_comes_first() {
        #[rustfmt::skip]
        let map = Array::new([3, 5], vec![
            0.6, 0.0, 0.0, 0.0, 0.5,
            0.0, 0.7, 0.0, 0.0, 0.5,
            0.0, 0.0, f32::NAN, 0.0, 0.9,
        ]);
        let found = regions(&Mask::from_threshold(&map, 0.5), &map);
        assert_eq!(
            found,
            [
                Region { bbox: [4, 0, 1, 3], area: 3, score: 0.9, centroid: [4.0, 1.0] },
                Region { bbox: [0, 0, 2, 2], area: 2, score: 0.7, centroid: [0.5, 0.5] },
            ]
        );
    }

    #[test]
    fn a_mask_knows_its_extent() {
        let mask = |data: &[f32]| Mask::of_positive(&Array::new([3, 4], data.to_vec()));
        let marked = mask(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, f32::NAN, 0.0, 9.0, -1.0, 0.0]);
        assert_eq!((marked.area(), marked.bbox()), (2, Some([1, 1, 2, 2])));
        assert_eq!((mask(&[0.0; 12]).area(), mask(&[0.0; 12]).bbox()), (0, None));
        assert_eq!(mask(&[1.0; 12]).bbox(), Some([0, 0, 4, 3]));
    }

    #[test]
    fn components_list_each_pixel_once_and_touch_by_corners() {
        #[rustfmt::skip]
        let mask = Mask::new(5, 3, [1, 0, 0, 0, 1,
                                    0, 1, 0, 0, 1,
                                    0, 0, 0, 0, 0].map(|mark| mark == 1).to_vec());
        assert_eq!(mask.components(), [vec![0, 6], vec![4, 9]]);
        assert!(Mask::new(2, 2, vec![false; 4]).components().is_empty());
    }

    #[test]
    fn ties_go_to_the_larger_and_then_to_the_upper_left() {
        let map = Array::new([1, 7], vec![1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
        let found = regions(&Mask::from_threshold(&map, 1.0), &map);
        assert_eq!(found.iter().map(|region| region.bbox[0]).collect::<Vec<_>>(), [4, 0, 2]);
    }

    #[test]
    fn a_fully_marked_map_is_one_region_and_an_unmarked_one_has_none() {
        let map = Array::new([200, 300], vec![1.0; 60_000]);
        let found = regions(&Mask::from_threshold(&map, 0.5), &map);
        assert_eq!(found, [Region { bbox: [0, 0, 300, 200], area: 60_000, score: 1.0, centroid: [149.5, 99.5] }]);
        assert!(regions(&Mask::from_threshold(&map, 2.0), &map).is_empty());
    }
}
