//! Comparison with Pillow, OpenCV, SciPy and PyTorch; the files are made by `tools/golden_image.py`.

use serde::Deserialize;

use super::*;
use crate::error::Code;
use crate::tensor::Array;

const RESIZE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/image/resize.json"));
const DECODE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/image/decode.json"));
/// Images of any size, read as Pillow does.
const AS_PILLOW: ReadOptions = ReadOptions {
    limits: Limits { max_bytes: 1 << 30, max_pixels: 1 << 27, max_side: 65_535, min_side: 1 },
    ignore_orientation: false,
    sixteen_bit: SixteenBit::Clip,
};

#[derive(Deserialize)]
struct Golden<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct ResizeCase {
    operation: String,
    from: [usize; 2],
    #[serde(default)]
    to: [usize; 2],
    #[serde(default)]
    sigma: f64,
    #[serde(default)]
    crc: String,
    #[serde(default)]
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct DecodeCase {
    name: String,
    tolerance: u8,
    width: usize,
    height: usize,
    file: String,
    rgb: String,
}

fn resize_cases() -> Vec<ResizeCase> {
    serde_json::from_slice::<Golden<ResizeCase>>(RESIZE).unwrap().cases
}

fn decode_cases() -> Vec<DecodeCase> {
    serde_json::from_slice::<Golden<DecodeCase>>(DECODE).unwrap().cases
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn file_named(name: &str) -> Vec<u8> {
    bytes_of(&decode_cases().into_iter().find(|case| case.name == name).unwrap().file)
}

/// p(y, x, c) = (37y + 91x + 53c + 7xy) mod 256.
fn pattern([height, width]: [usize; 2]) -> Rgb {
    let value = |i: usize| {
        let (y, x, c) = (i / 3 / width, i / 3 % width, i % 3);
        (37 * y + 91 * x + 53 * c + 7 * x * y) as u8
    };
    Rgb::new(width, height, (0..height * width * 3).map(value).collect())
}

/// (p(y, x, 0) − 128) / 64.
fn scores(size: [usize; 2]) -> Array {
    let image = pattern(size);
    Array::new(size, image.data().iter().step_by(3).map(|&p| (f32::from(p) - 128.0) / 64.0).collect())
}

fn crc(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

fn crc_of_map(map: &Array) -> String {
    crc(&map.data().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

#[test]
fn every_resize_and_blur_is_that_of_its_library() {
    let cases = resize_cases();
    assert!(cases.len() > 150, "only {} cases", cases.len());
    for case in &cases {
        let [height, width] = case.to;
        let pillow = |filter| crc(resize_pillow(&pattern(case.from), width, height, filter).data());
        let found = match case.operation.as_str() {
            "pillow_nearest" => pillow(Filter::Nearest),
            "pillow_box" => pillow(Filter::Box),
            "pillow_bilinear" => pillow(Filter::Bilinear),
            "pillow_bicubic" => pillow(Filter::Bicubic),
            "pillow_lanczos" => pillow(Filter::Lanczos),
            "opencv" => crc(resize_opencv(&pattern(case.from), width, height).data()),
            "opencv_map" => crc_of_map(&resize_opencv_map(&scores(case.from), height, width)),
            "gaussian" => crc_of_map(&gaussian_blur(&scores(case.from), case.sigma)),
            "torch" => {
                let distance = resize_bilinear_map(&scores(case.from), height, width).max_abs(&Array::new(case.to, case.values.clone()));
                // Values up to 2, four products of three roundings each.
                assert!(distance <= 2e-6, "torch {:?} → {:?}: off by {distance}", case.from, case.to);
                continue;
            }
            other => panic!("unknown operation {other}"),
        };
        assert_eq!(found, case.crc, "{} {:?} → {:?}", case.operation, case.from, case.to);
    }
}

#[test]
fn the_vectors_of_the_specification_hold() {
    // First values of row 0, channel 0, of 10×13 → 5×7; spec/saa_plus.md, D.4.
    let row = |resized: Rgb| resized.data().iter().step_by(3).take(7).copied().collect::<Vec<_>>();
    let image = pattern([10, 13]);
    assert_eq!(row(resize_pillow(&image, 7, 5, Filter::Bilinear)), [82, 130, 120, 108, 137, 158, 146]);
    assert_eq!(row(resize_pillow(&image, 7, 5, Filter::Bicubic)), [76, 134, 114, 109, 135, 160, 147]);
    assert_eq!(row(resize_pillow(&image, 7, 5, Filter::Lanczos)), [79, 136, 107, 113, 131, 160, 150]);
    assert_eq!(row(resize_opencv(&image, 7, 5)), [59, 161, 136, 74, 139, 169, 143]);
    // CRC-32 of the same table.
    assert_eq!(crc(resize_opencv(&image, 20, 16).data()), "4f86ac73");
    assert_eq!(crc(resize_opencv(&pattern([64, 64]), 32, 32).data()), "f1334397");
}

#[test]
fn every_file_decodes_as_in_pillow() {
    let cases = decode_cases();
    assert!(cases.len() > 40, "only {} cases", cases.len());
    for case in &cases {
        let decoded = AS_PILLOW
            .decode(&bytes_of(&case.file))
            .map(|decoded| decoded.image)
            .unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        assert_eq!((decoded.width(), decoded.height()), (case.width, case.height), "{}", case.name);
        let differences = decoded.data().iter().zip(bytes_of(&case.rgb)).map(|(a, b)| a.abs_diff(b));
        let worst = differences.max().unwrap();
        assert!(worst <= case.tolerance, "{}: off by {worst}, not {}", case.name, case.tolerance);
    }
}

#[test]
fn exif_is_ignored_on_request() {
    let read = |name, ignore_orientation| ReadOptions { ignore_orientation, ..AS_PILLOW }.decode(&file_named(name)).unwrap().image;
    assert_eq!(read("exif 8 png", true), read("exif 1 png", false));
    assert_eq!(read("exif 8 png", false).width(), 5);
}

#[test]
fn a_truncated_file_is_a_decode_error_wherever_it_ends() {
    for name in ["exif 6 png", "cmyk jpeg", "rgb tiff_lzw", "rgba webp", "palette bmp"] {
        let file = file_named(name);
        for end in 0..file.len() {
            // Some end in padding or metadata that nobody needs, but none may panic or fail otherwise.
            if let Err(error) = AS_PILLOW.decode(&file[..end]) {
                assert_eq!(error.code(), Code::Decode, "{name} cut to {end} bytes: {error}");
            }
        }
        let half = AS_PILLOW.decode(&file[..file.len() / 2]);
        assert!(half.is_err(), "{name} cut in half was accepted");
    }
}

#[test]
fn sizes_are_judged_by_the_header() {
    // The header of a PNG of 60000×60000, with its CRC, and nothing behind it but an empty IDAT.
    let mut header = file_named("grey png")[..33].to_vec();
    header[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let sum = crc32fast::hash(&header[12..29]);
    header[29..33].copy_from_slice(&sum.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, 0, b'I', b'D', b'A', b'T', 0x35, 0xaf, 0x06, 0x1e]);
    let code = |file: &[u8], limits| ReadOptions { limits, ..AS_PILLOW }.decode(file).unwrap_err().code();
    assert_eq!(code(&header, Limits::default()), Code::TooLarge);
    assert_eq!(code(&file_named("grey png"), Limits::default()), Code::TooSmall); // 7×5, below 8
    assert_eq!(code(&file_named("grey png"), Limits { max_pixels: 34, ..AS_PILLOW.limits }), Code::TooLarge);
}

#[test]
fn what_is_no_image_file_is_refused_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let code = |path: &std::path::Path| AS_PILLOW.open(path).unwrap_err().code();
    assert_eq!(code(&folder.path().join("none.png")), Code::NotFound);
    assert_eq!(code(folder.path()), Code::Decode);
    let text = folder.path().join("text.jpg");
    std::fs::write(&text, "not an image").unwrap();
    assert_eq!(code(&text), Code::Decode);
    #[cfg(unix)]
    assert_eq!(code("/dev/zero".as_ref()), Code::Decode);
}
