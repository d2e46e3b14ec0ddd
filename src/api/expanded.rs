//! How much text the requests that are prepared at once may come to, with the prompts that are repeated in them.

use std::cell::RefCell;

use super::budget::{ByteBudget, ByteShare};

/// Bodies that may come to more bytes of text are parsed and tokenized off the threads that serve connections, so
/// that these answer everyone else meanwhile.
pub(super) const INLINE_TEXT: usize = 64 << 10;

thread_local! {
    /// Bytes that the texts of requests may come to, and what the request that this thread prepares takes of them.
    /// Nothing on the threads that serve connections.
    static EXPANDED: RefCell<Option<(ByteBudget, ByteShare)>> = const { RefCell::new(None) };
}

/// Waits until all requests together have room for the `bytes` bytes of text that the one which this thread prepares
/// comes to, and takes them until it is answered. A small request needs no room.
pub(super) fn reserve_expanded(bytes: usize) {
    EXPANDED.with_borrow_mut(|expanded| {
        let Some((budget, share)) = expanded else { return };
        if bytes > INLINE_TEXT {
            // A request that held a share while it waited for more could wait for another that does the same.
            *share = budget.share();
            *share = tokio::runtime::Handle::current().block_on(budget.wait_for(bytes));
        }
    });
}

/// Runs `prepare` on a thread that serves no connections; with what the request's texts take of `budget`.
pub(super) fn prepare_within<T>(budget: ByteBudget, prepare: impl FnOnce() -> T) -> (T, Option<ByteShare>) {
    /// Leaves nothing for the next request of this thread, even after a panic.
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
