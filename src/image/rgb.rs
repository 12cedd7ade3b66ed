//! An 8-bit RGB photo, decoded from a file as Pillow's `Image.open(path).convert("RGB")` does.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader};

use crate::error::{Code, Error, Remedy, Result};

/// Channels of a photo.
pub(super) const CHANNELS: usize = 3;

/// Bytes of the widest pixel that a decoder yields: four channels of 32 bits.
const WIDEST_PIXEL: u64 = 16;

/// Which photos are accepted, judged by their header before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels; more is [`Code::TooLarge`].
    pub max_pixels: u64,
    /// Fewest pixels of either side; less is [`Code::TooSmall`].
    pub min_side: u32,
}

impl Default for Limits {
    /// 2²⁷ pixels, sides of at least 8.
    fn default() -> Limits {
        Limits { max_pixels: 1 << 27, min_side: 8 }
    }
}

impl Limits {
    fn check(&self, width: u32, height: u32) -> Result<()> {
        let least = self.min_side.max(1);
        if u64::from(width) * u64::from(height) > self.max_pixels {
            let message = format!("the image is {width}×{height}, over the limit of {} pixels", self.max_pixels);
            Err(Error::new(Code::TooLarge, message).hint(Remedy::RaisePixelLimit))
        } else if width.min(height) < least {
            let message = format!("the image is {width}×{height}, but each side needs at least {least} pixels");
            Err(Error::new(Code::TooSmall, message).hint(Remedy::LowerSideLimit))
        } else {
            Ok(())
        }
    }
}

/// A photo of 8-bit red, green and blue, `[height, width, 3]` row-major; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Rgb {
    /// The photo with these pixels; panics when a side is 0 or `data` is not `[height, width, 3]`.
    #[track_caller]
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Rgb {
        assert!(width > 0 && height > 0, "a photo of {width}×{height} has no pixels");
        assert!(
            data.len() == height * width * CHANNELS,
            "a photo of {width}×{height} holds {} bytes, not {}",
            height * width * CHANNELS,
            data.len()
        );
        Rgb { width, height, data }
    }

    /// Decodes a PNG, JPEG, BMP, TIFF or WebP file; the content decides which, not the name.
    ///
    /// The EXIF orientation is applied unless `ignore_exif`. Alpha is dropped, not blended.
    /// 16-bit channels keep their high byte, except 16-bit grey, which saturates at 255 (both as Pillow does).
    /// Fails with [`Code::NotFound`], [`Code::Io`], [`Code::Decode`], [`Code::TooLarge`] or [`Code::TooSmall`].
    pub fn open(path: &Path, limits: &Limits, ignore_exif: bool) -> Result<Rgb> {
        // Asked of the path, since opening a FIFO would wait for its writer.
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(Error::new(Code::Decode, format!("`{}` is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        decode(BufReader::new(file), limits, ignore_exif).map_err(|error| error.context(format!("in `{}`", path.display())))
    }

    /// Decodes the bytes of an image file; like [`Rgb::open`].
    pub fn from_bytes(bytes: &[u8], limits: &Limits, ignore_exif: bool) -> Result<Rgb> {
        decode(Cursor::new(bytes), limits, ignore_exif)
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, to draw on.
    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The part of `width` × `height` pixels from (left, top) on; panics where that is empty or leaves the photo.
    #[track_caller]
    pub fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Rgb {
        let fits = left + width <= self.width && top + height <= self.height;
        assert!(fits, "a crop of {width}×{height} at ({left}, {top}) leaves a photo of {}×{}", self.width, self.height);
        let rows = self.data.chunks_exact(self.width * CHANNELS).skip(top).take(height);
        let data = rows.flat_map(|row| &row[left * CHANNELS..(left + width) * CHANNELS]).copied().collect();
        Rgb::new(width, height, data)
    }

    /// Left and right exchanged.
    pub fn mirrored(&self) -> Rgb {
        let rows = self.data.chunks_exact(self.width * CHANNELS);
        let data = rows.flat_map(|row| row.chunks_exact(CHANNELS).rev().flatten()).copied().collect();
        Rgb::new(self.width, self.height, data)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Io };
    Error::new(code, format!("cannot read `{}`: {error}", path.display()))
}

fn undecodable(error: impl Display) -> Error {
    Error::new(Code::Decode, format!("cannot decode the image: {error}"))
}

fn decode(reader: impl BufRead + Seek, limits: &Limits, ignore_exif: bool) -> Result<Rgb> {
    // Nothing that the decoder leaves half done outlives the closure.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(reader, limits, ignore_exif)))
        .unwrap_or_else(|_| Err(undecodable("the decoder panicked")))
}

fn decode_unguarded(reader: impl BufRead + Seek, limits: &Limits, ignore_exif: bool) -> Result<Rgb> {
    let mut reader = ImageReader::new(reader)
        .with_guessed_format()
        .map_err(|error| Error::io("reading the image", &error))?;
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let mut memory = image::Limits::no_limits();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(WIDEST_PIXEL));
    decoder.set_limits(memory).map_err(undecodable)?;
    let orientation = decoder.orientation().map_err(undecodable)?;
    let mut image = to_rgb8(DynamicImage::from_decoder(decoder).map_err(undecodable)?)?;
    if !ignore_exif {
        image.apply_orientation(orientation);
    }
    let rgb = image.into_rgb8();
    let (width, height) = rgb.dimensions();
    Ok(Rgb::new(width as usize, height as usize, rgb.into_raw()))
}

/// Reduces to 8-bit RGB by Pillow's rules, which are not those of `DynamicImage::into_rgb8`:
/// that one rounds 16-bit samples and scales grey ones.
fn to_rgb8(image: DynamicImage) -> Result<DynamicImage> {
    let (width, height) = (image.width(), image.height());
    let high = |sample: u16| (sample >> 8) as u8;
    let pixels: Vec<u8> = match image {
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|&v| [v.min(255) as u8; CHANNELS]).collect(),
        DynamicImage::ImageLumaA16(grey) => grey.pixels().flat_map(|p| [high(p[0]); CHANNELS]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(rgba) => rgba.pixels().flat_map(|p| [p[0], p[1], p[2]].map(high)).collect(),
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => {
            return Err(undecodable("its samples are floats").hint("save it with 8 bits per channel"));
        }
        // What is left has 8 bits: here the crate repeats grey and drops alpha, as Pillow does.
        eight_bit => return Ok(eight_bit.into_rgb8().into()),
    };
    let rgb = image::RgbImage::from_raw(width, height, pixels);
    Ok(rgb.expect("three bytes were made of every pixel").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_keeps_its_pixels_and_a_mirror_turns_each_row() {
        // Two rows of three pixels, each of one number: 1 2 3 / 4 5 6
        let photo = Rgb::new(3, 2, (1..=6).flat_map(|x| [x; CHANNELS]).collect());
        assert_eq!(photo.crop(1, 0, 2, 2).data(), [2, 2, 2, 3, 3, 3, 5, 5, 5, 6, 6, 6]);
        assert_eq!(photo.mirrored().crop(0, 1, 3, 1).data(), [6, 6, 6, 5, 5, 5, 4, 4, 4]);
    }
}
