//! Regions of candidates, measured on the image that they were cut out of.

use crate::image::Mask;
use crate::tensor::Array;

/// What a region is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// Share of the image's pixels.
    pub area: f32,
    /// Intersection over union with all objects together.
    pub overlap: f32,
    /// Mean saliency of its pixels; `None` without any, or where scores are not rescored.
    pub saliency: Option<f32>,
}

/// What regions are measured against.
pub(super) struct Surroundings {
    /// Saliency of each pixel, where scores are rescored.
    pub saliency: Option<Array>,
    /// All objects together; `None` where the object is the whole image.
    pub object: Option<Mask>,
}

impl Surroundings {
    /// Measures a region.
    pub fn measure(&self, region: &Mask) -> Measured {
        let inside = || region.data().iter().enumerate().filter(|(_, inside)| **inside).map(|(at, _)| at);
        let (area, pixels) = (inside().count(), region.data().len());
        let (shared, of_object) = match &self.object {
            Some(object) => (inside().filter(|&at| object.data()[at]).count(), object.area()),
            None => (area, pixels),
        };
        let saliency = self.saliency.as_ref().filter(|_| area > 0).map(|saliency| {
            let sum: f64 = inside().map(|at| f64::from(saliency.data()[at])).sum();
            (sum / area as f64) as f32
        });
        Measured {
            area: area as f32 / pixels as f32,
            overlap: shared as f32 / (area + of_object - shared).max(1) as f32,
            saliency,
        }
    }
}

/// All masks together; `None` without any.
pub(super) fn together(masks: &[Mask]) -> Option<Mask> {
    let first = masks.first()?;
    let inside = |at: usize| f32::from(u8::from(masks.iter().any(|mask| mask.data()[at])));
    Some(Mask::of_positive(&Array::new([first.height(), first.width()], (0..first.data().len()).map(inside).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(marks: [f32; 4]) -> Mask {
        Mask::of_positive(&Array::new([2, 2], marks.to_vec()))
    }

    #[test]
    fn a_region_is_measured_against_saliency_and_objects() {
        let object = together(&[mask([1.0, 0.0, 0.0, 0.0]), mask([0.0, 0.0, 1.0, 0.0])]);
        let around = Surroundings { saliency: Some(Array::new([2, 2], vec![0.1, 0.3, 0.5, 0.0])), object };
        let found = around.measure(&mask([1.0, 1.0, 0.0, 0.0]));
        assert_eq!((found.area, found.overlap), (0.5, 1.0 / 3.0));
        assert!((found.saliency.unwrap() - 0.2).abs() < 1e-7);
        assert_eq!(around.measure(&mask([0.0; 4])), Measured { area: 0.0, overlap: 0.0, saliency: None });
        let anywhere = Surroundings { saliency: None, object: None };
        assert_eq!(anywhere.measure(&mask([0.0, 1.0, 1.0, 1.0])), Measured { area: 0.75, overlap: 0.75, saliency: None });
    }
}
