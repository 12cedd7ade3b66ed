//! An ordered parallel map: items are worked on by several threads at once and their results committed in order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, PoisonError};

/// Items that may be begun and not yet committed, for each thread: one slow item does not stop the others at once, and few results wait.
const WINDOW_PER_THREAD: usize = 4;

/// State shared by the threads: the next item, the number of committed results, whether to stop.
struct Progress {
    next: usize,
    committed: usize,
    is_stopped: bool,
}

/// Runs `work` on the items `0..count` in `threads` threads and passes each result to `commit`, in order, on the calling thread.
///
/// Items are begun in order. `is_stopped` is called before each; once it returns true, or `commit` breaks, no more are begun. Those in work
/// are finished, and committed unless `commit` broke: the committed items are a prefix of all items.
pub(super) fn in_order<T: Send, B>(
    count: usize,
    threads: usize,
    is_stopped: impl Fn() -> bool + Sync,
    work: impl Fn(usize) -> T + Sync,
    mut commit: impl FnMut(usize, T) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let threads = threads.clamp(1, count.max(1));
    let window = threads * WINDOW_PER_THREAD;
    let progress = Mutex::new(Progress { next: 0, committed: 0, is_stopped: false });
    let moved = Condvar::new();
    let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = || {
        let mut progress = moved
            .wait_while(lock(), |progress| !progress.is_stopped && progress.next < count && progress.next >= progress.committed + window)
            .unwrap_or_else(PoisonError::into_inner);
        progress.is_stopped |= is_stopped();
        let at = progress.next;
        (!progress.is_stopped && at < count).then(|| {
            progress.next += 1;
            at
        })
    };
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(threads);
        for _ in 0..threads {
            let (send, begin, work, progress, moved) = (send.clone(), &begin, &work, &progress, &moved);
            scope.spawn(move || {
                let _stop = StopOnPanic { progress, moved };
                while let Some(at) = begin() {
                    if send.send((at, work(at))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let _stop = StopOnPanic { progress: &progress, moved: &moved };
        let mut waiting = BTreeMap::new();
        let mut outcome = ControlFlow::Continue(());
        let mut next = 0;
        for (at, result) in receive {
            if outcome.is_break() {
                continue;
            }
            waiting.insert(at, result);
            while outcome.is_continue()
                && let Some(result) = waiting.remove(&next)
            {
                outcome = commit(next, result);
                next += 1;
            }
            let mut progress = lock();
            progress.committed = next;
            progress.is_stopped |= outcome.is_break();
            moved.notify_all();
        }
        outcome
    })
}

/// Guard that stops the other threads where one panics, so that none waits for its missing result; the panic is passed on.
struct StopOnPanic<'a> {
    progress: &'a Mutex<Progress>,
    moved: &'a Condvar,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.progress.lock().unwrap_or_else(PoisonError::into_inner).is_stopped = true;
            self.moved.notify_all();
        }
    }
}

/// Bytes that threads may hold together; a single request always fits.
pub(super) struct Budget {
    left: Mutex<u64>,
    returned: Condvar,
    total: u64,
}

/// Bytes taken from a [`Budget`], returned when dropped.
pub(super) struct Permit<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(total: u64) -> Budget {
        Budget { left: Mutex::new(total), returned: Condvar::new(), total }
    }

    /// Takes `bytes`, or everything where they are more; waits until that much is left.
    pub fn take(&self, bytes: u64) -> Permit<'_> {
        let bytes = bytes.min(self.total);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *self.returned.wait_while(left, |left| *left < bytes).unwrap_or_else(PoisonError::into_inner) -= bytes;
        Permit { budget: self, bytes }
    }
}

impl Permit<'_> {
    /// This permit where it is for so many bytes, else one that is. None is held while waiting for it.
    pub fn at_least(self, bytes: u64) -> Self {
        if bytes.min(self.budget.total) <= self.bytes {
            return self;
        }
        let budget = self.budget;
        drop(self);
        budget.take(bytes)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_are_committed_in_order_whichever_comes_first() {
        let barrier = std::sync::Barrier::new(2);
        let mut seen = Vec::new();
        let work = |at: usize| {
            // The first two are in work at the same time.
            if at < 2 {
                barrier.wait();
            }
            at * at
        };
        let outcome: ControlFlow<()> = in_order(
            50,
            3,
            || false,
            work,
            |at, square| {
                seen.push((at, square));
                ControlFlow::Continue(())
            },
        );
        assert!(outcome.is_continue());
        assert_eq!(seen, (0..50).map(|at| (at, at * at)).collect::<Vec<_>>());
    }

    #[test]
    fn few_items_are_begun_and_not_committed() {
        let (begun, committed, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_| {
            let under_way = begun.fetch_add(1, Ordering::SeqCst) + 1 - committed.load(Ordering::SeqCst);
            most.fetch_max(under_way, Ordering::SeqCst);
        };
        let _: ControlFlow<()> = in_order(
            500,
            4,
            || false,
            work,
            |_, ()| {
                committed.fetch_add(1, Ordering::SeqCst);
                ControlFlow::Continue(())
            },
        );
        assert!(most.load(Ordering::SeqCst) <= 4 * WINDOW_PER_THREAD, "{most:?}");
    }

    #[test]
    fn a_stop_finishes_what_is_in_work_and_leaves_no_gap() {
        let begun = AtomicUsize::new(0);
        let mut seen = Vec::new();
        let work = |at| {
            begun.fetch_add(1, Ordering::SeqCst);
            at
        };
        let outcome: ControlFlow<()> = in_order(
            1000,
            3,
            || begun.load(Ordering::SeqCst) >= 10,
            work,
            |at, _| {
                seen.push(at);
                ControlFlow::Continue(())
            },
        );
        assert!(outcome.is_continue());
        assert_eq!(seen, (0..begun.load(Ordering::SeqCst)).collect::<Vec<_>>());
        assert!((10..13).contains(&seen.len()), "{}", seen.len());
    }

    #[test]
    fn a_panic_ends_the_map_instead_of_leaving_it_waiting() {
        let run = |in_work: bool| {
            let (send, receive) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let work = |at: usize| assert!(!in_work || at != 3, "in work");
                let commit = |at: usize, ()| {
                    assert!(in_work || at != 3, "while committing");
                    ControlFlow::<()>::Continue(())
                };
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| in_order(1000, 3, || false, work, commit)));
                send.send(outcome.is_err()).unwrap();
            });
            receive.recv_timeout(std::time::Duration::from_secs(60))
        };
        assert_eq!(run(true), Ok(true));
        assert_eq!(run(false), Ok(true));
    }

    #[test]
    fn a_break_commits_nothing_more() {
        let mut seen = Vec::new();
        let outcome = in_order(
            1000,
            3,
            || false,
            |at| at,
            |at, _| {
                seen.push(at);
                if at == 20 { ControlFlow::Break("full disk") } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(outcome, ControlFlow::Break("full disk"));
        assert_eq!(seen, (0..=20).collect::<Vec<_>>());
        assert!(in_order(0, 3, || false, |at| at, |_, _| ControlFlow::<()>::Continue(())).is_continue());
    }

    #[test]
    fn a_budget_makes_the_second_wait_and_lets_a_giant_pass_alone() {
        let budget = Budget::new(10);
        let first = budget.take(7);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.take(1000).bytes);
            drop(first);
            assert_eq!(waiter.join().unwrap(), 10);
        });
        assert_eq!(*budget.left.lock().unwrap(), 10);
        let more = budget.take(3).at_least(2).at_least(8);
        assert_eq!((more.bytes, *budget.left.lock().unwrap()), (8, 2));
    }
}
