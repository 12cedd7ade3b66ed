//! `zsas-gpu`: finds defects in photos without training, on any GPU. See `--help`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    quiet_driver();
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

/// Keeps Mesa's device-select layer, which asks Wayland for a display, from complaining on machines without a desktop. We choose adapters
/// ourselves.
fn quiet_driver() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: the first statement of `main`; no other thread runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
