//! PNG: the chunks are parsed for orientation, frames and the end marker; only those that hold pixels are passed to the decoder.
//!
//! Profiles and texts may inflate without bound: only a text that holds EXIF or XMP data is inflated, up to a limit.

use std::io::Read;

use flate2::Crc;
use flate2::read::ZlibDecoder;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma};

use super::orientation::Orientation;
use super::samples::{reduce, warn_of_transparency};
use super::{Limits, Palette, Raw, ReadOptions, ends_early, undecodable};
use crate::error::Result;

const SIGNATURE: usize = 8;

/// Place of the colour type in the header.
const COLOR_TYPE: usize = 9;
/// Colour types: grey without alpha, and indices of a palette.
const GREY: u8 = 0;
const INDEXED: u8 = 3;

/// Most bytes of EXIF or XMP data that are inflated.
const MAX_METADATA: u64 = 1 << 20;

pub(super) fn decode(bytes: &[u8], options: &ReadOptions) -> Result<Raw> {
    let file = walk(bytes, &options.limits, Palette::Colors)?;
    let mut warnings = Vec::new();
    let mut decoded = options.decode_dynamic(&file.stripped, ImageFormat::Png)?;
    if file.is_grey
        && let DynamicImage::ImageLumaA16(grey) = &decoded
    {
        // A shade is transparent, which is no alpha channel to Pillow: it is reduced as grey is.
        warn_of_transparency(&decoded, &mut warnings);
        decoded = ImageBuffer::from_fn(grey.width(), grey.height(), |x, y| Luma([grey.get_pixel(x, y)[0]])).into();
    }
    let image = reduce(decoded, options.sixteen_bit, &mut warnings)?;
    Ok(Raw { image, orientation: file.orientation(), warnings, further_pages: file.further_frames })
}

/// A PNG whose chunks were parsed.
pub(super) struct Walked {
    exif: Option<Orientation>,
    xmp: Option<Orientation>,
    pub(super) further_frames: usize,
    /// Whether its samples are shades of grey and nothing else.
    pub(super) is_grey: bool,
    /// The file without the chunks that hold no pixels.
    pub(super) stripped: Vec<u8>,
}

/// Parses the chunks to the end marker; with [`Palette::Indices`] a file with a palette is made one of shades of grey, its indices.
pub(super) fn walk(bytes: &[u8], limits: &Limits, palette: Palette) -> Result<Walked> {
    let early = || ends_early("end marker `IEND`");
    let mut file = Walked { exif: None, xmp: None, further_frames: 0, is_grey: false, stripped: bytes[..SIGNATURE].to_vec() };
    let (mut has_pixels, mut has_frame_before_pixels, mut frames) = (false, false, 0);
    let mut is_without_palette = false;
    let mut at = SIGNATURE;
    loop {
        let head = bytes.get(at..at + 8).ok_or_else(early)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let chunk = bytes.get(at..at + 12 + length).ok_or_else(early)?;
        let data = &chunk[8..8 + length];
        at += chunk.len();
        match &head[4..8] {
            b"IHDR" => {
                let &[w3, w2, w1, w0, h3, h2, h1, h0, ..] = data else { return Err(undecodable("its header is damaged")) };
                limits.check(u32::from_be_bytes([w3, w2, w1, w0]).into(), u32::from_be_bytes([h3, h2, h1, h0]).into())?;
                is_without_palette = palette == Palette::Indices && data.get(COLOR_TYPE) == Some(&INDEXED);
                file.is_grey = data.get(COLOR_TYPE) == Some(&GREY) || is_without_palette;
                if is_without_palette {
                    file.stripped.extend(header_of_grey(chunk));
                } else {
                    file.stripped.extend_from_slice(chunk);
                }
            }
            b"PLTE" | b"tRNS" if is_without_palette => {}
            b"PLTE" | b"tRNS" => file.stripped.extend_from_slice(chunk),
            b"IDAT" => {
                has_pixels = true;
                file.stripped.extend_from_slice(chunk);
            }
            b"IEND" => {
                file.stripped.extend_from_slice(chunk);
                break;
            }
            b"eXIf" => file.exif = Orientation::from_exif(data).or(file.exif),
            b"tEXt" | b"zTXt" | b"iTXt" => file.read_text(&head[4..8], data),
            b"acTL" => frames = data.first_chunk().map_or(0, |&count| u32::from_be_bytes(count) as usize),
            b"fcTL" => has_frame_before_pixels |= !has_pixels,
            // An unknown critical chunk: passed on, so that the decoder refuses it.
            kind if kind[0].is_ascii_uppercase() => file.stripped.extend_from_slice(chunk),
            _ => {}
        }
    }
    file.further_frames = if has_frame_before_pixels { frames.saturating_sub(1) } else { frames };
    Ok(file)
}

/// The header, an `IHDR` chunk, of the same file with shades of grey in place of indices.
fn header_of_grey(chunk: &[u8]) -> Vec<u8> {
    let mut header = chunk[..chunk.len() - 4].to_vec();
    header[8 + COLOR_TYPE] = GREY;
    let mut sum = Crc::new();
    sum.update(&header[4..]);
    header.extend(sum.sum().to_be_bytes());
    header
}

impl Walked {
    /// How the stored pixels are to be turned.
    pub(super) fn orientation(&self) -> Orientation {
        Orientation::choose(self.exif, self.xmp)
    }

    /// Looks for EXIF and XMP data in a text chunk, as exiftool and ImageMagick write them.
    fn read_text(&mut self, kind: &[u8], data: &[u8]) {
        let Some((keyword, rest)) = split_at_zero(data) else { return };
        if !matches!(keyword, b"XML:com.adobe.xmp" | b"Raw profile type xmp" | b"Raw profile type exif" | b"Raw profile type APP1") {
            return;
        }
        let Some(text) = text_of(kind, rest) else { return };
        match keyword.strip_prefix(b"Raw profile type ") {
            None => self.xmp = self.xmp.or_else(|| Orientation::from_xmp(&text)),
            Some(_) => {
                let Some(profile) = raw_profile(&text) else { return };
                self.exif = self.exif.or_else(|| Orientation::from_exif(&profile));
                self.xmp = self.xmp.or_else(|| Orientation::from_xmp(&profile));
            }
        }
    }
}

/// The text behind the keyword of a `tEXt`, `zTXt` or `iTXt` chunk.
fn text_of(kind: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    match kind {
        b"tEXt" => Some(rest.to_vec()),
        // Behind the method of compression.
        b"zTXt" => inflate(rest.get(1..)?),
        _ => {
            let (&[is_compressed, _method], rest) = rest.split_first_chunk()?;
            let (_language, rest) = split_at_zero(rest)?;
            let (_translated, text) = split_at_zero(rest)?;
            if is_compressed == 0 { Some(text.to_vec()) } else { inflate(text) }
        }
    }
}

fn split_at_zero(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = data.iter().position(|&byte| byte == 0)?;
    Some((&data[..zero], &data[zero + 1..]))
}

/// Inflates up to the limit; longer data hold no orientation.
fn inflate(data: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    ZlibDecoder::new(data).take(MAX_METADATA).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The bytes of ImageMagick's profile: a line with its name, one with its length, then hexadecimal digits.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (_name, _length) = (words.next()?, words.next()?);
    let digits: Vec<u8> = words
        .flatten()
        .map(|&digit| (digit as char).to_digit(16).map(|value| value as u8))
        .collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
