//! Decoding of image files to 8-bit RGB: PNG, JPEG, BMP, TIFF, WebP, GIF, PNM, QOI.
//!
//! The aim is the pixels of Pillow's `ImageOps.exif_transpose(Image.open(path)).convert("RGB")`, or an error: a file that ends early, or
//! whose container says that pixels are missing, is refused and never filled up. What remains different from Pillow:
//!
//! - JPEG: see the `jpeg` module; a few samples differ by one to four levels.
//! - Samples of 9 to 16 bits are reduced to their upper 8 bits, grey ones too, which Pillow clips at 255; see [`SixteenBit`].
//! - Floats of which none is over 2 are taken for 0 to 1 and multiplied by 255; Pillow clips them to black.
//! - Orientation is applied from EXIF or, where that has none, from XMP, in PNG, JPEG, TIFF and WebP.
//! - Files are refused that Pillow fills up or reads in part: without their end marker, with pixel data that ends early.

mod entropy;
mod format;
mod gif;
mod ifd;
mod jpeg;
mod multi_picture;
mod orientation;
mod png;
mod samples;
mod stored;
mod tiff;
mod webp;

pub(in crate::image) use format::is_map_picture;
pub use format::{EXTENSIONS, IMAGE_LIKE, begins_as_image};
pub use stored::Palette;
pub(in crate::image) use stored::Stored;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader};
use serde::Serialize;

use crate::error::{Code, Error, Remedy, Result};
use crate::image::Rgb;
use crate::uninspected::Uninspected;
use format::Format;
use orientation::Orientation;

/// Bytes of a file that are read first, to recognise its format.
const HEAD_BYTES: u64 = 4096;

/// Bytes of the widest pixel that a decoder yields: four channels of 32 bits.
const WIDEST_PIXEL: u64 = 16;

/// Limits of image files, checked by file size and header before memory is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Most bytes of a file; more is [`Code::TooLarge`].
    pub max_bytes: u64,
    /// Most pixels; more is [`Code::TooLarge`].
    pub max_pixels: u64,
    /// Most pixels of either side; more is [`Code::TooLarge`].
    pub max_side: u32,
    /// Fewest pixels of either side; less is [`Code::TooSmall`].
    pub min_side: u32,
}

impl Default for Limits {
    /// 1 GiB, 2²⁷ pixels, sides of 8 to 65,535 (the longest that a JPEG can have).
    fn default() -> Limits {
        Limits { max_bytes: 1 << 30, max_pixels: 1 << 27, max_side: 65_535, min_side: 8 }
    }
}

impl Limits {
    fn check_bytes(&self, bytes: u64) -> Result<()> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        let message = format!("the file has {bytes} bytes, over the limit of {}", self.max_bytes);
        Err(Error::new(Code::TooLarge, message).hint(Remedy::RaiseFileLimit))
    }

    pub(in crate::image) fn check(&self, width: u64, height: u64) -> Result<()> {
        let least = u64::from(self.min_side.max(1));
        let too_large = |limit: String| Error::new(Code::TooLarge, format!("the image is {width}×{height}, over the limit of {limit}"));
        if width.saturating_mul(height) > self.max_pixels {
            Err(too_large(format!("{} pixels", self.max_pixels)).hint(Remedy::RaisePixelLimit))
        } else if width.max(height) > u64::from(self.max_side) {
            Err(too_large(format!("{} pixels a side", self.max_side)).hint(Remedy::RaiseSideLimit))
        } else if width.min(height) < least {
            let message = format!("the image is {width}×{height}, but each side needs at least {least} pixels");
            Err(Error::new(Code::TooSmall, message).hint(Remedy::LowerSideLimit))
        } else {
            Ok(())
        }
    }
}

/// How samples of 9 to 16 bits become 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SixteenBit {
    /// The upper 8 bits, grey and colour alike: 257·v gives v.
    #[default]
    Scale,
    /// As Pillow's `convert("RGB")`: grey saturates at 255, colour keeps its upper 8 bits. For parity with published results.
    Clip,
}

/// How image files are read; the default is what users get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadOptions {
    /// Which files are accepted.
    pub limits: Limits,
    /// Leave the image as it is stored, whatever orientation its EXIF or XMP data name.
    pub ignore_orientation: bool,
    /// How samples of more than 8 bits are reduced.
    pub sixteen_bit: SixteenBit,
}

/// A decoded image, with warnings about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The pixels of the first page, turned upright.
    pub image: Rgb,
    /// Warnings: conversions of the samples, further pages.
    pub warnings: Vec<Warning>,
    /// Parts of the file that were not decoded: further pages and frames.
    pub uninspected: Vec<Uninspected>,
}

/// Size of an image by its header, after it is turned upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedSize {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Whether the stored pixels are turned or mirrored, as EXIF or XMP data say.
    pub is_turned: bool,
}

/// Warning about a decoded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// Samples of this many bits were reduced to their upper 8.
    DepthReduced {
        /// Bits of a sample.
        bits: u8,
    },
    /// No 16-bit sample uses more than 12 bits, so the reduced image is nearly black.
    UpperBitsUnused,
    /// Floats whose white is 1 were multiplied by 255.
    FloatsScaled,
    /// Floats whose white is 255 lost their decimals.
    FloatsTruncated,
    /// Floats beyond black or white were clipped.
    FloatsClipped,
    /// No sample reaches 16 of 255.
    NearlyBlack,
    /// Pixels are transparent; the colour that is stored below counts.
    AlphaDropped,
    /// The file holds this many pages or frames, of which the first is the image.
    Pages {
        /// Number of pages, the first included.
        count: usize,
    },
}

impl Warning {
    /// Whether it usually concerns all images of one source, so that a run prints it once.
    pub fn is_once_a_run(&self) -> bool {
        match self {
            Warning::DepthReduced { .. }
            | Warning::UpperBitsUnused
            | Warning::FloatsScaled
            | Warning::FloatsTruncated
            | Warning::FloatsClipped
            | Warning::NearlyBlack
            | Warning::AlphaDropped => true,
            Warning::Pages { .. } => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::DepthReduced { bits } => write!(f, "{bits} bits per sample, reduced to the upper 8"),
            Warning::UpperBitsUnused => write!(f, "no sample has more than 12 of its 16 bits, so that the image is nearly black"),
            Warning::FloatsScaled => write!(f, "samples are floats whose white is 1, multiplied by 255"),
            Warning::FloatsTruncated => write!(f, "samples are floats whose white is 255, decimals cut"),
            Warning::FloatsClipped => write!(f, "samples beyond black or white are clipped"),
            Warning::NearlyBlack => write!(f, "no sample reaches 16 of 255, so that the image has hardly any contrast"),
            Warning::AlphaDropped => write!(f, "pixels are transparent, which is left out: the colours stored there are scored"),
            Warning::Pages { count } => write!(f, "{count} pages, the first is scored"),
        }
    }
}

/// Result of the decoder of one format, before the orientation is applied.
struct Raw {
    image: Rgb,
    orientation: Orientation,
    warnings: Vec<Warning>,
    /// Pages or frames beside the first.
    further_pages: usize,
}

impl Rgb {
    /// Decodes an image file with the default [`ReadOptions`].
    pub fn open(path: impl AsRef<Path>) -> Result<Rgb> {
        ReadOptions::default().open(path.as_ref()).map(|decoded| decoded.image)
    }
}

impl ReadOptions {
    /// Decodes an image file; the content decides on the format, not the name.
    ///
    /// Fails with [`Code::NotFound`], [`Code::Io`], [`Code::Decode`], [`Code::TooLarge`] or [`Code::TooSmall`].
    pub fn open(&self, path: &Path) -> Result<Decoded> {
        self.read(path)
            .and_then(|bytes| self.decode(&bytes).map_err(|error| error.context(format!("in `{}`", path.display()))))
    }

    /// Decodes the bytes of an image file; like [`ReadOptions::open`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Decoded> {
        self.limits.check_bytes(bytes.len() as u64)?;
        // Unwind-safe: no state of a decoder outlives the closure.
        let raw = catch_unwind(AssertUnwindSafe(|| self.decode_raw(bytes)));
        let raw = raw.unwrap_or_else(|_| Err(undecodable("the decoder panicked")))?;
        let orientation = if self.ignore_orientation { Orientation::default() } else { raw.orientation };
        let mut warnings = raw.warnings;
        let mut uninspected = Vec::new();
        if raw.further_pages > 0 {
            warnings.push(Warning::Pages { count: raw.further_pages + 1 });
            uninspected.push(Uninspected::pages(raw.further_pages));
        }
        Ok(Decoded { image: orientation.apply(raw.image), warnings, uninspected })
    }

    /// Whether a path leads to a regular file within the limit of bytes.
    pub(crate) fn may_read(&self, path: &Path) -> bool {
        // Asked of the path, since opening a FIFO would wait for its writer.
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= self.limits.max_bytes)
    }

    /// Pixels that the header of a regular file announces, for an estimate of memory; `None` where it says nothing, or more than the limit.
    pub(crate) fn announced_pixels(&self, path: &Path) -> Option<u64> {
        let size = imagesize::size(path).ok()?;
        (size.width as u64)
            .checked_mul(size.height as u64)
            .filter(|&pixels| pixels <= self.limits.max_pixels)
    }

    /// Size of an image file as it is decoded, by its header, and whether it is turned upright; only the header is checked.
    ///
    /// Errors: those of [`ReadOptions::open`].
    pub fn announced_size(&self, path: &Path) -> Result<AnnouncedSize> {
        let inside = |error: Error| error.context(format!("in `{}`", path.display()));
        let bytes = self.read(path)?;
        // Unwind-safe, as in `decode`.
        let announced = catch_unwind(AssertUnwindSafe(|| self.announced(&bytes)));
        announced.unwrap_or_else(|_| Err(undecodable("the decoder panicked"))).map_err(inside)
    }

    fn announced(&self, bytes: &[u8]) -> Result<AnnouncedSize> {
        let Ok(stored) = imagesize::blob_size(bytes) else {
            let image = self.decode(bytes)?.image;
            return Ok(AnnouncedSize { width: image.width(), height: image.height(), is_turned: false });
        };
        self.limits.check(stored.width as u64, stored.height as u64)?;
        let orientation = match Format::recognize(bytes)? {
            _ if self.ignore_orientation => Orientation::default(),
            Format::Png => png::walk(bytes, &self.limits, Palette::Colors)?.orientation(),
            Format::Jpeg => jpeg::orientation(bytes),
            Format::Tiff => tiff::orientation(bytes)?,
            Format::WebP => webp::walk(bytes)?.0,
            Format::Bmp | Format::Gif | Format::Pnm | Format::Qoi => Orientation::default(),
        };
        let [width, height] = orientation.upright_size([stored.width, stored.height]);
        Ok(AnnouncedSize { width, height, is_turned: !orientation.is_upright() })
    }

    /// Fails where a file cannot be an image that is decoded: it is no regular file, over the limit of bytes, or begins as something else.
    pub fn check_beginning(&self, path: &Path) -> Result<()> {
        self.open_recognized(path, Format::recognize).map(drop)
    }

    /// Reads a file within the size limit; other files than images are refused by their first bytes.
    pub(in crate::image) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.read_recognized(path, Format::recognize)
    }

    /// Reads a file within the size limit; those whose first bytes are not recognised are refused.
    pub(in crate::image) fn read_recognized<T>(&self, path: &Path, recognize: impl Fn(&[u8]) -> Result<T>) -> Result<Vec<u8>> {
        let (file, mut bytes) = self.open_recognized(path, recognize)?;
        // One more than the limit, since a file may have grown meanwhile.
        let rest = (self.limits.max_bytes + 1).saturating_sub(HEAD_BYTES);
        file.take(rest).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
        Ok(bytes)
    }

    /// Opens a file within the size limit whose first bytes are recognised, which are returned with it.
    fn open_recognized<T>(&self, path: &Path, recognize: impl Fn(&[u8]) -> Result<T>) -> Result<(File, Vec<u8>)> {
        // By path, since opening a FIFO would wait for its writer.
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(Error::new(Code::Decode, format!("`{}` is not a regular file", path.display())));
        }
        let inside = |error: Error| error.context(format!("in `{}`", path.display()));
        self.limits.check_bytes(metadata.len()).map_err(inside)?;
        let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let mut bytes = Vec::new();
        file.by_ref().take(HEAD_BYTES).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
        recognize(&bytes).map_err(inside)?;
        Ok((file, bytes))
    }

    fn decode_raw(&self, bytes: &[u8]) -> Result<Raw> {
        match Format::recognize(bytes)? {
            Format::Png => png::decode(bytes, self),
            Format::Jpeg => jpeg::decode(bytes, self),
            Format::Tiff => tiff::decode(bytes, self),
            Format::WebP => webp::decode(bytes, self),
            Format::Gif => gif::decode(bytes, self),
            Format::Bmp => self.decode_bmp(bytes),
            Format::Pnm => self.decode_plain(bytes, image::ImageFormat::Pnm),
            Format::Qoi => self.decode_qoi(bytes),
        }
    }

    /// BMP: its sides are checked first, since the decoder reports a large one as damaged.
    fn decode_bmp(&self, bytes: &[u8]) -> Result<Raw> {
        let word = |at: usize| bytes.get(at..at + 4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        // The oldest header, of 12 bytes, has sides of 16 bits and cannot be too large.
        if let (Some(header), Some(width), Some(height)) = (word(14), word(18), word(22))
            && header > 12
        {
            self.limits.check(width.unsigned_abs().into(), height.unsigned_abs().into())?;
        }
        self.decode_plain(bytes, image::ImageFormat::Bmp)
    }

    fn decode_qoi(&self, bytes: &[u8]) -> Result<Raw> {
        if !bytes.ends_with(&[0, 0, 0, 0, 0, 0, 0, 1]) {
            return Err(ends_early("end marker"));
        }
        self.decode_plain(bytes, image::ImageFormat::Qoi)
    }

    /// A format without pages or orientation, by the `image` crate.
    fn decode_plain(&self, bytes: &[u8], format: image::ImageFormat) -> Result<Raw> {
        let mut warnings = Vec::new();
        let image = samples::reduce(self.decode_dynamic(bytes, format)?, self.sixteen_bit, &mut warnings)?;
        Ok(Raw { image, orientation: Orientation::default(), warnings, further_pages: 0 })
    }

    /// Decodes with the `image` crate, within the limits.
    fn decode_dynamic(&self, bytes: &[u8], format: image::ImageFormat) -> Result<DynamicImage> {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.no_limits();
        let mut decoder = reader.into_decoder().map_err(undecodable)?;
        let (width, height) = decoder.dimensions();
        self.limits.check(width.into(), height.into())?;
        let mut memory = image::Limits::no_limits();
        memory.max_alloc = Some(self.limits.max_pixels.saturating_mul(WIDEST_PIXEL));
        decoder.set_limits(memory).map_err(undecodable)?;
        DynamicImage::from_decoder(decoder).map_err(undecodable)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Io };
    Error::new(code, format!("cannot read `{}`: {error}", path.display()))
}

fn undecodable(error: impl fmt::Display) -> Error {
    Error::new(Code::Decode, format!("cannot decode the image: {error}"))
}

/// The error for a file that ends early.
fn ends_early(before: &str) -> Error {
    undecodable(format_args!("the file ends before its {before}"))
}
