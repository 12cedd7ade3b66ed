//! Masks as files: PNG of any depth, in which every pixel that is not black is marked.

use std::path::Path;

use image::{DynamicImage, Pixel};

use super::format::Format;
use super::orientation::Orientation;
use super::{Limits, ReadOptions, png};
use crate::error::{Code, Error, Result};
use crate::image::Mask;

impl ReadOptions {
    /// Reads a mask: a PNG of 1 to 16 bits, grey, in colours or with a palette. Pixels that are not black are marked, be they 1 or 65,535.
    ///
    /// It is not turned: a mask that names an orientation is refused, unless orientations are ignored. So are transparent pixels, of which
    /// nobody knows whether they are marked, and other formats, JPEG among them, which blurs the edges.
    ///
    /// Fails as [`ReadOptions::open`] does.
    pub fn open_mask(&self, path: &Path) -> Result<Mask> {
        let mask = self.read(path).and_then(|bytes| self.decode_mask(&bytes));
        mask.map_err(|error| error.context(format!("as a mask, `{}`", path.display())))
    }

    /// Decodes the bytes of a mask; like [`ReadOptions::open_mask`].
    pub fn decode_mask(&self, bytes: &[u8]) -> Result<Mask> {
        let refused = |why: &str| Error::new(Code::Decode, why);
        if Format::recognize(bytes)? != Format::Png {
            return Err(refused("a mask has to be a PNG").hint("convert it, without loss"));
        }
        self.limits.check_bytes(bytes.len() as u64)?;
        // A mask may be smaller than an image that is scored: it is compared with the size of the image.
        let limits = Limits { min_side: 1, ..self.limits };
        let (samples, orientation) = png::decode_samples(bytes, &ReadOptions { limits, ..*self })?;
        if orientation != Orientation::default() && !self.ignore_orientation {
            return Err(
                refused("the mask names an orientation, and masks are not turned").hint("save it upright, without EXIF and XMP data")
            );
        }
        let marks = marks(&samples).ok_or_else(|| {
            refused("the mask has transparent pixels")
                .hint("save it without transparency: what is to be marked in white, the rest in black")
        })?;
        Ok(Mask::new(samples.width() as usize, samples.height() as usize, marks))
    }
}

/// Whether each pixel is not black; `None` where one is not opaque.
fn marks(samples: &DynamicImage) -> Option<Vec<bool>> {
    match samples {
        DynamicImage::ImageLuma8(image) => opaque_marks(image.pixels(), u8::MAX),
        DynamicImage::ImageLumaA8(image) => opaque_marks(image.pixels(), u8::MAX),
        DynamicImage::ImageRgb8(image) => opaque_marks(image.pixels(), u8::MAX),
        DynamicImage::ImageRgba8(image) => opaque_marks(image.pixels(), u8::MAX),
        DynamicImage::ImageLuma16(image) => opaque_marks(image.pixels(), u16::MAX),
        DynamicImage::ImageLumaA16(image) => opaque_marks(image.pixels(), u16::MAX),
        DynamicImage::ImageRgb16(image) => opaque_marks(image.pixels(), u16::MAX),
        DynamicImage::ImageRgba16(image) => opaque_marks(image.pixels(), u16::MAX),
        other => panic!("a PNG decodes to {:?}", other.color()),
    }
}

/// The marks of pixels whose alpha, where they have one, is `opaque`.
fn opaque_marks<'a, P: Pixel + 'a>(pixels: impl Iterator<Item = &'a P>, opaque: P::Subpixel) -> Option<Vec<bool>>
where
    P::Subpixel: Default + PartialEq,
{
    let black = P::Subpixel::default();
    let mark = |pixel: &P| match (P::HAS_ALPHA, pixel.channels()) {
        (true, [colors @ .., alpha]) => (*alpha == opaque).then(|| colors.iter().any(|value| *value != black)),
        (_, colors) => Some(colors.iter().any(|value| *value != black)),
    };
    pixels.map(mark).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use image::{ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};

    use super::*;

    fn read(image: impl Into<DynamicImage>) -> Result<Mask> {
        let mut file = Cursor::new(Vec::new());
        image.into().write_to(&mut file, ImageFormat::Png).unwrap();
        ReadOptions::default().decode_mask(file.get_ref())
    }

    #[test]
    fn every_pixel_that_is_not_black_is_marked_whatever_the_depth() {
        let expected = Mask::new(3, 1, vec![false, true, true]);
        let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_vec(3, 1, vec![0, 1, 255]).unwrap();
        assert_eq!(read(grey).unwrap(), expected);
        // 1 of 65,535 would be black in 8 bits.
        let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_vec(3, 1, vec![0, 1, 0x100]).unwrap();
        assert_eq!(read(deep).unwrap(), expected);
        let blue: ImageBuffer<Rgb<u8>, _> = ImageBuffer::from_vec(3, 1, vec![0, 0, 0, 0, 0, 1, 9, 0, 0]).unwrap();
        assert_eq!(read(blue).unwrap(), expected);
        let deep_red: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_vec(3, 1, vec![0, 0, 0, 1, 0, 0, 9, 9, 9]).unwrap();
        assert_eq!(read(deep_red).unwrap(), expected);
        let opaque: ImageBuffer<Rgba<u8>, _> = ImageBuffer::from_vec(3, 1, vec![0, 0, 0, 255, 0, 2, 0, 255, 1, 1, 1, 255]).unwrap();
        assert_eq!(read(opaque).unwrap(), expected);
    }

    #[test]
    fn bits_and_palettes_are_read_as_their_colours() {
        // 1 bit a pixel, 0110; as grey, and with a palette of black and dark green.
        for (color_type, palette) in [(0, None), (3, Some([0, 0, 0, 0, 3, 0]))] {
            let mask = ReadOptions::default().decode_mask(&one_bit_png(color_type, palette, 0b0110_0000)).unwrap();
            assert_eq!(mask, Mask::new(4, 1, vec![false, true, true, false]), "colour type {color_type}");
        }
    }

    /// A PNG of 4×1 pixels of one bit each.
    fn one_bit_png(color_type: u8, palette: Option<[u8; 6]>, row: u8) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8], data: &[u8]| {
            let body = [kind, data].concat();
            file.extend((data.len() as u32).to_be_bytes());
            file.extend(&body);
            file.extend(crc32fast::hash(&body).to_be_bytes());
        };
        chunk(b"IHDR", &[0, 0, 0, 4, 0, 0, 0, 1, 1, color_type, 0, 0, 0]);
        palette.iter().for_each(|palette| chunk(b"PLTE", palette));
        let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
        pixels.write_all(&[0, row]).unwrap();
        chunk(b"IDAT", &pixels.finish().unwrap());
        chunk(b"IEND", &[]);
        file
    }

    #[test]
    fn what_may_mean_two_things_is_refused() {
        let half: ImageBuffer<LumaA<u8>, _> = ImageBuffer::from_vec(2, 1, vec![255, 255, 255, 0]).unwrap();
        assert!(read(half).unwrap_err().message().contains("transparent"));
        let turned = include_bytes!("../../../tests/cases/orientation6_xmp.png");
        let error = ReadOptions::default().decode_mask(turned).unwrap_err();
        assert!(error.message().contains("orientation"), "{error:?}");
        let as_stored = ReadOptions { ignore_orientation: true, ..ReadOptions::default() }.decode_mask(turned).unwrap();
        assert_eq!((as_stored.width(), as_stored.height()), (96, 88));
        let photo = include_bytes!("../../../tests/cases/ycck.jpg");
        assert_eq!(ReadOptions::default().decode_mask(photo).unwrap_err().message(), "a mask has to be a PNG");
        assert!(ReadOptions::default().decode_mask(b"").is_err());
        let cut = &turned[..turned.len() - 20];
        assert_eq!(ReadOptions::default().decode_mask(cut).unwrap_err().code(), Code::Decode);
    }
}
