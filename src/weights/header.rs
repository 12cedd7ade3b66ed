//! The header of a safetensors file: which tensors lie where, checked before anything is read.
//!
//! The checks are ours and not `SafeTensors::deserialize`'s, because that one keeps the last of two equal keys, and
//! names the tensor only for a wrong offset.

use super::listing::Listing;
use crate::error::{Code, Error, Remedy, Result};
use safetensors::tensor::TensorInfo;
use std::collections::BTreeMap;

/// Bytes of the header's length, which begins the file.
pub(super) const LENGTH_BYTES: usize = 8;

/// Longest header that is read, as in the safetensors specification.
pub(super) const MAX_HEADER_BYTES: usize = 100_000_000;

/// The number that old PyTorch checkpoints begin with, as a pickle holds it.
const TORCH_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Bytes of a pickle within which that number stands: behind the protocol and, from protocol 4 on, the length of a frame.
const TORCH_MAGIC_WITHIN: usize = 32;

/// Other formats that are commonly mistaken for safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherFormat {
    /// A zip file, as PyTorch has written since 1.6.
    TorchZip,
    /// A checkpoint of PyTorch before 1.6.
    TorchPickle,
    /// Any other pickle, of protocols 2 to 5.
    Pickle,
    /// The pointer file that Git leaves where LFS is not installed.
    LfsPointer,
}

impl OtherFormat {
    /// Recognises a format by the first bytes of a file.
    pub fn of(head: &[u8]) -> Option<OtherFormat> {
        let is_torch = || head[..head.len().min(TORCH_MAGIC_WITHIN)].windows(7).any(|window| TORCH_MAGIC.starts_with(window));
        match head {
            [b'P', b'K', 3, 4, ..] => Some(OtherFormat::TorchZip),
            [0x80, 2..=5, ..] if is_torch() => Some(OtherFormat::TorchPickle),
            [0x80, 2..=5, ..] => Some(OtherFormat::Pickle),
            _ if head.starts_with(b"version https://git-lfs") => Some(OtherFormat::LfsPointer),
            _ => None,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            OtherFormat::TorchZip => "a PyTorch (zip) checkpoint",
            OtherFormat::TorchPickle => "a PyTorch (pickle) checkpoint",
            OtherFormat::Pickle => "a Python pickle",
            OtherFormat::LfsPointer => "a Git LFS pointer, not the file it points to",
        }
    }

    fn remedy(self) -> Remedy {
        match self {
            OtherFormat::TorchZip | OtherFormat::TorchPickle | OtherFormat::Pickle => Remedy::ConvertWeights,
            OtherFormat::LfsPointer => "fetch the file itself, e.g. with `git lfs pull`".into(),
        }
    }
}

/// A checked header: every tensor lies inside the file, and together they fill it without overlap or gap.
#[derive(Debug)]
pub(super) struct Header {
    /// The tensors by name; offsets count from `data_start`.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The `__metadata__` map.
    pub metadata: BTreeMap<String, String>,
    /// Where the header ends and the data begins, in bytes from the start of the file.
    pub data_start: usize,
}

impl Header {
    /// Reads and checks the header of a file of `file_bytes`, of which `head` is the beginning: at least the header, where the file has
    /// that much.
    pub fn parse(head: &[u8], file_bytes: u64) -> Result<Header> {
        Header::parse_plain(head, file_bytes).map_err(|error| match OtherFormat::of(head) {
            Some(format) => wrong(format!("the file is {}", format.describe())).hint(format.remedy()),
            None => error,
        })
    }

    fn parse_plain(head: &[u8], file_bytes: u64) -> Result<Header> {
        let json = header_bytes(head, file_bytes)?;
        let Listing { tensors, metadata } = serde_json::from_slice(json).map_err(|error| {
            let fault = if error.is_data() { "is wrong" } else { "is not JSON" };
            wrong(format!("the header {fault}: {error}"))
        })?;
        let data_start = LENGTH_BYTES + json.len();
        check_layout(&tensors, file_bytes as usize - data_start)?;
        Ok(Header { tensors, metadata, data_start })
    }
}

fn wrong(message: String) -> Error {
    Error::new(Code::WeightsFormat, message)
}

/// The bytes of the JSON header; fails where its length is impossible.
fn header_bytes(head: &[u8], file_bytes: u64) -> Result<&[u8]> {
    let Some((length, rest)) = head.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(wrong(format!("the file has {file_bytes} bytes, a safetensors file at least {LENGTH_BYTES}")));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES as u64 {
        return Err(wrong(format!("the header claims {length} bytes, more than the {MAX_HEADER_BYTES} allowed")));
    }
    let left = file_bytes - LENGTH_BYTES as u64;
    rest.get(..length as usize)
        .ok_or_else(|| wrong(format!("the header claims {length} bytes, the file has {left} left")))
}

/// Checks that the tensors, taken in order of their offsets, tile `data_bytes` exactly.
fn check_layout(tensors: &BTreeMap<String, TensorInfo>, data_bytes: usize) -> Result<()> {
    let mut in_order: Vec<_> = tensors.iter().collect();
    in_order.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    let mut previous = "";
    for (name, info) in in_order {
        let (first, last) = info.data_offsets;
        if first < end {
            return Err(wrong(format!("tensor `{name}` overlaps `{previous}` by {} bytes", end - first)));
        }
        if first > end {
            return Err(wrong(format!("a gap of {} bytes lies before tensor `{name}`", first - end)));
        }
        let size = stored_bytes(info)
            .ok_or_else(|| wrong(format!("tensor `{name}` has the impossible size {:?} of {}", info.shape, info.dtype)))?;
        if first.checked_add(size) != Some(last) {
            return Err(wrong(format!(
                "tensor `{name}` {:?} of {} needs {size} bytes, its offsets are {first}..{last}",
                info.shape, info.dtype
            )));
        }
        if last > data_bytes {
            return Err(wrong(format!(
                "the file is truncated: tensor `{name}` ends at byte {last} of the data, the file has {data_bytes}"
            ))
            .hint("fetch the file again"));
        }
        (end, previous) = (last, name);
    }
    if end < data_bytes {
        return Err(wrong(format!("{} bytes after the last tensor belong to none", data_bytes - end)));
    }
    Ok(())
}

/// Bytes that a tensor takes; `None` on overflow, or where its bits do not fill whole bytes.
fn stored_bytes(info: &TensorInfo) -> Option<usize> {
    // Zero sizes count as one, so that no later product over any subset of the axes can overflow.
    let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, &size| bits.checked_mul(size.max(1)))?;
    if info.shape.contains(&0) { Some(0) } else { bits.is_multiple_of(8).then_some(bits / 8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::file;
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};

    fn parse(file: &[u8]) -> Result<Header> {
        Header::parse(file, file.len() as u64)
    }

    /// The message of a file that must be refused as damaged.
    fn refusal(bytes: &[u8]) -> String {
        let error = parse(bytes).unwrap_err();
        assert_eq!(error.code(), Code::WeightsFormat, "{error:?}");
        error.message().to_string()
    }

    #[test]
    fn a_file_written_by_the_safetensors_crate_is_read() {
        let view = TensorView::new(Dtype::F32, vec![1, 2], &[0; 8]).unwrap();
        let empty = TensorView::new(Dtype::I64, vec![0, 3], &[]).unwrap();
        let tags = [("format".to_string(), "pt".to_string())].into();
        let bytes = safetensors::serialize([("a", view), ("b", empty)], Some(tags)).unwrap();
        let header = parse(&bytes).unwrap();
        assert_eq!(header.tensors["a"].shape, [1, 2]);
        assert_eq!(header.tensors["b"].shape, [0, 3]);
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.data_start + 8, bytes.len());
    }

    #[test]
    fn an_empty_or_short_file_is_refused() {
        assert_eq!(refusal(b""), "the file has 0 bytes, a safetensors file at least 8");
        assert_eq!(refusal(b"1234567"), "the file has 7 bytes, a safetensors file at least 8");
    }

    #[test]
    fn a_header_longer_than_the_file_is_refused() {
        let mut bytes = file("{}", &[]);
        bytes[0] = 3;
        assert_eq!(refusal(&bytes), "the header claims 3 bytes, the file has 2 left");
    }

    #[test]
    fn a_header_above_the_limit_is_refused_whatever_its_length() {
        for length in [100_000_001, u64::MAX] {
            let message = refusal(&length.to_le_bytes());
            assert_eq!(message, format!("the header claims {length} bytes, more than the 100000000 allowed"));
        }
        assert!(refusal(&100_000_000u64.to_le_bytes()).contains("has 0 left"));
    }

    #[test]
    fn a_header_that_is_not_json_is_refused() {
        for header in ["not json", "", "{", "{a}", "{} {}"] {
            assert!(refusal(&file(header, &[])).starts_with("the header is not JSON: "), "{header}");
        }
        let mut bytes = file("{\"a\":0}", &[]);
        bytes[10] = 0xff; // not UTF-8
        assert!(refusal(&bytes).starts_with("the header is not JSON: "));
    }

    #[test]
    fn json_of_another_form_is_refused_naming_the_tensor() {
        assert!(refusal(&file("[]", &[])).starts_with("the header is wrong: "));
        let cases = [
            (r#"{"a":1}"#, "`a`: invalid type"),
            (r#"{"a":{"dtype":"F31","shape":[],"data_offsets":[0,4]}}"#, "`a`: unknown variant `F31`"),
            (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "`a`: invalid value"),
            (r#"{"a":{"dtype":"F32","shape":[]}}"#, "`a`: missing field `data_offsets`"),
            (r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,1e30]}}"#, "`a`: invalid type"),
            (r#"{"__metadata__":{"a":1}}"#, "`a`: invalid type"),
        ];
        for (header, expected) in cases {
            let message = refusal(&file(header, &[0; 4]));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_key_listed_twice_is_refused_although_the_safetensors_crate_takes_it() {
        let info = r#"{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
        let twice = file(&format!(r#"{{"a":{info},"a":{info}}}"#), &[0; 4]);
        assert!(SafeTensors::deserialize(&twice).is_ok(), "the crate now refuses it: drop this line");
        assert!(refusal(&twice).contains("`a` is listed twice"));
        assert!(refusal(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, &[])).contains("listed twice"));
        assert!(refusal(&file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, &[])).contains("`k` is listed twice"));
        let inner = r#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        assert!(refusal(&file(inner, &[0; 4])).contains("`a`: duplicate field `dtype`"));
    }

    /// A header of f32 vectors, each a name, a length and its offsets.
    fn vectors(list: &[(&str, u64, u64, u64)]) -> String {
        let lines: Vec<_> = list
            .iter()
            .map(|(name, n, first, last)| format!(r#""{name}":{{"dtype":"F32","shape":[{n}],"data_offsets":[{first},{last}]}}"#))
            .collect();
        format!("{{{}}}", lines.join(","))
    }

    #[test]
    fn overlap_gap_and_wrong_sizes_are_refused_naming_the_tensor() {
        let cases = [
            (vectors(&[("a", 2, 0, 8), ("b", 1, 4, 8)]), "tensor `b` overlaps `a` by 4 bytes"),
            (vectors(&[("a", 1, 0, 4), ("b", 1, 8, 12)]), "a gap of 4 bytes lies before tensor `b`"),
            (vectors(&[("a", 1, 4, 8)]), "a gap of 4 bytes lies before tensor `a`"),
            (vectors(&[("a", 2, 0, 4)]), "tensor `a` [2] of F32 needs 8 bytes, its offsets are 0..4"),
            (vectors(&[("a", 1, 0, 4), ("b", 1, 4, 0)]), "tensor `b` [1] of F32 needs 4 bytes, its offsets are 4..0"),
            (vectors(&[("a", 1, 0, 4)]), "8 bytes after the last tensor belong to none"),
            ("{}".to_string(), "12 bytes after the last tensor belong to none"),
        ];
        for (header, expected) in cases {
            assert_eq!(refusal(&file(&header, &[0; 12])), expected);
        }
    }

    #[test]
    fn a_truncated_file_names_the_first_tensor_that_is_cut() {
        let header = vectors(&[("a", 1, 0, 4), ("b", 2, 4, 12)]);
        assert!(parse(&file(&header, &[0; 12])).is_ok());
        assert_eq!(refusal(&file(&header, &[0; 11])), "the file is truncated: tensor `b` ends at byte 12 of the data, the file has 11");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let huge = u64::MAX / 2 + 1; // 2⁶³
        let overflow = vectors(&[("a", huge, 0, 4)]);
        assert_eq!(refusal(&file(&overflow, &[0; 4])), format!("tensor `a` has the impossible size [{huge}] of F32"));
        // A zero must not hide an overflow of the other axes.
        let hidden = format!(r#"{{"a":{{"dtype":"F32","shape":[0,{huge},{huge}],"data_offsets":[0,0]}}}}"#);
        assert!(refusal(&file(&hidden, &[])).contains("impossible size"));
        let ends = vectors(&[("a", 1, 0, u64::MAX)]);
        assert!(refusal(&file(&ends, &[0; 4])).contains("its offsets are 0..18446744073709551615"));
        let nibble = r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,0]}}"#;
        assert!(refusal(&file(nibble, &[])).contains("impossible size"));
    }

    #[test]
    fn files_of_other_kinds_are_called_by_their_name() {
        assert_eq!(refusal(b"PK\x03\x04\0\0\x08\x08\0\0"), "the file is a PyTorch (zip) checkpoint");
        assert_eq!(refusal(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a"), "the file is a PyTorch (pickle) checkpoint");
        for protocol in 2..=5 {
            assert_eq!(refusal(&[0x80, protocol, b'K', 1, b'.']), "the file is a Python pickle");
        }
        let framed = b"\x80\x05\x95\0\0\0\0\0\0\0\0\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
        assert_eq!(refusal(framed), "the file is a PyTorch (pickle) checkpoint");
        assert!(refusal(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS pointer"));
    }

    #[test]
    fn a_header_of_640_bytes_is_not_mistaken_for_a_pickle() {
        // 640 = 0x280 begins with the bytes 80 02, as a pickle does.
        let bytes = file(&format!("{:640}", "{}"), &[]);
        assert_eq!(bytes[..2], *b"\x80\x02");
        assert!(parse(&bytes).is_ok());
    }
}
