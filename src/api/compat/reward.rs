//! `POST /v1/reward`: FastDeploy's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{messages_or_input, truncate_prompt_tokens};
use super::{Call, Unknown, Usage, score, values};
use crate::api::answer::unix_time;
use crate::api::fields::Fields;
use crate::api::openapi::{Errors, requests};
use crate::api::{ApiError, App};
use crate::config::ServerSettings;
use crate::serving::Scored;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListedRewards)]
struct Rewards<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<Reward>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListedReward)]
struct Reward {
    index: usize,
    object: &'static str,
    /// In the model's order.
    score: Vec<f64>,
}

/// Scores a conversation.
#[utoipa::path(post, path = "/v1/reward", tag = "trainers and compat", request_body = requests::RewardRequest, responses((status = 200, body = Rewards), Errors))]
pub(super) async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Refused, read).await?;
    let reward =
        |(index, scored): (usize, &Scored)| Reward { index, object: "reward", score: values(scored) };
    Ok(answer.respond(Rewards {
        id: format!("reward-{}", Uuid::new_v4().simple()),
        object: "object",
        created: unix_time(),
        model: answer.model.name,
        data: answer.scored.iter().enumerate().map(reward).collect(),
        usage: answer.usage(),
    }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<Call<()>, ApiError> {
    let texts = messages_or_input(fields, settings)?;
    Ok(Call { texts, shape: (), activation: None, length: truncate_prompt_tokens(fields)? })
}
