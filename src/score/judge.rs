//! What scores conversations: an engine in this process, or a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::ScoreError;
use crate::api::{ApiError, App, Cut, Urgency, load, serve};
use crate::config::Settings;
use crate::prompt::Message;
use crate::reward::RewardError;
use crate::scheduler::{Priority, Rejection};

/// Conversations that are with the scorer at once: enough to fill an engine's batches several times
/// over, and to have the responses to one prompt meet there.
const IN_FLIGHT: usize = 512;
/// Time for which a server that is full or restarting is asked again.
const PATIENCE: Duration = Duration::from_secs(600);
/// Times that a conversation on which a server fails is tried again.
const FAULTS: u32 = 3;
/// Shortest and longest time between two attempts.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
const TIMEOUT: Duration = Duration::from_secs(600);

/// A conversation's scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Attribute and score, in the model's order; exactly what a server would send.
    pub scores: Vec<(String, f64)>,
    /// Tokens of the conversation.
    pub tokens: usize,
}

/// Why a conversation has no scores.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// It alone: others may have theirs.
    Row(String),
    /// Nothing can be scored any more.
    Gone(String),
}

/// Scores conversations. Cheap to clone.
#[derive(Clone)]
pub struct Judge {
    kind: Arc<Kind>,
    in_flight: Arc<Semaphore>,
}

enum Kind {
    Engine { app: Box<App>, id: String },
    Server(Server),
}

struct Server {
    client: reqwest::Client,
    url: String,
    model: String,
    key: Option<String>,
}

impl Judge {
    /// The engine that `settings` name, in this process.
    ///
    /// # Errors
    /// It does not load; the text says why.
    pub fn engine(mut settings: Settings) -> Result<Self, ScoreError> {
        // What waits is bounded here; the queue of a server would refuse what does not fit.
        settings.max_queue_requests = settings.max_queue_requests.max(2 * IN_FLIGHT);
        settings.max_queue_tokens = usize::MAX;
        settings.timeout = None;
        let unable = |error: &dyn std::fmt::Display| ScoreError::Option(error.to_string());
        let manifest = serve::choose(&mut settings).map_err(|error| unable(&error))?;
        let app = App::new(settings, &manifest).map_err(|error| unable(&error))?;
        load::load(&app, &manifest).map_err(|error| unable(&error))?;
        Ok(Self::new(Kind::Engine { app: Box::new(app), id: manifest.profile.id }, IN_FLIGHT))
    }

    /// The server at `url` (its root, or with `/v1`), with up to `concurrency` requests at once.
    ///
    /// # Errors
    /// It does not answer, or serves no such model.
    pub async fn server(
        url: &str,
        model: Option<String>,
        key: Option<String>,
        concurrency: usize,
    ) -> Result<Self, ScoreError> {
        let url = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        // Fails only where another was installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| ScoreError::Option(format!("no HTTP client can be made: {error}")))?;
        let mut server = Server { client, url, model: String::new(), key };
        server.model = match model {
            Some(model) => model,
            None => server.first_model().await?,
        };
        Ok(Self::new(Kind::Server(server), concurrency.max(1)))
    }

    fn new(kind: Kind, in_flight: usize) -> Self {
        Self { kind: Arc::new(kind), in_flight: Arc::new(Semaphore::new(in_flight)) }
    }

    /// Tells scores of this engine or model from those of another.
    pub fn identity(&self) -> String {
        match &*self.kind {
            Kind::Engine { id, .. } => format!("engine {id}"),
            Kind::Server(server) => format!("model {} at {}", server.model, server.url),
        }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        match &*self.kind {
            Kind::Engine { app, .. } => &app.models[0],
            Kind::Server(server) => &server.model,
        }
    }

    /// Scores one conversation.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn judge(&self, messages: Vec<Message>) -> Result<Judged, Failure> {
        let _place = self.in_flight.acquire().await.map_err(|error| Failure::Gone(error.to_string()))?;
        match &*self.kind {
            Kind::Engine { app, .. } => in_process(app, &messages).await.map_err(classify),
            Kind::Server(server) => server.judge(&messages).await,
        }
    }
}

async fn in_process(app: &App, messages: &[Message]) -> Result<Judged, ApiError> {
    let scorer = app.scorer()?;
    let urgency = Urgency { arrived: Instant::now(), priority: Priority::default(), timeout: None };
    let scored = scorer.score(scorer.encode(messages, Cut::default())?, urgency).await?;
    let scores = scored.scores.values().map(|(attribute, score)| (attribute.to_owned(), score)).collect();
    Ok(Judged { scores, tokens: scored.prompt_tokens })
}

/// Whether a failure is the conversation's own.
fn classify(error: ApiError) -> Failure {
    let text = error.to_string();
    match error {
        ApiError::Prompt(_) | ApiError::Unscorable(_) | ApiError::Reward(RewardError::NotFinite { .. }) => {
            Failure::Row(text)
        }
        ApiError::Rejected(Rejection::Empty | Rejection::TooLong { .. }, _) => Failure::Row(text),
        _ => Failure::Gone(text),
    }
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// What is read of `POST /v1/chat/completions`, as NIM's clients read it.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    token: String,
    logprob: f64,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: usize,
}

impl Server {
    async fn first_model(&self) -> Result<String, ScoreError> {
        let unable = |error: reqwest::Error| {
            ScoreError::Option(format!("{}/v1/models does not answer: {error}; check --url", self.url))
        };
        let request = self.authorized(self.client.get(format!("{}/v1/models", self.url)));
        let reply = request.send().await.and_then(reqwest::Response::error_for_status).map_err(unable)?;
        let models: Models = reply.json().await.map_err(unable)?;
        let first = models.data.into_iter().next();
        first.map(|model| model.id).ok_or_else(|| ScoreError::Option(format!("{} serves no model", self.url)))
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn judge(&self, messages: &[Message]) -> Result<Judged, Failure> {
        let turns: Vec<_> =
            messages.iter().map(|turn| json!({"role": turn.role, "content": turn.content})).collect();
        let body = json!({"model": self.model, "messages": turns});
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let request = self.client.post(format!("{}/v1/chat/completions", self.url)).json(&body);
            let (reason, wait) = match self.authorized(request).send().await {
                Ok(reply) if reply.status().is_success() => return read(reply).await,
                Ok(reply) => {
                    let (status, wait) = (reply.status(), retry_after(&reply));
                    let text = reply.text().await.unwrap_or_default();
                    let reason = refusal(status, &text);
                    match status {
                        StatusCode::TOO_MANY_REQUESTS => {}
                        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                            return Err(Failure::Gone(reason));
                        }
                        _ if status.is_client_error() => return Err(Failure::Row(reason)),
                        // Not the server's state: a full or restarting one says 503.
                        StatusCode::INTERNAL_SERVER_ERROR if attempt >= FAULTS => {
                            return Err(Failure::Row(reason));
                        }
                        _ => {}
                    }
                    (reason, wait)
                }
                Err(error) => (format!("{} does not answer: {error}", self.url), None),
            };
            if began.elapsed() > PATIENCE {
                return Err(Failure::Gone(format!("for {} s: {reason}", PATIENCE.as_secs())));
            }
            let usual = Duration::from_millis(250) * 2u32.pow(attempt.min(8));
            tokio::time::sleep(wait.unwrap_or(usual).clamp(WAIT.0, WAIT.1)).await;
            attempt += 1;
        }
    }
}

async fn read(reply: reqwest::Response) -> Result<Judged, Failure> {
    let wrong = |reason: String| Failure::Gone(format!("the server's answer holds no scores: {reason}"));
    let answer: Completion = reply.json().await.map_err(|error| wrong(error.to_string()))?;
    let logprobs = answer.choices.into_iter().next().and_then(|choice| choice.logprobs);
    let attributes =
        logprobs.ok_or_else(|| wrong("it has no logprobs; is it a reward model?".into()))?.content;
    if attributes.is_empty() {
        return Err(wrong("its logprobs are empty".into()));
    }
    Ok(Judged {
        scores: attributes.into_iter().map(|attribute| (attribute.token, attribute.logprob)).collect(),
        tokens: answer.usage.map_or(0, |usage| usage.prompt_tokens),
    })
}

fn retry_after(reply: &reqwest::Response) -> Option<Duration> {
    let seconds = reply.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// OpenAI's message where there is one.
fn refusal(status: StatusCode, text: &str) -> String {
    let message = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|body| Some(body.get("error")?.get("message")?.as_str()?.to_owned()));
    message.unwrap_or_else(|| format!("the server answered {status}"))
}
