//! GIF: the blocks are parsed to count frames and check completeness.

use image::ImageFormat;

use super::orientation::Orientation;
use super::samples::reduce;
use super::{Raw, ReadOptions, ends_early, undecodable};
use crate::error::Result;

/// Bytes up to the global colour table.
const HEADER: usize = 13;

pub(super) fn decode(bytes: &[u8], options: &ReadOptions) -> Result<Raw> {
    let frames = frames(bytes)?;
    let mut warnings = Vec::new();
    let image = reduce(options.decode_dynamic(bytes, ImageFormat::Gif)?, options.sixteen_bit, &mut warnings)?;
    Ok(Raw { image, orientation: Orientation::default(), warnings, further_pages: frames.saturating_sub(1) })
}

/// Counts the frames up to the end marker.
fn frames(bytes: &[u8]) -> Result<usize> {
    let early = || ends_early("end marker");
    let byte = |at: usize| bytes.get(at).copied().ok_or_else(early);
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    // Past sub-blocks, each behind its length, to the one of length 0.
    let skip_blocks = |mut at: usize| loop {
        match byte(at)? {
            0 => return Ok(at + 1),
            length => at += 1 + usize::from(length),
        }
    };
    let mut at = HEADER + table(byte(10)?);
    let mut frames = 0;
    loop {
        // Some writers leave the end marker out; a frame that has begun has to end, though.
        let is_over = bytes.get(at).is_none() && frames > 0;
        match if is_over { b';' } else { byte(at)? } {
            b';' => return Ok(frames),
            b'!' => at = skip_blocks(at + 2)?,
            b',' => {
                frames += 1;
                // Place, size and flags, the colour table, the least code size.
                at = skip_blocks(at + 10 + table(byte(at + 9)?) + 1)?;
            }
            0 => at += 1,
            _ => return Err(undecodable("a block is of no known kind")),
        }
    }
}
