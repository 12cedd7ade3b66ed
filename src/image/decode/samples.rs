//! Reduction of decoded samples to 8-bit RGB by Pillow's rules, 16-bit ones by [`SixteenBit`].

use image::DynamicImage;

use super::{SixteenBit, Warning, undecodable};
use crate::error::Result;
use crate::image::Rgb;
use crate::image::rgb::CHANNELS;

/// Reduces an image of the `image` crate. Alpha is dropped, not blended.
///
/// Not by `DynamicImage::into_rgb8`, which rounds 16-bit samples and multiplies.
pub(super) fn reduce(image: DynamicImage, sixteen_bit: SixteenBit, warnings: &mut Vec<Warning>) -> Result<Rgb> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let is_deep = matches!(image.color().bytes_per_pixel() / image.color().channel_count(), 2);
    if is_deep && sixteen_bit == SixteenBit::Scale {
        warnings.push(Warning::DepthReduced { bits: 16 });
    }
    warn_of_transparency(&image, warnings);
    let pixels: Vec<u8> = match image {
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|&v| [grey16(v, 16, sixteen_bit); CHANNELS]).collect(),
        DynamicImage::ImageLumaA16(grey) => grey.pixels().flat_map(|p| [high(p[0]); CHANNELS]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(rgba) => rgba.pixels().flat_map(|p| [p[0], p[1], p[2]].map(high)).collect(),
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => return Err(undecodable("floats outside of TIFF")),
        // What is left has 8 bits: here the crate repeats grey and drops alpha, as Pillow does.
        eight_bit => eight_bit.into_rgb8().into_raw(),
    };
    if is_deep && sixteen_bit == SixteenBit::Scale {
        warn_of_unused_bits(&pixels, warnings);
    }
    Ok(Rgb::new(width, height, pixels))
}

/// Warns where a pixel is less than opaque.
pub(super) fn warn_of_transparency(image: &DynamicImage, warnings: &mut Vec<Warning>) {
    let is_transparent = match image {
        DynamicImage::ImageLumaA8(grey) => grey.pixels().any(|p| p[1] < u8::MAX),
        DynamicImage::ImageRgba8(rgba) => rgba.pixels().any(|p| p[3] < u8::MAX),
        DynamicImage::ImageLumaA16(grey) => grey.pixels().any(|p| p[1] < u16::MAX),
        DynamicImage::ImageRgba16(rgba) => rgba.pixels().any(|p| p[3] < u16::MAX),
        _ => false,
    };
    if is_transparent {
        warnings.push(Warning::AlphaDropped);
    }
}

/// Warns where the upper 8 of 16 bits never reach 16: no sample has more than 12 bits, as cameras of 10 and 12 bits write them.
pub(super) fn warn_of_unused_bits(pixels: &[u8], warnings: &mut Vec<Warning>) {
    if pixels.iter().all(|&value| value < LEAST_LEVEL) {
        warnings.push(Warning::UpperBitsUnused);
    }
}

/// The upper 8 of 16 bits.
fn high(sample: u16) -> u8 {
    (sample >> 8) as u8
}

/// A grey sample of 9 to 16 bits.
pub(super) fn grey16(sample: u16, bits: u32, sixteen_bit: SixteenBit) -> u8 {
    match sixteen_bit {
        SixteenBit::Scale => (sample >> (bits - 8)) as u8,
        SixteenBit::Clip => sample.min(255) as u8,
    }
}

/// Interleaved cyan, magenta, yellow, black, 255 full ink, as Pillow converts them.
pub(super) fn cmyk_to_rgb(pixels: &[u8]) -> Vec<u8> {
    let pixel = |cmyk: &[u8]| {
        let light = 255 - u32::from(cmyk[3]);
        let channel = |ink: u8| {
            let product = u32::from(ink) * light + 128;
            // product / 255, rounded
            light.saturating_sub((product + (product >> 8)) >> 8) as u8
        };
        [channel(cmyk[0]), channel(cmyk[1]), channel(cmyk[2])]
    };
    pixels.chunks_exact(4).flat_map(pixel).collect()
}

/// Largest float of an image whose white is 1: resampling goes a little beyond white.
const LARGEST_UNIT_FLOAT: f32 = 2.0;

/// An image without a sample from here on has hardly any contrast.
const LEAST_LEVEL: u8 = 16;

/// Floats as bytes. Where none is over 2, white is 1: they are multiplied by 255, and those beyond 0 to 1 clipped. Else they are clipped to 0 to 255
/// and their decimals cut, as Pillow does. NaN is refused.
///
/// Pixels have `channels` samples, of which the first `colors` are colours; alpha does not decide what white is.
pub(super) fn floats_to_u8(samples: &[f32], (channels, colors): (usize, usize), warnings: &mut Vec<Warning>) -> Result<Vec<u8>> {
    if samples.iter().any(|sample| sample.is_nan()) {
        return Err(undecodable("some of its samples are not a number"));
    }
    let shades = || samples.chunks(channels).flat_map(|pixel| &pixel[..colors]);
    let largest = shades().fold(f32::NEG_INFINITY, |most, &sample| most.max(sample));
    let clipped = |white: f32| (!shades().all(|sample| (0.0..=white).contains(sample))).then_some(Warning::FloatsClipped);
    if largest <= LARGEST_UNIT_FLOAT {
        warnings.push(Warning::FloatsScaled);
        warnings.extend(clipped(1.0));
        return Ok(samples.iter().map(|sample| (sample * 255.0).round() as u8).collect());
    }
    warnings.push(Warning::FloatsTruncated);
    warnings.extend(clipped(255.0));
    if largest < f32::from(LEAST_LEVEL) {
        warnings.push(Warning::NearlyBlack);
    }
    // `as` truncates and stops at 0 and 255.
    Ok(samples.iter().map(|&sample| sample as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_white_of_floats_is_1_or_255() {
        let reduced = |samples: &[f32], of: (usize, usize)| {
            let mut warnings = Vec::new();
            (floats_to_u8(samples, of, &mut warnings).unwrap(), warnings)
        };
        assert_eq!(reduced(&[0.0, 0.5, 1.0], (1, 1)), (vec![0, 128, 255], vec![Warning::FloatsScaled]));
        // What a resampling filter leaves beyond black and white.
        assert_eq!(reduced(&[-0.01, 0.5, 1.02], (1, 1)), (vec![0, 128, 255], vec![Warning::FloatsScaled, Warning::FloatsClipped]));
        assert_eq!(reduced(&[0.5, 255.0, 1.0, 255.0], (2, 1)).0, [128, 255, 255, 255]);
        assert_eq!(reduced(&[-3.0, 99.9, 300.0], (1, 1)), (vec![0, 99, 255], vec![Warning::FloatsTruncated, Warning::FloatsClipped]));
        assert_eq!(reduced(&[0.0, 12.0], (1, 1)), (vec![0, 12], vec![Warning::FloatsTruncated, Warning::NearlyBlack]));
        assert!(floats_to_u8(&[f32::NAN], (1, 1), &mut Vec::new()).is_err());
    }
}
