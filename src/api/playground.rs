//! `GET /`: a page to try a model with. Plain files, embedded; everything it does goes through the
//! public routes.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The page may load its own two files, ask this server, and do nothing else.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || file("text/html", include_str!("playground/index.html"))))
        .route("/playground.css", get(async || file("text/css", include_str!("playground/playground.css"))))
        .route(
            "/playground.js",
            get(async || file("text/javascript", include_str!("playground/playground.js"))),
        )
}

fn file(kind: &str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CACHE_CONTROL, "no-cache".into()),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY.into()),
    ];
    (headers, text).into_response()
}
