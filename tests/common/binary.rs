//! The binary in a folder of its own: what tests of the command line share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_zsas-gpu");

/// How a run ended and what it said.
pub struct Run {
    /// Exit code.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Run {
    /// Asserts the exit code and returns the run; shows everything it said where the code is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("this is a bug"), "{}", self.stderr);
        self
    }

    /// Asserts that stderr holds this.
    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.stderr.contains(text), "`{text}` is not in\n{}", self.stderr);
        self
    }

    /// Asserts that stdout holds this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Run {
        assert!(self.stdout.contains(text), "`{text}` is not in\n{}", self.stdout);
        self
    }
}

/// A folder with photos, in which the binary runs.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn with_photos(names: &[&str]) -> Place {
        let place = Place::new();
        for (at, name) in names.iter().enumerate() {
            place.photo(name, at == 1);
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A woven texture; with a bright stain if it is to be defective.
    pub fn photo(&self, name: &str, is_defective: bool) {
        self.write(
            name,
            &png(96, 80, |x, y| {
                let weave = 90 + 40 * u8::from((x / 4 + y / 4) % 2 == 0) + ((7 * x + 13 * y) % 11) as u8;
                let is_stain = is_defective && x.abs_diff(60) < 7 && y.abs_diff(40) < 7;
                if is_stain { 250 } else { weave }
            }),
        );
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        let own = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("ZSAS_"));
        for variable in own.chain(["RUST_LOG", "WGPU_BACKEND"].map(Into::into)) {
            command.env_remove(variable);
        }
        // Without a runtime folder, a Vulkan layer of Mesa's complains on stderr.
        command.env("NO_COLOR", "1").env("COLUMNS", "100").env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command().args(arguments))
    }

    /// `infer` into `out`, quiet unless it fails.
    pub fn infer(&self, arguments: &[&str]) -> Run {
        self.run(&[&["infer", "--output", "out"], arguments].concat())
    }

    pub fn records(&self) -> Vec<Value> {
        records(&self.path("out"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// All files below `out`, sorted, hidden ones aside.
    pub fn outputs(&self) -> Vec<String> {
        let (mut files, mut pending) = (Vec::new(), vec![self.path("out")]);
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let name = entry.path().strip_prefix(self.path("out")).unwrap().to_string_lossy().into_owned();
                match entry.file_type().unwrap().is_dir() {
                    true => pending.push(entry.path()),
                    false if !name.starts_with('.') => files.push(name),
                    false => {}
                }
            }
        }
        files.sort();
        files
    }
}

pub fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn records(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("results.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let photo = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([pixel(x, y), pixel(x, y), pixel(x, y) / 2]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    photo.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Whether an adapter is here; where not, the test says so by name and passes.
pub fn has_adapter(test: &str) -> bool {
    let found = super::adapter_choice().is_some();
    if !found {
        super::skip(test, "adapter");
    }
    found
}

/// Leaves the test where no adapter is.
macro_rules! needs_adapter {
    ($test:literal) => {
        if !$crate::common::binary::has_adapter($test) {
            return;
        }
    };
}

pub(crate) use needs_adapter;
