//! Which field or header set the deadline of the current request, so that an error about the deadline names it.

use std::cell::Cell;

tokio::task_local! {
    static SOURCE: Cell<Option<&'static str>>;
}

/// Runs the future that answers a request.
pub(super) async fn scope<T>(request: impl Future<Output = T>) -> T {
    SOURCE.scope(Cell::new(None), request).await
}

/// Runs `report`, which reports an error of a request whose future has ended, as when its response is streamed. `source`
/// is what set the request's deadline.
pub(super) fn with_source<T>(source: Option<&'static str>, report: impl FnOnce() -> T) -> T {
    SOURCE.sync_scope(Cell::new(source), report)
}

/// Runs a part of the current request on another thread. Returns its result with what set the deadline there.
pub(super) fn with_its_source<T>(part: impl FnOnce() -> T) -> (T, Option<&'static str>) {
    SOURCE.sync_scope(Cell::new(None), || (part(), source()))
}

/// Notes what set the deadline of the current request; `None` for the server's own.
pub(super) fn set_source(source: Option<&'static str>) {
    // Outside a request, nobody asks.
    let _ = SOURCE.try_with(|cell| cell.set(source));
}

/// What set the deadline of the current request; `None` if it has the server's own.
pub(super) fn source() -> Option<&'static str> {
    SOURCE.try_with(Cell::get).ok().flatten()
}
