//! F1 of regions, F_r, as the code of SAA computes it.

use crate::metrics::measured::{Measured, NO_POSITIVES};
use crate::metrics::steps::{STEPS, extent};

/// Least intersection over union at which a region is right.
const LEAST_IOU: f64 = 0.6;

/// A pixel that belongs to no region yet.
const NONE: u32 = u32::MAX;

/// Regions of all maps at each of 200 thresholds.
///
/// A predicted region is an 8-connected one of the pixels above the threshold. It is right if for some region of the mask the intersection over
/// union of all predicted and all marked pixels, inside the box around both regions, is at least 0.6. Precision is over predicted regions, recall
/// is right ones per region of a mask, and may exceed 1, as several predicted regions can be right about the same.
#[derive(Clone)]
pub(super) struct RegionCounts {
    /// Predicted and right regions at each threshold.
    found: [[u64; 2]; STEPS],
    /// Regions of masks.
    regions: u64,
}

impl RegionCounts {
    pub fn new() -> RegionCounts {
        RegionCounts { found: [[0; 2]; STEPS], regions: 0 }
    }

    /// Counts the regions of a map `width` pixels wide, given the first threshold that each pixel passes and the regions of its mask.
    ///
    /// Pixels are added threshold by threshold, so that regions only grow and join; a threshold at which nothing is added counts what the one
    /// before it did.
    pub fn of(levels: &[u8], width: usize, marked: &[Vec<usize>]) -> RegionCounts {
        let mut counts = RegionCounts { regions: marked.len() as u64, ..RegionCounts::new() };
        let mut growing = Growing::new(width, levels.len() / width);
        let truth = Truth::new(marked, width, levels.len());
        for (at, pixels) in by_level(levels).iter().enumerate().take(STEPS) {
            if pixels.is_empty() && at > 0 {
                counts.found[at] = counts.found[at - 1];
                continue;
            }
            pixels.iter().for_each(|&pixel| growing.add(pixel));
            let boxes = growing.boxes();
            counts.found[at] = [boxes.len() as u64, truth.right(&boxes, levels, at)];
        }
        counts
    }

    pub fn add(&mut self, other: &RegionCounts) {
        self.regions += other.regions;
        for (sum, count) in self.found.iter_mut().zip(other.found) {
            *sum = [sum[0] + count[0], sum[1] + count[1]];
        }
    }

    /// The largest F1 over the thresholds.
    pub fn finish(&self) -> Measured {
        if self.regions == 0 {
            return Measured::undefined(NO_POSITIVES);
        }
        let f1 = |&[predicted, right]: &[u64; 2]| {
            if right == 0 {
                return 0.0;
            }
            let (precision, recall) = (right as f64 / predicted as f64, right as f64 / self.regions as f64);
            2.0 * precision * recall / (precision + recall)
        };
        Measured::exact(self.found.iter().map(f1).fold(0.0, f64::max))
    }
}

/// The pixels of each level, in order.
fn by_level(levels: &[u8]) -> Vec<Vec<u32>> {
    let mut pixels = vec![Vec::new(); STEPS + 1];
    levels.iter().zip(0..).for_each(|(&level, pixel)| pixels[usize::from(level)].push(pixel));
    pixels
}

/// First and last column and row: x0, y0, x1, y1.
type Extent = [u32; 4];

fn joined(a: Extent, b: Extent) -> Extent {
    [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]
}

/// Regions that grow by pixels and join where they touch: a forest, in which the root of a tree stands for the region.
struct Growing {
    width: usize,
    height: usize,
    parents: Vec<u32>,
    /// Of each root, the box around its region.
    extents: Vec<Extent>,
    roots: Vec<u32>,
}

impl Growing {
    fn new(width: usize, height: usize) -> Growing {
        Growing {
            width,
            height,
            parents: vec![NONE; width * height],
            extents: vec![[0; 4]; width * height],
            roots: Vec::new(),
        }
    }

    fn add(&mut self, pixel: u32) {
        let (x, y) = (pixel as usize % self.width, pixel as usize / self.width);
        self.parents[pixel as usize] = pixel;
        self.extents[pixel as usize] = [x as u32, y as u32, x as u32, y as u32];
        self.roots.push(pixel);
        let mut root = pixel;
        for near_y in y.saturating_sub(1)..(y + 2).min(self.height) {
            for near_x in x.saturating_sub(1)..(x + 2).min(self.width) {
                let near = (near_y * self.width + near_x) as u32;
                if self.parents[near as usize] != NONE {
                    root = self.join(root, near);
                }
            }
        }
    }

    /// Makes the region of `other` part of that with a root, or the other way round, and returns the root of both.
    fn join(&mut self, root: u32, other: u32) -> u32 {
        let other = self.root(other);
        if other == root {
            return root;
        }
        // The older root stays: an isolated pixel comes to a large region, not the region to the pixel.
        let extent = joined(self.extents[root as usize], self.extents[other as usize]);
        self.parents[root as usize] = other;
        self.extents[other as usize] = extent;
        other
    }

    fn root(&mut self, mut pixel: u32) -> u32 {
        while self.parents[pixel as usize] != pixel {
            let parent = self.parents[pixel as usize];
            self.parents[pixel as usize] = self.parents[parent as usize];
            pixel = parent;
        }
        pixel
    }

    /// The box around each region.
    fn boxes(&mut self) -> Vec<Extent> {
        self.roots.retain(|&root| self.parents[root as usize] == root);
        self.roots.iter().map(|&root| self.extents[root as usize]).collect()
    }
}

/// The regions of a mask.
struct Truth {
    width: usize,
    is_marked: Vec<bool>,
    extents: Vec<Extent>,
    marked: Areas,
}

impl Truth {
    fn new(regions: &[Vec<usize>], width: usize, pixels: usize) -> Truth {
        let mut is_marked = vec![false; if regions.is_empty() { 0 } else { pixels }];
        regions.iter().flatten().for_each(|&pixel| is_marked[pixel] = true);
        let extents = regions.iter().map(|region| extent(region, width).map(|side| side as u32)).collect();
        let marked = Areas::of(width, is_marked.len() / width, |pixel| is_marked[pixel]);
        Truth { width, is_marked, extents, marked }
    }

    /// How many of the predicted regions with these boxes are right, where pixels of a level up to `at` are predicted.
    fn right(&self, boxes: &[Extent], levels: &[u8], at: usize) -> u64 {
        if self.extents.is_empty() || boxes.is_empty() {
            return 0;
        }
        let height = levels.len() / self.width;
        let is_predicted = |pixel: usize| usize::from(levels[pixel]) <= at;
        let predicted = Areas::of(self.width, height, is_predicted);
        let both = Areas::of(self.width, height, |pixel| self.is_marked[pixel] && is_predicted(pixel));
        let is_right = |extent: Extent| {
            let intersection = both.within(extent);
            let union = predicted.within(extent) + self.marked.within(extent) - intersection;
            f64::from(intersection) / f64::from(union) >= LEAST_IOU
        };
        // Of the many small regions of noise, those within the box of a marked one share an answer.
        let alone: Vec<bool> = self.extents.iter().map(|&extent| is_right(extent)).collect();
        let is_right_about = |found: Extent, (&marked, &alone): (&Extent, &bool)| {
            let around = joined(found, marked);
            if around == marked { alone } else { is_right(around) }
        };
        boxes
            .iter()
            .filter(|&&found| self.extents.iter().zip(&alone).any(|marked| is_right_about(found, marked)))
            .count() as u64
    }
}

/// How many pixels of an image have a property within any box: sums over all pixels above and to the left (Crow 1984).
struct Areas {
    stride: usize,
    sums: Vec<u32>,
}

impl Areas {
    fn of(width: usize, height: usize, has: impl Fn(usize) -> bool) -> Areas {
        let stride = width + 1;
        let mut sums = vec![0; stride * (height + 1)];
        for y in 0..height {
            let (above, here) = sums[y * stride..(y + 2) * stride].split_at_mut(stride);
            let mut in_row = 0;
            for x in 0..width {
                in_row += u32::from(has(y * width + x));
                here[x + 1] = in_row + above[x + 1];
            }
        }
        Areas { stride, sums }
    }

    fn within(&self, [x0, y0, x1, y1]: Extent) -> u32 {
        let sum = |x: u32, y: u32| self.sums[y as usize * self.stride + x as usize];
        sum(x1 + 1, y1 + 1) + sum(x0, y0) - sum(x0, y1 + 1) - sum(x1 + 1, y0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels from a picture of digits, `.` being passed by no threshold.
    fn levels(rows: &[&str]) -> Vec<u8> {
        let level = |c: char| c.to_digit(10).map_or(STEPS as u8, |level| level as u8);
        rows.iter().flat_map(|row| row.chars().map(level)).collect()
    }

    #[test]
    fn regions_grow_join_by_corners_and_are_right_from_an_overlap_of_six_tenths() {
        let levels = levels(&["11....", "12....", "..3...", ".....5"]);
        // The mask is the upper left square.
        let mut found = RegionCounts::of(&levels, 6, &[vec![0, 1, 6, 7]]);
        // 1: three of four pixels. 2: all. 3: the corner joins, the box is 3×3, 4 of 5. 5: a second one, whose box has 4 of 6 pixels: right, too.
        assert_eq!(found.found[..7], [[0, 0], [1, 1], [1, 1], [1, 1], [1, 1], [2, 2], [2, 2]]);
        let unmarked = RegionCounts::of(&levels, 6, &[]);
        assert_eq!(unmarked.found[5], [2, 0]);
        found.add(&unmarked);
        // At 1…4: precision 1/2, recall 1; at 5: 2/4 and 2.
        assert_eq!(found.finish(), Measured::exact(2.0 * 0.5 * 2.0 / 2.5));
    }

    #[test]
    fn sums_count_within_any_box() {
        let areas = Areas::of(3, 2, |pixel| [true, false, true, true, true, false][pixel]);
        assert_eq!([[0, 0, 2, 1], [0, 0, 0, 0], [1, 0, 1, 1], [1, 1, 2, 1]].map(|extent| areas.within(extent)), [4, 1, 1, 1]);
    }
}
