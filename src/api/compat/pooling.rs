//! `POST /classify` and `POST /pooling`: vLLM's, which verl and others ask.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{messages_or_input, truncate_prompt_tokens};
use super::{Answer, Call, Unknown, Usage, score, values};
use crate::api::answer::unix_time;
use crate::api::fields::Fields;
use crate::api::openapi::{Errors, requests};
use crate::api::{ApiError, App};
use crate::config::ServerSettings;
use crate::serving::Scored;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pool)]
struct List<'a, T> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<T>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct Class {
    index: usize,
    /// The attribute of the largest score.
    label: Option<String>,
    /// Scores in the model's order; logits, unless probabilities are asked for.
    probs: Vec<f64>,
    num_classes: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct Pooled {
    index: usize,
    object: &'static str,
    data: Rows,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Rows {
    /// A text's scores.
    Scores(Vec<f64>),
    /// Of each step, the probabilities that it is wrong and that it is right.
    Steps(Vec<[f64; 2]>),
}

/// Scores texts, or a conversation.
#[utoipa::path(post, path = "/classify", tag = "trainers and compat", request_body = requests::PoolingRequest, responses((status = 200, body = List<Class>), Errors))]
pub(super) async fn classify(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Refused, read).await?;
    let class = |(index, scored): (usize, &Scored)| {
        let probs = values(scored);
        let largest = scored.scores.pairs.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        Class { index, label: largest.map(|(name, _)| name.clone()), num_classes: probs.len(), probs }
    };
    let data = answer.scored.iter().enumerate().map(class).collect();
    Ok(answer.respond(list("classify", data, &answer)))
}

/// The same, in the form of vLLM's poolers.
#[utoipa::path(post, path = "/pooling", tag = "trainers and compat", request_body = requests::PoolingRequest, responses((status = 200, body = List<Pooled>), Errors))]
pub(super) async fn pooling(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Refused, read).await?;
    let pooled = |(index, scored): (usize, &Scored)| {
        let scores = values(scored);
        let data = match answer.head.scores_steps() {
            true => Rows::Steps(scores.into_iter().map(|right| [1.0 - right, right]).collect()),
            false => Rows::Scores(scores),
        };
        Pooled { index, object: "pooling", data }
    };
    let data = answer.scored.iter().enumerate().map(pooled).collect();
    Ok(answer.respond(list("pool", data, &answer)))
}

fn list<'a, T>(prefix: &str, data: Vec<T>, answer: &Answer<'a, ()>) -> List<'a, T> {
    List {
        id: format!("{prefix}-{}", Uuid::new_v4().simple()),
        object: "list",
        created: unix_time(),
        model: answer.model.name,
        data,
        usage: answer.usage(),
    }
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<Call<()>, ApiError> {
    let texts = messages_or_input(fields, settings)?;
    let mut activation = None;
    // The second and third are older names of the first.
    for name in ["use_activation", "activation", "softmax"] {
        if fields.take::<bool>(name)? == Some(true) {
            activation = Some(name);
        }
    }
    // What these ask for is done anyway: tokens that every text of the model has are neither missing
    // nor doubled.
    fields.take::<bool>("add_special_tokens")?;
    fields.take_one_of("encoding_format", &["float"])?;
    fields.take_one_of("task", &["classify", "token_classify", "reward", "score"])?;
    no_generation_prompt(fields)?;
    Ok(Call { texts, shape: (), activation, length: truncate_prompt_tokens(fields)? })
}

fn no_generation_prompt(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.take::<Value>("add_generation_prompt")? {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(_) => Err(ApiError::Unsupported(
            fields.path("add_generation_prompt"),
            "the engine knows what follows a conversation; leave it out".into(),
        )),
    }
}
