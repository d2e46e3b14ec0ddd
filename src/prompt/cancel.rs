//! Stops the encoding of texts that are no longer needed. Encoding runs on one thread from start to end, so the flag is
//! kept per thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static CANCELLED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Forgets the thread's flag, even after a panic.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        CANCELLED.take();
    }
}

/// Runs `work` so that [`is_cancelled`] reads `flag` in it. Texts that it encodes meanwhile end with an error soon after
/// the flag is set.
pub(crate) fn cancellable<T>(flag: Arc<AtomicBool>, work: impl FnOnce() -> T) -> T {
    CANCELLED.set(Some(flag));
    let _forget = Forget;
    work()
}

/// Whether this thread's current work was cancelled.
pub(crate) fn is_cancelled() -> bool {
    CANCELLED.with_borrow(|flag| flag.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_cancels_its_own_work_and_nothing_after_it() {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = cancellable(flag.clone(), || {
            let before = is_cancelled();
            flag.store(true, Ordering::Relaxed);
            (before, is_cancelled())
        });
        assert_eq!(seen, (false, true));
        assert!(!is_cancelled());
    }
}
