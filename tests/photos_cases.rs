//! Image files from real use: each is read right, or refused with a reason.

mod common;

use std::path::{Path, PathBuf};

use zsas::error::Error;
use zsas::files::sha256;
use zsas::image::{Decoded, Limits, ReadOptions, Rgb, SixteenBit, Warning};
use zsas::uninspected::Uninspected;
use zsas::{Code, Remedy};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

fn read(name: &str) -> Decoded {
    ReadOptions::default().open(&case(name)).unwrap()
}

fn refuse(bytes: &[u8]) -> Error {
    ReadOptions::default().decode(bytes).expect_err("it was read")
}

/// Means of red, green and blue.
fn means(image: &Rgb) -> [f64; 3] {
    let sum = |channel| image.data().iter().skip(channel).step_by(3).map(|&value| f64::from(value)).sum::<f64>();
    [0, 1, 2].map(|channel| sum(channel) / (image.width() * image.height()) as f64)
}

#[track_caller]
fn assert_means(name: &str, (width, height): (usize, usize), expected: [f64; 3], tolerance: f64) {
    let image = read(name).image;
    assert_eq!((image.width(), image.height()), (width, height), "{name}");
    let found = means(&image);
    let is_near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
    assert!(is_near, "{name}: {found:?}, not {expected:?}");
}

#[test]
fn lossless_files_have_the_pixels_of_pillow() {
    let upright = "cb696f9b1270c0fed6f44ba051d49c99182eaefcb1859b39c1d7700da65d24c5";
    let plain = "ffe7cae031f6be8dd0bf730b8b229b30866cf7f70537250ddf1e8bb40e54d371";
    let grey = "79fca9cae545dda358e035ad66dda23d0184496d2f3642849f2fa56846b236f4";
    let files = [
        ("orientation6_exif_after_data.png", (88, 96), upright),
        ("orientation6_xmp.png", (88, 96), upright),
        ("associated_alpha_128.tif", (96, 88), "165ea43a7f53701bbaf410d8d4c561c6fcbafc7f3a0b13bf057a404ddf61cbc2"),
        ("bigtiff.tif", (96, 88), plain),
        ("planar_tiled.tif", (96, 88), plain),
        ("palette.tif", (96, 88), "0e0d471f685dc500cb291126fea73e4bb585aba095835e06cda478d5ac835760"),
        ("grey_12bit.tif", (120, 90), grey),
        ("float_grey.tif", (120, 90), grey),
    ];
    for (name, size, hash) in files {
        let image = read(name).image;
        assert_eq!(((image.width(), image.height()), sha256(image.data()).as_str()), (size, hash), "{name}");
    }
}

#[test]
fn jpegs_have_the_means_of_pillow() {
    // The decoder's differences of up to 4 levels have no direction: over 8,448 pixels the means stay within 0.1.
    assert_means("jpeg_separate_scans_420.jpg", (96, 88), [155.21, 115.18, 85.17], 0.1);
    assert_means("orientation6_xmp.jpg", (88, 96), [155.21, 115.18, 85.17], 0.1);
    assert_means("ycck.jpg", (96, 88), [137.87, 101.61, 76.24], 2.0);
    assert_means("jpeg_ycbcr.tif", (120, 90), [137.92, 118.92, 88.92], 2.0);
}

#[test]
fn jpegs_of_odd_structure_have_the_means_of_pillow() {
    // The decoder's differences average to less than 0.25 levels.
    assert_means("progressive_restarts.jpg", (33, 17), [131.989, 122.100, 187.802], 0.25);
    assert_means("more_chroma_than_luma.jpg", (97, 131), [133.483, 121.901, 126.121], 0.25);
}

#[test]
fn a_jpeg_without_its_end_is_never_filled_up() {
    for name in ["truncated.jpg", "truncated_progressive.jpg"] {
        let error = ReadOptions::default().open(&case(name)).unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::Decode, "cannot decode the image: the file ends before its end marker"),
            "{name}"
        );
    }
}

#[test]
fn no_part_of_a_file_is_taken_for_the_whole() {
    for name in ["ycck.jpg", "jpeg_separate_scans_420.jpg", "orientation6_exif_after_data.png", "palette.tif", "planar_tiled.tif"] {
        let bytes = std::fs::read(case(name)).unwrap();
        for end in (0..bytes.len()).step_by(97) {
            assert_eq!(refuse(&bytes[..end]).code(), Code::Decode, "{name} cut to {end} bytes");
        }
    }
}

#[test]
fn a_jpeg_whose_second_component_has_no_scan_is_refused() {
    let bytes = std::fs::read(case("jpeg_separate_scans_420.jpg")).unwrap();
    let second = bytes.windows(2).enumerate().filter(|(_, pair)| *pair == [0xff, 0xda]).nth(1).unwrap().0;
    let message = refuse(&[&bytes[..second], &[0xff, 0xd9]].concat()).message().to_owned();
    assert_eq!(message, "cannot decode the image: component 2 of 3 has no scan");
}

#[test]
fn a_jpeg_that_was_cut_and_closed_again_is_refused() {
    for name in ["truncated.jpg", "truncated_progressive.jpg"] {
        let bytes = std::fs::read(case(name)).unwrap();
        let message = refuse(&[&bytes[..], &[0xff, 0xd9]].concat()).message().to_owned();
        assert_eq!(message, "cannot decode the image: a scan ends before its last block", "{name}");
    }
}

#[test]
fn sixteen_bits_are_scaled_with_a_warning_or_clipped_by_name() {
    let name = "sixteen_bit_grey.png";
    let stored = image::open(case(name)).unwrap().into_luma16();
    assert!(stored.iter().all(|&value| value % 257 == 0), "the file is 257 times a photo of 8 bits");
    let expected = |eight_bit: fn(u16) -> u8| stored.iter().flat_map(|&value| [eight_bit(value); 3]).collect::<Vec<u8>>();
    let scaled = read(name);
    assert_eq!(scaled.image.data(), expected(|value| (value / 257) as u8));
    assert_eq!(scaled.warnings, [Warning::DepthReduced { bits: 16 }]);
    assert!(scaled.warnings[0].is_once_a_run());
    let options = ReadOptions { sixteen_bit: SixteenBit::Clip, ..ReadOptions::default() };
    let clipped = options.open(&case(name)).unwrap();
    assert_eq!(clipped.image.data(), expected(|value| value.min(255) as u8));
    assert_eq!(clipped.warnings, []);
}

#[test]
fn sixteen_bits_of_which_twelve_are_used_are_warned_of() {
    let read = |largest: u16| {
        let image = image::ImageBuffer::<image::Luma<u16>, _>::from_fn(8, 8, |x, _| image::Luma([largest * u16::from(x == 3)]));
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        ReadOptions::default().decode(file.get_ref()).unwrap().warnings
    };
    assert_eq!(read(4095), [Warning::DepthReduced { bits: 16 }, Warning::UpperBitsUnused]);
    assert_eq!(read(4096), [Warning::DepthReduced { bits: 16 }]);
}

#[test]
fn floats_are_scaled_from_0_to_1_and_lose_their_decimals_beyond() {
    assert_eq!(read("float_grey.tif").warnings, [Warning::FloatsTruncated]);
    // The same file with each value, 13 to 242, divided by 256, so that the division is exact.
    let mut bytes = std::fs::read(case("float_grey.tif")).unwrap();
    let mut decoder = tiff::decoder::Decoder::new(std::io::Cursor::new(&bytes)).unwrap();
    let tiff::decoder::DecodingResult::F32(values) = decoder.read_image().unwrap() else { panic!("no floats") };
    let mut file = std::io::Cursor::new(Vec::new());
    let small: Vec<f32> = values.iter().map(|value| value / 256.0).collect();
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut file).unwrap();
    encoder.write_image::<tiff::encoder::colortype::Gray32Float>(120, 90, &small).unwrap();
    bytes = file.into_inner();
    let scaled = ReadOptions::default().decode(&bytes).unwrap();
    assert_eq!(scaled.warnings, [Warning::FloatsScaled]);
    let expected: Vec<u8> = values.iter().flat_map(|value| [(value * 255.0 / 256.0).round() as u8; 3]).collect();
    assert_eq!(scaled.image.data(), expected);
}

#[test]
fn further_pages_are_counted() {
    let decoded = read("two_pages.tif");
    assert_eq!(decoded.warnings, [Warning::Pages { count: 2 }]);
    assert_eq!(decoded.warnings[0].to_string(), "2 pages, the first is scored");
    assert!(!decoded.warnings[0].is_once_a_run());
    assert_eq!(decoded.uninspected, [Uninspected::pages(1)]);
    assert_eq!(read("bigtiff.tif").uninspected, []);
}

#[test]
fn what_is_no_image_is_named() {
    let zeros = [0; 64];
    let files: [(&[u8], &str); 12] = [
        (b"", "the file is empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC, which is not supported; convert it to PNG or JPEG"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "it is AVIF, which is not supported; convert it to PNG or JPEG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "it is a video, not an image"),
        (b"\n<!DOCTYPE html>\n<title>404</title>", "it is HTML, not an image"),
        (b"<html><body>404", "it is HTML, not an image"),
        (b"<?xml version=\"1.0\"?>\n<svg></svg>", "it is SVG, which is not supported; convert it to PNG or JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer, not the image itself: run `git lfs pull`"),
        (b"\x1f\x8b\x08", "it is a gzip archive, not an image"),
        (b"{\"error\": \"not found\"}", "it is text, not an image"),
        (&zeros, "it begins with zeros alone, as a copy that was interrupted"),
        (b"\x01\x02\x03", "it is of no known format; supported are PNG, JPEG, BMP, TIFF, WebP, GIF, PNM and QOI"),
    ];
    for (bytes, message) in files {
        let error = refuse(bytes);
        assert_eq!((error.code(), error.message()), (Code::Decode, message));
    }
}

/// A chunk of a PNG.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

fn deflate(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A grey PNG of this size, black, whose pixel data are right for 32×32; other chunks stand before them.
fn png(width: u32, height: u32, others: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let pixels = deflate(&[0; 33 * 32]);
    [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..], others, &chunk(b"IDAT", &pixels), &chunk(b"IEND", b"")].concat()
}

#[test]
fn metadata_are_not_inflated() {
    // 32 MiB each here; what is inflated is bounded by 1 MiB and never depends on the length.
    let zeros = deflate(&vec![0; 1 << 25]);
    let profile = chunk(b"iCCP", &[b"p\0\0", &zeros[..]].concat());
    let text = chunk(b"zTXt", &[b"Raw profile type exif\0\0", &zeros[..]].concat());
    let image = ReadOptions::default().decode(&png(32, 32, &[profile, text].concat())).unwrap().image;
    assert_eq!(image.data(), [0; 32 * 32 * 3]);
}

#[test]
fn sizes_beyond_the_limits_are_too_large_in_every_format() {
    let side = 1_u32 << 31;
    let bmp = [b"BM", &[0; 12][..], &40_u32.to_le_bytes(), &side.to_le_bytes(), &side.to_le_bytes(), &[1, 0, 24, 0], &[0; 24]].concat();
    let entry = |tag: u16, value: u32| [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat();
    let tiff = [b"II*\0\x08\0\0\0\x02\0", &entry(256, side)[..], &entry(257, side), &[0; 4]].concat();
    for (bytes, name) in [(png(side - 1, side - 1, &[]), "png"), (bmp, "bmp"), (tiff, "tiff")] {
        let error = refuse(&bytes);
        assert_eq!((error.code(), error.remedy()), (Code::TooLarge, Some(&Remedy::RaisePixelLimit)), "{name}: {error}");
    }
    let long = refuse(&png(1 << 24, 8, &[]));
    assert_eq!((long.code(), long.remedy()), (Code::TooLarge, Some(&Remedy::RaiseSideLimit)), "{long}");
}

#[test]
fn a_large_file_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.jpg");
    std::fs::File::create(&path).unwrap().set_len(1 << 33).unwrap();
    let error = ReadOptions::default().open(&path).unwrap_err();
    assert_eq!((error.code(), error.remedy()), (Code::TooLarge, Some(&Remedy::RaiseFileLimit)));
    let limits = Limits { max_bytes: 100, ..Limits::default() };
    let error = ReadOptions { limits, ..ReadOptions::default() }.open(&case("ycck.jpg")).unwrap_err();
    assert_eq!(error.message(), "the file has 10530 bytes, over the limit of 100");
}

#[test]
fn every_ending_of_the_table_is_decoded() {
    use image::ImageFormat;
    let photo = image::RgbImage::from_fn(16, 12, |x, y| image::Rgb([x as u8 * 9, y as u8 * 13, 77]));
    for ending in zsas::image::EXTENSIONS {
        let format = match ending {
            "jpe" | "jfif" => ImageFormat::Jpeg,
            "dib" => ImageFormat::Bmp,
            other => ImageFormat::from_extension(other).unwrap_or_else(|| panic!("`.{other}` names no format")),
        };
        let mut file = std::io::Cursor::new(Vec::new());
        photo.write_to(&mut file, format).unwrap();
        let decoded = ReadOptions::default().decode(file.get_ref()).unwrap_or_else(|error| panic!("{ending}: {error}"));
        assert_eq!((decoded.image.width(), decoded.image.height()), (16, 12), "{ending}");
        assert!(!zsas::image::IMAGE_LIKE.contains(&ending), "`.{ending}` is read");
    }
}

#[test]
fn the_record_says_how_many_pages_were_not_read() {
    let place = common::binary::Place::new();
    place.write("two.tif", &std::fs::read(case("two_pages.tif")).unwrap());
    place.infer(&["two.tif"]).exits(0);
    let warnings = place.records()[0]["warnings"].clone();
    assert!(warnings.as_array().unwrap().contains(&"2 pages, the first is scored".into()), "{warnings}");
}

/// What is stored below transparent pixels is scored, and that is said: other programs show something else there.
#[test]
fn transparency_is_said() {
    let warnings = |alpha: u8, format: image::ImageFormat| {
        let mut picture = image::RgbaImage::from_pixel(9, 8, image::Rgba([90, 140, 200, 255]));
        picture.put_pixel(3, 5, image::Rgba([90, 140, 200, alpha]));
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        ReadOptions::default().decode(file.get_ref()).unwrap().warnings
    };
    for format in [image::ImageFormat::Png, image::ImageFormat::WebP, image::ImageFormat::Qoi] {
        assert_eq!(warnings(255, format), [], "{format:?}");
        assert_eq!(warnings(254, format), [Warning::AlphaDropped], "{format:?}");
    }
    assert_eq!(read("associated_alpha_128.tif").warnings, [Warning::AlphaDropped]);
}

/// A PNG names transparent colours of its palette, or one colour, without an alpha channel. Files and hashes of their pixels are Pillow's.
#[test]
fn transparent_colours_of_a_png_are_said_where_a_pixel_has_one() {
    let palette = "d92ea5ab0a72952624388bd0d569120dbe8c0563cf62a2ae23fe4f7d9b0e7f02";
    let grey = "fcf9fbe730541d783bd86b90d1c2145815ca65137ed883cfe8a8f6d2d5fbdd8f";
    let color = "d889546d5cf6639e07fe84d985f4c4381c5dfe4668c6c6fed6e86fb972966a1f";
    let files = [
        ("png_palette_transparent.png", palette, true),
        ("png_palette_unused_transparent.png", palette, false),
        ("png_grey_key.png", grey, true),
        ("png_grey_other_key.png", grey, false),
        ("png_rgb_key.png", color, true),
    ];
    for (name, hash, is_transparent) in files {
        let Decoded { image, warnings, .. } = read(name);
        assert_eq!(sha256(image.data()), hash, "{name}");
        assert_eq!(warnings, if is_transparent { vec![Warning::AlphaDropped] } else { vec![] }, "{name}");
    }
    // 16 bits: read as grey without transparency is.
    let clip = ReadOptions { sixteen_bit: SixteenBit::Clip, ..ReadOptions::default() };
    let clipped = clip.open(&case("png_grey16_key.png")).unwrap();
    assert_eq!(sha256(clipped.image.data()), "c16fde5d9a13a5c8d15d8dd4fc669773b00ca804d3e8768a511109ff2e1fdd3a");
    assert_eq!(clipped.warnings, [Warning::AlphaDropped]);
}
