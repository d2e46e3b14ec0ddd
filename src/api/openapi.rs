//! The OpenAPI document, at `/openapi.json`, and a page to read it and try it, at `/docs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Ref, RefOr};
use utoipa::{IntoResponses, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::app::App;
use super::error::ErrorBody;

/// Name of the API key in the document.
const KEY: &str = "api_key";

/// The document without the routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Assay", description = "Scores of conversations by reward models, and text by models that generate. [Playground](./)"),
    components(schemas(ErrorBody)),
    tags(
        (name = "scores", description = "Scores of conversations"),
        (name = "compatibility", description = "The same scores in the formats of trainers and other servers"),
        (name = "text", description = "Text of models that generate, and token ids"),
        (name = "service", description = "The server's models, health, version and metrics"),
    )
)]
struct Document;

/// The document of the routes that are open to everyone and of those that ask for a key if `has_keys`.
pub(super) fn document(
    open: &OpenApiRouter<Arc<App>>,
    keyed: &OpenApiRouter<Arc<App>>,
    has_keys: bool,
) -> openapi::OpenApi {
    let (mut open, mut keyed) = (open.get_openapi().clone(), keyed.get_openapi().clone());
    if has_keys {
        set_security(&mut open, &[]);
        set_security(&mut keyed, &[SecurityRequirement::new(KEY, [""; 0])]);
    }
    let mut document = Document::openapi();
    document.merge(open);
    document.merge(keyed);
    if has_keys {
        let key =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("One of this server's keys"));
        let schemes = &mut document.components.get_or_insert_default().security_schemes;
        schemes.insert(KEY.into(), RefOr::T(SecurityScheme::Http(key.build())));
    }
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        // Unlike a description, a summary is not Markdown.
        operation.summary = operation.summary.take().map(|summary| summary.replace('`', ""));
    }
    // axum's `{*name}`, which takes slashes too, is `{name}` here.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    document
}

fn set_security(document: &mut openapi::OpenApi, security: &[SecurityRequirement]) {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(security.to_vec());
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, post, .. } = item;
    [get, post].into_iter().flatten()
}

/// What the page may load: its own files, and images and styles that it contains. It may send requests to this
/// server only.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' \
     data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The document and its page.
pub(super) fn pages(document: openapi::OpenApi) -> Router<Arc<App>> {
    // The base layout, unlike the default one, has no top bar with Swagger's name.
    let page =
        SwaggerUi::new("/docs").url("/openapi.json", document).config(Config::default().use_base_layout());
    Router::from(page).layer(from_fn(with_policy_and_colours))
}

/// The script that starts the page.
const START_SCRIPT: &str = "/docs/swagger-initializer.js";
/// Follows the browser's choice of light or dark. In Swagger's own page, the top bar does it.
const COLOURS: &str = r#"
document.title = "Assay: API documentation";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
  // The page's own background is light, and covers that of the mode.
  document.body.style.background = "none";
})();
"#;

async fn with_policy_and_colours(request: Request, next: Next) -> axum::response::Response {
    let is_start = request.uri().path() == START_SCRIPT;
    let mut response = next.run(request).await;
    if is_start {
        let (mut parts, body) = response.into_parts();
        let script = to_bytes(body, usize::MAX).await.unwrap_or_default();
        parts.headers.remove(header::CONTENT_LENGTH);
        response =
            axum::response::Response::from_parts(parts, Body::from([&script, COLOURS.as_bytes()].concat()));
    }
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    response
}

/// The errors of any route.
pub(super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let known = [
            ("400", "The request is wrong; `param` names the field."),
            ("401", "The server wants an API key."),
            ("404", "No such model is served."),
            ("408", "The request took too long to arrive."),
            ("413", "The body is too large."),
            ("429", "The queue is full; `Retry-After` says when there should be room."),
            ("500", "The engine failed on this request."),
            ("503", "The server is starting, ending, or its queue is full."),
            ("504", "The deadline passed."),
        ];
        let mut responses = BTreeMap::new();
        for (status, description) in known {
            responses.insert(status.to_owned(), RefOr::T(error_response(description)));
        }
        responses
    }
}

fn error_response(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}
