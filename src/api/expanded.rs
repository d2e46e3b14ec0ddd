//! Bounds the text of requests that are prepared at once, with each prompt counted once for each of its responses.

use std::cell::RefCell;

use super::budget::{ByteBudget, ByteShare};

/// Bodies that may expand to more bytes of text are parsed and tokenized on worker threads, so that the threads that
/// serve connections stay responsive.
pub(super) const INLINE_TEXT: usize = 64 << 10;

thread_local! {
    /// The budget in bytes, and the share of the request that this thread prepares. `None` on the threads that serve
    /// connections.
    static EXPANDED: RefCell<Option<(ByteBudget, ByteShare)>> = const { RefCell::new(None) };
}

/// Waits until the budget has room for `bytes` more bytes of the request that this thread prepares, and holds them until
/// it is answered. A small request needs no room.
pub(super) fn reserve_expanded(bytes: usize) {
    EXPANDED.with_borrow_mut(|expanded| {
        let Some((budget, share)) = expanded else { return };
        if bytes > INLINE_TEXT {
            let total = share.held() + bytes;
            // Two requests that each held a share while waiting for more could deadlock.
            *share = budget.share();
            *share = tokio::runtime::Handle::current().block_on(budget.wait_for(total));
        }
    });
}

/// Runs `prepare` on a worker thread, and returns its result with the share of `budget` that the request's texts take.
pub(super) fn prepare_within<T>(budget: ByteBudget, prepare: impl FnOnce() -> T) -> (T, Option<ByteShare>) {
    /// Clears the thread's state, even after a panic, so that the thread's next request starts afresh.
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            EXPANDED.take();
        }
    }
    let share = budget.share();
    EXPANDED.set(Some((budget, share)));
    let _forget = Forget;
    let prepared = prepare();
    (prepared, EXPANDED.take().map(|(_, share)| share))
}
