//! TIFF: the first page, in strips or tiles, chunky or planar, classic or BigTIFF, either byte order.
//!
//! Integers of 1 to 16 bits and floats of 16, 32 and 64; grey, palette, RGB, CMYK, and YCbCr within JPEG; uncompressed or compressed by
//! LZW, deflate, PackBits, JPEG, CCITT group 4, or group 3 in one dimension. Alpha is dropped; colours that were multiplied by alpha are
//! divided by it again. Any other feature is an error that names it. Strips and tiles with too little data are errors and never filled up.

use std::io::Read;

use fax::Color;
use fax::decoder::{DecodeStatus, Group3Decoder, Group4Decoder};
use flate2::read::ZlibDecoder;
use half::f16;
use jpeg_decoder::ColorTransform;
use weezl::{BitOrder, LzwStatus};

use super::ifd::{Directories, Directory};
use super::jpeg::{self, Samples};
use super::orientation::Orientation;
use super::samples::{cmyk_to_rgb, floats_to_u8, grey16, warn_of_unused_bits};
use super::stored::Stored;
use super::{Limits, Palette, Raw, ReadOptions, SixteenBit, Warning, undecodable};
use crate::error::{Code, Error, Result};
use crate::image::Rgb;
use crate::image::rgb::CHANNELS;

/// Most samples of a pixel (CMYK and alpha), so that the memory of a pixel is bounded.
const MAX_CHANNELS: usize = 5;

/// Tags of a directory.
mod tag {
    pub const SUBFILE_TYPE: u16 = 254;
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const CHANNELS: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_LENGTHS: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const GROUP3_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_LENGTHS: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const DNG_VERSION: u16 = 50706;
}

/// Bits of [`tag::SUBFILE_TYPE`]: a smaller version of another page, and a mask of one.
const NO_PAGE: u64 = 1 | 4;

pub(super) fn decode(bytes: &[u8], options: &ReadOptions) -> Result<Raw> {
    let (file, first) = first_directory(bytes)?;
    if first.bytes(tag::DNG_VERSION).is_some() {
        return Err(Error::new(Code::Decode, "it is a camera's raw file (DNG), which is not supported; convert it to PNG or JPEG"));
    }
    let page = Page::new(bytes, &file, &first, &options.limits)?;
    let mut warnings = Vec::new();
    let image = page.rgb(options, &mut warnings)?;
    Ok(Raw { image, orientation: orientation_of(&first), warnings, further_pages: further_pages(&file, &first) })
}

/// How the pixels of the first page are to be turned.
pub(super) fn orientation(bytes: &[u8]) -> Result<Orientation> {
    first_directory(bytes).map(|(_, first)| orientation_of(&first))
}

/// The samples of the first page as they are stored.
pub(super) fn stored(bytes: &[u8], limits: &Limits, palette: Palette) -> Result<Stored> {
    let (file, first) = first_directory(bytes)?;
    let stored = Page::new(bytes, &file, &first, limits)?.stored(palette)?;
    Ok(Stored { orientation: orientation_of(&first), further_pages: further_pages(&file, &first), ..stored })
}

fn first_directory(bytes: &[u8]) -> Result<(Directories<'_>, Directory<'_>)> {
    let damaged = || undecodable("its first directory lies outside of the file or is damaged");
    let file = Directories::new(bytes).ok_or_else(damaged)?;
    let first = file.first().ok_or_else(damaged)?;
    Ok((file, first))
}

fn orientation_of(directory: &Directory<'_>) -> Orientation {
    directory.number(tag::ORIENTATION).and_then(Orientation::from_number).unwrap_or_default()
}

/// Number of pages behind the first one.
fn further_pages<'a>(file: &Directories<'a>, first: &Directory<'a>) -> usize {
    let is_page = |directory: &Directory<'_>| directory.number(tag::SUBFILE_TYPE).unwrap_or(0) & NO_PAGE == 0;
    file.behind(first).iter().filter(|directory| is_page(directory)).count()
}

/// Colour space of a pixel's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Photometric {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
}

impl Photometric {
    fn from_number(number: u64) -> Result<Photometric> {
        match number {
            0 => Ok(Photometric::WhiteIsZero),
            1 => Ok(Photometric::BlackIsZero),
            2 => Ok(Photometric::Rgb),
            3 => Ok(Photometric::Palette),
            5 => Ok(Photometric::Cmyk),
            6 => Ok(Photometric::YCbCr),
            8..=10 => Err(unsupported("colours in CIE L*a*b*")),
            32803 => Err(unsupported("pixels behind a colour filter (camera raw)")),
            other => Err(unsupported(format!("photometric interpretation {other}"))),
        }
    }

    /// Colour samples of a pixel.
    fn channels(self) -> usize {
        match self {
            Photometric::WhiteIsZero | Photometric::BlackIsZero | Photometric::Palette => 1,
            Photometric::Rgb | Photometric::YCbCr => 3,
            Photometric::Cmyk => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Group3,
    Group4,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
}

impl Compression {
    fn new(directory: &Directory<'_>) -> Result<Compression> {
        match directory.number(tag::COMPRESSION).unwrap_or(1) {
            1 => Ok(Compression::None),
            3 if directory.number(tag::GROUP3_OPTIONS).unwrap_or(0) & 1 == 0 => Ok(Compression::Group3),
            3 => Err(unsupported("CCITT group 3 in two dimensions")),
            4 => Ok(Compression::Group4),
            5 => Ok(Compression::Lzw),
            6 => Err(unsupported("JPEG of the old style (compression 6)")),
            7 => Ok(Compression::Jpeg),
            8 | 32946 => Ok(Compression::Deflate),
            32773 => Ok(Compression::PackBits),
            34925 => Err(unsupported("LZMA")),
            50000 => Err(unsupported("Zstandard")),
            50001 => Err(unsupported("WebP")),
            other => Err(unsupported(format!("compression {other}"))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Predictor {
    None,
    Horizontal,
    FloatingPoint,
}

/// The first page: the checked fields of its directory.
struct Page<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    width: usize,
    height: usize,
    /// Bits of a sample.
    bits: usize,
    is_float: bool,
    /// Samples of a pixel.
    channels: usize,
    photometric: Photometric,
    compression: Compression,
    predictor: Predictor,
    is_bit_reversed: bool,
    /// Planar: each channel has its own strips or tiles.
    is_planar: bool,
    chunk_width: usize,
    chunk_height: usize,
    /// Strips or tiles: where they begin and how long they are.
    chunks: Vec<(u64, u64)>,
    jpeg_tables: &'a [u8],
    color_map: Vec<u64>,
    is_alpha_associated: bool,
    /// Whether the first sample behind the colours is alpha.
    has_alpha: bool,
}

impl<'a> Page<'a> {
    fn new(bytes: &'a [u8], file: &Directories<'a>, directory: &Directory<'a>, limits: &Limits) -> Result<Page<'a>> {
        let needed = |tag, name: &str| directory.number(tag).ok_or_else(|| undecodable(format_args!("its {name} is missing")));
        let (width, height) = (needed(tag::WIDTH, "width")?, needed(tag::HEIGHT, "height")?);
        limits.check(width, height)?;
        let (width, height) = (width as usize, height as usize);

        let bits = directory.numbers(tag::BITS).unwrap_or_else(|| vec![1]);
        if bits.iter().any(|&other| other != bits[0]) {
            return Err(unsupported("channels of different depths"));
        }
        let (bits, format) = (bits[0], directory.number(tag::SAMPLE_FORMAT).unwrap_or(1));
        let is_float = match (format, bits) {
            (1 | 4, 1..=16) => false,
            (3, 16 | 32 | 64) => true,
            (2, _) => return Err(unsupported("samples with a sign").hint("save it with 8 bits per sample")),
            (3, _) => return Err(unsupported(format!("floats of {bits} bits")).hint("save it with 8 bits per sample")),
            _ => return Err(unsupported(format!("whole numbers of {bits} bits")).hint("save it with 8 bits per sample")),
        };

        let photometric = Photometric::from_number(needed(tag::PHOTOMETRIC, "photometric interpretation")?)?;
        let channels = directory.number(tag::CHANNELS).unwrap_or(1) as usize;
        let is_grey = matches!(photometric, Photometric::WhiteIsZero | Photometric::BlackIsZero | Photometric::Palette);
        let most = if is_grey { 2 } else { MAX_CHANNELS };
        if channels < photometric.channels() || channels > most {
            return Err(unsupported(format!("{channels} samples per pixel of this kind")));
        }
        let compression = Compression::new(directory)?;
        if photometric == Photometric::YCbCr && compression != Compression::Jpeg {
            return Err(unsupported("YCbCr outside of JPEG"));
        }
        if photometric == Photometric::Palette && (bits > 8 || is_float) {
            return Err(unsupported(format!("a palette of {bits} bits")));
        }
        let is_eight_bit_only = compression == Compression::Jpeg;
        let is_one_bit_only = matches!(compression, Compression::Group3 | Compression::Group4);
        if is_eight_bit_only && (bits != 8 || is_float) || is_one_bit_only && (bits != 1 || channels != 1) {
            return Err(unsupported(format!("{bits} bits per sample with this compression")));
        }
        let predictor = match (directory.number(tag::PREDICTOR).unwrap_or(1), bits) {
            _ if !matches!(compression, Compression::Lzw | Compression::Deflate) => Predictor::None,
            (1, _) => Predictor::None,
            (2, 8 | 16 | 32) => Predictor::Horizontal,
            (3, 16 | 32 | 64) if is_float => Predictor::FloatingPoint,
            (other, _) => return Err(unsupported(format!("predictor {other} of {bits} bits"))),
        };

        let is_tiled = directory.bytes(tag::TILE_OFFSETS).is_some();
        let (chunk_width, chunk_height) = if is_tiled {
            (needed(tag::TILE_WIDTH, "tile width")?, needed(tag::TILE_HEIGHT, "tile height")?)
        } else {
            (width as u64, directory.number(tag::ROWS_PER_STRIP).unwrap_or(u64::MAX).min(height as u64))
        };
        if chunk_width == 0 || chunk_height == 0 || chunk_width.saturating_mul(chunk_height) > limits.max_pixels {
            return Err(undecodable(format_args!("a tile is {chunk_width}×{chunk_height}")));
        }
        let (offsets, lengths) = if is_tiled { (tag::TILE_OFFSETS, tag::TILE_LENGTHS) } else { (tag::STRIP_OFFSETS, tag::STRIP_LENGTHS) };
        let offsets = directory.numbers(offsets).ok_or_else(|| undecodable("the place of its pixels is missing"))?;
        let lengths = directory.numbers(lengths).unwrap_or_else(|| vec![u64::MAX; offsets.len()]);
        Ok(Page {
            bytes,
            is_big_endian: file.is_big_endian(),
            width,
            height,
            bits: bits as usize,
            is_float,
            channels,
            photometric,
            compression,
            predictor,
            is_bit_reversed: directory.number(tag::FILL_ORDER) == Some(2),
            is_planar: channels > 1 && directory.number(tag::PLANAR) == Some(2),
            chunk_width: chunk_width as usize,
            chunk_height: chunk_height as usize,
            chunks: offsets.into_iter().zip(lengths).collect(),
            jpeg_tables: directory.bytes(tag::JPEG_TABLES).unwrap_or_default(),
            color_map: directory.numbers(tag::COLOR_MAP).unwrap_or_default(),
            is_alpha_associated: directory.number(tag::EXTRA_SAMPLES) == Some(1),
            has_alpha: matches!(directory.number(tag::EXTRA_SAMPLES), Some(1 | 2)),
        })
    }

    /// The samples as they are stored; those of which white is 0 are turned round, colours other than RGB are made RGB.
    fn stored(&self, palette: Palette) -> Result<Stored> {
        let size = [self.width, self.height];
        match self.photometric {
            Photometric::Cmyk | Photometric::YCbCr => Ok(Stored::of_rgb(&self.rgb(&ReadOptions::default(), &mut Vec::new())?)),
            Photometric::Palette if palette == Palette::Colors => {
                let indices: Vec<u8> = self.numbers()?.chunks_exact(self.channels).map(|pixel| pixel[0] as u8).collect();
                Ok(Stored::of_rgb(&Rgb::new(self.width, self.height, self.look_up(&indices)?)))
            }
            _ => {
                let kept = self.photometric.channels() + usize::from(self.has_alpha);
                let mut samples: Vec<f32> = self.numbers()?.chunks_exact(self.channels).flat_map(|pixel| &pixel[..kept]).copied().collect();
                let white = (!self.is_float).then(|| ((1_u32 << self.bits) - 1) as f32);
                if self.photometric == Photometric::WhiteIsZero {
                    let white = white.ok_or_else(|| unsupported("floats of which white is 0"))?;
                    samples.iter_mut().step_by(kept).for_each(|sample| *sample = white - *sample);
                }
                Ok(Stored::new(size, kept, self.has_alpha, white, samples))
            }
        }
    }

    /// Samples of any kind as numbers, `[h, w, channels]`.
    fn numbers(&self) -> Result<Vec<f32>> {
        let bits = self.bits;
        match (bits, self.is_big_endian) {
            _ if self.is_float => self.floats(),
            (8, _) => self.samples(|row, index| f32::from(row[index])),
            (16, true) => self.samples(|row, index| f32::from(u16::from_be_bytes([row[2 * index], row[2 * index + 1]]))),
            (16, false) => self.samples(|row, index| f32::from(u16::from_le_bytes([row[2 * index], row[2 * index + 1]]))),
            _ => self.samples(|row, index| f32::from(packed(row, index, bits))),
        }
    }

    /// The page as RGB.
    fn rgb(&self, options: &ReadOptions, warnings: &mut Vec<Warning>) -> Result<Rgb> {
        if self.is_float && self.is_alpha_associated {
            return Err(unsupported("floats that were multiplied by alpha"));
        }
        let samples = if self.is_float {
            floats_to_u8(&self.floats()?, (self.channels, self.photometric.channels()), warnings)?
        } else {
            self.bytes(options.sixteen_bit, warnings)?
        };
        let colors = self.colors(samples, warnings);
        let data = match self.photometric {
            Photometric::Rgb | Photometric::YCbCr => colors,
            Photometric::Cmyk => cmyk_to_rgb(&colors),
            Photometric::BlackIsZero => colors.iter().flat_map(|&grey| [grey; CHANNELS]).collect(),
            Photometric::WhiteIsZero => colors.iter().flat_map(|&grey| [255 - grey; CHANNELS]).collect(),
            Photometric::Palette => self.look_up(&colors)?,
        };
        Ok(Rgb::new(self.width, self.height, data))
    }

    /// Whole numbers as 8 bits, `[h, w, channels]`; indices of a palette as they are.
    fn bytes(&self, sixteen_bit: SixteenBit, warnings: &mut Vec<Warning>) -> Result<Vec<u8>> {
        let bits = self.bits;
        if bits > 8 && sixteen_bit == SixteenBit::Scale {
            warnings.push(Warning::DepthReduced { bits: bits as u8 });
        }
        let is_grey = matches!(self.photometric, Photometric::BlackIsZero | Photometric::WhiteIsZero) && self.channels == 1;
        let deep = if is_grey { sixteen_bit } else { SixteenBit::Scale };
        let samples = match (bits, self.is_big_endian) {
            (8, _) => self.samples(|row, index| row[index]),
            (16, true) => self.samples(|row, index| grey16(u16::from_be_bytes([row[2 * index], row[2 * index + 1]]), 16, deep)),
            (16, false) => self.samples(|row, index| grey16(u16::from_le_bytes([row[2 * index], row[2 * index + 1]]), 16, deep)),
            (9..=15, _) => self.samples(|row, index| grey16(packed(row, index, bits), bits as u32, deep)),
            _ if self.photometric == Photometric::Palette => self.samples(|row, index| packed(row, index, bits) as u8),
            _ => self.samples(|row, index| (u32::from(packed(row, index, bits)) * 255 / ((1 << bits) - 1)) as u8),
        }?;
        if bits == 16 && sixteen_bit == SixteenBit::Scale {
            warn_of_unused_bits(&samples, warnings);
        }
        Ok(samples)
    }

    /// Floats of any width, `[h, w, channels]`.
    fn floats(&self) -> Result<Vec<f32>> {
        let size = self.bits / 8;
        let read = |row: &[u8], index: usize| {
            let mut word = [0; 8];
            let bytes = &row[index * size..(index + 1) * size];
            word[..size].copy_from_slice(bytes);
            if self.is_big_endian {
                word[..size].reverse();
            }
            match size {
                2 => f16::from_le_bytes([word[0], word[1]]).to_f32(),
                4 => f32::from_le_bytes([word[0], word[1], word[2], word[3]]),
                _ => f64::from_le_bytes(word) as f32,
            }
        };
        self.samples(read)
    }

    /// The colour samples without alpha and what else follows; colours that were stored times alpha are divided by it, as Pillow does.
    fn colors(&self, samples: Vec<u8>, warnings: &mut Vec<Warning>) -> Vec<u8> {
        let colors = self.photometric.channels();
        if colors == self.channels {
            return samples;
        }
        let divide = |color: u8, alpha: u8| match alpha {
            0 | 255 => color,
            alpha => (255 * u32::from(color) / u32::from(alpha)).min(255) as u8,
        };
        let is_divided = self.is_alpha_associated && self.photometric != Photometric::Palette;
        // Beside floats up to 255, those of alpha are up to 1 and say nothing as bytes.
        let is_alpha_known = self.has_alpha && !warnings.contains(&Warning::FloatsTruncated);
        if is_alpha_known && samples.chunks_exact(self.channels).any(|pixel| pixel[colors] < 255) {
            warnings.push(Warning::AlphaDropped);
        }
        let mut out = Vec::with_capacity(samples.len() / self.channels * colors);
        for pixel in samples.chunks_exact(self.channels) {
            let alpha = if is_divided { pixel[colors] } else { 255 };
            out.extend(pixel[..colors].iter().map(|&color| divide(color, alpha)));
        }
        out
    }

    /// The colours of a palette, whose table holds all red, all green, all blue values of 16 bits.
    fn look_up(&self, indices: &[u8]) -> Result<Vec<u8>> {
        let entries = 1 << self.bits;
        if self.color_map.len() < CHANNELS * entries {
            return Err(undecodable("its palette is too short"));
        }
        let channel = |index: u8, channel: usize| (self.color_map[channel * entries + usize::from(index)] >> 8) as u8;
        Ok(indices
            .iter()
            .flat_map(|&index| [channel(index, 0), channel(index, 1), channel(index, 2)])
            .collect())
    }

    /// All samples, `[h, w, channels]`; `read` takes one of a row by its index.
    fn samples<T: Copy + Default>(&self, read: impl Fn(&[u8], usize) -> T) -> Result<Vec<T>> {
        let planes = if self.is_planar { self.channels } else { 1 };
        let in_chunk = self.channels / planes;
        let across = self.width.div_ceil(self.chunk_width);
        let per_plane = across * self.height.div_ceil(self.chunk_height);
        if self.chunks.len() < per_plane * planes {
            return Err(undecodable(format_args!("it has {} strips or tiles of {}", self.chunks.len(), per_plane * planes)));
        }
        let mut samples = vec![T::default(); self.height * self.width * self.channels];
        for (index, &chunk) in self.chunks[..per_plane * planes].iter().enumerate() {
            let (plane, place) = (index / per_plane, index % per_plane);
            let (left, top) = (place % across * self.chunk_width, place / across * self.chunk_height);
            let (columns, rows) = (self.chunk_width.min(self.width - left), self.chunk_height.min(self.height - top));
            let (data, row_bytes) = self.unpack(chunk, rows, in_chunk)?;
            for (y, row) in data.chunks_exact(row_bytes).take(rows).enumerate() {
                let start = ((top + y) * self.width + left) * self.channels + plane;
                let target = &mut samples[start..];
                if in_chunk == self.channels {
                    for (index, sample) in target[..columns * in_chunk].iter_mut().enumerate() {
                        *sample = read(row, index);
                    }
                } else {
                    for (index, sample) in target.iter_mut().step_by(self.channels).take(columns).enumerate() {
                        *sample = read(row, index);
                    }
                }
            }
        }
        Ok(samples)
    }

    /// The bytes of at least `rows` rows of a strip or tile, unpacked and without predictor, and how many make a row.
    fn unpack(&self, (offset, length): (u64, u64), rows: usize, channels: usize) -> Result<(Vec<u8>, usize)> {
        let row_bytes = (self.chunk_width * channels * self.bits).div_ceil(8);
        // All rows of a tile are there even where the image ends within it, and a strip without length ends with the file.
        let end = if length == u64::MAX { self.bytes.len() as u64 } else { offset.saturating_add(length) };
        let range = usize::try_from(offset).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        let stored = self.bytes.get(range).ok_or_else(|| undecodable("the file ends before its pixels"))?;
        let reversed: Vec<u8>;
        let stored = if self.is_bit_reversed {
            reversed = stored.iter().map(|byte| byte.reverse_bits()).collect();
            &reversed
        } else {
            stored
        };
        let mut data = match self.compression {
            Compression::None => stored.to_vec(),
            Compression::Jpeg => self.unpack_jpeg(stored, rows, channels)?,
            Compression::Deflate => inflate(stored, rows * row_bytes)?,
            Compression::Lzw => unpack_lzw(stored, rows * row_bytes)?,
            Compression::PackBits => unpack_bits(stored, rows * row_bytes),
            Compression::Group3 => unpack_group3(stored, rows, self.chunk_width)?,
            Compression::Group4 => unpack_group4(stored, rows, self.chunk_width)?,
        };
        if data.len() < rows * row_bytes {
            return Err(undecodable("a strip or tile ends before its pixels"));
        }
        for row in data.chunks_exact_mut(row_bytes).take(rows) {
            match self.predictor {
                Predictor::None => {}
                Predictor::Horizontal => self.add_up(row, channels),
                Predictor::FloatingPoint => self.join_bytes(row, channels),
            }
        }
        Ok((data, row_bytes))
    }

    /// Samples of a JPEG that is a strip or tile; its rows are as long as the chunk's.
    fn unpack_jpeg(&self, stored: &[u8], rows: usize, channels: usize) -> Result<Vec<u8>> {
        // The tables are a JPEG without frame: its end marker goes, and so does the beginning of what follows.
        let tables = self.jpeg_tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(self.jpeg_tables);
        let joined = if tables.is_empty() { stored.to_vec() } else { [tables, stored.get(2..).unwrap_or_default()].concat() };
        let most = (self.chunk_width * self.chunk_height) as u64;
        // Strips may have any height, and encoders may round it up.
        let limits = Limits { max_pixels: most.saturating_mul(16), min_side: 1, max_side: u32::MAX, max_bytes: u64::MAX };
        let file = jpeg::walk(&joined, &limits)?;
        if usize::from(file.width) != self.chunk_width || usize::from(file.height) < rows {
            let message = format!("a strip or tile of {}×{rows} holds a JPEG of {}×{}", self.chunk_width, file.width, file.height);
            return Err(undecodable(message));
        }
        // The photometric interpretation decides, since TIFF's JPEGs seldom say what their colours are.
        let transform = match (self.photometric, channels) {
            (Photometric::YCbCr, _) => Some(ColorTransform::YCbCr),
            (_, 3) => Some(ColorTransform::RGB),
            (_, 4) => Some(ColorTransform::CMYK),
            _ => None,
        };
        let (data, found) = match jpeg::decode_samples(&file.stripped, transform)? {
            Samples::Grey(data) => (data, 1),
            Samples::Rgb(data) => (data, 3),
            // The decoder takes CMYK for Adobe's, whose ink is inverted; TIFF's is not.
            Samples::Cmyk(data) => (data.into_iter().map(|ink| 255 - ink).collect(), 4),
            Samples::Grey16(_) => return Err(unsupported("JPEG of 16 bits")),
        };
        if found == channels { Ok(data) } else { Err(undecodable(format_args!("a JPEG has {found} channels, not {channels}"))) }
    }

    /// Undoes differences between neighbours of a channel.
    fn add_up(&self, row: &mut [u8], channels: usize) {
        let size = self.bits / 8;
        let number = |bytes: &[u8]| {
            let add = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
            if self.is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
        };
        for at in (channels * size..row.len()).step_by(size) {
            let before = at - channels * size;
            let sum = number(&row[at..at + size]).wrapping_add(number(&row[before..before + size]));
            let target = &mut row[at..at + size];
            if self.is_big_endian {
                target.copy_from_slice(&sum.to_be_bytes()[4 - size..]);
            } else {
                target.copy_from_slice(&sum.to_le_bytes()[..size]);
            }
        }
    }

    /// Undoes the predictor of floats: differences between bytes, of which all first ones come first, then all second ones.
    fn join_bytes(&self, row: &mut [u8], channels: usize) {
        for at in channels..row.len() {
            row[at] = row[at].wrapping_add(row[at - channels]);
        }
        let size = self.bits / 8;
        let count = row.len() / size;
        let apart = row.to_vec();
        for (index, sample) in row.chunks_exact_mut(size).enumerate() {
            for (place, byte) in sample.iter_mut().enumerate() {
                // Apart, the most significant byte is the first.
                let significance = if self.is_big_endian { place } else { size - 1 - place };
                *byte = apart[significance * count + index];
            }
        }
    }
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::new(Code::Decode, format!("its TIFF holds {}, which is not supported", what.into()))
        .hint("convert it to PNG, or to a plain TIFF")
}

/// A sample of up to 16 bits in a row of samples without gaps, the most significant bit first.
fn packed(row: &[u8], index: usize, bits: usize) -> u16 {
    let start = index * bits;
    let byte = |at: usize| u32::from(row.get(at).copied().unwrap_or(0));
    let at = start / 8;
    let window = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    (window >> (24 - start % 8 - bits) & ((1 << bits) - 1)) as u16
}

fn inflate(stored: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    ZlibDecoder::new(stored).take(length as u64).read_to_end(&mut data).map_err(undecodable)?;
    Ok(data)
}

fn unpack_lzw(stored: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let mut data = vec![0; length];
    let (mut read, mut written) = (0, 0);
    while written < length {
        let result = decoder.decode_bytes(&stored[read..], &mut data[written..]);
        read += result.consumed_in;
        written += result.consumed_out;
        match result.status.map_err(undecodable)? {
            LzwStatus::Ok => {}
            LzwStatus::Done | LzwStatus::NoProgress => break,
        }
    }
    data.truncate(written);
    Ok(data)
}

fn unpack_bits(mut stored: &[u8], length: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < length
        && let Some((&head, rest)) = stored.split_first()
    {
        stored = match head {
            128 => rest,
            0..=127 => {
                let (run, rest) = rest.split_at(rest.len().min(usize::from(head) + 1));
                data.extend_from_slice(run);
                rest
            }
            129..=255 => match rest.split_first() {
                Some((&byte, rest)) => {
                    data.extend(std::iter::repeat_n(byte, 257 - usize::from(head)));
                    rest
                }
                None => rest,
            },
        };
    }
    data.truncate(length);
    data
}

fn unpack_group3(stored: &[u8], rows: usize, width: usize) -> Result<Vec<u8>> {
    let damaged = || undecodable("its CCITT group 3 data are damaged or end early");
    let columns = u16::try_from(width).map_err(|_| unsupported("CCITT rows of over 65535 pixels"))?;
    let mut decoder = Group3Decoder::new(stored.iter().map(|&byte| Ok::<u8, std::convert::Infallible>(byte))).map_err(|_| damaged())?;
    let mut data = Vec::new();
    for row in 0..rows {
        // The last line may end without a mark behind it.
        let status = decoder.advance();
        if decoder.transitions().last() != Some(&columns) || status.is_err() && row + 1 < rows {
            return Err(damaged());
        }
        pack_row(decoder.transitions(), columns, &mut data);
    }
    Ok(data)
}

fn unpack_group4(stored: &[u8], rows: usize, width: usize) -> Result<Vec<u8>> {
    let damaged = || undecodable("its CCITT group 4 data are damaged or end early");
    let columns = u16::try_from(width).map_err(|_| unsupported("CCITT rows of over 65535 pixels"))?;
    let mut decoder =
        Group4Decoder::new(stored.iter().map(|&byte| Ok::<u8, std::convert::Infallible>(byte)), columns).map_err(|_| damaged())?;
    let mut data = Vec::new();
    for _ in 0..rows {
        if decoder.advance().map_err(|_| damaged())? == DecodeStatus::End {
            return Err(damaged());
        }
        pack_row(decoder.transition(), columns, &mut data);
    }
    Ok(data)
}

/// Adds a row to one-bit data, black as 1.
fn pack_row(transitions: &[u16], columns: u16, data: &mut Vec<u8>) {
    let start = data.len();
    data.resize(start + usize::from(columns).div_ceil(8), 0);
    for (x, color) in fax::decoder::pels(transitions, columns).enumerate() {
        data[start + x / 8] |= u8::from(color == Color::Black) << (7 - x % 8);
    }
}
