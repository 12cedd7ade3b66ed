//! `completions`: prints a completion script for a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use zsas::Result;

use crate::cli::{Arguments, Exit, talk};

const AFTER: &str = "\
Example:
  zsas-gpu completions bash > ~/.local/share/bash-completion/completions/zsas-gpu";

/// Options of `completions`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "zsas-gpu", &mut script);
    talk::print(String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
