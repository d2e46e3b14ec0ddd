//! Names the engine that gave a response.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::api::app::App;

/// Adds the headers to the response, once the engine is loaded.
pub(in crate::api) async fn name_engine(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Some(engine) = app.engine_headers() {
        engine.add_to(response.headers_mut());
    }
    response
}
