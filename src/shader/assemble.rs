//! Joins directives, prelude, library modules and a kernel file into one WGSL text, and remembers which line came from where.
//!
//! A file starts with `//!` lines. Two of them are directives: `//! use: reduce, index` pulls in `shaders/lib/*.wgsl`,
//! transitively and once; `//! set: TILE_M, WORKGROUP` lists the constants that Rust must give, no more and no fewer.
//!
//! A module may declare names that stand for text: after `//! inline: load(at) = coopLoad<T>(&slab[at], 8)`, `load(i + 1)` in any file of
//! the assembled text is `coopLoad<T>(&slab[i + 1], 8)`. They serve where a function costs speed. A module whose name ends in `_emulated`
//! takes the place of the one without that ending where matrix units are emulated.
//!
//! A loop `for (var i = …; …; i++) {` whose line ends in `// unroll 4` is written out: its body stands there four times, with `i++` after
//! each. The number of passes must be a multiple of that; the body ends at the first `}` that is indented like the loop.

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

/// What computes the fragments of kernels for matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatrixUnits {
    /// The adapter's matrix units, which WGSL calls cooperative matrices.
    #[default]
    Hardware,
    /// Plain WGSL with the same index arithmetic, slow, on any adapter: for tests.
    Emulated,
}

/// Ending of the modules for [`MatrixUnits::Emulated`].
const EMULATED: &str = "_emulated";

/// Assembles `shaders/{name}.wgsl` with these constants and `Elem` as the storage type.
///
/// Errors name the file: a missing module, a constant that is set but not declared (or the reverse), two modules that define one name.
pub fn assemble(library: &Library, name: &str, constants: &[(&'static str, u32)], elem: DType, units: MatrixUnits) -> Result<Assembled> {
    let kernel = Source::read(library, name)?;
    let mut modules: Vec<Source> = Vec::new();
    let mut wanted = kernel.uses.clone();
    let emulated: Vec<String> = library.modules().into_iter().filter(|module| module.ends_with(EMULATED)).collect();
    while let Some(module) = wanted.pop() {
        let replacement = format!("{module}{EMULATED}");
        let is_replaced = units == MatrixUnits::Emulated && emulated.contains(&replacement);
        let path = format!("lib/{}", if is_replaced { &replacement } else { &module });
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
    if modules.iter().any(|module| module.text.contains("coop_mat")) {
        prelude.push_str("enable wgpu_cooperative_matrix;\n");
    }
    prelude.push_str(&format!("alias Elem = {elem};\n"));
    for (name, value) in constants {
        prelude.push_str(&format!("const {name}: u32 = {value}u;\n"));
    }
    out.push("prelude", (1..).zip(prelude.lines().map(str::to_owned)));
    let inlines = modules.iter().flat_map(Source::inlines).collect::<Result<Vec<Inline<'_>>>>()?;
    for source in modules.iter().chain([&kernel]) {
        let lines = unrolled(&source.text).map_err(|error| error.context(format!("in {}", source.file())))?;
        out.push(&source.file(), lines.into_iter().map(|(at, line)| (at, expand(&line, &inlines))));
    }
    Ok(out)
}

/// The lines of a text with their numbers from 1, loops that ask for it written out.
fn unrolled(text: &str) -> Result<Vec<(usize, String)>> {
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&(number, line)) = lines.get(at) {
        at += 1;
        let Some((head, times)) = line.split_once(" // unroll ") else {
            out.push((number, line.to_owned()));
            continue;
        };
        let indent = &head[..head.len() - head.trim_start().len()];
        let end = lines[at..].iter().position(|(_, line)| *line == format!("{indent}}}")).map(|end| at + end);
        let header = head.trim_end().strip_suffix(") {").and_then(|head| head.rsplit_once(';'));
        // `continue` would go around the step.
        let goes_around = end.is_some_and(|end| lines[at..end].iter().any(|(_, line)| line.contains("continue")));
        let (Some(end), Some((head, step)), Ok(times), false) = (end, header, times.trim().parse::<usize>(), goes_around) else {
            return Err(Error::new(Code::Shader, format!("line {number}: `{line}` is no loop that can be written out")));
        };
        out.push((number, format!("{head};) {{")));
        for _ in 0..times {
            out.push((number, format!("{indent}{{")));
            out.extend(lines[at..end].iter().map(|&(number, line)| (number, line.to_owned())));
            out.push((number, format!("{indent}}}{step};")));
        }
        at = end;
    }
    Ok(out)
}

/// A name that stands for text, with its parameters.
struct Inline<'a> {
    name: &'a str,
    parameters: Vec<&'a str>,
    text: &'a str,
}

impl<'a> Inline<'a> {
    /// Of `load(at) = slab[at]`.
    fn parse(declaration: &'a str) -> Option<Inline<'a>> {
        let (head, text) = declaration.split_once('=')?;
        let (name, parameters) = head.trim().strip_suffix(')')?.split_once('(')?;
        let parameters = parameters.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
        Some(Inline { name, parameters, text: text.trim() })
    }

    /// The text with arguments for parameters.
    fn with(&self, arguments: &[&str]) -> String {
        let mut out = String::new();
        let mut rest = self.text;
        while let Some(from) = rest.find(is_of_name) {
            let (before, word) = rest.split_at(from);
            let (word, after) = word.split_at(word.find(|c| !is_of_name(c)).unwrap_or(word.len()));
            let parameter = self.parameters.iter().position(|&one| one == word);
            out += before;
            out += parameter.map_or(word, |at| arguments[at]);
            rest = after;
        }
        out + rest
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A line with its calls of inline names replaced, comments left as they are. Arguments must end on the line; they may hold no such calls.
fn expand(line: &str, inlines: &[Inline<'_>]) -> String {
    let (code, comment) = line.split_at(line.find("//").unwrap_or(line.len()));
    let mut code = code.to_owned();
    for inline in inlines {
        let call = format!("{}(", inline.name);
        let mut from = 0;
        while let Some(at) = code[from..].find(&call).map(|at| from + at) {
            let open = at + call.len();
            let is_whole = !code[..at].ends_with(is_of_name);
            let Some((arguments, end)) = arguments(&code[open..]).filter(|(all, _)| is_whole && all.len() == inline.parameters.len())
            else {
                from = open;
                continue;
            };
            let text = inline.with(&arguments);
            let end = open + end;
            from = at + text.len();
            code.replace_range(at..end, &text);
        }
    }
    code + comment
}

/// The arguments up to the bracket that closes them, and where the text after it begins.
fn arguments(text: &str) -> Option<(Vec<&str>, usize)> {
    let (mut depth, mut from, mut all) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' if depth == 0 => {
                all.push(text[from..at].trim());
                return Some((all, at + 1));
            }
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                all.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

impl Assembled {
    fn push(&mut self, file: &str, lines: impl Iterator<Item = (usize, String)>) {
        for (number, line) in lines {
            self.text.push_str(&line);
            self.text.push('\n');
            self.origins.push((file.to_owned(), number));
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

    /// The names that stand for text.
    fn inlines(&self) -> impl Iterator<Item = Result<Inline<'_>>> {
        let declarations = self.text.lines().filter_map(|line| line.strip_prefix("//! inline: "));
        declarations.map(|declaration| {
            Inline::parse(declaration)
                .ok_or_else(|| Error::new(Code::Shader, format!("{}: `{declaration}` is not `name(parameters) = text`", self.file())))
        })
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
        let out = assemble(&library, "k", &[("N", 3)], DType::F16, MatrixUnits::Hardware).unwrap();
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
        let message =
            |name, constants: &[_]| assemble(&library, name, constants, DType::F32, MatrixUnits::Hardware).unwrap_err().to_string();
        assert_eq!(message("k", &[]), "shaders/k.wgsl: constant `N` is asked for but not given");
        assert!(message("k", &[("N", 1), ("M", 1)]).contains("`M` is given but no"));
        assert_eq!(message("k", &[("N", 1)]), "`main` is defined in both shaders/lib/one.wgsl and shaders/k.wgsl");
        assert!(message("missing", &[]).contains("nowhere"));
    }

    #[test]
    fn a_loop_is_written_out_and_its_lines_keep_their_numbers() {
        let text =
            "fn main() {\n    for (var i = 0u; i < N; i++) { // unroll 2\n        if i > 1u {\n            x[i] = 0;\n        }\n    }\n}";
        let lines = unrolled(text).unwrap();
        let numbers: Vec<usize> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 2, 3, 4, 5, 2, 2, 3, 4, 5, 2, 6, 7]);
        assert_eq!(lines[1].1, "    for (var i = 0u; i < N;) {");
        assert_eq!((lines[2].1.as_str(), lines[6].1.as_str()), ("    {", "    } i++;"));
        let error = unrolled("for (var i = 0u; i < N; i++) // unroll 2\n}").unwrap_err();
        assert!(error.message().starts_with("line 1: "), "{error}");
    }

    #[test]
    fn an_inline_name_becomes_its_text_and_an_emulated_module_takes_the_place_of_another() {
        let (_guard, library) = folder(&[
            ("k", "//! k\n//! use: units\nfn main() { let x = load(f(1, 2) + at[0]); reload(x); } // load(comment)"),
            ("lib/units", "//! inline: load(at) = slab[at + load_at]"),
        ]);
        let out = assemble(&library, "k", &[], DType::F32, MatrixUnits::Emulated).unwrap();
        assert!(out.text.contains("let x = slab[f(1, 2) + at[0] + load_at]; reload(x); } // load(comment)"), "{}", out.text);
        let (_guard, library) = folder(&[("k", "//! use: units\nfn main() {}"), ("lib/units", "//! inline: load at = 3")]);
        let error = assemble(&library, "k", &[], DType::F32, MatrixUnits::Hardware).unwrap_err();
        assert_eq!(error.to_string(), "shaders/lib/units.wgsl: `load at = 3` is not `name(parameters) = text`");

        let text = |units| {
            let constants =
                [("ACTIVATION", 0), ("COLS", 8), ("HAS_BIAS", 0), ("HAS_RESIDUAL", 0), ("INNER", 8), ("SPLIT", 1), ("TALL", 64)];
            assemble(&Library::embedded(), "matmul_matrix", &constants, DType::F16, units).unwrap().text
        };
        assert!(text(MatrixUnits::Hardware).contains("enable wgpu_cooperative_matrix;"));
        assert!(!text(MatrixUnits::Emulated).contains("coop"));
    }
}
