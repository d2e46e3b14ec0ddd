//! How work reaches the scheduler's thread: one lock, taken for a moment, and a signal.
//!
//! Sending never blocks; the thread takes everything that has arrived in one go. Written against
//! `super::sync`, so that a test can compile this file with a model checker's locks in place of the
//! standard library's.

use super::sync::{Mutex, MutexGuard, PoisonError};

/// Wakes the scheduler's thread, without blocking. Signals merge with one that is pending.
pub(super) trait Wake {
    fn wake(&self);
}

/// Everything that arrived since the mailbox was last emptied.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// Arrivals with their ids, in order.
    pub(super) arrivals: Vec<(u64, T)>,
    /// Ids of cancelled jobs. They may have arrived in this batch, or be answered already.
    pub(super) cancelled: Vec<u64>,
    /// Ids of jobs that need no more tokens, with the same caveat.
    pub(super) finished: Vec<u64>,
    /// Whether [`Mailbox::drain`] was called.
    pub(super) draining: bool,
}

impl<T> Batch<T> {
    fn empty(draining: bool) -> Self {
        Self { arrivals: Vec::new(), cancelled: Vec::new(), finished: Vec::new(), draining }
    }
}

/// Why an arrival was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    /// The mailbox takes nothing more.
    Draining,
}

struct State<T> {
    batch: Batch<T>,
    next_id: u64,
}

/// Arrivals and cancellations on their way to the scheduler's thread.
pub(super) struct Mailbox<T, W> {
    capacity: usize,
    state: Mutex<State<T>>,
    wake: W,
}

impl<T, W: Wake> Mailbox<T, W> {
    /// A mailbox for up to `capacity` arrivals. There are no more cancellations than arrivals.
    pub(super) fn new(capacity: usize, wake: W) -> Self {
        let batch = Batch::empty(false);
        Self { capacity, state: Mutex::new(State { batch, next_id: 0 }), wake }
    }

    /// Adds what `make` returns and gives it an id; ids grow in the order of arrival. `make` runs under the
    /// mailbox's lock.
    ///
    /// # Errors
    /// The mailbox is full or draining; nothing was added.
    pub(super) fn send(&self, make: impl FnOnce() -> T) -> Result<u64, Refused> {
        let mut state = self.lock();
        if state.batch.draining {
            return Err(Refused::Draining);
        }
        if state.batch.arrivals.len() >= self.capacity {
            return Err(Refused::Full);
        }
        let id = state.next_id;
        state.next_id += 1;
        state.batch.arrivals.push((id, make()));
        drop(state);
        self.wake.wake();
        Ok(id)
    }

    /// An arrival's answer is no longer wanted.
    pub(super) fn cancel(&self, id: u64) {
        self.lock().batch.cancelled.push(id);
        self.wake.wake();
    }

    /// Records that a job needs no more tokens.
    pub(super) fn finish(&self, id: u64) {
        self.lock().batch.finished.push(id);
        self.wake.wake();
    }

    /// Accepts nothing more, and wakes the thread.
    pub(super) fn drain(&self) {
        self.lock().batch.draining = true;
        self.wake.wake();
    }

    /// Whether [`Mailbox::drain`] was called.
    pub(super) fn draining(&self) -> bool {
        self.lock().batch.draining
    }

    /// Empties the mailbox.
    pub(super) fn take(&self) -> Batch<T> {
        let mut state = self.lock();
        let draining = state.batch.draining;
        std::mem::replace(&mut state.batch, Batch::empty(draining))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
