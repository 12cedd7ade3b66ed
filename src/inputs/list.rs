//! A list of paths on standard input, in the encodings that shells write.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;

use crate::error::{Code, Error, Result};

/// Reads a list of paths, one a line, or separated by NUL if there is one.
///
/// UTF-8 and UTF-16 with a byte order mark, as PowerShell writes them, are decoded; UTF-16 without a mark is refused with [`Code::Usage`].
/// Any other text is read byte by byte, as file systems store paths.
pub(super) fn read(mut source: impl Read) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    source
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("reading the list of inputs from standard input", &error))?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Vec<PathBuf>> {
    let wrong = |what: &str| Error::new(Code::Usage, format!("the list on standard input {what}")).hint("write it as UTF-8, a path a line");
    let decoded = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => rest.to_vec(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).ok_or_else(|| wrong("is damaged UTF-16"))?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).ok_or_else(|| wrong("is damaged UTF-16"))?,
        bytes if looks_like_utf16(bytes) => return Err(wrong("looks like UTF-16 without a byte order mark")),
        bytes => bytes.to_vec(),
    };
    let separator = if decoded.contains(&0) { 0 } else { b'\n' };
    let lines = decoded.split(|&byte| byte == separator).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(path_of_bytes).collect())
}

/// UTF-16 as UTF-8; `None` where it is damaged.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Vec<u8>> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
    if !rest.is_empty() {
        return None;
    }
    Some(String::from_utf16(&units).ok()?.into_bytes())
}

/// Whether every second byte is zero and the others are not, as in Latin text in UTF-16.
fn looks_like_utf16(bytes: &[u8]) -> bool {
    let zeros = |start: usize| bytes.iter().skip(start).step_by(2).all(|&byte| byte == 0);
    let others = |start: usize| bytes.iter().skip(start).step_by(2).all(|&byte| byte != 0);
    bytes.len() >= 4 && bytes.len().is_multiple_of(2) && (zeros(1) && others(0) || zeros(0) && others(1))
}

#[cfg(unix)]
fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::new(String::from_utf8_lossy(bytes).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(bytes: &[u8]) -> Vec<String> {
        parse(bytes).unwrap().into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn lines_end_as_on_any_system_and_nul_separates_where_there_is_one() {
        assert_eq!(paths(b"a.png\nb c.png\r\n\n"), ["a.png", "b c.png"]);
        assert_eq!(paths(b"a.png\0b\nc.png\0"), ["a.png", "b\nc.png"]);
        assert!(paths(b"").is_empty());
    }

    #[test]
    fn what_powershell_writes_is_decoded() {
        assert_eq!(paths(b"\xef\xbb\xbfa.png\r\nb.png"), ["a.png", "b.png"]);
        let text = "größe.png\r\n零.png\r\n";
        let units = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(paths(&[b"\xff\xfe".to_vec(), units(u16::to_le_bytes)].concat()), ["größe.png", "零.png"]);
        assert_eq!(paths(&[b"\xfe\xff".to_vec(), units(u16::to_be_bytes)].concat()), ["größe.png", "零.png"]);
    }

    #[test]
    fn utf16_that_cannot_be_told_is_refused() {
        let bare: Vec<u8> = "/a.png\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for list in [&bare[..], b"\xff\xfea", b"\xff\xfe\x00\xd8"] {
            assert_eq!(parse(list).unwrap_err().code(), Code::Usage, "{list:?}");
        }
    }
}
