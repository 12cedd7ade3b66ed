//! Image processing: decoding, exact resampling, preprocessing, masks and regions, colour maps, encoding.
//!
//! Published results depend on the libraries that prepared the images, so every resampler here names the one it
//! reproduces (Pillow, OpenCV, PyTorch, SciPy) and is tested against it.

mod boxes;
mod colormap;
mod decode;
mod filter;
mod map_file;
mod mask;
mod mask_file;
mod npy;
mod paint;
mod preprocess;
mod resample;
mod rgb;
mod write;

pub use boxes::{BoundingBox, check_boxes};
pub use colormap::{colorize, overlay};
pub use decode::{AnnouncedSize, Decoded, EXTENSIONS, IMAGE_LIKE, Limits, Palette, ReadOptions, SixteenBit, Warning, begins_as_image};
pub use filter::gaussian_blur;
pub use map_file::{MAP_EXTENSIONS, read_map};
pub(crate) use mask::flood;
pub use mask::{Mask, Region, regions};
pub use mask_file::{MaskFile, read_mask};
pub use paint::{distinct_color, paint_border, paint_box, paint_label, paint_mask};
pub use preprocess::{Channels, Fit, Geometry, Normalization, Preprocess, Resampler};
pub use resample::{Filter, resize_bilinear_map, resize_opencv, resize_opencv_map, resize_pillow};
pub use rgb::Rgb;
pub use write::{encode_mask_png, encode_rgb_png, encode_tiff};

#[cfg(test)]
mod golden;
