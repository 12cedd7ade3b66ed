//! Samples of an image file as they are stored, not reduced to 8 bits: what masks and maps are read from.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, ImageFormat};

use super::format::Format;
use super::orientation::Orientation;
use super::{Limits, ReadOptions, png, tiff, undecodable};
use crate::error::Result;
use crate::image::Rgb;
use crate::image::rgb::CHANNELS;

/// What the samples of a file with a palette are taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Palette {
    /// The colours that the palette gives them.
    #[default]
    Colors,
    /// Their indices, as `numpy.array(PIL.Image.open(file))` has them, in PNG and TIFF. Other formats give colours.
    Indices,
}

/// Samples of the first page of an image file.
pub(in crate::image) struct Stored {
    pub width: usize,
    pub height: usize,
    /// Samples of a pixel: 1 for grey or an index, 3 for RGB, one more with alpha.
    pub channels: usize,
    /// Whether the last sample of a pixel is alpha.
    pub has_alpha: bool,
    /// The whole number that stands for white; `None` for floats.
    pub white: Option<f32>,
    /// `[height, width, channels]`
    pub samples: Vec<f32>,
    /// Pages or frames beside the first.
    pub further_pages: usize,
    /// How the pixels are to be turned.
    pub(super) orientation: Orientation,
}

impl Stored {
    /// One page that stands upright.
    pub(super) fn new([width, height]: [usize; 2], channels: usize, has_alpha: bool, white: Option<f32>, samples: Vec<f32>) -> Stored {
        Stored {
            width,
            height,
            channels,
            has_alpha,
            white,
            samples,
            further_pages: 0,
            orientation: Orientation::default(),
        }
    }

    /// An image of 8 bits.
    pub(super) fn of_rgb(image: &Rgb) -> Stored {
        Stored::new([image.width(), image.height()], CHANNELS, false, Some(255.0), widened(image.data()))
    }

    /// What the `image` crate decoded.
    fn of_dynamic(image: &DynamicImage) -> Result<Stored> {
        let (white, samples) = match image {
            DynamicImage::ImageLuma8(image) => (255.0, widened(image)),
            DynamicImage::ImageLumaA8(image) => (255.0, widened(image)),
            DynamicImage::ImageRgb8(image) => (255.0, widened(image)),
            DynamicImage::ImageRgba8(image) => (255.0, widened(image)),
            DynamicImage::ImageLuma16(image) => (65_535.0, widened(image)),
            DynamicImage::ImageLumaA16(image) => (65_535.0, widened(image)),
            DynamicImage::ImageRgb16(image) => (65_535.0, widened(image)),
            DynamicImage::ImageRgba16(image) => (65_535.0, widened(image)),
            _ => return Err(undecodable("floats outside of TIFF")),
        };
        let size = [image.width() as usize, image.height() as usize];
        Ok(Stored::new(size, image.color().channel_count().into(), image.color().has_alpha(), Some(white), samples))
    }

    /// The samples without alpha.
    fn without_alpha(self) -> Stored {
        if !self.has_alpha {
            return self;
        }
        let colors = self.channels - 1;
        let samples = self.samples.chunks_exact(self.channels).flat_map(|pixel| &pixel[..colors]).copied().collect();
        Stored { channels: colors, has_alpha: false, samples, ..self }
    }

    /// The samples of the upright image.
    fn turned(self) -> Stored {
        if self.orientation.is_upright() {
            return self;
        }
        let size = [self.width, self.height];
        let [width, height] = self.orientation.upright_size(size);
        let samples = self.orientation.turn(size, self.channels, &self.samples);
        Stored { width, height, samples, orientation: Orientation::default(), ..self }
    }
}

fn widened<T: Copy + Into<f32>>(samples: &[T]) -> Vec<f32> {
    samples.iter().map(|&sample| sample.into()).collect()
}

impl ReadOptions {
    /// Decodes the bytes of an image file without reducing its samples. Errors as [`ReadOptions::decode`] does.
    pub(in crate::image) fn stored(&self, bytes: &[u8], palette: Palette) -> Result<Stored> {
        self.limits.check_bytes(bytes.len() as u64)?;
        // Unwind-safe: no state of a decoder outlives the closure.
        let stored = catch_unwind(AssertUnwindSafe(|| self.decode_stored(bytes, palette)));
        let stored = stored.unwrap_or_else(|_| Err(undecodable("the decoder panicked")))?;
        Ok(if self.ignore_orientation { stored } else { stored.turned() })
    }

    fn decode_stored(&self, bytes: &[u8], palette: Palette) -> Result<Stored> {
        match Format::recognize(bytes)? {
            Format::Png => self.stored_png(bytes, palette),
            Format::Tiff => tiff::stored(bytes, &self.limits, palette),
            Format::Pnm => Stored::of_dynamic(&self.decode_dynamic(bytes, ImageFormat::Pnm)?),
            // Formats of 8 bits.
            _ => {
                let raw = self.decode_raw(bytes)?;
                let stored = Stored::of_rgb(&raw.image);
                Ok(Stored { orientation: raw.orientation, further_pages: raw.further_pages, ..stored })
            }
        }
    }

    fn stored_png(&self, bytes: &[u8], palette: Palette) -> Result<Stored> {
        let limits: &Limits = &self.limits;
        let file = png::walk(bytes, limits, palette)?;
        let stored = Stored::of_dynamic(&self.decode_dynamic(&file.stripped, ImageFormat::Png)?)?;
        // A shade of grey that is to be transparent is no alpha channel.
        let stored = if file.is_grey { stored.without_alpha() } else { stored };
        Ok(Stored { orientation: file.orientation(), further_pages: file.further_frames, ..stored })
    }
}
