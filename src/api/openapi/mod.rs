//! The description of every route, at `/openapi.json`, and a page to read it and try it, at `/docs`.
//!
//! [`Api`] is the one list: a handler that bears `#[utoipa::path]` is added there.

pub(super) mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Ref, RefOr};
use utoipa::{IntoResponses, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

use super::{App, chat, compat, error, generation, keys, nim, rewards, service};

/// What the description calls an API key.
const KEY: &str = "api_key";

/// Every route.
#[derive(OpenApi)]
#[openapi(
    info(title = "Assay", description = "Scores of conversations by reward models, and texts by models that generate."),
    paths(
        chat::completions,
        rewards::rewards,
        compat::openrlhf::get_reward,
        compat::slime::reward,
        compat::pooling::classify,
        compat::pooling::pooling,
        compat::embeddings::embeddings,
        compat::tei::predict,
        compat::rerank::rerank,
        compat::rerank::rerank_v1,
        compat::reward::reward,
        generation::completions::completions,
        generation::tokenize::tokenize,
        generation::tokenize::detokenize,
        service::models,
        service::model,
        service::ready,
        service::live,
        service::version,
        service::metrics,
        service::metrics_v1,
        nim::metadata,
        nim::manifest,
        nim::license,
    ),
    components(schemas(error::Body)),
    tags(
        (name = "scores", description = "Scores of conversations"),
        (name = "trainers and peers", description = "The same scores in the forms of others"),
        (name = "text", description = "Text of models that generate, and token ids"),
        (name = "service", description = "What the server says of itself"),
    )
)]
struct Api;

/// The routes of the description and of its page. Where keys are asked for, the description says by which
/// routes, and so the page has a place to type one.
pub(super) fn routes(app: &App) -> Router<Arc<App>> {
    let mut api = Api::openapi();
    if app.keys.is_some() {
        ask_for_keys(&mut api, app.settings.security.protect_metrics);
    }
    SwaggerUi::new("/docs").url("/openapi.json", api).into()
}

fn ask_for_keys(api: &mut openapi::OpenApi, protect_metrics: bool) {
    let key =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("One of this server's keys"));
    let schemes = &mut api.components.get_or_insert_default().security_schemes;
    schemes.insert(KEY.into(), RefOr::T(SecurityScheme::Http(key.build())));
    api.security = Some(vec![SecurityRequirement::new(KEY, [""; 0])]);
    let open = api.paths.paths.iter_mut().filter(|(path, _)| keys::is_open(path, protect_metrics));
    for operation in open.filter_map(|(_, item)| item.get.as_mut()) {
        operation.security = Some(Vec::new());
    }
}

/// Errors of any route, each in OpenAI's form.
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
        known.into_iter().map(|(status, text)| (status.to_owned(), RefOr::T(error_response(text)))).collect()
    }
}

fn error_response(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use utoipa::OpenApi;

    /// Every `$ref` in a value.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn what_asks_for_a_key_says_so() {
        let mut api = super::Api::openapi();
        super::ask_for_keys(&mut api, true);
        let api = serde_json::to_value(api).unwrap();
        assert_eq!(api["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
        assert_eq!(api["security"], serde_json::json!([{"api_key": []}]));
        let open = |path: &str| api["paths"][path]["get"]["security"] == serde_json::json!([]);
        assert!(open("/v1/health/ready") && !open("/v1/models") && !open("/metrics"));
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let api = serde_json::to_value(super::Api::openapi()).unwrap();
        let mut found = BTreeSet::new();
        references(&api, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            assert!(api.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
}
