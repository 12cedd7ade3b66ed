//! Cache folder for the kernels that Mesa's drivers compile, on systems where Mesa finds no folder of its own.
//!
//! Mesa looks at `XDG_CACHE_HOME`, then at the home that the user database gives, not at `HOME`. In a container whose user has no entry
//! it caches nothing, and llvmpipe compiles for half a minute at every start.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::cache;

/// Variables with which a user configures Mesa's cache.
const CHOSEN: [&str; 4] = ["MESA_SHADER_CACHE_DIR", "MESA_SHADER_CACHE_DISABLE", "MESA_GLSL_CACHE_DIR", "MESA_GLSL_CACHE_DISABLE"];

/// A folder for Mesa's cache, made if needed; `None` where Mesa finds one itself, or none can be written.
pub fn folder() -> Option<PathBuf> {
    if CHOSEN.iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let user = fs::metadata("/proc/self").ok()?.uid();
    let own = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => Some(PathBuf::from(folder)),
        _ => home_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), user).map(|home| home.join(".cache")),
    };
    if own.is_some_and(|folder| can_be_made(&folder, user)) {
        return None;
    }
    let ours = cache::folder().filter(|folder| can_be_made(folder, user))?;
    fs::create_dir_all(&ours).ok()?;
    Some(ours)
}

/// The home of a user in the text of `/etc/passwd`.
fn home_of(passwd: &str, user: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_user = fields.get(2).and_then(|id| id.parse().ok()) == Some(user);
        fields.get(5).filter(|home| is_user && !home.is_empty()).map(PathBuf::from)
    })
}

/// Whether a user may write in a folder, or in the nearest one above it that exists.
fn can_be_made(folder: &Path, user: u32) -> bool {
    let Some(found) = folder.ancestors().find_map(|one| fs::metadata(one).ok()) else { return false };
    let is_owner = found.uid() == user && found.mode() & 0o200 != 0;
    found.is_dir() && (user == 0 || is_owner || found.mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_that_of_the_user_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nmary:x:1000:1000::/home/mary:/bin/sh\nbad line\nnohome:x:7:7:::\n";
        assert_eq!(home_of(passwd, 1000), Some(PathBuf::from("/home/mary")));
        assert_eq!((home_of(passwd, 1234), home_of(passwd, 7)), (None, None));
    }

    #[test]
    fn a_folder_can_be_made_where_the_nearest_above_it_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let user = fs::metadata(folder.path()).unwrap().uid();
        assert!(can_be_made(&folder.path().join("a/b"), user));
        assert!(!can_be_made(&folder.path().join("a/b"), user + 1));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(!can_be_made(&folder.path().join("file"), user));
    }
}
