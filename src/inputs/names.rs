//! Paths as text: normalised, with `/`, and different for different paths.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// The path without `.` and doubled separators; links and `..` stay as they are.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Whether a path holds a wildcard.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

/// Number of components that are names of files or folders.
pub(super) fn normal_components(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

/// A clean path as text, with `/`.
pub(super) fn with_slashes(path: &Path) -> String {
    let parts: Vec<String> = path
        .components()
        .map(|part| match part {
            Component::RootDir => String::new(),
            part => text(part.as_os_str()),
        })
        .collect();
    if parts.len() == 1 && parts[0].is_empty() { "/".to_owned() } else { parts.join("/") }
}

/// The last `kept` names of a path, as text.
pub(super) fn name_of(path: &Path, kept: usize) -> String {
    let parts: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(text(name)),
            _ => None,
        })
        .collect();
    parts[parts.len().saturating_sub(kept)..].join("/")
}

/// A name as text. Bytes that are no UTF-8 become `\\xe4`; in such a name, and in one that could be taken for one, a backslash is doubled,
/// so that different names have different texts.
fn text(name: &OsStr) -> String {
    let is_plain = |text: &str| !text.contains("\\x");
    if let Some(text) = name.to_str().filter(|text| is_plain(text)) {
        return text.to_owned();
    }
    let mut escaped = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        escaped.push_str(&chunk.valid().replace('\\', "\\\\"));
        escaped.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    escaped
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn different_names_have_different_texts() {
        let names: [&[u8]; 6] = [b"p\xe4.png", b"p\xf6.png", br"p\xe4.png", br"p\\xe4.png", "pä.png".as_bytes(), br"p\y.png"];
        let texts = names.map(|name| text(OsStr::from_bytes(name)));
        assert_eq!(texts[0], r"p\xe4.png");
        assert_eq!(texts[2], r"p\\xe4.png");
        assert_eq!(texts[5], r"p\y.png");
        for (at, one) in texts.iter().enumerate() {
            assert!(!texts[..at].contains(one), "{one}");
        }
    }
}
