//! A server that scores: ours, a row in one request, or another's, a conversation in each.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Judged, Row, ScoreError, Verdict};
use crate::prompt::{Message, Truncation};

/// Time for which a server that is full or restarting is asked again.
const PATIENCE: Duration = Duration::from_secs(600);
/// Times that what a server fails on is tried again.
const FAULTS: u32 = 3;
/// First, shortest and longest time between two attempts.
const USUAL: Duration = Duration::from_millis(250);
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
const TIMEOUT: Duration = Duration::from_secs(600);

const ROWS: &str = "/v1/rewards";
const CHAT: &str = "/v1/chat/completions";
/// Type of an error that is the request's own.
const ITS_OWN: &str = "invalid_request_error";

/// A server and how it is asked.
pub(super) struct Server {
    client: reqwest::Client,
    pub(super) url: String,
    pub(super) model: String,
    key: Option<String>,
    /// Whether it takes all conversations of a row in one request.
    takes_rows: bool,
    /// A place for each conversation that may be at the server.
    places: Semaphore,
    concurrency: u32,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// What is read of `POST /v1/rewards`.
#[derive(Deserialize)]
struct Rewards {
    data: Vec<Reward>,
}

#[derive(Deserialize)]
struct Reward {
    scores: Option<Row>,
    usage: Option<Usage>,
    error: Option<Fault>,
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

/// OpenAI's error. Others write numbers where it has texts.
#[derive(Deserialize)]
struct Fault {
    message: String,
    #[serde(default)]
    param: Value,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    r#type: Value,
}

#[derive(Deserialize)]
struct Refusal {
    error: Fault,
}

impl Server {
    /// The server at `url`; `model` is its first unless named.
    pub(super) async fn open(
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
        let concurrency = u32::try_from(concurrency.max(1)).unwrap_or(u32::MAX);
        let places = Semaphore::new((concurrency as usize).min(Semaphore::MAX_PERMITS));
        let model_named = model.is_some();
        let mut server = Self {
            client,
            url,
            model: model.unwrap_or_default(),
            key,
            takes_rows: false,
            places,
            concurrency,
        };
        if !model_named {
            server.model = server.first_model().await?;
        }
        server.takes_rows = server.knows_rows().await?;
        Ok(server)
    }

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

    /// Whether it has our route: it then misses what an empty request lacks.
    async fn knows_rows(&self) -> Result<bool, ScoreError> {
        let (_, text) = self.post(ROWS, &json!({})).await?;
        Ok(serde_json::from_str::<Refusal>(&text).is_ok_and(|refusal| refusal.error.param == "messages"))
    }

    /// Scores the conversations of one row, in their order.
    ///
    /// # Errors
    /// Nothing can be scored any more.
    pub(super) async fn judge(&self, conversations: &[Vec<Message>]) -> Result<Vec<Verdict>, ScoreError> {
        if !self.takes_rows {
            return try_join_all(conversations.iter().map(|messages| self.chat(messages))).await;
        }
        // A row that holds more than may be at the server at once is several requests.
        let parts = conversations.chunks(self.concurrency as usize).map(|part| self.rewards(part));
        Ok(try_join_all(parts).await?.concat())
    }

    async fn chat(&self, messages: &[Message]) -> Result<Verdict, ScoreError> {
        let _place = self.place(1).await?;
        let body = json!({"model": self.model, "messages": turns(messages)});
        match self.ask(CHAT, &body).await? {
            Ok(text) => read_completion(&text).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Asks for several at once. What the server refuses is asked again in halves, until it is a single
    /// conversation that is refused; what it could not score for its own reasons is asked again.
    async fn rewards(&self, conversations: &[Vec<Message>]) -> Result<Vec<Verdict>, ScoreError> {
        let _places = self.place(conversations.len()).await?;
        let mut verdicts: Vec<Option<Verdict>> = vec![None; conversations.len()];
        let mut waiting: Vec<Vec<usize>> = vec![(0..conversations.len()).collect()];
        let mut patience = Patience::new();
        while let Some(mut asked) = waiting.pop() {
            let body = self.rows_body(&asked.iter().map(|&index| &*conversations[index]).collect::<Vec<_>>());
            let answers = match self.ask(ROWS, &body).await? {
                Ok(text) => read_rewards(&text, asked.len())?,
                Err(_) if asked.len() > 1 => {
                    let rest = asked.split_off(asked.len() / 2);
                    waiting.extend([rest, asked]);
                    continue;
                }
                Err(reason) => vec![Err(Fault::own(reason))],
            };
            let (mut again, mut why) = (Vec::new(), String::new());
            for (index, answer) in asked.iter().zip(answers) {
                match answer {
                    Err(fault) if fault.may_pass(patience.attempts) => {
                        again.push(*index);
                        why = fault.message;
                    }
                    answer => verdicts[*index] = Some(answer.map_err(|fault| fault.message)),
                }
            }
            if again.len() < asked.len() {
                patience = Patience::new();
            }
            if !again.is_empty() {
                patience.wait(why, None).await?;
                waiting.push(again);
            }
        }
        Ok(verdicts.into_iter().flatten().collect())
    }

    /// A request for conversations; a prompt that all of them share is in it once.
    fn rows_body(&self, conversations: &[&[Message]]) -> Value {
        // As an engine in process does: what is too long is that conversation's error.
        let (model, truncation) = (&self.model, Truncation::Error.name());
        match shared_prompt(conversations) {
            Some((prompt, responses)) => {
                let messages = turns(prompt);
                json!({"model": model, "truncation": truncation, "messages": messages, "responses": responses})
            }
            None => {
                let conversations: Vec<_> = conversations.iter().map(|messages| turns(messages)).collect();
                json!({"model": model, "truncation": truncation, "conversations": conversations})
            }
        }
    }

    async fn place(&self, conversations: usize) -> Result<tokio::sync::SemaphorePermit<'_>, ScoreError> {
        let many = u32::try_from(conversations).unwrap_or(u32::MAX).min(self.concurrency);
        self.places.acquire_many(many).await.map_err(|error| ScoreError::Gone(error.to_string()))
    }

    /// The text of an answer, or why the server refuses this request.
    async fn ask(&self, route: &str, body: &Value) -> Result<Result<String, String>, ScoreError> {
        let (status, text) = self.post(route, body).await?;
        match status {
            status if status.is_success() => Ok(Ok(text)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(ScoreError::Gone(refusal(status, &text)))
            }
            status => Ok(Err(refusal(status, &text))),
        }
    }

    /// Status and text of an answer that another attempt would not change.
    async fn post(&self, route: &str, body: &Value) -> Result<(StatusCode, String), ScoreError> {
        let mut patience = Patience::new();
        loop {
            let request = self.authorized(self.client.post(format!("{}{route}", self.url)).json(body));
            let (reason, wait) = match request.send().await {
                Ok(reply) => {
                    let (status, wait) = (reply.status(), retry_after(&reply));
                    match reply.text().await {
                        Ok(text) if lasts(status, patience.attempts) => return Ok((status, text)),
                        Ok(text) => (refusal(status, &text), wait),
                        Err(error) => (format!("{} broke off its answer: {error}", self.url), None),
                    }
                }
                Err(error) => (format!("{} does not answer: {error}", self.url), None),
            };
            patience.wait(reason, wait).await?;
        }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// How long and how often something was tried.
struct Patience {
    began: Instant,
    attempts: u32,
}

impl Patience {
    fn new() -> Self {
        Self { began: Instant::now(), attempts: 0 }
    }

    /// Waits for the next attempt, as long as the server says, else ever longer.
    ///
    /// # Errors
    /// There were enough.
    async fn wait(&mut self, reason: String, wait: Option<Duration>) -> Result<(), ScoreError> {
        if self.began.elapsed() > PATIENCE {
            return Err(ScoreError::Gone(format!("for {} s: {reason}", PATIENCE.as_secs())));
        }
        let usual = USUAL * 2u32.pow(self.attempts.min(8));
        self.attempts += 1;
        tokio::time::sleep(wait.unwrap_or(usual).clamp(WAIT.0, WAIT.1)).await;
        Ok(())
    }
}

impl Fault {
    fn own(message: String) -> Self {
        Self { message, param: Value::Null, code: Value::Null, r#type: ITS_OWN.into() }
    }

    /// Whether another attempt may do better: the server was full, ending or late. One that it failed on
    /// may be at fault itself.
    fn may_pass(&self, attempts: u32) -> bool {
        match self.code.as_str() {
            _ if self.r#type == ITS_OWN => false,
            Some("engine_failed" | "internal_error" | "non_finite_score") => attempts < FAULTS,
            _ => true,
        }
    }
}

/// Whether an answer is what further attempts would get too. A full or restarting server says 429 or 503.
fn lasts(status: StatusCode, attempts: u32) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => false,
        StatusCode::INTERNAL_SERVER_ERROR => attempts >= FAULTS,
        StatusCode::NOT_IMPLEMENTED => true,
        status => !status.is_server_error(),
    }
}

fn turns(messages: &[Message]) -> Value {
    messages.iter().map(|turn| json!({"role": turn.role, "content": turn.content})).collect()
}

/// The prompt of conversations that differ in their last turn alone, and those turns.
fn shared_prompt<'a>(conversations: &[&'a [Message]]) -> Option<(&'a [Message], Vec<&'a str>)> {
    let (_, prompt) = conversations.first()?.split_last()?;
    let response = |messages: &&'a [Message]| {
        let (last, before) = messages.split_last()?;
        (last.role == "assistant" && before == prompt).then_some(last.content.as_str())
    };
    let responses = conversations.iter().map(response).collect::<Option<_>>()?;
    (!prompt.is_empty()).then_some((prompt, responses))
}

fn no_scores(reason: impl std::fmt::Display) -> ScoreError {
    ScoreError::Gone(format!("the server's answer holds no scores: {reason}"))
}

fn read_completion(text: &str) -> Result<Judged, ScoreError> {
    let answer: Completion = serde_json::from_str(text).map_err(no_scores)?;
    let logprobs = answer.choices.into_iter().next().and_then(|choice| choice.logprobs);
    let attributes = logprobs.ok_or_else(|| no_scores("it has no logprobs; is it a reward model?"))?.content;
    if attributes.is_empty() {
        return Err(no_scores("its logprobs are empty"));
    }
    Ok(Judged {
        scores: attributes.into_iter().map(|attribute| (attribute.token, attribute.logprob)).collect(),
        tokens: answer.usage.map_or(0, |usage| usage.prompt_tokens),
    })
}

fn read_rewards(text: &str, due: usize) -> Result<Vec<Result<Judged, Fault>>, ScoreError> {
    let answer: Rewards = serde_json::from_str(text).map_err(no_scores)?;
    if answer.data.len() != due {
        return Err(no_scores(format!("it has {} items where {due} were asked for", answer.data.len())));
    }
    let read = |reward: Reward| match (reward.scores, reward.error) {
        (_, Some(fault)) => Ok(Err(fault)),
        (Some(scores), None) if !scores.is_empty() => {
            let number = |(attribute, score): (String, Value)| Some((attribute, score.as_f64()?));
            let scores = scores.into_iter().map(number).collect::<Option<_>>();
            Ok(Ok(Judged {
                scores: scores.ok_or_else(|| no_scores("one of them is no number"))?,
                tokens: reward.usage.map_or(0, |usage| usage.prompt_tokens),
            }))
        }
        _ => Err(no_scores("an item has neither scores nor an error")),
    };
    answer.data.into_iter().map(read).collect()
}

fn retry_after(reply: &reqwest::Response) -> Option<Duration> {
    let seconds = reply.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// OpenAI's message where there is one.
fn refusal(status: StatusCode, text: &str) -> String {
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) => refusal.error.message,
        Err(_) => format!("the server answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(turns: &[(&str, &str)]) -> Vec<Message> {
        let turn =
            |(role, content): &(&str, &str)| Message { role: (*role).into(), content: (*content).into() };
        turns.iter().map(turn).collect()
    }

    #[test]
    fn a_prompt_is_sent_once_where_all_conversations_share_it() {
        let [a, b] = ["a", "b"].map(|answer| conversation(&[("user", "q"), ("assistant", answer)]));
        let (prompt, responses) = shared_prompt(&[&a, &b]).unwrap();
        assert_eq!((prompt, responses), (&a[..1], vec!["a", "b"]));
        let other = conversation(&[("user", "r"), ("assistant", "a")]);
        let unanswered = conversation(&[("user", "q"), ("user", "a")]);
        let alone = conversation(&[("assistant", "a")]);
        for different in [vec![&*a, &*other], vec![&*a, &*unanswered], vec![&*alone], vec![]] {
            assert_eq!(shared_prompt(&different), None);
        }
    }

    #[test]
    fn an_answer_is_scores_or_faults_and_nothing_in_between() {
        let text = r#"{"data": [{"index": 0, "scores": {"b": 1.5, "a": -2.0}, "usage": {"prompt_tokens": 7}},
                       {"index": 1, "error": {"message": "full", "code": "overloaded", "type": "rate_limit_error"}}]}"#;
        let read = read_rewards(text, 2).unwrap();
        let due = Judged { scores: vec![("b".into(), 1.5), ("a".into(), -2.0)], tokens: 7 };
        assert_eq!(read[0].as_ref().ok(), Some(&due));
        assert!(read[1].as_ref().is_err_and(|fault| fault.may_pass(100) && fault.message == "full"));
        assert!(read_rewards(text, 3).is_err());
        for wrong in
            [r#"{"data": [{}]}"#, r#"{"data": [{"scores": {"a": null}}]}"#, r#"{"data": [{"scores": {}}]}"#]
        {
            assert!(read_rewards(wrong, 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_another_attempt_may_mend_is_told_from_what_it_may_not() {
        let fault = |code: &str, kind: &str| Fault {
            code: code.into(),
            r#type: kind.into(),
            ..Fault::own("".into())
        };
        assert!(!fault("context_length_exceeded", ITS_OWN).may_pass(0));
        assert!(fault("engine_failed", "server_error").may_pass(0));
        assert!(!fault("engine_failed", "server_error").may_pass(FAULTS));
        assert!(fault("shutting_down", "server_error").may_pass(FAULTS));
        assert!(lasts(StatusCode::OK, 0) && lasts(StatusCode::BAD_REQUEST, 0));
        assert!(!lasts(StatusCode::SERVICE_UNAVAILABLE, 99) && !lasts(StatusCode::TOO_MANY_REQUESTS, 99));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words_whatever_else_it_holds() {
        let text = r#"{"error": {"message": "too long", "code": 400}}"#;
        assert_eq!(refusal(StatusCode::BAD_REQUEST, text), "too long");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, "<html>"), "the server answered 502 Bad Gateway");
    }
}
