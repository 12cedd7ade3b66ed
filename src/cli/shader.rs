//! `shader`: prints the exact WGSL that the driver gets.

use std::fmt::Display;

use clap::{Args, ValueEnum};
use zsas::kernels::{Implementation, Tier, every_kernel};
use zsas::shader::{MatrixUnits, assemble, reflect};
use zsas::{Code, DType, Error, Result};

use crate::cli::device::library;
use crate::cli::{Exit, choice, did_you_mean, talk, usage};

const AFTER: &str = "\
Examples:
  zsas-gpu shader --list
  zsas-gpu shader matmul --set TALL=64
  zsas-gpu shader matmul --tier software --elem f16";

/// Options of `shader`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct ShaderArgs {
    /// A kernel (`matmul`) or one of its files (`matmul_software`)
    #[arg(required_unless_present = "list")]
    name: Option<String>,

    /// Another value for a constant, with which the shader has to be valid; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_constant)]
    constants: Vec<(String, u32)>,

    /// What activations and weights are stored as; by default f32, where the file serves it
    #[arg(long, value_enum)]
    elem: Option<Elem>,

    /// The kernel's file for this tier of adapters; by default the one that has the kernel's name, else its first
    #[arg(long, value_parser = choice::tier())]
    tier: Option<Tier>,

    /// Print every file with its family, tier, and the constants of a small case
    #[arg(long, conflicts_with_all = ["name", "constants", "tier"])]
    list: bool,
}

/// Storage of a kernel's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Elem {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
}

impl Elem {
    /// The type of the library.
    pub fn dtype(self) -> DType {
        match self {
            Elem::F32 => DType::F32,
            Elem::F16 => DType::F16,
        }
    }
}

fn parse_constant(text: &str) -> std::result::Result<(String, u32), String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    parts.ok_or_else(|| "expected a name and a whole number, as in `TALL=64`".to_owned())
}

/// Prints a file, or the list of them.
pub fn run(args: &ShaderArgs) -> Result<Exit> {
    let files = files();
    let Some(name) = args.name.as_ref().filter(|_| !args.list) else {
        return list(&files);
    };
    let mut file = find(&files, name, args.tier)?.clone();
    for (constant, value) in &args.constants {
        set(&mut file, constant, *value)?;
    }
    let Implementation { file, constants, elem: only, .. } = &file.implementation;
    let elem = args.elem.map(Elem::dtype).or(*only).unwrap_or(DType::F32);
    if only.is_some_and(|only| only != elem) && file.ends_with("_matrix") {
        return Err(usage(format!("`{file}` is for f16 alone")));
    }
    let assembled = assemble(&library(), file, constants, elem, MatrixUnits::Hardware)?;
    if !args.constants.is_empty() {
        reflect(&assembled).map_err(|error| usage(error.message()).context(format!("with {}", listed(&args.constants))))?;
    }
    if !constants.is_empty() {
        talk::say(format_args!("constants of a small case, a network has its own: {}", listed(constants)));
    }
    talk::print(assembled.text)?;
    Ok(Exit::Done)
}

/// Constants as `--set` takes them, with spaces between.
fn listed(constants: &[(impl Display, u32)]) -> String {
    constants.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A WGSL file with the constants of the first kernel that uses it.
#[derive(Clone)]
struct ShaderFile {
    family: &'static str,
    implementation: Implementation,
}

fn files() -> Vec<ShaderFile> {
    let mut files: Vec<ShaderFile> = Vec::new();
    for kernel in every_kernel() {
        for implementation in kernel.implementations() {
            if files.iter().all(|known| known.implementation.file != implementation.file) {
                files.push(ShaderFile { family: kernel.name(), implementation });
            }
        }
    }
    files.sort_by_key(|file| file.implementation.file);
    files
}

/// The file of this name, or of the family of this name, for a tier.
fn find<'a>(files: &'a [ShaderFile], name: &str, tier: Option<Tier>) -> Result<&'a ShaderFile> {
    let of_tier = |file: &&ShaderFile| tier.is_none_or(|tier| file.implementation.tier == tier);
    let by_file = files.iter().filter(of_tier).find(|file| file.implementation.file == name);
    let by_family = || files.iter().filter(of_tier).find(|file| file.family == name);
    by_file.or_else(by_family).ok_or_else(|| {
        let is_known = files.iter().any(|file| file.implementation.file == name || file.family == name);
        let message = match tier {
            Some(tier) if is_known => format!("`{name}` has no file for the tier `{}`", tier.as_str()),
            _ => {
                let names = files.iter().flat_map(|file| [file.implementation.file, file.family]);
                format!("there is no kernel `{name}`{}", did_you_mean(name, names))
            }
        };
        usage(message).hint("`zsas-gpu shader --list` names them all")
    })
}

fn set(file: &mut ShaderFile, name: &str, value: u32) -> Result<()> {
    let constants = &mut file.implementation.constants;
    match constants.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => {
            *old = value;
            Ok(())
        }
        None => {
            let known: Vec<&str> = constants.iter().map(|(name, _)| *name).collect();
            let message = format!("`{}` has no constant `{name}`{}", file.implementation.file, did_you_mean(name, known.iter().copied()));
            Err(Error::new(Code::Usage, message).hint(format!("its constants are {}", known.join(", "))))
        }
    }
}

fn list(files: &[ShaderFile]) -> Result<Exit> {
    for ShaderFile { family, implementation } in files {
        let Implementation { file, tier, constants, .. } = implementation;
        let row = format!("{file:<20} {family:<16} {:<6} {}", tier.as_str(), listed(constants));
        talk::print_line(row.trim_end())?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_a_file_and_a_tier_find_the_same_kernel() {
        let files = files();
        let found = |name, tier| find(&files, name, tier).map(|file| file.implementation.file).map_err(|error| error.to_string());
        assert_eq!(found("matmul", None), Ok("matmul"));
        assert_eq!(found("matmul", Some(Tier::Software)), Ok("matmul_software"));
        assert_eq!(found("matmul_software", None), Ok("matmul_software"));
        assert_eq!(found("matmull", None), Err("there is no kernel `matmull`, did you mean `matmul`?".to_owned()));
        assert_eq!(found("pool", Some(Tier::Software)), Err("`pool` has no file for the tier `software`".to_owned()));
    }

    #[test]
    fn only_known_constants_are_set() {
        let mut file = find(&files(), "matmul", None).unwrap().clone();
        set(&mut file, "TALL", 32).unwrap();
        assert!(file.implementation.constants.contains(&("TALL", 32)));
        assert!(set(&mut file, "TALLS", 32).unwrap_err().message().ends_with("did you mean `TALL`?"));
    }
}
