//! Every way in which a request can fail, classified once: status, public message, OpenAI's `type`,
//! `code` and `param`, the label under which it is counted, and what only the log is told.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::OverloadStatus;
use crate::prompt::PromptError;
use crate::sampling::UnsupportedSampling;
use crate::scheduler::Rejection;
use crate::serving::ServingError;

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is no JSON; the text is the parser's and holds line and column.
    #[error("the request body is not valid JSON: {0}")]
    Malformed(String),
    /// The body is JSON, but no object.
    #[error("the request body must be a JSON object, not {0}")]
    NoObject(&'static str),
    /// A field is missing, of the wrong type, or holds a value that makes no sense.
    #[error("`{0}` {1}")]
    Invalid(String, String),
    /// A field asks for what the model cannot give.
    #[error("`{0}` cannot be honoured: {1}")]
    Unsupported(String, String),
    /// The body could not be read to its end.
    #[error("the request body could not be read to its end")]
    Unreadable,
    /// The body did not arrive in time.
    #[error("the request body did not arrive within {} s", .0.as_secs_f64())]
    SlowBody(Duration),
    /// The request bears no API key.
    #[error("no API key was given; send `Authorization: Bearer KEY`")]
    NoKey,
    /// The request's API key is none of this server's.
    #[error("the API key given is not one of this server's")]
    WrongKey,
    /// The body is over the limit.
    #[error("the request body is larger than the {0} bytes this server accepts")]
    TooLarge(usize),
    /// No such model is served here.
    #[error("the model `{asked}` does not exist here; this server serves {served}")]
    UnknownModel {
        /// What the request named.
        asked: String,
        /// What could have been named.
        served: String,
    },
    /// No such path.
    #[error("there is no {0} on this server; GET /openapi.json describes what there is")]
    UnknownRoute(String),
    /// The path is known, the method is not.
    #[error("{0} does not answer {1}; see the Allow header for what it does answer")]
    WrongMethod(String, String),
    /// The model served is for something else; the text says for what, and where.
    #[error("{0}")]
    WrongTask(&'static str),
    /// The engine is still being loaded.
    #[error("the server is starting: its engine is being loaded; try again shortly")]
    Starting,
    /// The model gave no score or no text.
    #[error("{0}")]
    Serving(#[from] ServingError),
    /// One of several items could not be scored, on a route whose answer is all or nothing.
    #[error("item {0}: {1}")]
    Item(usize, Box<ApiError>),
    /// A fault of ours.
    #[error("an internal error: {0}")]
    Internal(String),
}

/// What follows from an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Status of the answer.
    pub status: StatusCode,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: &'static str,
    /// The field at fault.
    pub param: Option<String>,
    /// What the client is told.
    pub message: String,
    /// When the client may try again.
    pub retry_after: Option<Duration>,
}

/// What the answer's bearer is to count and to log; travels in the response's extensions.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Label of the metric; also OpenAI's `code`.
    pub label: &'static str,
    /// What happened, in full. Never holds a conversation's text.
    pub private: String,
}

const REQUEST: &str = "invalid_request_error";
/// The `code` of a full queue.
const OVERLOADED: &str = "overloaded";
const SERVER: &str = "server_error";
const OVERLOAD: &str = "rate_limit_error";
const TIMEOUT: &str = "timeout_error";
/// In characters.
const LONGEST_MESSAGE: usize = 500;
const INTERNAL: &str = "an internal error; see the server's log";
const ENGINE_FAULT: &str = "the engine failed on this request; try again, and see the server's log for why";

impl ApiError {
    /// The one place that says what each error means to a client.
    pub fn class(&self) -> Class {
        if let Self::Item(index, error) = self {
            let class = error.class();
            return Class { message: brief(format!("item {index}: {}", class.message)), ..class };
        }
        let (status, kind, code) = self.status_kind_code();
        Class {
            status,
            kind,
            code,
            param: self.param().map(brief),
            message: brief(self.message()),
            retry_after: self.retry_after(),
        }
    }

    /// Whether the same request could be answered at another time or by another server.
    pub(super) fn is_servers(&self) -> bool {
        let (status, _, _) = self.status_kind_code();
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
    }

    fn status_kind_code(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Item(_, error) => error.status_kind_code(),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, REQUEST, "malformed_json"),
            Self::NoObject(_) | Self::Invalid(..) => (StatusCode::BAD_REQUEST, REQUEST, "invalid_value"),
            Self::Unsupported(..) => (StatusCode::BAD_REQUEST, REQUEST, "unsupported_parameter"),
            Self::Unreadable => (StatusCode::BAD_REQUEST, REQUEST, "unreadable_body"),
            Self::SlowBody(_) => (StatusCode::REQUEST_TIMEOUT, TIMEOUT, "slow_body"),
            Self::NoKey => (StatusCode::UNAUTHORIZED, REQUEST, "missing_api_key"),
            Self::WrongKey => (StatusCode::UNAUTHORIZED, REQUEST, "invalid_api_key"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, "request_too_large"),
            Self::UnknownModel { .. } => (StatusCode::NOT_FOUND, REQUEST, "model_not_found"),
            Self::UnknownRoute(_) => (StatusCode::NOT_FOUND, REQUEST, "unknown_url"),
            Self::WrongMethod(..) => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed"),
            Self::WrongTask(_) => (StatusCode::BAD_REQUEST, REQUEST, "wrong_task"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "starting"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
            Self::Serving(error) => serving(error),
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Invalid(param, _) | Self::Unsupported(param, _) => Some(param.clone()),
            Self::UnknownModel { .. } => Some("model".into()),
            Self::Serving(error) => match error {
                ServingError::Prompt(PromptError::UnknownRole { index, .. }) => {
                    Some(format!("messages[{index}].role"))
                }
                ServingError::Prompt(_)
                | ServingError::Unscorable(_)
                | ServingError::Rejected(Rejection::Empty | Rejection::TooLong { .. }) => {
                    Some("messages".into())
                }
                ServingError::Rejected(
                    Rejection::DeadlineUnmeetable { .. } | Rejection::DeadlineExceeded,
                ) => Some("timeout".into()),
                ServingError::UnsupportedSampling(error) => Some(unsupported_sampling(*error).0.to_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Internal(_) => INTERNAL.into(),
            Self::Serving(ServingError::Rejected(Rejection::EngineFailed(_))) => ENGINE_FAULT.into(),
            Self::Serving(ServingError::Rejected(Rejection::TooLong { .. })) => {
                format!("{self}; nothing is cut off unless `truncation` says so: send less")
            }
            Self::Serving(ServingError::NoRoom { .. }) => {
                format!("{self}; shorten the prompt or lower `max_tokens`")
            }
            Self::Serving(ServingError::UnsupportedSampling(error)) => {
                let (field, reason) = unsupported_sampling(*error);
                format!("`{field}` {reason}")
            }
            Self::Serving(ServingError::TokensForScore) => INTERNAL.into(),
            _ => self.to_string(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Starting => Some(Duration::from_secs(1)),
            Self::Serving(ServingError::Rejected(rejection)) => match rejection {
                Rejection::QueueFull { retry_after, .. } => Some(*retry_after),
                Rejection::ShuttingDown | Rejection::EngineStalled(_) => Some(Duration::from_secs(1)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The request's field that asks for what the engine's sampler does not support, and what to do.
fn unsupported_sampling(error: UnsupportedSampling) -> (&'static str, String) {
    match error {
        UnsupportedSampling::TopK { max } => {
            ("top_k", format!("must be up to {max} on this engine, or -1 for all tokens"))
        }
        UnsupportedSampling::MinTokens { max, end_tokens } => (
            "min_tokens",
            format!(
                "suppresses up to {max} end token on this engine, and this request has {end_tokens}; leave it \
                 out, or send ignore_eos"
            ),
        ),
        UnsupportedSampling::LogitBias => (
            "logit_bias",
            "is not supported by this engine, whose ranks do not divide the vocabulary evenly; leave it out"
                .to_owned(),
        ),
        UnsupportedSampling::PromptLogprobs => (
            "echo",
            "with log-probabilities is not supported by this engine, which returns none for a prompt; leave \
             out echo or logprobs"
                .to_owned(),
        ),
    }
}

/// Cuts a text that repeats a client's own words, for these may be as long as a body.
fn brief(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn serving(error: &ServingError) -> (StatusCode, &'static str, &'static str) {
    match error {
        ServingError::Prompt(PromptError::TooLong { .. }) | ServingError::NoRoom { .. } => {
            (StatusCode::BAD_REQUEST, REQUEST, "context_length_exceeded")
        }
        ServingError::Prompt(_) | ServingError::Unscorable(_) => {
            (StatusCode::BAD_REQUEST, REQUEST, "invalid_messages")
        }
        ServingError::UnsupportedSampling(_) => (StatusCode::BAD_REQUEST, REQUEST, "unsupported_parameter"),
        ServingError::Reward(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "non_finite_score"),
        ServingError::TokensForScore => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        ServingError::Rejected(rejection) => rejected(rejection),
    }
}

fn rejected(rejection: &Rejection) -> (StatusCode, &'static str, &'static str) {
    match rejection {
        // The operator may have chosen 503 instead: see `apply_overload_status`.
        Rejection::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, OVERLOAD, OVERLOADED),
        Rejection::Empty => (StatusCode::BAD_REQUEST, REQUEST, "invalid_messages"),
        Rejection::TooLong { .. } => (StatusCode::BAD_REQUEST, REQUEST, "context_length_exceeded"),
        Rejection::DeadlineUnmeetable { .. } => (StatusCode::GATEWAY_TIMEOUT, TIMEOUT, "deadline_unmeetable"),
        Rejection::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, TIMEOUT, "deadline_exceeded"),
        Rejection::EngineFailed(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "engine_failed"),
        Rejection::Unreadable { .. } => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        Rejection::EngineStalled(_) => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "engine_stalled"),
        Rejection::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down"),
    }
}

/// Gives the answer to a full queue the status that the operator chose, 429 or 503.
pub(super) fn apply_overload_status(response: &mut Response, status: OverloadStatus) {
    if response.extensions().get::<Failure>().is_some_and(|failure| failure.label == OVERLOADED) {
        *response.status_mut() = match status {
            OverloadStatus::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            OverloadStatus::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
    }
}

/// An error as OpenAI's API spells it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorObject {
    /// What was wrong and what to do, in a sentence.
    pub message: String,
    /// Whose fault it is.
    pub r#type: &'static str,
    /// The field at fault.
    pub param: Option<String>,
    /// What it is counted as.
    pub code: &'static str,
}

/// The body of an answer that is an error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct Body {
    pub(super) error: ErrorObject,
}

impl From<PromptError> for ApiError {
    fn from(error: PromptError) -> Self {
        Self::Serving(error.into())
    }
}

impl From<Class> for ErrorObject {
    fn from(class: Class) -> Self {
        Self { message: class.message, r#type: class.kind, param: class.param, code: class.code }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let class = self.class();
        let failure = Failure { label: class.code, private: self.to_string() };
        let (status, retry_after) = (class.status, class.retry_after);
        let mut response = (status, Json(Body { error: class.into() })).into_response();
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(failure);
        response
    }
}
