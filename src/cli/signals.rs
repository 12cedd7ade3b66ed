//! Ctrl-C and SIGTERM: the first asks to stop after the image in hand, the second stops at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use zsas::{Error, Result};

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
