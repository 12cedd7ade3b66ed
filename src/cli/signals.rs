//! Signals: the first Ctrl-C or SIGTERM stops after the images in work, the second at once; SIGXFSZ becomes an error of the write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use zsas::{Error, Result};

/// Ignores SIGXFSZ, so that a write beyond the limit of file sizes (`ulimit -f`) fails with an error; by default it kills the process.
pub fn ignore_sigxfsz() {
    #[cfg(unix)]
    if let Err(error) = flag::register(signal_hook::consts::SIGXFSZ, Arc::default()) {
        log::debug!("a write beyond the limit of file sizes will end the process: {error}");
    }
}

/// Watcher for signals that stop the program.
#[derive(Clone, Default)]
pub struct Signals {
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Starts watching.
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

    /// Number of the signal that was received, if any.
    pub fn received(&self) -> Option<u8> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as u8),
        }
    }
}
