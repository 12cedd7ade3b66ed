//! NPY: the file of one NumPy array (`numpy.lib.format`), for arrays of floats.

use std::sync::LazyLock;

use half::f16;
use regex::Regex;

use crate::error::{Code, Error, Result};
use crate::image::Limits;
use crate::tensor::Array;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header in bytes; that of an array of floats has 118.
const MAX_HEADER: usize = 1 << 16;

/// Fields of the header, and what they look like in the literal of a Python dictionary.
static FIELDS: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
    let field = |key, value: &str| {
        // The patterns are constants.
        (key, Regex::new(&format!(r#"['"]{key}['"] *: *{value}"#)).expect("a valid pattern"))
    };
    [field("descr", r#"['"]([^'"]*)['"]"#), field("fortran_order", "(True|False)"), field("shape", r"\(([0-9, ]*)\)")]
});

/// Whether a file begins as NPY.
pub(super) fn is_npy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// What a header says of the array behind it.
#[derive(Debug, PartialEq)]
struct Header {
    /// Bytes of a number.
    size: usize,
    is_big_endian: bool,
    /// Whether the first index runs fastest.
    is_fortran: bool,
    shape: Vec<usize>,
}

/// Decodes a map of floats, `[h, w]`, from shape `[h, w]`, `[1, h, w]` or `[h, w, 1]`; its size is checked before memory is taken.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Array> {
    let (text, data) = split(bytes)?;
    let header = Header::parse(text)?;
    let [height, width] = match header.shape[..] {
        [height, width] | [1, height, width] | [height, width, 1] => [height, width],
        _ => return Err(refused(format!("its shape is {:?}, not that of one map, [h, w]", header.shape))),
    };
    limits.check(width as u64, height as u64)?;
    let length = width * height * header.size;
    if data.len() != length {
        return Err(refused(format!("{height}×{width} numbers have {length} bytes, and it holds {}", data.len())));
    }
    let stored: Vec<f32> = data.chunks_exact(header.size).map(|number| header.number(number)).collect();
    // In Fortran's order the file holds the columns one after the other; axes of 1 change nothing.
    if header.is_fortran { Ok(Array::new([width, height], stored).transposed()) } else { Ok(Array::new([height, width], stored)) }
}

/// Splits a file into the text of its header and its numbers.
fn split(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let early = || refused("it ends before its header does");
    let version = *bytes.get(MAGIC.len()).ok_or_else(early)?;
    let start = MAGIC.len() + 2;
    // Versions 2 and 3 have a longer field for the length.
    let (field, length) = match version {
        1 => (2, bytes.get(start..start + 2).map(|at| usize::from(u16::from_le_bytes([at[0], at[1]])))),
        2 | 3 => (4, bytes.get(start..start + 4).map(|at| u32::from_le_bytes([at[0], at[1], at[2], at[3]]) as usize)),
        other => return Err(refused(format!("it is of version {other}, which is not known"))),
    };
    let length = length.ok_or_else(early)?;
    if length > MAX_HEADER {
        return Err(refused(format!("its header of {length} bytes is no array's of floats")));
    }
    let (text, data) = bytes[start + field..].split_at_checked(length).ok_or_else(early)?;
    Ok((std::str::from_utf8(text).map_err(|_| refused("its header is no text"))?, data))
}

impl Header {
    /// Parses the literal of a Python dictionary, such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Header> {
        let missing = |key: &str| refused(format!("its header does not say `{key}` in the way of a plain array"));
        let value = |at: usize| FIELDS[at].1.captures(text).and_then(|found| found.get(1)).map(|found| found.as_str());
        let field = |at: usize| value(at).ok_or_else(|| missing(FIELDS[at].0));
        let (kind, order, shape) = (field(0)?, field(1)?, field(2)?);
        let (is_big_endian, size) = match kind {
            "<f2" | "<f4" | "<f8" => (false, usize::from(kind.as_bytes()[2] - b'0')),
            ">f2" | ">f4" | ">f8" => (true, usize::from(kind.as_bytes()[2] - b'0')),
            other => return Err(refused(format!("its numbers are `{other}`, not floats")).hint("save it as float16, float32 or float64")),
        };
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape = sizes.map(|size| size.parse().map_err(|_| missing("shape"))).collect::<Result<_>>()?;
        Ok(Header { size, is_big_endian, is_fortran: order == "True", shape })
    }

    /// A number of the array, rounded to f32.
    fn number(&self, bytes: &[u8]) -> f32 {
        let mut word = [0; 8];
        word[..self.size].copy_from_slice(bytes);
        if self.is_big_endian {
            word[..self.size].reverse();
        }
        match self.size {
            2 => f16::from_le_bytes([word[0], word[1]]).to_f32(),
            4 => f32::from_le_bytes([word[0], word[1], word[2], word[3]]),
            _ => f64::from_le_bytes(word) as f32,
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::new(Code::Decode, format!("cannot read the NumPy array: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let length = header.len() as u32;
        let field = if version == 1 { (length as u16).to_le_bytes().to_vec() } else { length.to_le_bytes().to_vec() };
        [MAGIC, &[version, 0], &field, header.as_bytes(), data].concat()
    }

    fn limits() -> Limits {
        Limits { min_side: 1, ..Limits::default() }
    }

    #[test]
    fn rows_are_rows_in_either_index_and_byte_order() {
        // 1 2 3 / 4 5 6, by rows and by columns.
        let rows: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let columns: Vec<u8> = [1.0_f64, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|x| x.to_be_bytes()).collect();
        let map = Array::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for (version, header, data) in [
            (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", &rows),
            (2, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", &rows),
            (3, "{'shape': (2, 3, 1), 'fortran_order': False, \"descr\": \"<f4\"}   \n", &rows),
            (1, "{'descr': '>f8', 'fortran_order': True, 'shape': (2, 3), }", &columns),
            (1, "{'descr': '>f8', 'fortran_order': True, 'shape': (1, 2, 3), }", &columns),
        ] {
            assert_eq!(decode(&file(version, header, data), &limits()).unwrap(), map, "{header}");
        }
    }

    #[test]
    fn a_header_that_lies_is_refused_before_memory_is_taken() {
        let header = |kind: &str, shape: &str| format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
        for (kind, shape, code, what) in [
            ("<f4", "60000, 60000", Code::TooLarge, "over the limit"),
            ("<f4", "99999999999999999999, 1", Code::Decode, "`shape`"),
            ("<f4", "18446744073709551615, 2", Code::TooLarge, "over the limit"),
            ("<f4", "0, 7", Code::TooSmall, "7×0"),
            ("<f4", "10000, 10000", Code::Decode, "it holds 4"),
            ("<f4", "2, 3, 4", Code::Decode, "[2, 3, 4]"),
            ("<f4", "", Code::Decode, "[]"),
            ("|O", "1, 1", Code::Decode, "`|O`, not floats"),
            ("<i4", "1, 1", Code::Decode, "`<i4`, not floats"),
        ] {
            let error = decode(&file(1, &header(kind, shape), &[0; 4]), &limits()).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(what), "{error}");
        }
        for torn in
            [&b"\x93NUMPY"[..], b"\x93NUMPY\x01\0", b"\x93NUMPY\x01\0\xff\xff{", b"\x93NUMPY\x02\0\xff\xff\xff\xff", b"\x93NUMPY\x09\0\0\0"]
        {
            assert_eq!(decode(torn, &limits()).unwrap_err().code(), Code::Decode, "{torn:?}");
        }
    }
}
