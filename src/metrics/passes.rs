//! Passes over the images: loaded by several threads, few at a time, each handed to whoever counts.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Context, Error, Result};
use crate::metrics::pixels::{Pixels, Scored};

/// Threads at most, unless asked otherwise: each holds a map, and counting in one place keeps no more of them busy.
const MAX_THREADS: usize = 8;

/// Where maps come from, and who is told.
pub(super) struct Passes<'a> {
    load: &'a (dyn Fn(usize) -> Result<Scored> + Sync),
    progress: &'a (dyn Fn(usize) -> Result<()> + Sync),
    threads: usize,
    /// Images done in all passes so far. Held while progress is told, so that it is told in order.
    done: Mutex<usize>,
}

impl<'a> Passes<'a> {
    /// Passes with a number of threads, or as many as the machine has cores.
    pub fn new(
        load: &'a (dyn Fn(usize) -> Result<Scored> + Sync),
        progress: &'a (dyn Fn(usize) -> Result<()> + Sync),
        threads: Option<NonZeroUsize>,
    ) -> Passes<'a> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
        Passes { load, progress, threads: threads.map_or_else(cores, NonZeroUsize::get), done: Mutex::new(0) }
    }

    /// Loads these images and hands each to `take`, in any order.
    ///
    /// The first error ends the pass; of several, that of the earliest image is returned, whatever the threads.
    pub fn run(&self, images: &[usize], take: &(dyn Fn(usize, &Scored, &Pixels) -> Result<()> + Sync)) -> Result<()> {
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&image) = images.get(at) else { return };
                if let Err(error) = self.image(image, take) {
                    is_over.store(true, Ordering::Relaxed);
                    let mut failed = lock(&failed);
                    if failed.as_ref().is_none_or(|(first, _)| at < *first) {
                        *failed = Some((at, error));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            // This thread works, too: one thread needs no other, which some platforms cannot start.
            (1..self.threads.min(images.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        match lock(&failed).take() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn image(&self, image: usize, take: &(dyn Fn(usize, &Scored, &Pixels) -> Result<()> + Sync)) -> Result<()> {
        let scored = (self.load)(image)?;
        let pixels = Pixels::of(&scored).context(|| format!("map {}", image + 1))?;
        take(image, &scored, &pixels)?;
        let mut done = lock(&self.done);
        *done += 1;
        (self.progress)(*done)
    }
}

/// The value in a mutex; a panic while it was held is passed on by the thread that had it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::tensor::Array;

    fn pass(
        threads: usize,
        load: &(dyn Fn(usize) -> Result<Scored> + Sync),
        progress: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<Vec<usize>> {
        let taken = Mutex::new(Vec::new());
        let images: Vec<usize> = (0..100).collect();
        Passes::new(load, progress, NonZeroUsize::new(threads)).run(&images, &|image, _, _| {
            lock(&taken).push(image);
            Ok(())
        })?;
        let mut taken = taken.into_inner().unwrap();
        taken.sort_unstable();
        Ok(taken)
    }

    fn flat(score: f32) -> Scored {
        Scored { map: Array::new([1, 1], vec![score]), mask: None }
    }

    #[test]
    fn each_image_is_taken_once_and_progress_counts_them_in_order() {
        for threads in [1, 2, 5] {
            let told = Mutex::new(Vec::new());
            let taken = pass(threads, &|_| Ok(flat(0.0)), &|done| {
                lock(&told).push(done);
                Ok(())
            });
            assert_eq!(taken.unwrap(), (0..100).collect::<Vec<_>>());
            assert_eq!(told.into_inner().unwrap(), (1..=100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_several_faults_the_earliest_is_returned() {
        for threads in [1, 2, 5] {
            let load = |image: usize| Ok(flat(if image % 7 == 3 { f32::NAN } else { 0.0 }));
            let error = pass(threads, &load, &|_| Ok(())).unwrap_err();
            assert_eq!((error.code(), format!("{error:#}").lines().nth(1)), (Code::Nonfinite, Some("  map 4")));
        }
    }

    #[test]
    fn an_error_of_progress_stops() {
        let stop = |done: usize| if done == 3 { Err(Error::new(Code::Usage, "stopped")) } else { Ok(()) };
        let loaded = AtomicUsize::new(0);
        let load = |_| {
            loaded.fetch_add(1, Ordering::Relaxed);
            Ok(flat(0.0))
        };
        assert_eq!(pass(2, &load, &stop).unwrap_err().message(), "stopped");
        assert!(loaded.into_inner() < 10);
    }
}
