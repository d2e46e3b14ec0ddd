//! `POST /rerank` and `POST /v1/rerank`: responses to one prompt, the best first. With `documents` as
//! Cohere, Jina and vLLM have it, with `texts` as text-embeddings-inference does.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{Text, strings, truncate_prompt_tokens};
use super::{Call, Unknown, Usage, score, tei};
use crate::api::fields::{Fields, wrong_type};
use crate::api::openapi::{Errors, requests};
use crate::api::request::{check_count, check_size};
use crate::api::{ApiError, App};
use crate::config::ServerSettings;
use crate::prompt::Message;

#[derive(Debug, Serialize, ToSchema)]
struct Results<'a> {
    id: String,
    model: &'a str,
    results: Vec<Ranked>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct Ranked {
    index: usize,
    relevance_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Document {
    text: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Rank {
    index: usize,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// The answer to `documents`, or to `texts`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Order<'a> {
    Documents(Results<'a>),
    Texts(Vec<Rank>),
}

/// Whose form the answer has.
enum Form {
    Documents,
    Texts,
}

struct Shape {
    form: Form,
    /// Most results; all if 0.
    top: usize,
    /// The texts, where they are to be sent back.
    texts: Option<Vec<String>>,
}

/// Scores every response and puts the best first; equal ones stay in their order.
#[utoipa::path(post, path = "/rerank", tag = "trainers and compat", request_body = requests::RerankRequest, responses((status = 200, body = Order), Errors))]
pub(super) async fn rerank(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut answer = score(&app, request, Unknown::Refused, read).await?;
    let mut order: Vec<_> = answer.singles()?.into_iter().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    if answer.shape.top > 0 {
        order.truncate(answer.shape.top);
    }
    let mut texts = answer.shape.texts.take();
    let mut text = |index: usize| texts.as_mut()?.get_mut(index).map(std::mem::take);
    match answer.shape.form {
        Form::Texts => {
            let rank = |(index, score)| Rank { index, score, text: text(index) };
            Ok(answer.respond(Order::Texts(order.into_iter().map(rank).collect())))
        }
        Form::Documents => {
            let ranked = |(index, relevance_score)| {
                let document = text(index).map(|text| Document { text });
                Ranked { index, relevance_score, document }
            };
            Ok(answer.respond(Order::Documents(Results {
                id: format!("rerank-{}", Uuid::new_v4().simple()),
                model: answer.model.name,
                results: order.into_iter().map(ranked).collect(),
                usage: answer.usage(),
            })))
        }
    }
}

/// The same as at `/rerank`.
#[utoipa::path(post, path = "/v1/rerank", tag = "trainers and compat", request_body = requests::RerankRequest,
               responses((status = 200, body = Order), Errors))]
pub(super) async fn rerank_v1(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    rerank(state, request).await
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<Call<Shape>, ApiError> {
    let query: String = fields.require("query")?;
    let documents = fields.take::<Vec<Value>>("documents")?;
    let (form, name, responses, sent_back, activation, length) = match documents {
        Some(list) => {
            let sent_back = fields.take::<bool>("return_documents")?.unwrap_or(true);
            let asked = fields.take::<bool>("use_activation")? == Some(true);
            let length = truncate_prompt_tokens(fields)?;
            let activation = asked.then_some("use_activation");
            (Form::Documents, "documents", self::documents(list, settings)?, sent_back, activation, length)
        }
        None if fields.has("texts") => {
            let sent_back = fields.take::<bool>("return_text")?.unwrap_or(false);
            let (activation, length) = (tei::raw_scores(fields)?, tei::truncate(fields)?);
            (Form::Texts, "texts", strings(fields, "texts", settings)?, sent_back, activation, length)
        }
        None => {
            let reason = "is missing or null: send a list of texts, which are the responses to `query`";
            return Err(ApiError::Invalid("documents".into(), reason.into()));
        }
    };
    check_size(name, query.len(), &responses, settings)?;
    let top = fields.take::<i64>("top_n")?.unwrap_or(0);
    let top = usize::try_from(top)
        .map_err(|_| ApiError::Invalid("top_n".into(), "must be a number of results, or 0 for all".into()))?;
    let turn = |role: &str, text: &str| Message { role: role.into(), content: text.into() };
    let conversation =
        |text: &String| Text::Conversation(vec![turn("user", &query), turn("assistant", text)]);
    let texts = responses.iter().map(conversation).collect();
    let shape = Shape { form, top, texts: sent_back.then_some(responses) };
    Ok(Call { texts, shape, activation, length })
}

/// Texts, or objects that hold one.
fn documents(list: Vec<Value>, settings: &ServerSettings) -> Result<Vec<String>, ApiError> {
    check_count("documents", list.len(), settings)?;
    let document = |(index, value): (usize, Value)| {
        let path = format!("documents[{index}]");
        match value {
            Value::String(text) => Ok(text),
            object @ Value::Object(_) => Fields::from_value(path, object)?.require("text"),
            other => Err(wrong_type(path, "a string, or an object with `text`", &other)),
        }
    };
    list.into_iter().enumerate().map(document).collect()
}
