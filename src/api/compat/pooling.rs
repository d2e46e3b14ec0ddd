//! `POST /pooling`: vLLM's poolers.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::encoding::{EmbedDtype, Encoding, EncodingFormat, Endianness, Numbers, Written};
use super::inputs::{InputSchema, messages_or_input};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, ReadAt, ScoredTexts, UnknownFields, score};
use super::vllm::ActivationSchema;
use super::vllm::{List, activation};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::PromptEndSchema;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;
use crate::reward::Scores;
use crate::serving::Scored;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(pooling))
}

/// `messages`, or `input`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct PoolRequest {
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    task: Option<TaskSchema>,
    #[serde(flatten)]
    activation: ActivationSchema,
    encoding_format: Option<EncodingFormat>,
    embed_dtype: Option<EmbedDtype>,
    endianness: Option<Endianness>,
    /// Whether the tokens that every text of the model has are added to `input` where it lacks them.
    add_special_tokens: Option<bool>,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

/// `score` is an older name of `classify`.
#[derive(Deserialize, ToSchema)]
#[schema(as = PoolingTask)]
#[serde(rename_all = "snake_case")]
enum TaskSchema {
    Reward,
    Classify,
    TokenClassify,
    Score,
}

/// What is returned, by vLLM's names of its poolers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A row of scores where the model is read: of its steps, or of its last token. This is the default, so that
    /// `data[-1][0]` is a reward.
    Reward,
    /// The scores of a text.
    Classify,
    /// A row of scores for every token.
    TokenClassify,
}

struct PoolShape {
    task: Task,
    encoding: Encoding,
}

#[derive(Debug, Serialize, ToSchema)]
struct Pooled {
    index: usize,
    object: &'static str,
    /// Rows of scores; one row for the task `classify`. With a model that scores steps, each row has the
    /// probabilities that the step is wrong and that it is right.
    data: Written,
}

impl Pooled {
    fn new(index: usize, data: Written) -> Self {
        Self { index, object: "pooling", data }
    }
}

/// Scores texts, or a conversation, in the format of vLLM's poolers.
#[utoipa::path(
    post,
    path = "/pooling",
    tag = "compatibility",
    request_body(content = PoolRequest, example = json!({
        "model": "demo",
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    })),
    responses((status = 200, body = List<Pooled>), Errors),
)]
pub(in crate::api) async fn pooling(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let PoolShape { task, encoding } = texts.shape;
    let mut numbers = Vec::with_capacity(texts.scored.len());
    for scored in &texts.scored {
        numbers.push(rows(&texts, scored, task)?);
    }
    encoding.respond("pool", &texts, &numbers, Pooled::new)
}

/// The numbers of one text.
fn rows(texts: &ScoredTexts<'_, PoolShape>, scored: &Scored, task: Task) -> Result<Numbers, ApiError> {
    let scored = texts.answered(scored);
    if texts.head.scores_steps() {
        if task == Task::Classify {
            let reason = "this model scores steps, and has no scores of a whole text; leave it out";
            return Err(ApiError::unsupported("task", reason));
        }
        let steps = row(&scored.scores).into_iter();
        return Ok(Numbers::Rows(if texts.head.steps_are_probabilities() {
            steps.map(|right| vec![1.0 - right, right]).collect()
        } else {
            steps.map(|score| vec![score]).collect()
        }));
    }
    Ok(match task {
        Task::Reward => Numbers::Rows(vec![row(&scored.scores)]),
        Task::Classify => Numbers::Row(row(&scored.scores)),
        Task::TokenClassify => Numbers::Rows(scored.tokens.iter().map(row).collect()),
    })
}

fn row(scores: &Scores) -> Vec<f32> {
    scores.pairs.iter().map(|(_, score)| *score).collect()
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<PoolShape>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    let activation = activation(fields)?;
    let shape = PoolShape { task: task(fields)?, encoding: Encoding::take(fields)? };
    let read_at = if shape.task == Task::TokenClassify { ReadAt::EachToken("task") } else { ReadAt::Model };
    Ok(CompatRequest { activation, read_at, ..CompatRequest::new(inputs, shape) })
}

/// Takes `task`. `score` is an older name of `classify`.
fn task(fields: &mut Fields) -> Result<Task, ApiError> {
    let Some(name) = fields.take::<String>("task")? else { return Ok(Task::Reward) };
    match name.as_str() {
        "reward" => Ok(Task::Reward),
        "classify" | "score" => Ok(Task::Classify),
        "token_classify" => Ok(Task::TokenClassify),
        "embed" | "token_embed" | "plugin" => {
            let reason = "this model gives scores; send `classify` or `token_classify`, or leave it out";
            Err(ApiError::unsupported(fields.path("task"), reason))
        }
        _ => Err(ApiError::invalid(
            fields.path("task"),
            "must be one of classify, token_classify, reward, score",
        )),
    }
}
