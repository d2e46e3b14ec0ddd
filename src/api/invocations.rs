//! `POST /invocations`, the one route that SageMaker calls, and `POST /`, which Hugging Face's endpoints call: the
//! fields of a request say which route it is for.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::ApiError;
use super::fields::{nearest, not_an_object};
use super::openapi::Errors;
use super::request::ReceivedRequest;
use super::{chat, compat, generation, rewards};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(invocations)).routes(routes!(root))
}

/// A route that a request may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Chat,
    Completions,
    Rewards,
    Classify,
    Pooling,
    Rerank,
    Score,
    Predict,
    GetReward,
}

/// The fields that a request for each route has. The first row whose fields are all there decides.
const TARGETS: [(&[&str], Target); 19] = [
    (&["conversations"], Target::Rewards),
    (&["responses"], Target::Rewards),
    (&["query", "documents"], Target::Rerank),
    (&["query", "texts"], Target::Rerank),
    (&["items"], Target::Score),
    (&["text_1"], Target::Score),
    (&["queries"], Target::Score),
    (&["data_1"], Target::Score),
    (&["query"], Target::GetReward),
    (&["inputs"], Target::Predict),
    (&["input", "encoding_format"], Target::Pooling),
    (&["input", "task"], Target::Pooling),
    (&["input"], Target::Classify),
    (&["text"], Target::Classify),
    (&["input_ids"], Target::Classify),
    (&["prompt"], Target::Completions),
    (&["messages", "encoding_format"], Target::Pooling),
    (&["messages", "task"], Target::Pooling),
    (&["messages"], Target::Classify),
];

/// Answers a request for another route, which the fields identify: as `/classify`, `/pooling`, `/rerank`, `/score`,
/// `/predict`,
/// `/get_reward` or `/v1/rewards`, or, by a model that generates text, as chat or completions.
#[utoipa::path(
    post,
    path = "/invocations",
    tag = "compatibility",
    request_body(
        content = Value,
        example = json!({"query": "Hello", "documents": ["Good day", "Go away"]}),
    ),
    responses((status = 200, body = Value), Errors),
)]
async fn invocations(app: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    dispatch(app, request, "messages").await
}

/// Answers a request for another route; an error about one that is for none names the field `usual`.
async fn dispatch(
    State(app): State<Arc<App>>,
    request: Request,
    usual: &'static str,
) -> Result<Response, ApiError> {
    let generates = app.generator().is_ok();
    let received = ReceivedRequest::read(&app, request).await?;
    let (target, request) = received.inspect(&app, move |body| target(body, generates, usual)).await?;
    let app = State(app);
    match target {
        Target::Chat => chat::completions(app, request).await,
        Target::Completions => generation::text_completions(app, request).await,
        Target::Rewards => rewards::rewards(app, request).await,
        Target::Classify => compat::classify(app, request).await,
        Target::Pooling => compat::pooling(app, request).await,
        Target::Rerank => compat::rerank(app, request).await,
        Target::Score => compat::score(app.0, request).await,
        Target::Predict => compat::predict(app, request).await,
        Target::GetReward => compat::get_reward(app, request).await,
    }
}

/// Answers a request of `/predict`, or, with `query` and `texts`, of `/rerank`.
#[utoipa::path(
    post,
    path = "/",
    tag = "compatibility",
    request_body(content = Value, example = json!({
        "inputs": "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>", "parameters": {"top_k": 1}
    })),
    responses((status = 200, body = Value), Errors),
)]
async fn root(app: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    // What clients of TEI and of Hugging Face send.
    dispatch(app, request, "inputs").await
}

/// The route that a body is for, by the names of its fields.
fn target(body: &[u8], generates: bool, usual: &str) -> Result<Target, ApiError> {
    let names: Names = serde_json::from_slice(body).map_err(|_| not_names(body))?;
    let known = TARGETS.iter().find(|(fields, _)| fields.iter().all(|field| names.0.contains(*field)));
    match known {
        Some((_, Target::Classify | Target::Pooling)) if generates => Ok(Target::Chat),
        Some((_, target)) => Ok(*target),
        None => Err(for_no_route(&names, usual)),
    }
}

/// The error about a body that is not a JSON object.
fn not_names(body: &[u8]) -> ApiError {
    match serde_json::from_slice(body) {
        Ok(value) => not_an_object(&value),
        Err(error) => ApiError::malformed_json(body, &error),
    }
}

/// The error about a body whose fields name no route.
fn for_no_route(names: &Names, usual: &str) -> ApiError {
    let mut reason =
        "is missing, and no other field says which route this is for: send a request of /classify, \
                      /pooling, /rerank, /score, /predict, /get_reward, /v1/rewards or /v1/chat/completions"
            .to_owned();
    for meant in TARGETS.iter().flat_map(|(fields, _)| *fields) {
        let Some(found) = nearest(meant, names.0.iter().map(String::as_str)) else { continue };
        reason += &if found == *meant {
            format!("; `{found}` is there, and needs another field beside it")
        } else {
            format!("; `{found}` is there: did you mean `{meant}`?")
        };
        break;
    }
    ApiError::invalid(usual, reason)
}

/// The names of a JSON object's fields. Their values are skipped.
struct Names(BTreeSet<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.insert(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_of_a_request_say_which_route_it_is_for() {
        for (body, scores, generates) in [
            (json!({"messages": []}), Target::Classify, Target::Chat),
            (json!({"messages": [], "responses": []}), Target::Rewards, Target::Rewards),
            (json!({"prompt": "a"}), Target::Completions, Target::Completions),
            (json!({"query": "a", "documents": []}), Target::Rerank, Target::Rerank),
            (json!({"query": "a", "items": []}), Target::Score, Target::Score),
            (json!({"query": ["a"], "prompts": []}), Target::GetReward, Target::GetReward),
            (json!({"text_1": "a", "text_2": "b"}), Target::Score, Target::Score),
            (json!({"inputs": "a"}), Target::Predict, Target::Predict),
            (json!({"input": "a", "encoding_format": "float"}), Target::Pooling, Target::Chat),
        ] {
            let body = body.to_string();
            assert_eq!(target(body.as_bytes(), false, "messages").unwrap(), scores, "{body}");
            assert_eq!(target(body.as_bytes(), true, "messages").unwrap(), generates, "{body}");
        }
        for wrong in ["{}", "[]", "{\"inputs\"", ""] {
            assert!(target(wrong.as_bytes(), false, "messages").is_err(), "{wrong}");
        }
    }
}
