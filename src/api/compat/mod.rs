//! Routes of RLHF trainers and of other servers: each reads its own request, and writes its own answer,
//! around the one way from texts to scores that is here. Whatever fails fails the whole call, since
//! none of their answers has a place for an error.

pub(super) mod embeddings;
pub(super) mod openrlhf;
pub(super) mod pooling;
pub(super) mod rerank;
pub(super) mod reward;
pub(super) mod slime;
pub(super) mod tei;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, http::HeaderValue};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use self::text::Text;
use super::answer::TRUNCATED_TOKENS;
use super::fields::Fields;
use super::request::{RequestReader, SchedulingFields, take_length_policy};
use super::{ApiError, App};
use crate::config::ServerSettings;
use crate::reward::Head;
use crate::serving::{LengthPolicy, Model, Scored};

/// The routes.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/get_reward", post(openrlhf::get_reward))
        .route("/slime/reward", post(slime::reward))
        .route("/classify", post(pooling::classify))
        .route("/pooling", post(pooling::pooling))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/predict", post(tei::predict))
        .route("/rerank", post(rerank::rerank))
        .route("/v1/rerank", post(rerank::rerank_v1))
        .route("/v1/reward", post(reward::reward))
}

/// What a route read of its request; `shape` is what its answer depends on besides.
struct Call<T> {
    texts: Vec<Text>,
    shape: T,
    /// Whether probabilities are asked for, and by which field.
    activation: Option<&'static str>,
    /// How texts that are too long are to be cut, if the route has a field of its own for that.
    length: Option<LengthPolicy>,
}

/// Whether a route refuses fields that it does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Refused,
    /// Trainers send such fields along for reward functions of their users' own.
    Ignored,
}

/// The scores of a call's texts, in their order.
struct Answer<'a, T> {
    model: Model<'a>,
    head: &'a Head,
    scored: Vec<Scored>,
    shape: T,
}

/// Tokens that were read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PeerUsage)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokens,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PeerPromptTokens)]
struct PromptTokens {
    cached_tokens: usize,
}

/// The way of every route here: reads the request with `read`, and scores its texts together.
async fn score<T: Send + 'static>(
    app: &Arc<App>,
    request: Request,
    unknown: Unknown,
    read: fn(&mut Fields, &ServerSettings) -> Result<Call<T>, ApiError>,
) -> Result<Answer<'_, T>, ApiError> {
    let mut reader = RequestReader::read(app, request).await?;
    let (prompts, call, name, scheduling) = reader
        .prepare(app, move |app, body| {
            let mut fields = Fields::parse(body)?;
            // One client sends an empty name where it means none.
            let name = fields.take::<String>("model")?.filter(|name| !name.is_empty());
            app.model(name.as_deref())?;
            let scheduling = SchedulingFields::take(&mut fields)?;
            let length = take_length_policy(&mut fields, &app.settings.server)?;
            for name in ["user", "request_id"] {
                fields.take::<Value>(name)?;
            }
            let mut call = read(&mut fields, &app.settings.server)?;
            if unknown == Unknown::Refused {
                fields.end("this route knows no such field; leave it out")?;
            }
            let texts = std::mem::take(&mut call.texts);
            let prompts = text::encode(app, texts, call.length.unwrap_or(length))?;
            Ok((prompts, call, name, scheduling))
        })
        .await?;
    let scheduling = reader.scheduling(app, scheduling)?;
    let (model, scorer) = (app.model(name.as_deref())?, app.scorer()?);
    let results = scorer.score_all(prompts.into_iter().map(Ok), scheduling).await;
    let alone = results.len() == 1;
    let scored = results.into_iter().enumerate().map(|(index, result)| match result {
        Ok(scored) => activated(scored.select(model), scorer.head(), call.activation),
        Err(error) if alone => Err(error),
        Err(error) => Err(ApiError::Item(index, Box::new(error))),
    });
    let scored = scored.collect::<Result<_, _>>()?;
    Ok(Answer { model, head: scorer.head(), scored, shape: call.shape })
}

/// Probabilities of scores, where a request asks for them.
fn activated(scored: Scored, head: &Head, field: Option<&'static str>) -> Result<Scored, ApiError> {
    match field {
        None => Ok(scored),
        Some(_) if head.is_raw() => Ok(Scored { scores: scored.scores.activated(), ..scored }),
        // The server was told to serve probabilities.
        Some(_) if head.options().is_some_and(|options| options.activation.is_some()) => Ok(scored),
        Some(field) => {
            let reason =
                "this model's scores are no logits, of which probabilities could be made; leave it out";
            Err(ApiError::Unsupported(field.into(), reason.into()))
        }
    }
}

impl<T> Answer<'_, T> {
    /// The one score that stands for all of a text's.
    fn single(&self, scored: &Scored) -> Result<f64, ApiError> {
        let none = || ApiError::Internal("a text was scored and has no score".into());
        self.model.single(self.head, &scored.scores).map(f64::from).ok_or_else(none)
    }

    fn singles(&self) -> Result<Vec<f64>, ApiError> {
        self.scored.iter().map(|scored| self.single(scored)).collect()
    }

    fn usage(&self) -> Usage {
        let tokens = self.scored.iter().map(|scored| scored.prompt_tokens).sum();
        let cached_tokens = self.scored.iter().map(|scored| scored.cached_tokens).sum();
        Usage {
            prompt_tokens: tokens,
            completion_tokens: 0,
            total_tokens: tokens,
            prompt_tokens_details: PromptTokens { cached_tokens },
        }
    }

    /// The answer of this body; its headers say how many tokens were cut off, if any.
    fn respond(&self, body: impl Serialize) -> Response {
        let mut response = Json(body).into_response();
        let cut = self.scored.iter().filter_map(|scored| scored.truncated);
        let removed: usize = cut.map(|truncated| truncated.tokens_removed).sum();
        if removed > 0 {
            response.headers_mut().insert(TRUNCATED_TOKENS, HeaderValue::from(removed));
        }
        response
    }
}

/// A text's scores, in the model's order, as served.
fn values(scored: &Scored) -> Vec<f64> {
    scored.scores.values().map(|(_, value)| value).collect()
}
