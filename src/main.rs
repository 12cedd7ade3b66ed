//! `zsas-gpu`: finds defects in photos without training, on any GPU. See `--help`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    quiet_driver();
    cli::signals::ignore_sigxfsz();
    // The one place that ends the program: everything below returns.
    let arguments = cli::Arguments::parse();
    cli::talk::start(arguments.verbose, arguments.command.is_quiet());
    cli::bugs::guarded(|| match arguments.command.run() {
        Ok(exit) => exit,
        Err(error) => {
            cli::talk::error(&error);
            cli::Exit::of(&error)
        }
    })
    .into()
}

/// Sets environment variables that drivers read, unless the user has set them.
///
/// Mesa's device-select layer is switched off: we choose adapters ourselves, and without a desktop it prints an error about Wayland. Mesa's
/// drivers get a cache folder where they would find none.
fn quiet_driver() {
    let set = |name: &str, value: &std::ffi::OsStr| {
        // SAFETY: the first statement of `main`; no other thread runs yet.
        unsafe { std::env::set_var(name, value) };
    };
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("NODEVICE_SELECT").is_none() {
        set("NODEVICE_SELECT", "1".as_ref());
    }
    #[cfg(target_os = "linux")]
    if let Some(folder) = cli::driver_cache::folder() {
        set("MESA_SHADER_CACHE_DIR", folder.as_os_str());
    }
}
