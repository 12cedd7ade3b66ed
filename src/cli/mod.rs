//! The command line: one file per verb. Data goes to stdout, messages to stderr.
//!
//! Each verb turns the user's options (`…Args`, strings and paths) into options of the library, so that contradictions are found before
//! weights are read or a device is opened.

mod bench;
pub mod bugs;
mod cache;
mod calibrate;
mod choice;
mod completions;
mod console;
mod detect;
mod device;
mod diff;
mod doctor;
#[cfg(target_os = "linux")]
pub mod driver_cache;
mod env;
mod eval;
mod forward;
mod infer;
mod method;
mod network;
mod numbers;
mod photos;
mod profile;
mod prompts;
mod segment;
mod shader;
pub mod signals;
pub mod talk;

use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use zsas::error::nearest;
use zsas::{COMMIT, Code, Error, Result, VERSION};

const EXAMPLES: &str = "\
Examples:
  zsas-gpu infer photos/ --output found --report   # where are the defects? pictures, records, a page
  zsas-gpu calibrate good/ --output c.toml         # from which score on is a part bad?
  zsas-gpu infer lot/ --output out --calibration c.toml --fail-on anomaly
  zsas-gpu detect photos/ --text 'crack. hole.' --output boxes --weights snapshots
  zsas-gpu segment part.png --box 120,80,410,300 --output masks --weights snapshots
  zsas-gpu doctor --selftest                       # can this machine run it, and is it right?

Exit codes:
  0 done, 1 failed, 2 usage or bad input, 3 done but some inputs failed, or, with
  `--fail-on uninspected`, something was left out or inspected in part,
  4 anomaly found with `--fail-on anomaly`, even where inputs failed, 5 no usable device,
  130 interrupted, 143 terminated";

/// Finds defects in photos without training, on any Vulkan, Metal or DX12 GPU, or the CPU.
#[derive(Parser)]
#[command(name = "zsas-gpu", version = version(), after_help = EXAMPLES, max_term_width = 110)]
pub struct Arguments {
    /// Say more on stderr; twice for details (`RUST_LOG` says which parts).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs of the command line.
#[derive(Subcommand)]
pub enum Command {
    /// Score photos and show where their defects are.
    Infer(Box<infer::InferArgs>),
    /// Find the score from which on a part is bad, from photos of good ones.
    Calibrate(Box<calibrate::CalibrateArgs>),
    /// Find what phrases name in photos: boxes, phrases and scores.
    Detect(Box<detect::DetectArgs>),
    /// Segment boxes on a photo: one mask for each box.
    Segment(Box<segment::SegmentArgs>),
    /// Try the prompts of a profile on a few photos (saa+).
    Prompts(Box<prompts::PromptsArgs>),
    /// Say what this machine can run, and check that it computes correctly.
    Doctor(doctor::DoctorArgs),
    /// Score the test photos of a data set, or take maps of any program, and compute exact metrics.
    Eval(Box<eval::EvalArgs>),
    /// Run a network on named arrays, for comparison with PyTorch.
    Forward(forward::ForwardArgs),
    /// Find the first launch of a network whose result on the device is wrong.
    Diff(diff::DiffArgs),
    /// Time each launch of a network on the device.
    Profile(profile::ProfileArgs),
    /// Measure the speed of the kernels.
    Bench(bench::BenchArgs),
    /// Print the exact WGSL the driver sees.
    Shader(shader::ShaderArgs),
    /// List the environment variables that this program reads.
    Env(env::EnvArgs),
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Whether warnings are switched off.
    pub fn is_quiet(&self) -> bool {
        match self {
            Command::Infer(args) => args.quiet,
            Command::Calibrate(args) => args.quiet,
            Command::Detect(args) => args.quiet,
            Command::Segment(args) => args.quiet,
            Command::Eval(args) => args.quiet,
            Command::Prompts(_)
            | Command::Doctor(_)
            | Command::Forward(_)
            | Command::Diff(_)
            | Command::Profile(_)
            | Command::Bench(_)
            | Command::Shader(_)
            | Command::Env(_)
            | Command::Completions(_) => false,
        }
    }

    /// Runs the verb.
    pub fn run(&self) -> Result<Exit> {
        match self {
            Command::Infer(args) => infer::run(args),
            Command::Calibrate(args) => calibrate::run(args),
            Command::Detect(args) => detect::run(args),
            Command::Segment(args) => segment::run(args),
            Command::Prompts(args) => prompts::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Forward(args) => forward::run(args),
            Command::Diff(args) => diff::run(args),
            Command::Profile(args) => profile::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Shader(args) => shader::run(args),
            Command::Env(args) => env::run(args),
            Command::Completions(args) => completions::run(args),
        }
    }
}

/// How the program ends; the numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// Something failed, or a check did not pass.
    Failed,
    /// The command line or its inputs are wrong.
    Usage,
    /// Success, but some inputs could not be scored, or were not inspected and that was to fail.
    SomeFailed,
    /// An anomaly was found with `--fail-on anomaly`.
    Anomaly,
    /// No adapter can run the kernels.
    NoAdapter,
    /// Stopped by the signal of this number, after the images in work were finished.
    Signal(u8),
}

impl Exit {
    /// The exit code of an error.
    pub fn of(error: &Error) -> Exit {
        match error.code() {
            Code::NoAdapter => Exit::NoAdapter,
            _ if error.is_user() => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::SomeFailed => 3,
            Exit::Anomaly => 4,
            Exit::NoAdapter => 5,
            Exit::Signal(number) => 128 + number,
        })
    }
}

/// Version and commit in a line.
fn version() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| COMMIT.map_or_else(|| VERSION.to_owned(), |commit| format!("{VERSION} ({commit})")));
    &LINE
}

/// A usage error: options that contradict each other, or a name that is not known.
fn usage(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message)
}

/// An error of weights, with the option that named them where one did.
fn of_weights(place: Option<&Path>) -> impl Fn(Error) -> Error {
    move |error| match (place, error.code()) {
        (Some(place), Code::WeightsMissing | Code::WeightsFormat | Code::WeightsMismatch | Code::WeightsNonfinite) => {
            error.context(format!("given by `--weights {}`", place.display()))
        }
        _ => error,
    }
}

/// `, did you mean `x`?` where a known name is near the unknown one, else nothing.
fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, known).map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn an_unknown_name_is_met_with_a_near_one_only() {
        assert_eq!(did_you_mean("mathmul", ["conv2d", "matmul"]), ", did you mean `matmul`?");
        assert_eq!(did_you_mean("attention", ["conv2d", "matmul"]), "");
    }

    #[test]
    fn errors_end_the_program_by_whose_fault_they_are() {
        let exit = |code| Exit::of(&Error::new(code, ""));
        assert_eq!(exit(Code::Usage), Exit::Usage);
        assert_eq!(exit(Code::NoInputs), Exit::Usage);
        assert_eq!(exit(Code::NoAdapter), Exit::NoAdapter);
        assert_eq!(exit(Code::WeightsMissing), Exit::Failed);
        assert_eq!(exit(Code::Io), Exit::Failed);
    }
}
