//! Bounding boxes on images, in pixels.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Code, Error, Result};

/// Bounding box: two corners in pixels, x to the right and y down; the first pixel reaches from 0 to 1. In JSON it is `[x0, y0, x1, y1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "[f32; 4]")]
pub struct BoundingBox {
    corners: [f32; 4],
}

impl BoundingBox {
    /// The box between the corners (x0, y0) and (x1, y1). Refused unless these are finite and the second lies right of and below the first.
    pub fn new(corners: [f32; 4]) -> Result<BoundingBox> {
        let [x0, y0, x1, y1] = corners;
        if corners.iter().all(|corner| corner.is_finite()) && x0 < x1 && y0 < y1 {
            return Ok(BoundingBox { corners });
        }
        let message = format!("the box {} is empty", BoundingBox { corners });
        Err(Error::new(Code::Usage, message).hint("a box is x0,y0,x1,y1 in pixels: its upper left corner, then its lower right one"))
    }

    /// x0, y0, x1, y1.
    pub fn corners(self) -> [f32; 4] {
        self.corners
    }

    /// Whether it overlaps an image of this size.
    pub fn overlaps(self, width: usize, height: usize) -> bool {
        let [x0, y0, x1, y1] = self.corners;
        x0 < width as f32 && y0 < height as f32 && x1 > 0.0 && y1 > 0.0
    }

    /// Whether it lies within an image of this size.
    pub fn is_within(self, width: usize, height: usize) -> bool {
        let [x0, y0, x1, y1] = self.corners;
        x0 >= 0.0 && y0 >= 0.0 && x1 <= width as f32 && y1 <= height as f32
    }
}

impl BoundingBox {
    /// The part of a box that lies on an image of this size; `None` where there is none.
    pub fn clipped(corners: [f32; 4], width: usize, height: usize) -> Option<BoundingBox> {
        let [x0, y0, x1, y1] = corners;
        let (width, height) = (width as f32, height as f32);
        BoundingBox::new([x0.max(0.0), y0.max(0.0), x1.min(width), y1.min(height)]).ok()
    }

    /// Number of pixels inside, with fractions.
    pub fn area(self) -> f32 {
        let [x0, y0, x1, y1] = self.corners;
        (x1 - x0) * (y1 - y0)
    }

    /// Intersection over union with another box.
    pub fn iou(self, other: BoundingBox) -> f32 {
        let [ax0, ay0, ax1, ay1] = self.corners;
        let [bx0, by0, bx1, by1] = other.corners;
        let (width, height) = (ax1.min(bx1) - ax0.max(bx0), ay1.min(by1) - ay0.max(by0));
        let shared = width.max(0.0) * height.max(0.0);
        shared / (self.area() + other.area() - shared)
    }
}

impl fmt::Display for BoundingBox {
    /// `x0,y0,x1,y1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x0, y0, x1, y1] = self.corners;
        write!(f, "{x0},{y0},{x1},{y1}")
    }
}

impl FromStr for BoundingBox {
    type Err = Error;

    /// Reads `x0,y0,x1,y1`.
    fn from_str(text: &str) -> Result<BoundingBox> {
        let corners: Option<Vec<f32>> = text.split(',').map(|corner| corner.trim().parse().ok()).collect();
        let corners: Option<[f32; 4]> = corners.and_then(|corners| corners.try_into().ok());
        BoundingBox::new(corners.ok_or_else(|| Error::new(Code::Usage, "expected four numbers, as in `120,80,410,300`"))?)
    }
}

/// Checks boxes against an image of this size; returns warnings about boxes that reach beyond it, or that look like fractions.
///
/// Fails with [`Code::Usage`] for a box outside the image.
pub fn check_boxes(boxes: &[BoundingBox], width: usize, height: usize) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for bounds in boxes {
        if !bounds.overlaps(width, height) {
            return Err(Error::new(Code::Usage, format!("the box {bounds} lies outside the image, which is {width}×{height}")));
        }
        if !bounds.is_within(width, height) {
            warnings.push(format!("the box {bounds} reaches beyond the image, which is {width}×{height}"));
        } else if bounds.is_within(1, 1) {
            warnings.push(format!("the box {bounds} lies within one pixel: boxes are in pixels, not in fractions of the image"));
        }
    }
    Ok(warnings)
}

impl From<BoundingBox> for [f32; 4] {
    fn from(bounds: BoundingBox) -> [f32; 4] {
        bounds.corners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_an_inside() {
        assert!(BoundingBox::new([1.0, 2.0, 1.5, 9.0]).is_ok());
        for wrong in
            [[3.0, 0.0, 3.0, 9.0], [5.0, 0.0, 3.0, 9.0], [0.0, 9.0, 3.0, 1.0], [0.0, 0.0, f32::NAN, 1.0], [0.0, 0.0, f32::INFINITY, 1.0]]
        {
            assert_eq!(BoundingBox::new(wrong).unwrap_err().code(), Code::Usage, "{wrong:?}");
        }
    }

    #[test]
    fn boxes_that_share_a_half_of_each_share_a_third_of_both() {
        let one = BoundingBox::new([0.0, 0.0, 2.0, 1.0]).unwrap();
        assert_eq!(one.iou(BoundingBox::new([1.0, 0.0, 3.0, 1.0]).unwrap()), 1.0 / 3.0);
        assert_eq!(one.iou(BoundingBox::new([5.0, 0.0, 6.0, 1.0]).unwrap()), 0.0);
        assert_eq!(BoundingBox::clipped([-1.0, -1.0, 9.0, 0.5], 4, 3).unwrap().corners(), [0.0, 0.0, 4.0, 0.5]);
        assert!(BoundingBox::clipped([4.0, 0.0, 9.0, 0.5], 4, 3).is_none());
    }

    #[test]
    fn a_box_is_four_numbers_with_an_inside() {
        let parsed = |text: &str| text.parse().map(BoundingBox::corners).ok();
        assert_eq!(parsed("1, 2.5,3,-0"), None);
        assert_eq!(parsed("-1, 2.5,3,4"), Some([-1.0, 2.5, 3.0, 4.0]));
        for wrong in ["", "1,2,3", "1,2,3,4,5", "1,2,x,4", "1,2,NaN,4", "1,2,inf,4", "3,2,1,4"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!("-1,2.5,3,4".parse::<BoundingBox>().unwrap().to_string(), "-1,2.5,3,4");
    }

    #[test]
    fn boxes_in_fractions_and_beyond_the_image_are_warned_of() {
        let warned = |text: &str| check_boxes(&[text.parse().unwrap()], 40, 30).map(|warnings| warnings.concat());
        assert!(warned("0.1,0.2,0.7,0.9").unwrap().contains("in pixels, not in fractions"));
        assert!(warned("0,0,1,1").unwrap().contains("in pixels, not in fractions"));
        assert!(warned("-3,0,9,9").unwrap().contains("reaches beyond"));
        assert_eq!(warned("0.5,0.5,1.5,9").unwrap(), "");
        assert_eq!(warned("40,0,50,9").unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn a_box_may_lie_on_beyond_or_beside_an_image() {
        let at = |corners| BoundingBox::new(corners).unwrap();
        let boxes = [[0.0, 0.0, 4.0, 3.0], [-1.0, 0.0, 4.0, 3.0], [3.5, 2.0, 9.0, 9.0], [4.0, 0.0, 5.0, 3.0], [-3.0, 1.0, 0.0, 2.0]];
        let found: Vec<_> = boxes.map(|corners| (at(corners).is_within(4, 3), at(corners).overlaps(4, 3))).to_vec();
        assert_eq!(found, [(true, true), (false, true), (false, true), (false, false), (false, false)]);
    }
}
