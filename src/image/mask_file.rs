//! Mask files: which pixels they mark, and what speaks against reading them so.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::image::decode::Stored;
use crate::image::{Mask, Palette, ReadOptions};

/// Most values beside 0 that are counted.
const MAX_VALUES: usize = 256;

/// The marks of a mask file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskFile {
    /// The pixels that are not 0, whatever their value.
    pub mask: Mask,
    /// Number of different values beside 0, up to 256: 1 for a binary mask, 0 for one without a mark.
    pub values: usize,
    /// Number of pixels that are marked and wholly transparent, so that it cannot be told whether they are meant.
    pub transparent: usize,
}

/// Reads a mask file of any image format and depth, of 1, 8 and 16 bits alike: a pixel is marked where it is not 0, in colours where any of
/// them is not. Alpha marks nothing. The mask is turned upright as photos are.
///
/// Errors: those of [`ReadOptions::open`], [`Code::Nonfinite`] for floats with NaN, and [`Code::Decode`] for several pages.
pub fn read_mask(file: &Path, palette: Palette, options: &ReadOptions) -> Result<MaskFile> {
    let inside = |error: Error| error.context(format!("in `{}`", file.display()));
    // Masks are read at any size; whether it is that of the photo is the caller's question.
    let mut options = *options;
    options.limits.min_side = 1;
    options.read(file).and_then(|bytes| decode_mask(&bytes, palette, &options).map_err(inside))
}

fn decode_mask(bytes: &[u8], palette: Palette, options: &ReadOptions) -> Result<MaskFile> {
    let stored = options.stored(bytes, palette)?;
    if stored.further_pages > 0 {
        return Err(Error::new(Code::Decode, format!("a mask is one page, and this file holds {}", stored.further_pages + 1)));
    }
    if stored.samples.iter().any(|sample| sample.is_nan()) {
        return Err(Error::new(Code::Nonfinite, "the mask holds NaN"));
    }
    Ok(marks(&stored))
}

fn marks(stored: &Stored) -> MaskFile {
    let colors = stored.channels - usize::from(stored.has_alpha);
    let mut values = HashSet::new();
    let mut last = [0.0; 3];
    let mut transparent = 0;
    let mut marks = Vec::with_capacity(stored.width * stored.height);
    for pixel in stored.samples.chunks_exact(stored.channels) {
        let mut value = [0.0; 3];
        value[..colors].copy_from_slice(&pixel[..colors]);
        let is_marked = value != [0.0; 3];
        marks.push(is_marked);
        if is_marked {
            transparent += usize::from(stored.has_alpha && pixel[colors] == 0.0);
            // Neighbours are alike: few pixels come to the set.
            if value != last && values.len() < MAX_VALUES {
                values.insert(value.map(f32::to_bits));
                last = value;
            }
        }
    }
    MaskFile { mask: Mask::new(stored.width, stored.height, marks), values: values.len(), transparent }
}
