//! Regions of candidates, measured on the image that they were cut out of.

use crate::image::Mask;
use crate::tensor::Array;

/// What a region is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// Share of the image's pixels.
    pub area: f32,
    /// The largest intersection over union with an object; `None` where there is no object.
    pub overlap: Option<f32>,
    /// Mean saliency of its pixels; `None` without any, or where scores are not rescored.
    pub saliency: Option<f32>,
}

/// What regions are measured against.
pub(super) struct Surroundings {
    /// Saliency of each pixel, where scores are rescored.
    pub saliency: Option<Array>,
    /// Regions of the objects with their areas, as far as the location of defects counts.
    pub objects: Vec<(Mask, usize)>,
}

impl Surroundings {
    /// Measures a region.
    pub fn measure(&self, region: &Mask) -> Measured {
        let inside: Vec<usize> = (0..region.data().len()).filter(|&at| region.data()[at]).collect();
        let overlap = |(object, area): &(Mask, usize)| {
            let shared = inside.iter().filter(|&&at| object.data()[at]).count();
            shared as f32 / (inside.len() + area - shared) as f32
        };
        let saliency = self.saliency.as_ref().filter(|_| !inside.is_empty()).map(|saliency| {
            let sum: f64 = inside.iter().map(|&at| f64::from(saliency.data()[at])).sum();
            (sum / inside.len() as f64) as f32
        });
        Measured {
            area: inside.len() as f32 / region.data().len() as f32,
            overlap: self.objects.iter().map(overlap).reduce(f32::max),
            saliency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(marks: [f32; 4]) -> Mask {
        Mask::of_positive(&Array::new([2, 2], marks.to_vec()))
    }

    #[test]
    fn a_region_is_measured_against_saliency_and_objects() {
        let objects = vec![(mask([1.0, 0.0, 0.0, 0.0]), 1), (mask([0.0, 0.0, 1.0, 0.0]), 1)];
        let around = Surroundings { saliency: Some(Array::new([2, 2], vec![0.1, 0.3, 0.5, 0.0])), objects };
        let found = around.measure(&mask([1.0, 1.0, 0.0, 0.0]));
        assert_eq!((found.area, found.overlap), (0.5, Some(0.5)));
        assert!((found.saliency.unwrap() - 0.2).abs() < 1e-7);
        assert_eq!(around.measure(&mask([0.0; 4])), Measured { area: 0.0, overlap: Some(0.0), saliency: None });
        let anywhere = Surroundings { saliency: None, objects: Vec::new() };
        assert_eq!(anywhere.measure(&mask([0.0, 1.0, 1.0, 1.0])), Measured { area: 0.75, overlap: None, saliency: None });
    }
}
