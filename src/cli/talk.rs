//! stdout is data, stderr is talk; neither may end the program by being closed.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zsas::{Error, Result};

/// Starts the log: warnings by default, `-v` adds what was chosen, `-vv` everything of ours. `RUST_LOG` overrules.
pub fn start(verbose: u8) {
    let level = ["warn", "info", "debug"][usize::from(verbose.min(2))];
    // The graphics crates report through our errors; on their own they talk of internals.
    let filter = format!("error,zsas={level},zsas_gpu={level}");
    let line = |buffer: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let level = if record.level() == log::Level::Warn { "warning".to_owned() } else { record.level().to_string().to_lowercase() };
        writeln!(buffer, "{level}: {}", record.args())
    };
    // A second logger cannot exist yet; where it does, it stays.
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter))
        .format(line)
        .try_init();
}

/// Prints an error with its context and hint.
pub fn error(error: &Error) {
    say(format_args!("error: {error:#}"));
}

/// A line to stderr; where it is closed, nobody listens.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Data to stdout. A reader that went away, as `head` does, has what it wanted: no error.
pub fn print(text: impl fmt::Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("writing to standard output", &error)),
        _ => Ok(()),
    }
}

/// A line of data to stdout.
pub fn print_line(line: impl fmt::Display) -> Result<()> {
    print(format_args!("{line}\n"))
}

/// A value as one line of JSON to stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_line(to_json(value))
}

/// A value as JSON; what we serialise has string keys and finite or null numbers, which never fails.
pub fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| panic!("our own records serialise: {error}"))
}

/// A progress bar on stderr, drawn only on a terminal.
pub fn progress(total: u64, is_quiet: bool) -> ProgressBar {
    let is_seen = io::stderr().is_terminal() && !is_quiet;
    let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template = "{wide_bar} {pos}/{len}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}
