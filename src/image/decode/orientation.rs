//! Orientation of an image: EXIF's tag, XMP's `tiff:Orientation`, and the rotation of pixels.

use super::ifd::Directories;
use crate::image::Rgb;
use crate::image::rgb::CHANNELS;

/// Number of the EXIF tag for the orientation.
const TAG: u16 = 274;

/// How the stored pixels are to be turned, EXIF's 1 to 8; 1 leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Default for Orientation {
    fn default() -> Orientation {
        Orientation(1)
    }
}

impl Orientation {
    /// EXIF's orientation where it has one, as in Pillow; else XMP's; else the image stays as it is.
    pub(super) fn choose(exif: Option<Orientation>, xmp: Option<Orientation>) -> Orientation {
        exif.or(xmp).unwrap_or_default()
    }

    pub(super) fn from_number(number: u64) -> Option<Orientation> {
        (1..=8).contains(&number).then_some(Orientation(number as u8))
    }

    /// Reads EXIF data, with or without `Exif` and two zeros before them.
    pub(super) fn from_exif(data: &[u8]) -> Option<Orientation> {
        let data = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
        Orientation::from_number(Directories::new(data)?.first()?.number(TAG)?)
    }

    /// Reads an XMP packet: `tiff:Orientation` as an attribute or an element.
    pub(super) fn from_xmp(data: &[u8]) -> Option<Orientation> {
        let name = b"tiff:Orientation";
        let at = data.windows(name.len()).position(|window| window == name)?;
        let rest = &data[at + name.len()..];
        // `="6"`, `='6'`, ` = "6"` or `>6<`
        let digit = rest
            .iter()
            .position(|byte| !matches!(byte, b'=' | b'"' | b'\'' | b'>' | b' ' | b'\t' | b'\r' | b'\n'))?;
        let is_alone = !rest.get(digit + 1).is_some_and(u8::is_ascii_digit);
        let number = rest[digit].checked_sub(b'0').filter(|_| digit > 0 && is_alone)?;
        Orientation::from_number(number.into())
    }

    /// Whether the stored pixels are those of the upright image.
    pub(super) fn is_upright(self) -> bool {
        self.0 == 1
    }

    /// Size of the upright image whose stored pixels are of this width and height.
    pub(super) fn upright_size(self, [width, height]: [usize; 2]) -> [usize; 2] {
        if self.0 >= 5 { [height, width] } else { [width, height] }
    }

    /// Turns the pixels upright.
    pub(super) fn apply(self, image: Rgb) -> Rgb {
        if self.is_upright() {
            return image;
        }
        let size = [image.width(), image.height()];
        let [width, height] = self.upright_size(size);
        Rgb::new(width, height, self.turn(size, CHANNELS, image.data()))
    }

    /// The samples of the upright image, from those stored, `[height, width, channels]`.
    pub(super) fn turn<T: Copy>(self, size: [usize; 2], channels: usize, data: &[T]) -> Vec<T> {
        let [width, height] = size;
        let [new_width, new_height] = self.upright_size(size);
        // Where the pixel at (x, y) of the upright image is stored.
        let source = |x: usize, y: usize| match self.0 {
            1 => (x, y),
            2 => (width - 1 - x, y),
            3 => (width - 1 - x, height - 1 - y),
            4 => (x, height - 1 - y),
            5 => (y, x),
            6 => (y, height - 1 - x),
            7 => (width - 1 - y, height - 1 - x),
            8 => (width - 1 - y, x),
            other => unreachable!("there is no orientation {other}"),
        };
        let mut turned = Vec::with_capacity(data.len());
        for y in 0..new_height {
            for x in 0..new_width {
                let (x, y) = source(x, y);
                let at = (y * width + x) * channels;
                turned.extend_from_slice(&data[at..at + channels]);
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_names_its_orientation_as_attribute_or_element() {
        let read = |text: &str| Orientation::from_xmp(text.as_bytes());
        for text in ["tiff:Orientation=\"6\"", "tiff:Orientation='6'", "<tiff:Orientation>6</tiff:Orientation>", "tiff:Orientation = \"6\""]
        {
            assert_eq!(read(text), Some(Orientation(6)), "{text}");
        }
        for text in ["", "tiff:Orientation", "tiff:Orientation6", "tiff:Orientation=\"9\"", "tiff:Orientation=\"66\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn eight_orientations_bring_the_same_image_upright() {
        // 1 2 3 / 4 5 6, and its stored form for each orientation, written by hand.
        let grey = |width, values: &[u8]| Rgb::new(width, values.len() / width, values.iter().flat_map(|&v| [v; CHANNELS]).collect());
        let upright = grey(3, &[1, 2, 3, 4, 5, 6]);
        let stored = [
            (1, grey(3, &[1, 2, 3, 4, 5, 6])),
            (2, grey(3, &[3, 2, 1, 6, 5, 4])),
            (3, grey(3, &[6, 5, 4, 3, 2, 1])),
            (4, grey(3, &[4, 5, 6, 1, 2, 3])),
            (5, grey(2, &[1, 4, 2, 5, 3, 6])),
            (6, grey(2, &[3, 6, 2, 5, 1, 4])),
            (7, grey(2, &[6, 3, 5, 2, 4, 1])),
            (8, grey(2, &[4, 1, 5, 2, 6, 3])),
        ];
        for (number, image) in stored {
            assert_eq!(Orientation(number).apply(image), upright, "orientation {number}");
        }
    }
}
