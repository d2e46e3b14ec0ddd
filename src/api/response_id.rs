//! Ids of responses. As in vLLM, the id of a response ends with that of its request, which the client may have given.

use std::cell::RefCell;

use uuid::Uuid;

/// Longest id that a client may give. Longer ones are replaced, because ids go into log lines.
pub(super) const LONGEST_ID: usize = 128;

tokio::task_local! {
    static REQUEST: RefCell<RequestId>;
}

/// The id of a request.
#[derive(Clone, Debug)]
pub(super) struct RequestId {
    pub(super) id: String,
    /// Whether it comes from the header `X-Request-Id`, which a field of the request does not replace.
    pub(super) is_from_header: bool,
}

/// Runs the future that serves a request.
pub(super) async fn scope<T>(id: RequestId, request: impl Future<Output = T>) -> T {
    REQUEST.scope(RefCell::new(id), request).await
}

/// Notes the id in a field of the current request.
pub(super) fn set_field(id: String) {
    // Outside a request, nobody asks.
    let _ = REQUEST.try_with(|request| {
        let mut request = request.borrow_mut();
        if !request.is_from_header {
            request.id = id;
        }
    });
}

/// The id of a response, such as `chatcmpl-0f3c...`.
pub(super) fn new_id(prefix: &str) -> String {
    let request = REQUEST.try_with(|request| request.borrow().id.clone());
    let request = request.unwrap_or_else(|_| Uuid::new_v4().simple().to_string());
    format!("{prefix}-{request}")
}
