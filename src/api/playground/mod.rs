//! `GET /`: a page to try a model with. Its files are embedded, and it uses the public routes only.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The page's modules.
const SCRIPTS: [(&str, &str); 4] = [
    ("/playground.js", include_str!("playground.js")),
    ("/dom.js", include_str!("dom.js")),
    ("/form.js", include_str!("form.js")),
    ("/results.js", include_str!("results.js")),
];

/// The page may load its own files, send requests to this server, and do nothing else.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new()
        .route("/", get(async || file("text/html", include_str!("index.html"))))
        .route("/playground.css", get(async || file("text/css", include_str!("playground.css"))));
    for (path, text) in SCRIPTS {
        router = router.route(path, get(async move || file("text/javascript", text)));
    }
    router
}

fn file(content_type: &str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{content_type}; charset=utf-8")),
        (header::CACHE_CONTROL, "no-cache".into()),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY.into()),
    ];
    (headers, text).into_response()
}
