//! Which origins' pages may call the server; by default none.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may keep the response to a preflight request.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// An option names something that is not an origin.
#[derive(Debug, thiserror::Error)]
#[error(
    "cors_origin `{0}` is not a valid origin: write it as `https://example.org:8443`, or give a single `*` for all"
)]
pub struct OriginError(String);

/// Allows the origins; a single `*` allows all.
///
/// # Errors
/// One of them is not an origin.
pub(in crate::api) fn layer(origins: &[String]) -> Result<CorsLayer, OriginError> {
    let allowed = match origins {
        [any] if any == "*" => AllowOrigin::any(),
        origins => {
            let origins: Result<Vec<_>, _> = origins.iter().map(|origin| parse(origin)).collect();
            AllowOrigin::list(origins?)
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

fn parse(origin: &str) -> Result<HeaderValue, OriginError> {
    let is_origin = origin
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && !host.contains('/'));
    match HeaderValue::from_str(origin) {
        Ok(value) if is_origin => Ok(value),
        _ => Err(OriginError(origin.to_owned())),
    }
}
