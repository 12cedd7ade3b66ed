//! Programs that are compiled when they are first needed, and batches as large as memory allows.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::error::{Code, Result};
use crate::run::Program;

/// Programs of a kind, each for a key: sizes that it is compiled for. The ones that were used last are kept.
pub(super) struct Programs<K> {
    kept: RwLock<Vec<Kept<K>>>,
    most: usize,
    uses: AtomicU64,
}

struct Kept<K> {
    key: K,
    program: Program,
    last_use: AtomicU64,
}

impl<K: Clone + PartialEq> Programs<K> {
    /// Room for so many programs.
    pub fn new(most: usize) -> Programs<K> {
        Programs { kept: RwLock::default(), most, uses: AtomicU64::new(0) }
    }

    /// Uses the program for a key, compiled first where none is kept. `act` must not ask for another of the kind.
    ///
    /// Errors: those of `compile` and `act`.
    pub fn with<R>(&self, key: &K, compile: impl Fn() -> Result<Program>, act: impl Fn(&Program) -> Result<R>) -> Result<R> {
        loop {
            {
                let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(found) = kept.iter().find(|kept| kept.key == *key) {
                    found.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                    return act(&found.program);
                }
            }
            self.add(key, &compile)?;
        }
    }

    /// Lets all programs go, once none is in use.
    pub fn clear(&self) {
        self.kept.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Compiles the program for a key. This waits until none of the kind is in use: what makes room for it gives its memory back first. Where
    /// memory is short, all make room.
    fn add(&self, key: &K, compile: impl Fn() -> Result<Program>) -> Result<()> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|kept| kept.key == *key) {
            return Ok(());
        }
        kept.sort_by_key(|kept| kept.last_use.load(Ordering::Relaxed));
        let spare = (kept.len() + 1).saturating_sub(self.most);
        kept.drain(..spare);
        let program = match compile() {
            Err(error) if error.code() == Code::GpuMemory && !kept.is_empty() => {
                kept.clear();
                compile()?
            }
            compiled => compiled?,
        };
        kept.push(Kept { key: key.clone(), program, last_use: AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed)) });
        Ok(())
    }
}

/// Size of the largest batch that fits in memory; it shrinks where one does not.
pub(super) struct BatchSize(AtomicUsize);

impl BatchSize {
    /// Batches up to a size that is worth while.
    pub fn new(most: usize) -> BatchSize {
        BatchSize(AtomicUsize::new(most))
    }

    /// Runs `batch` on items, each of a size, in batches that fit: what it returns for each, in their order. `what` names them in messages.
    ///
    /// Errors: those of `batch`; too little memory only where a single item does not fit.
    pub fn run<T, R>(&self, items: &[T], size: usize, what: &str, batch: impl Fn(&[T]) -> Result<Vec<R>>) -> Result<Vec<R>> {
        let mut done = Vec::with_capacity(items.len());
        while done.len() < items.len() {
            let left = &items[done.len()..];
            let count = (self.0.load(Ordering::Relaxed) / size).clamp(1, left.len());
            match batch(&left[..count]) {
                Err(error) if error.code() == Code::GpuMemory && count > 1 => {
                    let fewer = count.div_ceil(2);
                    self.0.fetch_min(fewer * size, Ordering::Relaxed);
                    log::warn!("{error}; {what} are computed {fewer} at a time");
                }
                found => done.extend(found?),
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::error::Error;
    use crate::graph::Graph;
    use crate::kernels::Activation;
    use crate::run::Device;

    fn compiled() -> Result<Program> {
        let graph = Graph::default();
        let output = graph.input("x", [1, 1]).map(Activation::Identity, 2.0, 0.0);
        Program::compile(&Device::reference(), &graph, &[output])
    }

    #[test]
    fn the_program_used_longest_ago_makes_room() {
        let programs = Programs::new(2);
        let compiled_for = RefCell::new(Vec::new());
        for key in ["a", "b", "a", "c", "a", "b"] {
            let compile = || {
                compiled_for.borrow_mut().push(key);
                compiled()
            };
            programs.with(&key, compile, |_| Ok(())).unwrap();
        }
        assert_eq!(compiled_for.into_inner(), ["a", "b", "c", "b"]);
    }

    #[test]
    fn where_memory_is_short_all_make_room_and_what_does_not_fit_is_an_error() {
        let programs = Programs::new(3);
        programs.with(&1, compiled, |_| Ok(())).unwrap();
        let tries = RefCell::new(0);
        let short = |fits_at: usize| {
            let tries = &tries;
            move || {
                *tries.borrow_mut() += 1;
                if *tries.borrow() == fits_at { compiled() } else { Err(Error::new(Code::GpuMemory, "full")) }
            }
        };
        programs.with(&2, short(2), |_| Ok(())).unwrap();
        assert_eq!(programs.kept.read().unwrap().iter().map(|kept| kept.key).collect::<Vec<_>>(), [2]);
        assert_eq!(programs.with(&3, short(9), |_| Ok(())).unwrap_err().code(), Code::GpuMemory);
    }

    #[test]
    fn a_batch_shrinks_once_and_stays_small() {
        let (size, tried) = (BatchSize::new(40), RefCell::new(Vec::new()));
        let run = |items: &[u8]| {
            size.run(items, 10, "numbers", |batch| {
                tried.borrow_mut().push(batch.len());
                if batch.len() > 2 { Err(Error::new(Code::GpuMemory, "full")) } else { Ok(batch.to_vec()) }
            })
        };
        assert_eq!(run(&[1, 2, 3, 4, 5]).unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(run(&[6, 7, 8]).unwrap(), [6, 7, 8]);
        assert_eq!(tried.into_inner(), [4, 2, 2, 1, 2, 1]);
        // An item that is larger than a batch is one alone.
        assert_eq!(size.run(&[1, 2], 1000, "numbers", |batch| Ok(vec![batch.len()])).unwrap(), [1, 1]);
    }
}
