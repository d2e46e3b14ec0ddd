//! Which field or header set the deadline of the current request, so that an error about the deadline names it.

use std::cell::Cell;

tokio::task_local! {
    static SOURCE: Cell<Option<&'static str>>;
}

/// Runs the future that answers a request.
pub(super) async fn scope<T>(request: impl Future<Output = T>) -> T {
    SOURCE.scope(Cell::new(None), request).await
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
