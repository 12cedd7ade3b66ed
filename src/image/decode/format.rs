//! Image formats: file-name endings of readable and of unsupported formats, and recognition by content.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Code, Error, Result};

/// Endings of file names that count as readable images, in lower case; the content decides how they are decoded.
pub const EXTENSIONS: [&str; 18] =
    ["png", "apng", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "tif", "tiff", "webp", "gif", "pnm", "pgm", "ppm", "pbm", "pam", "qoi"];

/// Endings of file names of image formats that are not supported, in lower case.
pub const IMAGE_LIKE: &[&str] = &[
    // Phones and the web
    "heic", "heif", "hif", "avif", "avifs", "jxl", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jxr", "wdp", "hdp", "jls", "bpg", "flif",
    // Camera raw
    "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "kdc", "mef", "mos", "mrw", "nef", "nrw", "orf", "pef", "raf", "raw",
    "rw2", "rwl", "sr2", "srf", "srw", "x3f", // Programs and games
    "psd", "psb", "xcf", "kra", "svg", "svgz", "exr", "hdr", "pfm", "dds", "tga", "ico", "cur", "icns", "pcx", "sgi", "ras", "xbm", "xpm",
    "mng", "wmf", "emf", // Science
    "dcm", "fits", "fit", "czi", "nd2", "lif", "mrc",
];

/// An image format that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    Bmp,
    Tiff,
    WebP,
    Gif,
    Pnm,
    Qoi,
}

/// The names of the formats, for messages.
const SUPPORTED: &str = "PNG, JPEG, BMP, TIFF, WebP, GIF, PNM and QOI";

impl Format {
    /// Recognises the format by the first bytes of a file; fails with [`Code::Decode`], naming what it is instead, where that is known.
    pub(super) fn recognize(head: &[u8]) -> Result<Format> {
        if head.is_empty() {
            return Err(Error::new(Code::Decode, "the file is empty"));
        }
        let is_raw = head.starts_with(b"II*\0") && head.get(8..10) == Some(b"CR");
        match head {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Format::Png),
            [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
            [b'B', b'M', ..] if head.len() > 2 => Ok(Format::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] if !is_raw => Ok(Format::Tiff),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
            [b'P', b'1'..=b'7', b' ' | b'\t' | b'\n' | b'\r', ..] => Ok(Format::Pnm),
            [b'q', b'o', b'i', b'f', ..] => Ok(Format::Qoi),
            _ => Err(Error::new(Code::Decode, foreign(head))),
        }
    }
}

/// Whether a file that begins so is of a format that holds maps, PNG or TIFF; fails where it is no image.
pub(in crate::image) fn is_map_picture(head: &[u8]) -> Result<bool> {
    Format::recognize(head).map(|format| matches!(format, Format::Png | Format::Tiff))
}

/// Whether a regular file begins as an image of a format that is decoded, whatever its name.
pub fn begins_as_image(file: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(file).and_then(|file| file.take(16).read_to_end(&mut head));
    match Format::recognize(&head) {
        // Text may begin as these two: four bytes that are always 0 decide, and the size.
        Ok(Format::Bmp) => head.get(6..10) == Some(&[0; 4]),
        Ok(Format::Pnm) => {
            let size = head[2..].trim_ascii_start();
            size.starts_with(b"WIDTH") || size.first().is_some_and(|&byte| byte.is_ascii_digit() || byte == b'#')
        }
        format => read.is_ok() && format.is_ok(),
    }
}

/// Message for a file that cannot be decoded: what it is, and what to do about it.
fn foreign(head: &[u8]) -> String {
    if let Some(image) = foreign_image(head) {
        return format!("it is {image}, which is not supported; convert it to PNG or JPEG");
    }
    if head.starts_with(b"version https://git-lfs") {
        return "it is a Git LFS pointer, not the image itself: run `git lfs pull`".to_owned();
    }
    if let Some(kind) = foreign_file(head) {
        return format!("it is {kind}, not an image");
    }
    if head.iter().all(|&byte| byte == 0) {
        return "it begins with zeros alone, as a copy that was interrupted".to_owned();
    }
    format!("it is of no known format; supported are {SUPPORTED}")
}

fn foreign_image(head: &[u8]) -> Option<&'static str> {
    if head.get(4..8) == Some(b"ftyp") {
        return brand(head);
    }
    let signatures: [(&[u8], &str); 18] = [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"II\xbc", "JPEG XR"),
        (b"8BPS", "Photoshop"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"DDS ", "DDS"),
        (b"\0\0\x01\0", "ICO"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"#?RGBE", "Radiance HDR"),
        (b"II*\0", "a camera's raw file"),
        (b"IIRO", "a camera's raw file"),
        (b"IIU\0", "a camera's raw file"),
        (b"FUJIFILMCCD-RAW", "a camera's raw file"),
        (b"SIMPLE  =", "FITS"),
        (b"gimp xcf", "GIMP"),
        (b"\n\x05\x01", "PCX"),
    ];
    if head.get(128..132) == Some(b"DICM") {
        return Some("DICOM");
    }
    let found = signatures.iter().find(|(signature, _)| head.starts_with(signature)).map(|&(_, name)| name);
    found.or_else(|| has_tag(head, "<svg").then_some("SVG"))
}

/// Format of a file of ISO boxes: by the first of its brands that is known.
fn brand(head: &[u8]) -> Option<&'static str> {
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = &head[8..length.clamp(8, head.len())];
    let meaning = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("HEIC"),
        b"crx " => Some("a camera's raw file"),
        _ => None,
    };
    brands.chunks_exact(4).find_map(meaning).or_else(|| brands.starts_with(b"mif1").then_some("HEIF"))
}

fn foreign_file(head: &[u8]) -> Option<&'static str> {
    let signatures: [(&[u8], &str); 12] = [
        (b"\x1f\x8b", "a gzip archive"),
        (b"PK\x03\x04", "a zip archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a rar archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"\xfd7zXZ", "an xz archive"),
        (b"%PDF-", "PDF"),
        (b"\x89HDF", "HDF5"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x1aE\xdf\xa3", "a video"),
        (b"RIFF", "a RIFF file (sound or video)"),
        (b"\x7fELF", "a program"),
    ];
    if head.get(4..8) == Some(b"ftyp") {
        return Some("a video");
    }
    if has_tag(head, "<html") || has_tag(head, "<!doctype html") {
        return Some("HTML");
    }
    let found = signatures.iter().find(|(signature, _)| head.starts_with(signature)).map(|&(_, name)| name);
    found.or_else(|| is_text(head).then_some("text"))
}

/// Whether a text begins with a tag, or has it behind an XML declaration or a comment.
fn has_tag(head: &[u8], tag: &str) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && text.contains(tag) && (text.starts_with(tag) || text.starts_with("<?xml") || text.starts_with("<!"))
}

/// Whether the bytes are UTF-8, but for a character cut at their end, without control characters other than white space.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !valid.is_empty() && valid.chars().all(|c| !c.is_control() || c.is_whitespace())
}
