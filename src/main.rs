//! `zsas-gpu`: finds defects in photos without training, on any GPU. See `--help`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The one place that ends the program: everything below returns.
    let arguments = cli::Arguments::parse();
    cli::talk::start(arguments.verbose);
    cli::bugs::guarded(|| match arguments.command.run() {
        Ok(exit) => exit,
        Err(error) => {
            cli::talk::error(&error);
            cli::Exit::of(&error)
        }
    })
    .into()
}
