//! Panic handler: a bug ends the program with a message to report instead of a backtrace.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::cli::Exit;

/// Message of the latest panic. Decoders may panic on damaged images; those panics are caught and end in a record, so the hook prints
/// nothing.
static LATEST: Mutex<String> = Mutex::new(String::new());

/// Runs the program; a panic that nothing catches is printed as a bug and ends with [`Exit::Failed`].
pub fn guarded(program: impl FnOnce() -> Exit) -> Exit {
    std::panic::set_hook(Box::new(|panic| {
        log::debug!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        *LATEST.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|_| {
        let panic = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln_quietly(&format!(
            "error: this is a bug in zsas-gpu {}: {panic}\n\nhint: `-vv` prints where; please report it with the command line",
            super::version()
        ));
        Exit::Failed
    })
}

/// Writes a line to stderr; a closed stderr is no reason to panic again.
fn eprintln_quietly(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
