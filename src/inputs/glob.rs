//! Globs: patterns of paths. Leading folders that exist under their literal name are not read as patterns.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Code, Error, Result};
use crate::inputs::names::{clean, is_pattern};

/// Longest pattern in bytes, and most braces in a pattern, since the parser of the matcher recurses.
const MAX_BYTES: usize = 4096;
const MAX_BRACES: usize = 64;

/// A glob, and the folder to search for its matches.
pub(super) struct Glob {
    start: PathBuf,
    matcher: GlobMatcher,
}

impl Glob {
    /// Reads a pattern: `*` stays within a folder, `**` crosses folders.
    ///
    /// Leading folders that exist as they are written are taken literally, whatever characters they hold.
    /// Errors with [`Code::Usage`] for an invalid pattern.
    pub(super) fn new(pattern: &Path) -> Result<Glob> {
        let pattern = clean(pattern);
        let wrong = |why: String| Error::new(Code::Usage, format!("`{}` is no glob: {why}", pattern.display()));
        let text = pattern.to_str().ok_or_else(|| wrong("it is not valid UTF-8".to_owned()))?;
        if text.len() > MAX_BYTES || text.matches('{').count() > MAX_BRACES {
            return Err(wrong(format!("it has more than {MAX_BYTES} bytes or {MAX_BRACES} braces")));
        }
        let mut literal = PathBuf::new();
        let mut parts = pattern.components().peekable();
        while let Some(part) = parts.next_if(|part| !is_pattern(Path::new(part)) || literal.join(part).is_dir()) {
            literal.push(part);
        }
        let rest: PathBuf = parts.collect();
        let rest = rest.to_str().unwrap_or_default();
        let start = globset::escape(literal.to_str().unwrap_or_default());
        let joined = if start.is_empty() || start.ends_with('/') { format!("{start}{rest}") } else { format!("{start}/{rest}") };
        let glob = GlobBuilder::new(&joined)
            .literal_separator(true)
            .build()
            .map_err(|error| wrong(error.kind().to_string()))?;
        Ok(Glob {
            start: if literal.as_os_str().is_empty() { PathBuf::from(".") } else { literal },
            matcher: glob.compile_matcher(),
        })
    }

    /// The folder to search.
    pub(super) fn start(&self) -> &Path {
        &self.start
    }

    /// Whether a file matches.
    pub(super) fn matches(&self, file: &Path) -> bool {
        self.matcher.is_match(clean(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_braces_are_refused_and_a_few_are_not() {
        let nested = |count: usize| PathBuf::from(format!("{}a{}.png", "{".repeat(count), "}".repeat(count)));
        assert_eq!(Glob::new(&nested(2000)).err().map(|error| error.code()), Some(Code::Usage));
        assert!(Glob::new(Path::new("{a,b}.png")).unwrap().matches(Path::new("b.png")));
        assert_eq!(Glob::new(Path::new("a[")).err().map(|error| error.code()), Some(Code::Usage));
    }
}
