//! TIFF (to come).
use super::{Raw, ReadOptions, ifd::Directories, orientation::Orientation, samples::reduce};
use crate::error::Result;

pub(super) fn decode(bytes: &[u8], options: &ReadOptions) -> Result<Raw> {
    let directories = Directories::new(bytes).and_then(|file| file.first().map(|first| (file.behind(&first).len(), first.number(274))));
    let (further_pages, orientation) = directories.unwrap_or((0, None));
    let mut warnings = Vec::new();
    let image = reduce(options.decode_dynamic(bytes, image::ImageFormat::Tiff)?, options.sixteen_bit, &mut warnings)?;
    let orientation = orientation.and_then(Orientation::from_number).unwrap_or_default();
    Ok(Raw { image, orientation, warnings, further_pages })
}
