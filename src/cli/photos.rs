//! Options of the verbs that read photos.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, PossibleValuesParser, TypedValueParser};
use zsas::image::{Limits, ReadOptions, SixteenBit};

/// Options for reading photos: limits, orientation, reduction to 8 bits.
#[derive(Args, Clone, Copy, Debug)]
pub struct PhotoArgs {
    /// Leave photos as they are stored, whatever orientation their EXIF or XMP data name
    #[arg(long, help_heading = "Input")]
    ignore_exif: bool,

    /// Refuse photos with a shorter side, in pixels
    #[arg(long, value_name = "N", default_value_t = Limits::default().min_side, help_heading = "Input")]
    min_size: u32,

    /// Refuse photos of more pixels, before they are decoded
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels, help_heading = "Input")]
    max_pixels: u64,

    /// Refuse photos with a longer side, in pixels
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_side, help_heading = "Input")]
    max_side: u32,

    /// Refuse files of more bytes, before they are read
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_bytes, help_heading = "Input")]
    max_bytes: u64,

    /// How photos of 9 to 16 bits are reduced to 8: `scale` keeps the upper 8 bits; `clip` lets grey saturate at 255, as Pillow does
    #[arg(long, value_name = "HOW", default_value = "scale", value_parser = sixteen_bit(), help_heading = "Input")]
    sixteen_bit: SixteenBit,
}

/// A parser of an output folder. `-` is refused, by which many mean standard output.
pub fn output_folder() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|folder| match folder.as_os_str() == "-" {
        true => Err("results go into a folder (`./-` is one of this name); `--json` prints the records"),
        false => Ok(folder),
    })
}

fn sixteen_bit() -> impl TypedValueParser<Value = SixteenBit> {
    PossibleValuesParser::new(["scale", "clip"]).map(|name| if name == "clip" { SixteenBit::Clip } else { SixteenBit::Scale })
}

impl PhotoArgs {
    /// The options of the library for reading images.
    pub fn options(&self) -> ReadOptions {
        let PhotoArgs { max_bytes, max_pixels, max_side, min_size: min_side, .. } = *self;
        let limits = Limits { max_bytes, max_pixels, max_side, min_side };
        ReadOptions { limits, ignore_orientation: self.ignore_exif, sixteen_bit: self.sixteen_bit }
    }
}
