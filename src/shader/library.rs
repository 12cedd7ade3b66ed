//! The `shaders/` folder: embedded in the binary, or read from disk while it is being edited.

use std::borrow::Cow;
use std::path::PathBuf;

use include_dir::{Dir, include_dir};

use crate::error::{Code, Error, Remedy, Result};
use crate::files::read_limited;

/// Most bytes of a shader file.
const MAX_BYTES: u64 = 1 << 20;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/shaders");

/// Where shader files come from.
#[derive(Clone, Debug, Default)]
pub struct Library {
    folder: Option<PathBuf>,
}

impl Library {
    /// The files inside the binary.
    pub fn embedded() -> Library {
        Library { folder: None }
    }

    /// The files of a folder, read anew each time, for editing without rebuilding.
    pub fn folder(path: impl Into<PathBuf>) -> Library {
        Library { folder: Some(path.into()) }
    }

    /// Names of the kernel files, sorted, without `.wgsl`.
    pub fn kernels(&self) -> Vec<String> {
        let mut names: Vec<String> = EMBEDDED.files().filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// Names of the library modules, sorted, without `lib/` and `.wgsl`.
    pub fn modules(&self) -> Vec<String> {
        let mut names: Vec<String> = EMBEDDED
            .get_dir("lib")
            .into_iter()
            .flat_map(|folder| folder.files())
            .filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// Text of `shaders/{name}.wgsl`; `name` may be `lib/reduce`.
    pub(super) fn read(&self, name: &str) -> Result<Cow<'static, str>> {
        let file = format!("{name}.wgsl");
        if let Some(folder) = &self.folder {
            let path = folder.join(&file);
            let bytes = read_limited(&path, MAX_BYTES, Code::Shader)?;
            let text = String::from_utf8(bytes).map_err(|_| Error::new(Code::Shader, format!("`{}` is not UTF-8", path.display())))?;
            return Ok(Cow::Owned(text));
        }
        EMBEDDED
            .get_file(&file)
            .and_then(|file| file.contents_utf8())
            .map(Cow::Borrowed)
            .ok_or_else(|| Error::new(Code::Shader, format!("there is no shader file `shaders/{file}`")).hint(Remedy::ListShaders))
    }
}
