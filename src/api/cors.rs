//! Which origins' pages may call the server. None, unless set.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may keep what it was told.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Allows the origins; `*` stands for any.
///
/// # Errors
/// One of them is no origin; the text says what one looks like.
pub(super) fn layer(origins: &[String]) -> Result<CorsLayer, String> {
    let allowed = match origins {
        [any] if any == "*" => AllowOrigin::any(),
        origins => {
            AllowOrigin::list(origins.iter().map(|origin| parse(origin)).collect::<Result<Vec<_>, _>>()?)
        }
    };
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        // Clients send headers of their own, such as `x-stainless-lang`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("server-timing"),
            header::RETRY_AFTER,
        ])
        .max_age(MAX_AGE))
}

fn parse(origin: &str) -> Result<HeaderValue, String> {
    let has_form = origin
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && !host.contains('/'));
    let value = HeaderValue::from_str(origin).ok().filter(|_| has_form);
    value.ok_or_else(|| {
        format!(
            "cors_origin `{origin}` is no origin: write it as `https://example.org:8443`, or a single `*`"
        )
    })
}
