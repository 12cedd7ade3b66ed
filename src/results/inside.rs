//! Files that lie inside an output folder: reached by a relative name and through no link.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The path of a regular file below `root`, named by a relative path with `/`.
///
/// `None` where nothing lies there, where the name leaves the folder, and where the file or a folder on the way to it is a link: names come
/// from records, which anybody may have written.
pub fn regular_file(root: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components().peekable();
    let mut path = root.to_owned();
    parts.peek()?;
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else { return None };
        path.push(part);
        let kind = fs::symlink_metadata(&path).ok()?.file_type();
        let is_expected = if parts.peek().is_some() { kind.is_dir() } else { kind.is_file() };
        if !is_expected {
            return None;
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_folder_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir_all(root.join("lot")).unwrap();
        fs::write(root.join("lot/a.jpg"), "").unwrap();
        fs::write(folder.path().join("secret.jpg"), "").unwrap();
        assert_eq!(regular_file(&root, "lot/a.jpg"), Some(root.join("lot/a.jpg")));
        let absolute = folder.path().join("secret.jpg");
        for name in ["../secret.jpg", "lot/../../secret.jpg", absolute.to_str().unwrap(), "", "lot", "lot/b.jpg", "lot/a.jpg/b.jpg"] {
            assert_eq!(regular_file(&root, name), None, "{name}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        fs::create_dir(&root).unwrap();
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        fs::write(folder.path().join("elsewhere/a.jpg"), "").unwrap();
        symlink(folder.path().join("elsewhere"), root.join("lot")).unwrap();
        symlink(folder.path().join("elsewhere/a.jpg"), root.join("a.jpg")).unwrap();
        assert_eq!(regular_file(&root, "lot/a.jpg"), None);
        assert_eq!(regular_file(&root, "a.jpg"), None);
        // The output folder itself may be reached through a link: its user chose it.
        symlink(&root, folder.path().join("link")).unwrap();
        fs::write(root.join("b.jpg"), "").unwrap();
        assert!(regular_file(&folder.path().join("link"), "b.jpg").is_some());
    }
}
