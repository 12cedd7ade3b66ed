//! Preprocessing: from an image to a network's input, and from the network's map back to the image.

use crate::image::boxes::BoundingBox;
use crate::image::resample::{Filter, Window, interpolate_at, resize_opencv_window, resize_pillow_window, torch_pairs};
use crate::image::rgb::{CHANNELS, Rgb};
use crate::tensor::Array;

/// Resampler: the library whose resizing is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resampler {
    /// [`resize_pillow`](crate::image::resize_pillow) with this filter: antialiased; torchvision on PIL images.
    Pillow(Filter),
    /// [`resize_opencv`](crate::image::resize_opencv): bilinear without antialiasing.
    OpenCv,
}

/// How an image is fitted to the frame, the network's input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fit {
    /// Stretched to this size whatever its proportions.
    Stretch {
        /// Rows of the frame.
        height: usize,
        /// Columns of the frame.
        width: usize,
    },
    /// Scaled until the shorter side is `size`, then cut to the central `crop`×`crop`;
    /// torchvision's `Resize(size)` and `CenterCrop(crop)`. `crop` may not exceed `size`.
    ShorterSide {
        /// Shorter side after scaling.
        size: usize,
        /// Side of the square frame.
        crop: usize,
    },
    /// Scaled until the shorter side is `size`, but less where the longer side would exceed `longest`; GroundingDINO's rule.
    Within {
        /// Shorter side after scaling.
        size: usize,
        /// Bound of the longer side.
        longest: usize,
    },
    /// As [`Fit::Within`], but the longer side follows from the shorter one before that is rounded; transformers' rule.
    WithinUnrounded {
        /// Shorter side after scaling.
        size: usize,
        /// Bound of the longer side.
        longest: usize,
    },
    /// Scaled until the longer side is `size`, then padded with zeros at the bottom and right; SAM's rule.
    /// The zeros are added after the normalisation.
    LongestSide {
        /// Side of the square frame.
        size: usize,
    },
}

/// Order of the colour channels in the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, under statistics that stay in their place; SAA+'s released code.
    Bgr,
}

/// `(x / divisor − mean) / std` of a byte x, in f32 and in this order of operations; per channel of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// 255 where the statistics are those of values in 0..1, 1 where they are those of bytes.
    pub divisor: f32,
    /// Mean per channel.
    pub mean: [f32; CHANNELS],
    /// Standard deviation per channel.
    pub std: [f32; CHANNELS],
}

impl Normalization {
    /// torchvision's ImageNet statistics.
    pub const IMAGENET: Normalization = Normalization { divisor: 255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// The ImageNet statistics times 255, as SAM and SAA+ apply them to bytes.
    pub const IMAGENET_BYTES: Normalization = Normalization { divisor: 1.0, mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375] };

    /// OpenAI's CLIP statistics, which OpenCLIP keeps.
    pub const CLIP: Normalization = Normalization {
        divisor: 255.0,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// One normalised channel of an image at its own size, `[h, w]`; 0 is red.
    pub fn plane(&self, image: &Rgb, channel: usize) -> Array {
        let pixels = image.data().chunks_exact(CHANNELS);
        Array::new([image.height(), image.width()], pixels.map(|pixel| self.apply(channel, pixel[channel])).collect())
    }

    /// The normalised value of a byte.
    fn apply(&self, channel: usize, value: u8) -> f32 {
        (f32::from(value) / self.divisor - self.mean[channel]) / self.std[channel]
    }
}

/// Preprocessing that turns an image into a network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// Resizing and cropping or padding.
    pub fit: Fit,
    /// Resampling.
    pub resampler: Resampler,
    /// Channel order.
    pub channels: Channels,
    /// Statistics.
    pub normalization: Normalization,
}

impl Preprocess {
    /// The input `[1, 3, h, w]` of the network, and where its pixels came from.
    ///
    /// Panics when the settings contradict each other: a side of 0, or a crop larger than the scaled image.
    #[track_caller]
    pub fn apply(&self, image: &Rgb) -> (Array, Geometry) {
        let geometry = self.fit.geometry(image.height(), image.width());
        let (height, width) = geometry.resized;
        let window = geometry.window();
        // Only the part inside the frame is computed: scaled as a whole, an image of 8×65535 would have 41 kB for each pixel of its length.
        let resized = match self.resampler {
            Resampler::Pillow(filter) => resize_pillow_window(image, width, height, filter, &window),
            Resampler::OpenCv => resize_opencv_window(image, width, height, &window),
        };
        (self.normalize(&resized, &geometry), geometry)
    }

    /// Normalises the part of the resized image inside the frame and pads it; planar channels.
    fn normalize(&self, resized: &Rgb, geometry: &Geometry) -> Array {
        let (frame_height, frame_width) = geometry.frame;
        let mut input = Array::zeros([1, CHANNELS, frame_height, frame_width]);
        for (channel, plane) in input.data_mut().chunks_exact_mut(frame_height * frame_width).enumerate() {
            let source = match self.channels {
                Channels::Rgb => channel,
                Channels::Bgr => CHANNELS - 1 - channel,
            };
            for (row, pixels) in plane.chunks_exact_mut(frame_width).zip(resized.data().chunks_exact(resized.width() * CHANNELS)) {
                for (value, pixel) in row.iter_mut().zip(pixels.chunks_exact(CHANNELS)) {
                    *value = self.normalization.apply(channel, pixel[source]);
                }
            }
        }
        input
    }
}

/// Geometry of preprocessing: maps pixels of the network's frame to pixels of the image. Pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the image.
    pub original: (usize, usize),
    /// Size of the image after scaling.
    pub resized: (usize, usize),
    /// Upper left corner of the frame within the scaled image.
    pub offset: (usize, usize),
    /// Size of the frame, the network's input; beyond the scaled image it is padding.
    pub frame: (usize, usize),
}

impl Geometry {
    /// Rows and columns of the frame that are covered by the image; the rest is padding.
    fn covered(&self) -> (usize, usize) {
        (self.frame.0.min(self.resized.0 - self.offset.0), self.frame.1.min(self.resized.1 - self.offset.1))
    }

    /// The part of the resized image inside the frame.
    fn window(&self) -> Window {
        let (top, left) = self.offset;
        let (height, width) = self.covered();
        Window { columns: left..left + width, rows: top..top + height }
    }

    /// The part of the image that a part of the frame shows: left, top, right and bottom in pixels of the frame, which must not be empty.
    #[track_caller]
    pub fn from_frame(&self, [left, top, right, bottom]: [usize; 4]) -> BoundingBox {
        let x = |at: usize| (self.offset.1 + at) as f32 * self.original.1 as f32 / self.resized.1 as f32;
        let y = |at: usize| (self.offset.0 + at) as f32 * self.original.0 as f32 / self.resized.0 as f32;
        BoundingBox::new([x(left), y(top), x(right), y(bottom)]).expect("a part of the frame has an area")
    }

    /// Scales a box from the image to the frame: x0, y0, x1, y1 in pixels of the frame, which they may leave.
    ///
    /// Follows SAM's `ResizeLongestSide.apply_boxes_torch`: sides' ratios in f64, rounded to f32, then products in f32.
    pub fn to_frame(&self, bounds: BoundingBox) -> [f32; 4] {
        let along = |value: f32, from: usize, to: usize, offset: usize| value * (to as f64 / from as f64) as f32 - offset as f32;
        let x = |value| along(value, self.original.1, self.resized.1, self.offset.1);
        let y = |value| along(value, self.original.0, self.resized.0, self.offset.0);
        let [x0, y0, x1, y1] = bounds.corners();
        [x(x0), y(y0), x(x1), y(y1)]
    }

    /// Resizes a map of the frame `[h, w]` to the image `[H, W]`.
    ///
    /// Bilinear as in PyTorch (`align_corners=False`), padding left out; image pixels whose centre lies outside the
    /// frame get `fill`. Panics when the map is not of the frame's size.
    #[track_caller]
    pub fn restore(&self, map: &Array, fill: f32) -> Array {
        let [height, width] = map.shape().axes();
        assert!((height, width) == self.frame, "a map of {height}×{width} is not of the frame {}×{}", self.frame.0, self.frame.1);
        let covered = self.covered();
        let rows = torch_pairs(self.resized.0, self.original.0, self.offset.0, covered.0);
        let cols = torch_pairs(self.resized.1, self.original.1, self.offset.1, covered.1);
        let at = |row, col| match (row, col) {
            (Some(row), Some(col)) => interpolate_at(map, row, col),
            _ => fill,
        };
        let data = rows.iter().flat_map(|&row| cols.iter().map(move |&col| at(row, col))).collect();
        Array::new([self.original.0, self.original.1], data)
    }
}

impl Fit {
    /// The geometry for an image of `height`×`width` pixels; panics as [`Preprocess::apply`] does.
    #[track_caller]
    pub fn geometry(self, height: usize, width: usize) -> Geometry {
        let (resized, frame) = match self {
            Fit::Stretch { height, width } => ((height, width), (height, width)),
            Fit::ShorterSide { size, crop } => {
                assert!(crop <= size, "a crop of {crop} does not fit an image scaled to {size}");
                (scale_shorter(height, width, size), (crop, crop))
            }
            Fit::Within { size, longest } => {
                let resized = scale_shorter(height, width, size_within(height, width, size, longest));
                (resized, resized)
            }
            Fit::WithinUnrounded { size, longest } => {
                let resized = scale_within_unrounded(height, width, size, longest);
                (resized, resized)
            }
            Fit::LongestSide { size } => (scale_longest(height, width, size), (size, size)),
        };
        let offset = (central(resized.0, frame.0), central(resized.1, frame.1));
        Geometry { original: (height, width), resized, offset, frame }
    }
}

/// torchvision's `Resize(size)`: the longer side is truncated. Never below 1.
fn scale_shorter(height: usize, width: usize, size: usize) -> (usize, usize) {
    let longer = (size * height.max(width) / height.min(width)).max(1);
    if height <= width { (size, longer) } else { (longer, size) }
}

/// GroundingDINO's shorter side: `longest · shorter / longer`, rounded half to even, where `size` would be too much.
fn size_within(height: usize, width: usize, size: usize, longest: usize) -> usize {
    let (shorter, longer) = (height.min(width) as f64, height.max(width) as f64);
    if longer / shorter * size as f64 > longest as f64 {
        ((longest as f64 * shorter / longer).round_ties_even() as usize).max(1)
    } else {
        size
    }
}

/// transformers' `get_size_with_aspect_ratio`. Never below 1.
fn scale_within_unrounded(height: usize, width: usize, size: usize, longest: usize) -> (usize, usize) {
    let (shorter, longer) = (height.min(width) as f64, height.max(width) as f64);
    let (exact, rounded) = if longer / shorter * size as f64 > longest as f64 {
        let exact = longest as f64 * shorter / longer;
        (exact, (exact.round_ties_even() as usize).max(1))
    } else {
        (size as f64, size)
    };
    if rounded == height.min(width) {
        return (height, width);
    }
    let other = ((exact * longer / shorter) as usize).max(1);
    if height <= width { (rounded, other) } else { (other, rounded) }
}

/// SAM's `ResizeLongestSide`: both sides are rounded half up. Never below 1.
fn scale_longest(height: usize, width: usize, size: usize) -> (usize, usize) {
    let scale = size as f64 / height.max(width) as f64;
    let side = |length: usize| ((length as f64 * scale + 0.5) as usize).max(1);
    (side(height), side(width))
}

/// torchvision's `CenterCrop`: `round((length − crop) / 2)`, half to even; 0 where the frame is the larger.
fn central(length: usize, crop: usize) -> usize {
    (length.saturating_sub(crop) as f64 / 2.0).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS_OF_TWO: Fit = Fit::ShorterSide { size: 2, crop: 2 };

    #[test]
    fn sizes_follow_the_published_rules() {
        let crop = Fit::ShorterSide { size: 256, crop: 224 }.geometry(480, 640);
        assert_eq!((crop.resized, crop.offset), ((256, 341), (16, 58))); // (341 − 224) / 2 = 58.5 → 58
        let odd = Fit::ShorterSide { size: 3, crop: 2 }.geometry(3, 5);
        assert_eq!(odd.offset, (0, 2)); // 0.5 → 0, 1.5 → 2
        let dino = Fit::Within { size: 800, longest: 1333 };
        assert_eq!(dino.geometry(1168, 1284).resized, (800, 879));
        assert_eq!(dino.geometry(1000, 3000).resized, (444, 1332)); // 1333 / 3 = 444.3
        let port = Fit::WithinUnrounded { size: 800, longest: 1333 };
        let sizes = |fit: Fit| [(700, 2000), (168, 1284), (480, 640)].map(|(height, width)| fit.geometry(height, width).resized);
        assert_eq!(sizes(dino), [(467, 1334), (174, 1329), (800, 1066)]);
        assert_eq!(sizes(port), [(467, 1333), (174, 1333), (800, 1066)]);
        let sam = Fit::LongestSide { size: 1024 };
        assert_eq!(sam.geometry(1176, 1358).resized, (887, 1024));
        assert_eq!(sam.geometry(3, 5000).resized, (1, 1024));
        assert_eq!(dino.geometry(3, 5000).resized, (1, 1666)); // 1333 · 3 / 5000 = 0.8 → 1
    }

    #[test]
    fn channels_are_swapped_below_statistics_that_stay() {
        let image = Rgb::new(1, 1, vec![255, 0, 51]);
        let mut recipe = Preprocess {
            fit: Fit::Stretch { height: 1, width: 1 },
            resampler: Resampler::OpenCv,
            channels: Channels::Rgb,
            normalization: Normalization { divisor: 255.0, mean: [0.0, 0.5, 0.0], std: [1.0, 1.0, 2.0] },
        };
        assert_eq!(recipe.apply(&image).0, Array::new([1, 3, 1, 1], vec![1.0, -0.5, 0.1]));
        recipe.channels = Channels::Bgr;
        assert_eq!(recipe.apply(&image).0, Array::new([1, 3, 1, 1], vec![0.2, -0.5, 0.5]));
    }

    #[test]
    fn padding_is_zero_after_the_normalisation_and_leaves_the_map_again() {
        let recipe = Preprocess {
            fit: Fit::LongestSide { size: 2 },
            resampler: Resampler::Pillow(Filter::Bilinear),
            channels: Channels::Rgb,
            normalization: Normalization { divisor: 1.0, mean: [1.0; 3], std: [1.0; 3] },
        };
        let (input, geometry) = recipe.apply(&Rgb::new(2, 1, vec![5, 6, 7, 8, 9, 10]));
        assert_eq!(input.data(), [4.0, 7.0, 0.0, 0.0, 5.0, 8.0, 0.0, 0.0, 6.0, 9.0, 0.0, 0.0]);
        let map = Array::new([2, 2], vec![1.0, 2.0, 70.0, 80.0]);
        assert_eq!(geometry.restore(&map, 0.0), Array::new([1, 2], vec![1.0, 2.0]));
    }

    #[test]
    fn a_box_follows_its_image_into_the_frame() {
        let bounds = BoundingBox::new([1.0, 0.0, 6.0, 2.0]).unwrap();
        // 2×6 stays as it is, and the central 2×2 begins at column 2; 8×40 shrinks to a quarter.
        assert_eq!(ROWS_OF_TWO.geometry(2, 6).to_frame(bounds), [-1.0, 0.0, 4.0, 2.0]);
        assert_eq!(Fit::LongestSide { size: 10 }.geometry(8, 40).to_frame(bounds), [0.25, 0.0, 1.5, 0.5]);
    }

    #[test]
    fn a_thin_image_is_cropped_before_it_is_scaled() {
        // Scaled as a whole it would be 256×7,680,000 pixels, 5.9 GB.
        let image = Rgb::new(60_000, 2, vec![7; 60_000 * 2 * CHANNELS]);
        let normalization = Normalization { divisor: 1.0, mean: [0.0; 3], std: [1.0; 3] };
        let fit = Fit::ShorterSide { size: 256, crop: 224 };
        for resampler in [Resampler::Pillow(Filter::Bicubic), Resampler::OpenCv] {
            let (input, _) = Preprocess { fit, resampler, channels: Channels::Rgb, normalization }.apply(&image);
            assert_eq!(input, Array::new([1, 3, 224, 224], vec![7.0; 3 * 224 * 224]));
        }
    }

    #[test]
    fn image_pixels_outside_the_crop_are_filled() {
        let geometry = ROWS_OF_TWO.geometry(2, 6);
        assert_eq!(geometry.offset, (0, 2));
        let map = Array::new([2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let rows = vec![-1.0, -1.0, 1.0, 2.0, -1.0, -1.0, -1.0, -1.0, 3.0, 4.0, -1.0, -1.0];
        assert_eq!(geometry.restore(&map, -1.0), Array::new([2, 6], rows));
    }

    #[test]
    fn a_stretched_map_comes_back_as_pytorch_interpolates() {
        let geometry = Fit::Stretch { height: 1, width: 2 }.geometry(1, 4);
        let restored = geometry.restore(&Array::new([1, 2], vec![0.0, 1.0]), 9.0);
        assert_eq!(restored, Array::new([1, 4], vec![0.0, 0.25, 0.75, 1.0]));
    }

    #[test]
    #[should_panic(expected = "a map of 3×2 is not of the frame 2×2")]
    fn a_map_of_another_frame_is_refused() {
        ROWS_OF_TWO.geometry(2, 2).restore(&Array::zeros([3, 2]), 0.0);
    }
}
