//! The description of every route, at `/openapi.json`, and a page to read it and try it, at `/docs`.
//!
//! [`Api`] is the one list: a handler that bears `#[utoipa::path]` is added there.

pub(super) mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoResponses, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

use super::{App, chat, error, generation, nim, peers, rewards, service};

/// Every route.
#[derive(OpenApi)]
#[openapi(
    info(title = "Assay", description = "Scores of conversations by reward models."),
    paths(
        chat::completions,
        rewards::rewards,
        peers::openrlhf::get_reward,
        peers::slime::reward,
        peers::pooling::classify,
        peers::pooling::pooling,
        peers::embeddings::embeddings,
        peers::tei::predict,
        peers::rerank::rerank,
        peers::rerank::rerank_v1,
        peers::reward::reward,
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

/// The routes of the description and of its page.
pub(super) fn routes() -> Router<Arc<App>> {
    SwaggerUi::new("/docs").url("/openapi.json", Api::openapi()).into()
}

/// Errors of any route that scores, each in OpenAI's form.
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
