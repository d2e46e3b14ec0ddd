//! `POST /get_reward`: OpenRLHF's remote reward model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::text::{Text, strings};
use super::{Call, Unknown, score};
use crate::api::fields::Fields;
use crate::api::openapi::{Errors, requests};
use crate::api::{ApiError, App};
use crate::config::ServerSettings;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GetRewardAnswer)]
struct Rewards<'a> {
    rewards: &'a [f64],
    /// The same again: OpenRLHF filters by these.
    scores: &'a [f64],
    #[schema(value_type = Object)]
    extra_logs: Map<String, Value>,
}

/// Scores texts that the trainer has templated.
#[utoipa::path(post, path = "/get_reward", tag = "trainers and compat", request_body = requests::GetRewardRequest, responses((status = 200, body = Rewards), Errors))]
pub(super) async fn get_reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Ignored, read).await?;
    let rewards = answer.singles()?;
    Ok(answer.respond(Rewards { rewards: &rewards, scores: &rewards, extra_logs: Map::new() }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<Call<()>, ApiError> {
    let texts = strings(fields, "query", settings)?.into_iter().map(Text::Templated).collect();
    Ok(Call { texts, shape: (), activation: None, length: None })
}
