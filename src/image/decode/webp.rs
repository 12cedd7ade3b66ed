//! WebP: the chunks are parsed for orientation, frames and completeness.

use image::ImageFormat;

use super::orientation::Orientation;
use super::samples::reduce;
use super::{Raw, ReadOptions, ends_early};
use crate::error::Result;

const HEADER: usize = 12;

pub(super) fn decode(bytes: &[u8], options: &ReadOptions) -> Result<Raw> {
    let (orientation, frames) = walk(bytes)?;
    let mut warnings = Vec::new();
    let image = reduce(options.decode_dynamic(bytes, ImageFormat::WebP)?, options.sixteen_bit, &mut warnings)?;
    Ok(Raw { image, orientation, warnings, further_pages: frames.saturating_sub(1) })
}

/// Parses the chunks to the end: the orientation, and the number of frames of an animation.
pub(super) fn walk(bytes: &[u8]) -> Result<(Orientation, usize)> {
    let early = || ends_early("last chunk");
    let word = |at: usize| bytes.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize);
    let end = word(4).ok_or_else(early)?.saturating_add(8);
    if end > bytes.len() {
        return Err(early());
    }
    let (mut exif, mut xmp, mut frames) = (None, None, 0_usize);
    let mut at = HEADER;
    while at + 8 <= end {
        let length = word(at + 4).ok_or_else(early)?;
        let data = bytes.get(at + 8..).and_then(|rest| rest.get(..length)).ok_or_else(early)?;
        match &bytes[at..at + 4] {
            b"EXIF" => exif = exif.or_else(|| Orientation::from_exif(data)),
            b"XMP " => xmp = xmp.or_else(|| Orientation::from_xmp(data)),
            b"ANMF" => frames += 1,
            _ => {}
        }
        // Chunks are padded to even lengths.
        at += 8 + length + length % 2;
    }
    Ok((Orientation::choose(exif, xmp), frames))
}
