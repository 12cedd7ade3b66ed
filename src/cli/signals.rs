//! Signals: the first Ctrl-C or SIGTERM asks to stop after the image in hand, the second stops at once; SIGXFSZ is an error of writing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use zsas::{Error, Result};

/// Makes a write beyond the limit of file sizes (`ulimit -f`) an error of that write; the system's default is to kill the process.
pub fn outlive_file_limit() {
    #[cfg(unix)]
    if let Err(error) = flag::register(signal_hook::consts::SIGXFSZ, Arc::default()) {
        log::debug!("a write beyond the limit of file sizes will end the process: {error}");
    }
}

/// Knows whether a signal came, and which.
#[derive(Clone, Default)]
pub struct Signals {
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Watches from now on.
    pub fn watch() -> Result<Signals> {
        let signals = Signals::default();
        let failed = |error: io::Error| Error::io("watching for signals", &error);
        let was_asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds the flag that the first one raised.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&was_asked)).map_err(failed)?;
            flag::register(signal, Arc::clone(&was_asked)).map_err(failed)?;
            flag::register_usize(signal, Arc::clone(&signals.number), signal as usize).map_err(failed)?;
        }
        Ok(signals)
    }

    /// The signal that asked to stop.
    pub fn received(&self) -> Option<u8> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as u8),
        }
    }
}
