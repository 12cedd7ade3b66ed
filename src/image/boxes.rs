//! Rectangles on photos.

use serde::Serialize;

use crate::error::{Code, Error, Result};

/// Two corners in pixels, x to the right and y down; the first pixel reaches from 0 to 1. Its records are `[x0, y0, x1, y1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "[f32; 4]")]
pub struct BoundingBox {
    corners: [f32; 4],
}

impl BoundingBox {
    /// The rectangle between the corners (x0, y0) and (x1, y1). Refused unless these are finite and the second lies right of and below the first.
    pub fn new(corners: [f32; 4]) -> Result<BoundingBox> {
        let [x0, y0, x1, y1] = corners;
        if corners.iter().all(|corner| corner.is_finite()) && x0 < x1 && y0 < y1 {
            return Ok(BoundingBox { corners });
        }
        let message = format!("the box {x0},{y0},{x1},{y1} holds nothing");
        Err(Error::new(Code::Usage, message).hint("a box is x0,y0,x1,y1 in pixels: its upper left corner, then its lower right one"))
    }

    /// x0, y0, x1, y1.
    pub fn corners(self) -> [f32; 4] {
        self.corners
    }

    /// Whether it shares any place with a photo of this size.
    pub fn meets(self, width: usize, height: usize) -> bool {
        let [x0, y0, x1, y1] = self.corners;
        x0 < width as f32 && y0 < height as f32 && x1 > 0.0 && y1 > 0.0
    }

    /// Whether it lies on a photo of this size as a whole.
    pub fn is_within(self, width: usize, height: usize) -> bool {
        let [x0, y0, x1, y1] = self.corners;
        x0 >= 0.0 && y0 >= 0.0 && x1 <= width as f32 && y1 <= height as f32
    }
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
    fn a_box_may_lie_on_beyond_or_beside_a_photo() {
        let at = |corners| BoundingBox::new(corners).unwrap();
        let places = [[0.0, 0.0, 4.0, 3.0], [-1.0, 0.0, 4.0, 3.0], [3.5, 2.0, 9.0, 9.0], [4.0, 0.0, 5.0, 3.0], [-3.0, 1.0, 0.0, 2.0]];
        let found: Vec<_> = places.map(|corners| (at(corners).is_within(4, 3), at(corners).meets(4, 3))).to_vec();
        assert_eq!(found, [(true, true), (false, true), (false, true), (false, false), (false, false)]);
    }
}
