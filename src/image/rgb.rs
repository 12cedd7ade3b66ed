//! An 8-bit RGB image.

/// Channels of an image.
pub(super) const CHANNELS: usize = 3;

/// An 8-bit RGB image, `[height, width, 3]` row-major; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Rgb {
    /// The image with these pixels; panics when a side is 0 or `data` is not `[height, width, 3]`.
    #[track_caller]
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Rgb {
        assert!(width > 0 && height > 0, "an image of {width}×{height} has no pixels");
        assert!(
            data.len() == height * width * CHANNELS,
            "an image of {width}×{height} holds {} bytes, not {}",
            height * width * CHANNELS,
            data.len()
        );
        Rgb { width, height, data }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, mutable.
    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The part of `width` × `height` pixels from (left, top) on; panics where that is empty or leaves the image.
    #[track_caller]
    pub fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Rgb {
        let fits = left + width <= self.width && top + height <= self.height;
        assert!(fits, "a crop of {width}×{height} at ({left}, {top}) leaves an image of {}×{}", self.width, self.height);
        let rows = self.data.chunks_exact(self.width * CHANNELS).skip(top).take(height);
        let data = rows.flat_map(|row| &row[left * CHANNELS..(left + width) * CHANNELS]).copied().collect();
        Rgb::new(width, height, data)
    }

    /// The image with a border of so many pixels on each side, mirrored at its edges as OpenCV's BORDER_REFLECT_101 does.
    pub fn reflected(&self, border: usize) -> Rgb {
        // Positions along an axis go to and fro with this period; a side of one pixel repeats it.
        let source = |at: usize, length: usize| {
            let period = (2 * (length - 1)).max(1);
            let from = (at + period * border.div_ceil(period) - border) % period;
            from.min(period - from).min(length - 1)
        };
        let (width, height) = (self.width + 2 * border, self.height + 2 * border);
        let mut data = Vec::with_capacity(width * height * CHANNELS);
        for row in 0..height {
            let start = source(row, self.height) * self.width;
            for column in 0..width {
                let pixel = (start + source(column, self.width)) * CHANNELS;
                data.extend_from_slice(&self.data[pixel..pixel + CHANNELS]);
            }
        }
        Rgb::new(width, height, data)
    }

    /// The image mirrored left to right.
    pub fn mirrored(&self) -> Rgb {
        let rows = self.data.chunks_exact(self.width * CHANNELS);
        let data = rows.flat_map(|row| row.chunks_exact(CHANNELS).rev().flatten()).copied().collect();
        Rgb::new(self.width, self.height, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reflected_border_goes_to_and_fro() {
        let reds = |image: &Rgb| image.data().iter().step_by(CHANNELS).copied().collect::<Vec<u8>>();
        let row = |values: &[u8]| Rgb::new(values.len(), 1, values.iter().flat_map(|&value| [value; CHANNELS]).collect());
        let wide = row(&[1, 2, 3]).reflected(5);
        assert_eq!((wide.width(), wide.height()), (13, 11));
        assert_eq!(reds(&wide)[..13], [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]);
        assert_eq!(wide.crop(5, 5, 3, 1), row(&[1, 2, 3]));
        assert_eq!(reds(&row(&[7]).reflected(2)), [7; 25]);
    }

    #[test]
    fn a_crop_keeps_its_pixels_and_a_mirror_turns_each_row() {
        // Two rows of three pixels, each of one number: 1 2 3 / 4 5 6
        let image = Rgb::new(3, 2, (1..=6).flat_map(|x| [x; CHANNELS]).collect());
        assert_eq!(image.crop(1, 0, 2, 2).data(), [2, 2, 2, 3, 3, 3, 5, 5, 5, 6, 6, 6]);
        assert_eq!(image.mirrored().crop(0, 1, 3, 1).data(), [6, 6, 6, 5, 5, 5, 4, 4, 4]);
    }
}
