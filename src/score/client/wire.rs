//! What is read from a server's responses, and what is written into requests.

use std::collections::HashSet;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::super::{ConversationScores, Row};
use super::retry::MAX_FAILURES;
use crate::prompt::Message;
use crate::serving::SHORTEN_OR_TRUNCATE;

/// `type` of an error that the request itself caused.
const INVALID_REQUEST: &str = "invalid_request_error";

/// `GET /v1/models`.
#[derive(Deserialize)]
pub(super) struct ModelList {
    pub(super) data: Vec<ModelEntry>,
}

/// A model that a server lists. Other servers than Assay have only its name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct ModelEntry {
    pub(super) id: String,
    /// Names of the scores that every conversation has.
    #[serde(default)]
    pub(super) attributes: Vec<String>,
    /// The score that ranks responses unless a request names another.
    pub(super) ranked_by: Option<String>,
    /// The token that follows each step, if the model scores steps.
    pub(super) step_token: Option<String>,
    /// What is done to scores before they are served.
    #[serde(default)]
    pub(super) score_options: Value,
    /// Variables that the chat template has for every conversation.
    #[serde(default)]
    pub(super) chat_template_kwargs: Value,
}

/// `GET /v1/metadata`, which NIM has too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) selected_model_profile_id: String,
}

/// `POST /v1/rewards`.
#[derive(Deserialize)]
struct RewardList {
    data: Vec<RewardItem>,
}

#[derive(Deserialize)]
struct RewardItem {
    index: Option<usize>,
    scores: Option<Row>,
    usage: Option<TokenUsage>,
    error: Option<ErrorObject>,
}

/// `POST /v1/chat/completions`, as NIM's clients read it: the scores are log-probabilities.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<CompletionChoice>,
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Vec<AttributeScore>,
}

#[derive(Deserialize)]
struct AttributeScore {
    token: String,
    logprob: f64,
}

#[derive(Deserialize)]
struct TokenUsage {
    prompt_tokens: usize,
}

/// OpenAI's error object. Other servers write numbers where it has texts.
#[derive(Deserialize)]
pub(super) struct ErrorObject {
    pub(super) message: String,
    #[serde(default)]
    pub(super) param: Value,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    r#type: Value,
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorObject,
}

/// Why a successful response has no scores in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("it has no logprobs; is it a reward model?")]
    NoLogprobs,
    #[error("its logprobs are empty")]
    EmptyLogprobs,
    #[error("its logprobs have `{0}` twice, so they are not the scores of attributes; is it a reward model?")]
    Repeated(String),
    #[error("it has {found} items for {requested} conversations")]
    WrongLength { found: usize, requested: usize },
    #[error("item {place} has the index {index}, which is out of range or given twice")]
    WrongIndex { place: usize, index: usize },
    #[error("a score is not a number")]
    NotANumber,
    #[error("an item has neither scores nor an error")]
    EmptyItem,
}

impl ErrorObject {
    /// An error that the request itself caused.
    pub(super) fn invalid_request(message: String) -> Self {
        Self { message, param: Value::Null, code: Value::Null, r#type: INVALID_REQUEST.into() }
    }

    /// The message about a row of a file, as an engine in this process words it: without the request's field, and
    /// without advice that only requests can follow.
    pub(super) fn about_row(&self) -> String {
        let field = self.param.as_str().map(|param| format!("`{param}`: "));
        let message = field.and_then(|field| self.message.strip_prefix(&field)).unwrap_or(&self.message);
        message.strip_suffix(SHORTEN_OR_TRUNCATE).unwrap_or(message).to_owned()
    }

    /// Whether another attempt may succeed: the server was overloaded, shutting down or too late. What it
    /// failed on may itself be the cause, so it gets a few attempts only.
    pub(super) fn is_retryable(&self, attempts: u32) -> bool {
        if self.r#type == INVALID_REQUEST {
            return false;
        }
        match self.code.as_str() {
            Some("engine_failed" | "internal_error" | "non_finite_score") => attempts < MAX_FAILURES,
            _ => true,
        }
    }
}

/// A conversation in OpenAI's format.
pub(super) fn messages(conversation: &[Message]) -> Value {
    conversation.iter().map(Message::as_json).collect()
}

/// The prompt of conversations that differ only in their last turn, and those turns.
pub(super) fn shared_prompt<'a>(conversations: &[&'a [Message]]) -> Option<(&'a [Message], Vec<&'a str>)> {
    let (_, prompt) = conversations.first()?.split_last()?;
    let mut responses = Vec::with_capacity(conversations.len());
    for conversation in conversations {
        let (last, before) = conversation.split_last()?;
        if last.role != "assistant" || !last.is_plain() || before != prompt {
            return None;
        }
        responses.push(last.content.as_str());
    }
    (!prompt.is_empty()).then_some((prompt, responses))
}

pub(super) fn parse_completion(text: &str) -> Result<ConversationScores, ResponseError> {
    let completion: Completion = serde_json::from_str(text)?;
    let logprobs = completion.choices.into_iter().next().and_then(|choice| choice.logprobs);
    let attributes = logprobs.ok_or(ResponseError::NoLogprobs)?.content;
    if attributes.is_empty() {
        return Err(ResponseError::EmptyLogprobs);
    }
    let mut names = HashSet::new();
    if let Some(repeated) = attributes.iter().find(|attribute| !names.insert(&attribute.token)) {
        return Err(ResponseError::Repeated(repeated.token.clone()));
    }
    Ok(ConversationScores {
        scores: attributes.into_iter().map(|attribute| (attribute.token, attribute.logprob)).collect(),
        tokens: completion.usage.map_or(0, |usage| usage.prompt_tokens),
    })
}

/// Parses the scores, or the error, of each of the `requested` conversations.
pub(super) fn parse_rewards(
    text: &str,
    requested: usize,
) -> Result<Vec<Result<ConversationScores, ErrorObject>>, ResponseError> {
    let rewards: RewardList = serde_json::from_str(text)?;
    let found = rewards.data.len();
    if found != requested {
        return Err(ResponseError::WrongLength { found, requested });
    }
    // Answers belong to conversations by their index; a server may send them in any order.
    let mut items: Vec<Option<RewardItem>> = Vec::new();
    items.resize_with(requested, || None);
    for (place, item) in rewards.data.into_iter().enumerate() {
        let index = item.index.unwrap_or(place);
        match items.get_mut(index) {
            Some(free @ None) => *free = Some(item),
            _ => return Err(ResponseError::WrongIndex { place, index }),
        }
    }
    items.into_iter().flatten().map(parse_item).collect()
}

fn parse_item(item: RewardItem) -> Result<Result<ConversationScores, ErrorObject>, ResponseError> {
    if let Some(error) = item.error {
        return Ok(Err(error));
    }
    let item_scores = item.scores.filter(|scores| !scores.is_empty()).ok_or(ResponseError::EmptyItem)?;
    let mut scores = Vec::with_capacity(item_scores.len());
    for (attribute, score) in item_scores.into_columns() {
        scores.push((attribute, score.as_f64().ok_or(ResponseError::NotANumber)?));
    }
    Ok(Ok(ConversationScores { scores, tokens: item.usage.map_or(0, |usage| usage.prompt_tokens) }))
}

/// The message of an error response: OpenAI's, if it has one.
pub(super) fn error_message(status: StatusCode, text: &str) -> String {
    match serde_json::from_str::<ErrorBody>(text) {
        Ok(body) => body.error.about_row(),
        Err(_) => format!("the server answered {status}"),
    }
}

/// Whether an error response would be the same for every conversation: the model has no scores, or takes no rubrics.
pub(super) fn concerns_all(text: &str) -> bool {
    let Ok(ErrorBody { error }) = serde_json::from_str(text) else { return false };
    let is_rubric = error.param.as_str().is_some_and(|param| param.rsplit('.').next() == Some("rubric"));
    error.code == "wrong_task" || is_rubric && error.code == "unsupported_parameter"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(turns: &[(&str, &str)]) -> Vec<Message> {
        let turn = |(role, content): &(&str, &str)| Message::new(*role, *content);
        turns.iter().map(turn).collect()
    }

    #[test]
    fn a_prompt_that_all_conversations_share_is_sent_once() {
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
    fn each_item_has_scores_or_an_error() {
        let text = r#"{"data": [{"index": 0, "scores": {"b": 1.5, "a": -2.0}, "usage": {"prompt_tokens": 7}},
                       {"index": 1, "error": {"message": "full", "code": "overloaded", "type": "rate_limit_error"}}]}"#;
        let parsed = parse_rewards(text, 2).unwrap();
        let expected = ConversationScores { scores: vec![("b".into(), 1.5), ("a".into(), -2.0)], tokens: 7 };
        assert_eq!(parsed[0].as_ref().ok(), Some(&expected));
        assert!(parsed[1].as_ref().is_err_and(|error| error.is_retryable(100) && error.message == "full"));
        assert!(parse_rewards(text, 3).is_err());
        let reordered =
            r#"{"data": [{"index": 1, "scores": {"a": 1.0}}, {"index": 0, "scores": {"a": 0.0}}]}"#;
        let parsed = parse_rewards(reordered, 2).unwrap();
        let scores: Vec<f64> = parsed.iter().map(|item| item.as_ref().ok().unwrap().scores[0].1).collect();
        assert_eq!(scores, [0.0, 1.0]);
        for wrong in [
            r#"{"data": [{"index": 1, "scores": {"a": 1.0}}, {"index": 1, "scores": {"a": 0.0}}]}"#,
            r#"{"data": [{"index": 2, "scores": {"a": 1.0}}, {"index": 0, "scores": {"a": 0.0}}]}"#,
        ] {
            let error = parse_rewards(wrong, 2).err().unwrap().to_string();
            assert!(error.contains("index"), "{error}");
        }
        for wrong in [
            r#"{"data": [{}]}"#,
            "",
            "<html>",
            "null",
            "[]",
            r#"{"data": [{"scores": {"a": NaN}}]}"#,
            r#"{"data": [{"scores": {"a": 1e999}}]}"#,
            r#"{"data": [{"scores": {"a": "1.5"}}]}"#,
            r#"{"data": [{"scores": {"a": 1.0}}"#,
            r#"{"data": [{"scores": {"a": null}}]}"#,
            r#"{"data": [{"scores": {}}]}"#,
            r#"{"data": [{"scores": {"a": 1.0, "a": 2.0}}]}"#,
        ] {
            assert!(parse_rewards(wrong, 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_that_another_attempt_may_fix_are_retried() {
        let error = |code: &str, kind: &str| ErrorObject {
            code: code.into(),
            r#type: kind.into(),
            ..ErrorObject::invalid_request("".into())
        };
        assert!(!error("context_length_exceeded", INVALID_REQUEST).is_retryable(0));
        assert!(error("engine_failed", "server_error").is_retryable(0));
        assert!(!error("engine_failed", "server_error").is_retryable(MAX_FAILURES));
        assert!(error("shutting_down", "server_error").is_retryable(MAX_FAILURES));
    }

    #[test]
    fn an_error_message_is_the_servers_own_whatever_else_the_body_has() {
        let text = r#"{"error": {"message": "too long", "code": 400}}"#;
        assert_eq!(error_message(StatusCode::BAD_REQUEST, text), "too long");
        let message = format!("`responses[0]`: it is too long{SHORTEN_OR_TRUNCATE}");
        let named = serde_json::json!({"error": {"message": message, "param": "responses[0]"}});
        assert_eq!(error_message(StatusCode::BAD_REQUEST, &named.to_string()), "it is too long");
        assert_eq!(error_message(StatusCode::BAD_GATEWAY, "<html>"), "the server answered 502 Bad Gateway");
    }
}
