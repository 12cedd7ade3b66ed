//! Anomaly maps of any program: TIFF, NPY and PNG as an array of f32.

use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::image::decode::is_map_picture;
use crate::image::{Limits, Palette, ReadOptions, npy};
use crate::tensor::Array;

/// Endings of file names of maps that are read, in lower case; the content decides how.
pub const MAP_EXTENSIONS: [&str; 4] = ["tiff", "tif", "npy", "png"];

/// Reads an anomaly map, `[h, w]`:
///
/// - TIFF of one channel and one page: floats of 16, 32 or 64 bits, or whole numbers of up to 16 bits; in strips or tiles, uncompressed or by
///   deflate, LZW or PackBits, with any predictor, in either byte order;
/// - NPY of floats of 16, 32 or 64 bits in either byte and index order, of shape `[h, w]`, `[1, h, w]` or `[h, w, 1]`;
/// - grey PNG.
///
/// Whole numbers become 0 to 1, as they are divided by the largest of their depth: 255 in 8 bits, 65,535 in 16. Floats are taken as they are
/// and rounded to f32. An orientation that the file names is not applied: a map lies as its photo does when it is upright.
///
/// Errors: [`Code::NotFound`], [`Code::Io`]; [`Code::Decode`] for another kind of file, or one that is damaged; [`Code::TooLarge`] by the
/// header, before memory is taken, beyond the default [`Limits`]; [`Code::Nonfinite`] for NaN and infinity, with their place.
pub fn read_map(file: &Path) -> Result<Array> {
    let inside = |error: Error| error.context(format!("in `{}`", file.display()));
    let limits = Limits { min_side: 1, ..Limits::default() };
    let options = ReadOptions { limits, ignore_orientation: true, ..ReadOptions::default() };
    let bytes = options.read_recognized(file, recognize)?;
    decode_map(&bytes, &options).map_err(inside)
}

/// Fails where the first bytes of a file are those of no map.
fn recognize(head: &[u8]) -> Result<()> {
    if npy::is_npy(head) || is_map_picture(head)? {
        return Ok(());
    }
    Err(Error::new(Code::Decode, "it is an image of a format that holds no maps").hint("maps are read from TIFF, NPY and PNG"))
}

fn decode_map(bytes: &[u8], options: &ReadOptions) -> Result<Array> {
    let map = if npy::is_npy(bytes) { npy::decode(bytes, &options.limits)? } else { decode_picture(bytes, options)? };
    let [_, width] = map.shape().axes();
    match map.data().iter().position(|value| !value.is_finite()) {
        Some(at) => {
            let (row, column) = (at / width, at % width);
            Err(Error::new(Code::Nonfinite, format!("the map holds {} in row {row}, column {column}, from 0", map.data()[at])))
        }
        None => Ok(map),
    }
}

fn decode_picture(bytes: &[u8], options: &ReadOptions) -> Result<Array> {
    let stored = options.stored(bytes, Palette::Colors)?;
    if stored.further_pages > 0 {
        return Err(Error::new(Code::Decode, format!("a map is one page, and this file holds {}", stored.further_pages + 1)));
    }
    if stored.channels > 1 {
        let message = format!("a map has one channel, and this file has {}", stored.channels);
        return Err(Error::new(Code::Decode, message).hint("save the scores themselves, not a picture of them in colours"));
    }
    let mut samples = stored.samples;
    if let Some(white) = stored.white {
        samples.iter_mut().for_each(|sample| *sample /= white);
    }
    Ok(Array::new([stored.height, stored.width], samples))
}
