//! Joins directives, prelude, library modules and a kernel file into one WGSL text, and remembers which line came from where.
//!
//! A file starts with `//!` lines. Two of them are directives: `//! use: reduce, index` pulls in `shaders/lib/*.wgsl`,
//! transitively and once; `//! set: TILE_M, WORKGROUP` lists the constants that Rust must give, no more and no fewer.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result};
use crate::shader::Library;
use crate::tensor::DType;

/// An assembled WGSL text and the origin of each of its lines.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The text that the driver compiles.
    pub text: String,
    origins: Vec<(String, usize)>,
}

impl Assembled {
    /// `shaders/layer_norm.wgsl:18` for a line of the text, counted from 1.
    pub fn origin(&self, line: usize) -> String {
        match line.checked_sub(1).and_then(|at| self.origins.get(at)) {
            Some((file, line)) => format!("{file}:{line}"),
            None => format!("assembled text:{line}"),
        }
    }
}

/// Assembles `shaders/{name}.wgsl` with these constants and `Elem` as the storage type.
///
/// Errors name the file: a missing module, a constant that is set but not declared (or the reverse), two modules that define one name.
pub fn assemble(library: &Library, name: &str, constants: &[(&'static str, u32)], elem: DType) -> Result<Assembled> {
    let kernel = Source::read(library, name)?;
    let mut modules: Vec<Source> = Vec::new();
    let mut wanted = kernel.uses.clone();
    while let Some(module) = wanted.pop() {
        let path = format!("lib/{module}");
        if modules.iter().all(|known| known.name != path) {
            let source =
                Source::read(library, &path).map_err(|error| error.context(format!("`{module}` is used by `shaders/{name}.wgsl`")))?;
            wanted.extend(source.uses.iter().cloned());
            modules.push(source);
        }
    }
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    check_constants(&kernel, &modules, constants)?;
    check_names(&kernel, &modules)?;

    let mut out = Assembled { text: String::new(), origins: Vec::new() };
    let mut prelude = String::new();
    if elem == DType::F16 {
        prelude.push_str("enable f16;\n");
    }
    prelude.push_str(&format!("alias Elem = {elem};\n"));
    for (name, value) in constants {
        prelude.push_str(&format!("const {name}: u32 = {value}u;\n"));
    }
    out.push("prelude", &prelude);
    for source in modules.iter().chain([&kernel]) {
        out.push(&source.file(), &source.text);
    }
    Ok(out)
}

impl Assembled {
    fn push(&mut self, file: &str, text: &str) {
        for (at, line) in text.lines().enumerate() {
            self.text.push_str(line);
            self.text.push('\n');
            self.origins.push((file.to_owned(), at + 1));
        }
    }
}

struct Source {
    name: String,
    text: String,
    uses: Vec<String>,
    sets: Vec<String>,
}

impl Source {
    fn read(library: &Library, name: &str) -> Result<Source> {
        let text = library.read(name)?.into_owned();
        let list = |key: &str| -> Vec<String> {
            text.lines()
                .take_while(|line| line.starts_with("//!"))
                .filter_map(|line| line.strip_prefix("//! ")?.strip_prefix(key)?.strip_prefix(':'))
                .flat_map(|names| names.split(','))
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        Ok(Source { name: name.to_owned(), uses: list("use"), sets: list("set"), text })
    }

    fn file(&self) -> String {
        format!("shaders/{}.wgsl", self.name)
    }

    /// Names declared at module scope.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| {
            let rest = ["fn ", "const ", "struct ", "alias ", "var<workgroup> ", "var<private> "]
                .iter()
                .find_map(|keyword| line.strip_prefix(keyword))?;
            rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
        })
    }
}

fn check_constants(kernel: &Source, modules: &[Source], given: &[(&'static str, u32)]) -> Result<()> {
    let declared = |name: &str| {
        let mut sources = modules.iter().chain([kernel]);
        sources.any(|source| source.sets.iter().any(|set| set == name))
    };
    for (name, _) in given {
        if !declared(name) {
            let message = format!("{}: constant `{name}` is given but no `//! set:` line asks for it", kernel.file());
            return Err(Error::new(Code::Shader, message));
        }
    }
    for source in modules.iter().chain([kernel]) {
        for name in &source.sets {
            if given.iter().all(|(known, _)| known != name) {
                let message = format!("{}: constant `{name}` is asked for but not given", source.file());
                return Err(Error::new(Code::Shader, message));
            }
        }
    }
    Ok(())
}

fn check_names(kernel: &Source, modules: &[Source]) -> Result<()> {
    let mut seen: BTreeMap<&str, &Source> = BTreeMap::new();
    for source in modules.iter().chain([kernel]) {
        for name in source.names() {
            if let Some(first) = seen.insert(name, source)
                && first.name != source.name
            {
                let message = format!("`{name}` is defined in both {} and {}", first.file(), source.file());
                return Err(Error::new(Code::Shader, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Library) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(format!("{name}.wgsl")), text).unwrap();
        }
        let library = Library::folder(folder.path());
        (folder, library)
    }

    #[test]
    fn a_line_of_the_text_knows_its_file() {
        let (_guard, library) = folder(&[
            ("k", "//! k\n//! use: one\n//! set: N\nfn main() {}"),
            ("lib/one", "//! one\n//! use: two\nfn one() {}"),
            ("lib/two", "//! two\nfn two() {}"),
        ]);
        let out = assemble(&library, "k", &[("N", 3)], DType::F16).unwrap();
        assert!(out.text.starts_with("enable f16;\nalias Elem = f16;\nconst N: u32 = 3u;\n"));
        let line = |needle: &str| out.text.lines().position(|line| line.contains(needle)).unwrap() + 1;
        assert_eq!(out.origin(line("fn one")), "shaders/lib/one.wgsl:3");
        assert_eq!(out.origin(line("fn two")), "shaders/lib/two.wgsl:2");
        assert_eq!(out.origin(line("fn main")), "shaders/k.wgsl:4");
    }

    #[test]
    fn wrong_constants_and_double_names_are_refused() {
        let (_guard, library) = folder(&[
            ("k", "//! k\n//! use: one\n//! set: N\nfn main() {}"),
            ("lib/one", "//! one\nfn main() {}"),
            ("missing", "//! use: nowhere\nfn main() {}"),
        ]);
        let message = |name, constants: &[_]| assemble(&library, name, constants, DType::F32).unwrap_err().to_string();
        assert_eq!(message("k", &[]), "shaders/k.wgsl: constant `N` is asked for but not given");
        assert!(message("k", &[("N", 1), ("M", 1)]).contains("`M` is given but no"));
        assert_eq!(message("k", &[("N", 1)]), "`main` is defined in both shaders/lib/one.wgsl and shaders/k.wgsl");
        assert!(message("missing", &[]).contains("nowhere"));
    }
}
