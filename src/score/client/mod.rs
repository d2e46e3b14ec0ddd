//! A client of a server that scores: of Assay's own `/v1/rewards`, with all conversations of a row in one
//! request, or of another server's chat completions, with one conversation in each.

mod identity;
mod retry;
mod wire;

use std::error::Error;
use std::time::Duration;

use futures_util::future::try_join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::identity::ServerIdentity;
use self::retry::{RetryBudget, is_final, retry_after};
use self::wire::{
    ErrorBody, ErrorObject, ResponseError, concerns_all, error_message, messages, parse_completion,
    parse_rewards, shared_prompt,
};
use super::row_options::RowOptions;
use super::{ScoreError, ScoreResult, Unscored};
use crate::manifest::score_options::WEIGHTED;
use crate::prompt::{Message, TemplateVariables, Truncation};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
const REWARDS: &str = "/v1/rewards";
const CHAT_COMPLETIONS: &str = "/v1/chat/completions";

/// What a server is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// The model; the first that the server lists if there is none.
    pub(super) model: Option<String>,
    /// Further variables of the chat template.
    pub(super) variables: TemplateVariables,
    /// The rubric that all conversations are scored by, instead of the model's own scores.
    pub(super) rubric: Option<Value>,
}

/// A server, and how it is asked.
pub(super) struct RewardClient {
    http: reqwest::Client,
    pub(super) url: String,
    pub(super) model: String,
    key: Option<String>,
    /// Further variables of the chat template.
    variables: TemplateVariables,
    rubric: Option<Value>,
    /// What the server ran when the client connected.
    identity: ServerIdentity,
    /// Whether the server has `/v1/rewards`.
    has_rewards: bool,
    /// A permit for each conversation that may be at the server at once.
    permits: Semaphore,
    concurrency: u32,
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("--url `{0}` must start with http:// or https://")]
    Url(String),
    #[error("cannot create an HTTP client: {}", root_cause(.0))]
    Client(#[source] reqwest::Error),
    #[error("{url}/v1/models does not answer: {}; check --url", root_cause(source))]
    Models { url: String, source: reqwest::Error },
    #[error("{0} serves no model")]
    NoModel(String),
    #[error("{0} has no route {REWARDS}, which takes rubrics; leave --rubric out, or name an Assay server")]
    NoRubrics(String),
}

/// The server came back with something else.
#[derive(Debug, thiserror::Error)]
#[error(
    "{url} now runs another engine, or the same with other score options, than it did for the rows that are scored \
     already; start it again as it was to continue, or delete the .partial file to start over"
)]
struct EngineChanged {
    url: String,
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

impl From<ConnectError> for ScoreError {
    fn from(error: ConnectError) -> Self {
        Self::Setup(error.into())
    }
}

impl From<ResponseError> for ScoreError {
    fn from(error: ResponseError) -> Self {
        Self::Gone(format!("cannot read scores from the server's response: {error}").into())
    }
}

impl RewardClient {
    /// Connects to the server at `url`, its root or with `/v1`.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) async fn connect(
        url: &str,
        asked: Asked,
        key: Option<String>,
        concurrency: usize,
    ) -> Result<Self, ScoreError> {
        let Asked { model, variables, rubric } = asked;
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(ConnectError::Url(url.to_owned()).into());
        }
        // Fails only if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().map_err(ConnectError::Client)?;
        let concurrency = u32::try_from(concurrency.max(1)).unwrap_or(u32::MAX);
        let mut client = Self {
            http,
            url: server_root(url).to_owned(),
            model: String::new(),
            key,
            variables,
            rubric,
            identity: ServerIdentity::default(),
            has_rewards: false,
            permits: Semaphore::new((concurrency as usize).min(Semaphore::MAX_PERMITS)),
            concurrency,
        };
        client.identity = client.ask_identity(model.as_deref()).await?;
        client.model = model.unwrap_or_else(|| client.identity.name().to_owned());
        client.has_rewards = client.probe_rewards().await?;
        if client.rubric.is_some() && !client.has_rewards {
            return Err(ConnectError::NoRubrics(client.url).into());
        }
        Ok(client)
    }

    /// The rubric that all conversations are scored by.
    pub(super) fn rubric(&self) -> Option<&Value> {
        self.rubric.as_ref()
    }

    /// Whether the model has no scores, so that each row must bring a rubric.
    pub(super) fn needs_rubrics(&self) -> bool {
        self.rubric.is_none() && self.has_rewards && self.identity.generates()
    }

    /// Names of the scores that every conversation has; empty if they are not known.
    pub(super) fn attributes(&self) -> Vec<String> {
        let Some(Value::Array(items)) = &self.rubric else { return self.identity.attributes().to_vec() };
        let names = items.iter().filter_map(|item| item["name"].as_str());
        names.chain([WEIGHTED]).map(str::to_owned).collect()
    }

    /// The score that ranks responses; `None` if the server does not say.
    pub(super) fn ranked_by(&self) -> Option<String> {
        let name = if self.rubric.is_some() { Some(WEIGHTED) } else { self.identity.ranked_by() };
        name.map(str::to_owned)
    }

    /// What the server runs; the same in text for a journal.
    pub(super) fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// What the chat template gets besides the messages.
    pub(super) fn variables(&self) -> &TemplateVariables {
        &self.variables
    }

    /// Whether the server has `/v1/rewards`: then it reports what is missing from an empty request.
    async fn probe_rewards(&self) -> Result<bool, ScoreError> {
        let (_, text) = self.post(REWARDS, &json!({})).await?;
        Ok(serde_json::from_str::<ErrorBody>(&text).is_ok_and(|body| body.error.param == "messages"))
    }

    /// Scores the conversations of one row, in their order.
    ///
    /// # Errors
    /// [`ScoreError::Gone`].
    pub(super) async fn score(
        &self,
        conversations: &[Vec<Message>],
        row: RowOptions<'_>,
    ) -> Result<Vec<ScoreResult>, ScoreError> {
        let variables = &*row.variables.over(&self.variables);
        if !self.has_rewards {
            let scores = conversations.iter().map(|turns| self.score_by_chat(turns, variables));
            return try_join_all(scores).await;
        }
        // A row with more conversations than may be at the server at once becomes several requests.
        let parts = conversations.chunks(self.concurrency as usize);
        let row = RowOptions { variables, rubric: row.rubric.or(self.rubric.as_ref()) };
        Ok(try_join_all(parts.map(|part| self.score_by_rewards(part, row))).await?.concat())
    }

    async fn score_by_chat(
        &self,
        conversation: &[Message],
        variables: &TemplateVariables,
    ) -> Result<ScoreResult, ScoreError> {
        let _permit = self.acquire(1).await?;
        let mut body = json!({"model": self.model, "messages": messages(conversation)});
        add_variables(&mut body, variables);
        match self.ask(CHAT_COMPLETIONS, &body).await? {
            Response::Success(text) => Ok(Ok(parse_completion(&text)?)),
            Response::Refused(reason) => Ok(Err(Unscored::Refused(reason))),
        }
    }

    /// Scores several conversations in one request. If the server refuses it, asks for each half, until a
    /// single conversation is refused. Asks again for those that the server failed to score.
    async fn score_by_rewards(
        &self,
        conversations: &[Vec<Message>],
        row: RowOptions<'_>,
    ) -> Result<Vec<ScoreResult>, ScoreError> {
        let _permits = self.acquire(conversations.len()).await?;
        let mut results: Vec<Option<ScoreResult>> = vec![None; conversations.len()];
        // Indices of the conversations that still need scores, grouped by request.
        let mut requests: Vec<Vec<usize>> = vec![(0..conversations.len()).collect()];
        let mut budget = RetryBudget::new();
        while let Some(mut indices) = requests.pop() {
            let requested: Vec<&[Message]> = indices.iter().map(|&index| &*conversations[index]).collect();
            let items = match self.ask(REWARDS, &self.rewards_body(&requested, row)).await? {
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
                    Err(error) if error.is_retryable(budget.attempts) => {
                        retries.push(*index);
                        reason = error.message;
                    }
                    Err(error) => results[*index] = Some(Err(Unscored::Refused(error.message))),
                    Ok(scores) => results[*index] = Some(Ok(scores)),
                }
            }
            if retries.len() < indices.len() {
                budget = RetryBudget::new();
            }
            if !retries.is_empty() {
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
        add_variables(&mut body, row.variables);
        body
    }

    async fn acquire(&self, conversations: usize) -> Result<SemaphorePermit<'_>, ScoreError> {
        let permits = u32::try_from(conversations).unwrap_or(u32::MAX).min(self.concurrency);
        self.permits.acquire_many(permits).await.map_err(|error| ScoreError::Gone(error.into()))
    }

    async fn ask(&self, route: &str, body: &Value) -> Result<Response, ScoreError> {
        let (status, text) = self.post(route, body).await?;
        match status {
            status if status.is_success() => Ok(Response::Success(text)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(ScoreError::Gone(error_message(status, &text).into()))
            }
            status if status == StatusCode::NOT_FOUND || concerns_all(&text) => {
                Err(ScoreError::Setup(error_message(status, &text).into()))
            }
            status => Ok(Response::Refused(error_message(status, &text))),
        }
    }

    /// Status and text of a response that would be the same on another attempt.
    async fn post(&self, route: &str, body: &Value) -> Result<(StatusCode, String), ScoreError> {
        let mut budget = RetryBudget::new();
        loop {
            let request = self.authorized(self.http.post(format!("{}{route}", self.url)).json(body));
            let (reason, delay) = match request.send().await {
                Ok(response) => {
                    let (status, delay) = (response.status(), retry_after(&response));
                    self.identity.check_headers(response.headers(), &self.url)?;
                    match response.text().await {
                        Ok(text) if is_final(status, budget.attempts) => return Ok((status, text)),
                        Ok(text) => (error_message(status, &text), delay),
                        Err(error) => {
                            (format!("{} broke off its response: {}", self.url, root_cause(&error)), None)
                        }
                    }
                }
                Err(error) => (format!("{} does not answer: {}", self.url, root_cause(&error)), None),
            };
            budget.wait(reason, delay).await?;
            self.check_identity().await?;
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

/// The innermost cause of an error. reqwest's own texts are general ("error sending request").
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
