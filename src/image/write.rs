//! Image files as bytes: PNG and TIFF.

use std::fmt::Display;
use std::io::Cursor;
use std::ops::RangeInclusive;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tiff::encoder::colortype::Gray32Float;
use tiff::encoder::compression::DeflateLevel;
use tiff::encoder::{Compression, TiffEncoder};

use crate::error::{Code, Error, Result};
use crate::image::colormap::position;
use crate::image::{Mask, Rgb};
use crate::tensor::Array;

/// The photo as an 8-bit RGB PNG.
pub fn encode_rgb_png(photo: &Rgb) -> Result<Vec<u8>> {
    encode_png(photo.data(), photo.width(), photo.height(), ExtendedColorType::Rgb8)
}

/// The mask as an 8-bit grey PNG of 0 and 255.
pub fn encode_mask_png(mask: &Mask) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = mask.data().iter().map(|&is_marked| u8::from(is_marked) * u8::MAX).collect();
    encode_png(&bytes, mask.width(), mask.height(), ExtendedColorType::L8)
}

/// A map `[h, w]` as an 8-bit grey PNG: the start of `range` is 0, its end 255, and what lies outside is clamped.
///
/// Panics when `range` is empty.
#[track_caller]
pub fn encode_gray8_png(map: &Array, range: RangeInclusive<f32>) -> Result<Vec<u8>> {
    let [height, width] = map.shape().axes();
    let scale = |&score: &f32| (position(score, &range) * 255.0).round() as u8;
    let bytes: Vec<u8> = map.data().iter().map(scale).collect();
    encode_png(&bytes, width, height, ExtendedColorType::L8)
}

/// A map `[h, w]` as a 16-bit grey PNG: the start of `range` is 0, its end 65535, and what lies outside is clamped.
///
/// Panics when `range` is empty.
#[track_caller]
pub fn encode_gray16_png(map: &Array, range: RangeInclusive<f32>) -> Result<Vec<u8>> {
    let [height, width] = map.shape().axes();
    let scale = |&score: &f32| (position(score, &range) * 65535.0).round() as u16;
    // The encoder takes samples in the machine's own byte order.
    let bytes: Vec<u8> = map.data().iter().flat_map(|score| scale(score).to_ne_bytes()).collect();
    encode_png(&bytes, width, height, ExtendedColorType::L16)
}

/// A map `[h, w]` as a TIFF of one f32 channel, deflated, its values untouched.
#[track_caller]
pub fn encode_tiff(map: &Array) -> Result<Vec<u8>> {
    let [height, width] = map.shape().axes();
    let mut file = Cursor::new(Vec::new());
    TiffEncoder::new(&mut file)
        .map(|tiff| tiff.with_compression(Compression::Deflate(DeflateLevel::Fast)))
        .and_then(|mut tiff| tiff.write_image::<Gray32Float>(width as u32, height as u32, map.data()))
        .map_err(|error| unencodable("TIFF", error))?;
    Ok(file.into_inner())
}

fn encode_png(bytes: &[u8], width: usize, height: usize, color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(bytes, width as u32, height as u32, color)
        .map_err(|error| unencodable("PNG", error))?;
    Ok(file)
}

fn unencodable(format: &str, error: impl Display) -> Error {
    Error::new(Code::Io, format!("cannot encode a {format}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Limits, ReadOptions};

    fn decode(file: &[u8]) -> Rgb {
        let limits = Limits { min_side: 1, ..Limits::default() };
        ReadOptions { limits, ..ReadOptions::default() }.decode(file).unwrap().image
    }

    #[test]
    fn a_photo_and_a_mask_survive_their_png() {
        let photo = Rgb::new(2, 1, vec![1, 2, 3, 250, 251, 252]);
        let file = encode_rgb_png(&photo).unwrap();
        assert_eq!(decode(&file), photo);
        let mask = Mask::from_threshold(&Array::new([2, 1], vec![0.4, 0.6]), 0.5);
        let read = decode(&encode_mask_png(&mask).unwrap());
        assert_eq!(read.data(), [0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn grey_files_hold_the_scaled_scores() {
        let map = Array::new([1, 4], vec![-1.0, 0.2, 0.5, 3.0]);
        let grey8 = image::load_from_memory(&encode_gray8_png(&map, 0.0..=1.0).unwrap()).unwrap();
        assert_eq!(grey8.as_luma8().unwrap().as_raw(), &[0, 51, 128, 255]);
        let grey16 = image::load_from_memory(&encode_gray16_png(&map, 0.0..=1.0).unwrap()).unwrap();
        assert_eq!(grey16.as_luma16().unwrap().as_raw(), &[0, 13107, 32768, 65535]);
    }

    #[test]
    fn a_tiff_keeps_every_float() {
        let map = Array::new([2, 3], vec![0.0, -1.5, 1e-30, f32::MAX, 0.1, 7.0]);
        let file = encode_tiff(&map).unwrap();
        let mut decoder = tiff::decoder::Decoder::new(Cursor::new(file)).unwrap();
        assert_eq!(decoder.dimensions().unwrap(), (3, 2));
        let tiff::decoder::DecodingResult::F32(values) = decoder.read_image().unwrap() else { panic!("not f32") };
        assert_eq!(values, map.data());
    }
}
