//! A client of servers that score: of Assay's own `/v1/rewards`, with all conversations of a row in one
//! request, or of another server's chat completions, with one conversation in each.

mod connect;
mod error;
mod identity;
mod retry;
mod routing;
mod send;
mod server;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use reqwest::StatusCode;
use serde_json::{Value, json};

pub(super) use self::error::API_KEY;
use self::identity::ServerIdentity;
use self::retry::RetryBudget;
use self::routing::PromptDigest;
use self::send::Request;
use self::server::Server;
use self::wire::{
    ErrorObject, ResponseError, concerns_all, error_message, messages, parse_completion, parse_rewards,
    shared_prompt,
};
use super::row_options::RowOptions;
use super::score_source::{NO_PRINCIPLES, ScoreSource, variables_in_journal};
use super::{ScoreError, ScoreResult, Unscored};
use crate::manifest::EngineIdentity;
use crate::manifest::score_options::WEIGHTED;
use crate::prompt::{Message, TemplateVariables, Truncation};
use crate::reward::RankedBy;
use crate::signing::PublicKey;

const REWARDS: &str = "/v1/rewards";
const CHAT_COMPLETIONS: &str = "/v1/chat/completions";

/// What all requests to servers have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestSettings {
    /// The model; the first that the servers list if there is none.
    pub(super) model: Option<String>,
    /// Further variables of the chat template.
    pub(super) variables: TemplateVariables,
    /// The rubric that all conversations are scored by, instead of the model's own scores.
    pub(super) rubric: Option<Value>,
    /// The key that must have signed every response with scores.
    pub(super) verify_key: Option<Arc<PublicKey>>,
}

/// Servers that run the same engine, and how they are asked.
pub(super) struct RewardClient {
    http: reqwest::Client,
    /// At least one.
    servers: Vec<Server>,
    model: String,
    key: Option<String>,
    /// Further variables of the chat template.
    variables: TemplateVariables,
    rubric: Option<Value>,
    verify_key: Option<Arc<PublicKey>>,
    /// What the servers ran when the client connected.
    identity: ServerIdentity,
    /// Whether the servers have `/v1/rewards`.
    has_rewards: bool,
    /// Conversations that may be at one server at once; at least one.
    concurrency: usize,
    /// How long a server may answer nothing before the client asks whether it still answers anything, and how long it may
    /// take to say that.
    silence: Duration,
}

/// A response that no further attempt would change.
enum Response {
    /// The text of a successful response.
    Success(String),
    /// The server refuses the request, with this message.
    Refused(String),
}

/// The root of a server, whose address may be given with `/` or `/v1` at its end.
pub(super) fn server_root(url: &str) -> &str {
    url.trim_end_matches('/').trim_end_matches("/v1")
}

impl ScoreSource for RewardClient {
    fn model(&self) -> &str {
        &self.model
    }

    /// What the servers run. Where that is not known, their addresses have to do.
    fn identity(&self) -> String {
        let place = match self.identity.profile() {
            Some(_) => String::new(),
            None => format!(" at {}", self.urls().collect::<Vec<_>>().join(", ")),
        };
        let variables = variables_in_journal(&self.variables);
        format!("model {}{place}, {}{variables}", self.model, self.identity.line())
    }

    fn engine_id(&self) -> Option<&str> {
        self.identity.profile()
    }

    fn engine_identity(&self) -> Result<EngineIdentity, &'static str> {
        if self.rubric.is_some() || !self.variables.is_empty() {
            return Err(
                "--rubric and --chat-template-kwargs are not in the rows; start the server with them instead",
            );
        }
        self.identity.engine().ok_or(
            "the server does not say which engine it runs; wait until it is ready, or name a server of Assay",
        )
    }

    fn engines(&self) -> usize {
        self.servers.len()
    }

    fn needs_rubrics(&self) -> bool {
        self.rubric.is_none() && self.has_rewards && self.identity.generates()
    }

    /// Whether the model was trained with them, the server says.
    fn refuses_principles(&self) -> Option<&'static str> {
        let is_asked = self.rubric.is_some() || self.needs_rubrics();
        if !self.has_rewards {
            Some("and the server has no route /v1/rewards, which takes it; rename the column")
        } else if is_asked {
            Some(NO_PRINCIPLES)
        } else {
            None
        }
    }

    fn questions(&self) -> String {
        self.rubric.as_ref().map(Value::to_string).unwrap_or_default()
    }

    fn attributes(&self) -> Vec<String> {
        let Some(Value::Array(items)) = &self.rubric else { return self.identity.attributes().to_vec() };
        let names = items.iter().filter_map(|item| item["name"].as_str());
        names.chain([WEIGHTED]).map(str::to_owned).collect()
    }

    fn ranked_by(&self) -> Option<String> {
        let is_asked = self.rubric.is_some() || self.needs_rubrics();
        let name = if is_asked { Some(WEIGHTED) } else { self.identity.ranked_by() };
        name.map(str::to_owned)
    }

    fn ranking_names(&self) -> Vec<String> {
        match (self.identity.step_token(), self.ranked_by()) {
            (Some(_), Some(summary)) => {
                RankedBy::parse(&summary).step().map(RankedBy::summaries).unwrap_or_default()
            }
            _ => self.attributes(),
        }
    }

    fn step_token(&self) -> Option<&str> {
        self.identity.step_token()
    }

    fn score<'a>(
        &'a self,
        conversations: &'a [Vec<Message>],
        row: RowOptions<'a>,
    ) -> BoxFuture<'a, Result<Vec<ScoreResult>, ScoreError>> {
        self.score_row(conversations, row).boxed()
    }
}

impl From<ResponseError> for ScoreError {
    fn from(error: ResponseError) -> Self {
        Self::Gone(format!("cannot read scores from the server's response: {error}").into())
    }
}

impl RewardClient {
    /// The addresses of the servers.
    fn urls(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.url.as_str())
    }

    async fn score_row(
        &self,
        conversations: &[Vec<Message>],
        row: RowOptions<'_>,
    ) -> Result<Vec<ScoreResult>, ScoreError> {
        let prompt = &PromptDigest::from_conversations(conversations);
        let variables = &*row.variables.over(&self.variables);
        if !self.has_rewards {
            let scores = conversations.iter().map(|turns| self.score_by_chat(prompt, turns, variables));
            return try_join_all(scores).await;
        }
        // A row with more conversations than may be at the server at once becomes several requests.
        let parts = conversations.chunks(self.concurrency);
        let row = RowOptions { variables, rubric: row.rubric.or(self.rubric.as_ref()), ..row };
        Ok(try_join_all(parts.map(|part| self.score_by_rewards(prompt, part, row))).await?.concat())
    }

    async fn score_by_chat(
        &self,
        prompt: &PromptDigest,
        conversation: &[Message],
        variables: &TemplateVariables,
    ) -> Result<ScoreResult, ScoreError> {
        let mut body = json!({"model": self.model, "messages": messages(conversation)});
        add_variables(&mut body, variables);
        let request = Request { route: CHAT_COMPLETIONS, body: &body, prompt, conversations: 1, rotation: 0 };
        match self.ask(&request).await? {
            Response::Success(text) => Ok(Ok(parse_completion(&text)?)),
            Response::Refused(reason) => Ok(Err(Unscored::Refused(reason))),
        }
    }

    /// Scores several conversations in one request. If the server refuses it, asks for each half, until a
    /// single conversation is refused. Asks again for those that the server failed to score.
    async fn score_by_rewards(
        &self,
        prompt: &PromptDigest,
        conversations: &[Vec<Message>],
        row: RowOptions<'_>,
    ) -> Result<Vec<ScoreResult>, ScoreError> {
        let mut results: Vec<Option<ScoreResult>> = vec![None; conversations.len()];
        // Indices of the conversations that still need scores, grouped by request.
        let mut requests: Vec<Vec<usize>> = vec![(0..conversations.len()).collect()];
        let mut budget = RetryBudget::new();
        while let Some(mut indices) = requests.pop() {
            let requested: Vec<&[Message]> = indices.iter().map(|&index| &*conversations[index]).collect();
            let (body, rotation) = (self.rewards_body(&requested, row), budget.failures as usize);
            let request =
                Request { route: REWARDS, body: &body, prompt, conversations: indices.len(), rotation };
            let items = match self.ask(&request).await? {
                Response::Success(text) => parse_rewards(&text, indices.len())?,
                Response::Refused(_) if indices.len() > 1 => {
                    let rest = indices.split_off(indices.len() / 2);
                    requests.extend([rest, indices]);
                    continue;
                }
                Response::Refused(reason) => vec![Err(ErrorObject::invalid_request(reason))],
            };
            let (mut retries, mut reason) = (Vec::new(), String::new());
            for (index, item) in indices.iter().zip(items) {
                match item {
                    Err(error) if error.is_retryable(budget.failures) => {
                        retries.push(*index);
                        reason = error.about_row();
                    }
                    Err(error) => results[*index] = Some(Err(Unscored::Refused(error.about_row()))),
                    Ok(scores) => results[*index] = Some(Ok(scores)),
                }
            }
            if retries.len() < indices.len() {
                budget = RetryBudget::new();
            }
            if !retries.is_empty() {
                budget.failures += 1;
                budget.wait(reason, None).await?;
                requests.push(retries);
            }
        }
        debug_assert!(results.iter().all(Option::is_some), "every conversation has a result");
        Ok(results.into_iter().flatten().collect())
    }

    /// A request for several conversations. A prompt that all of them share is in it once.
    fn rewards_body(&self, conversations: &[&[Message]], row: RowOptions<'_>) -> Value {
        // The same as with an engine in this process: a conversation that is too long is an error.
        let (model, truncation) = (&self.model, Truncation::Error.name());
        let mut body = match shared_prompt(conversations) {
            Some((prompt, responses)) => json!({
                "model": model, "truncation": truncation, "messages": messages(prompt), "responses": responses,
            }),
            None => {
                let conversations: Vec<Value> = conversations.iter().map(|turns| messages(turns)).collect();
                json!({"model": model, "truncation": truncation, "conversations": conversations})
            }
        };
        if let Some(rubric) = row.rubric {
            body["rubric"] = rubric.clone();
        }
        if let Some(principle) = row.principle {
            body["principle"] = principle.into();
        }
        add_variables(&mut body, row.variables);
        body
    }

    async fn ask(&self, request: &Request<'_>) -> Result<Response, ScoreError> {
        let (status, text) = self.send(request).await?;
        match status {
            status if status.is_success() => Ok(Response::Success(text)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message = error_message(status, &text);
                Err(ScoreError::Gone(format!("{message}; check the key in {API_KEY}").into()))
            }
            status if status == StatusCode::NOT_FOUND || concerns_all(&text) => {
                Err(ScoreError::Setup(error_message(status, &text).into()))
            }
            status => Ok(Response::Refused(error_message(status, &text))),
        }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// Adds variables for the chat template to a request. Servers take tools in a field of their own.
fn add_variables(body: &mut Value, variables: &TemplateVariables) {
    let Value::Object(mut given) = variables.to_json() else { return };
    if let Some(tools) = given.shift_remove("tools") {
        body["tools"] = tools;
    }
    if !given.is_empty() {
        body["chat_template_kwargs"] = given.into();
    }
}
