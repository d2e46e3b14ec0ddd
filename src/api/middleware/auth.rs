//! Asks for an API key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::api::app::App;
use crate::api::error::ApiError;

/// Lets a request through that has one of the server's keys, or any if the server has none.
pub(in crate::api) async fn require_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(keys) = &app.keys {
        let name = keys.check(request.headers())?;
        tracing::Span::current().record("key", name.as_str());
    }
    Ok(next.run(request).await)
}
