//! The table of errors: the status, type and code of each.

use std::time::Duration;

use axum::http::StatusCode;

use super::{ApiError, field_of};
use crate::prompt::PromptError;
use crate::sampling::UnsupportedSampling;
use crate::scheduler::Rejection;
use crate::serving::ServingError;

/// An error as a response reports it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::api) struct Classification {
    /// Status of the response.
    pub(in crate::api) status: StatusCode,
    /// OpenAI's `type`.
    pub(in crate::api) error_type: &'static str,
    /// OpenAI's `code`.
    pub(in crate::api) code: &'static str,
    /// The field at fault.
    pub(in crate::api) param: Option<String>,
    /// The message for the client.
    pub(in crate::api) message: String,
    /// When the client may try again.
    pub(in crate::api) retry_after: Option<Duration>,
}

const REQUEST: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const OVERLOAD: &str = "rate_limit_error";
const TIMEOUT: &str = "timeout_error";
/// In characters.
const LONGEST_MESSAGE: usize = 500;
const ONE_SECOND: Duration = Duration::from_secs(1);

impl ApiError {
    /// Status, code and message of this error.
    pub(in crate::api) fn classify(&self) -> Classification {
        let (status, error_type, code) = self.status_type_code();
        Classification {
            status,
            error_type,
            code,
            param: self.param().map(shorten),
            message: shorten(self.message()),
            retry_after: self.retry_after(),
        }
    }

    fn status_type_code(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, REQUEST, "malformed_json"),
            Self::NotAnObject(_) | Self::Invalid { .. } => {
                (StatusCode::BAD_REQUEST, REQUEST, "invalid_value")
            }
            Self::Unsupported { .. } => (StatusCode::BAD_REQUEST, REQUEST, "unsupported_parameter"),
            Self::UnreadableBody => (StatusCode::BAD_REQUEST, REQUEST, "unreadable_body"),
            Self::SlowBody(_) => (StatusCode::REQUEST_TIMEOUT, TIMEOUT, "slow_body"),
            Self::MissingKey => (StatusCode::UNAUTHORIZED, REQUEST, "missing_api_key"),
            Self::InvalidKey => (StatusCode::UNAUTHORIZED, REQUEST, "invalid_api_key"),
            Self::FromWebPage => (StatusCode::FORBIDDEN, REQUEST, "origin_not_allowed"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, "request_too_large"),
            Self::UnknownModel { .. } => (StatusCode::NOT_FOUND, REQUEST, "model_not_found"),
            Self::UnknownRoute(_) => (StatusCode::NOT_FOUND, REQUEST, "unknown_url"),
            Self::WrongMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed"),
            Self::WrongTask(_) => (StatusCode::BAD_REQUEST, REQUEST, "wrong_task"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "starting"),
            Self::TooManyConnections => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "too_many_connections"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
            Self::Serving { error, .. } => serving(error),
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Invalid { param, .. } | Self::Unsupported { param, .. } => Some(param.clone()),
            Self::UnknownModel { .. } => Some("model".into()),
            Self::Serving { error: ServingError::UnsupportedSampling(error), .. } => {
                Some(unsupported_sampling(*error).0.to_owned())
            }
            Self::Serving { error: ServingError::Rejected(rejection), .. } if is_deadline(rejection) => {
                Some("timeout".into())
            }
            Self::Serving { error, item: Some(item) } => field_of(error, item),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Internal(_) | Self::Serving { error: ServingError::TokensForScore, .. } => {
                "an internal error; see the server's log".into()
            }
            Self::Serving { error, .. } => match error {
                ServingError::Rejected(Rejection::EngineFailed(_)) => {
                    "the engine failed on this request; try again, and see the server's log for why".into()
                }
                ServingError::Rejected(Rejection::TooLong { .. }) => {
                    format!("{self}; shorten the text, or set `truncation`")
                }
                ServingError::Prompt(PromptError::TooLong { .. }) => {
                    format!("{self}, or set `truncation` to `left`")
                }
                ServingError::NoRoom { .. } => format!("{self}; shorten the prompt or lower `max_tokens`"),
                ServingError::UnsupportedSampling(error) => {
                    let (field, reason) = unsupported_sampling(*error);
                    format!("`{field}` {reason}")
                }
                _ => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Starting | Self::TooManyConnections => Some(ONE_SECOND),
            Self::Serving { error: ServingError::Rejected(rejection), .. } => match rejection {
                Rejection::QueueFull { retry_after, .. } => Some(*retry_after),
                Rejection::ShuttingDown | Rejection::EngineStalled(_) => Some(ONE_SECOND),
                _ => None,
            },
            _ => None,
        }
    }
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
        // `apply_overload_status` in `response.rs` replaces it with 503 if the operator chose that.
        Rejection::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, OVERLOAD, "overloaded"),
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

fn is_deadline(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::DeadlineUnmeetable { .. } | Rejection::DeadlineExceeded)
}

/// The field that asks for something that the engine's sampler does not support, and what to do.
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
        UnsupportedSampling::LabelTokens => (
            "label_token_ids",
            "cannot be scored by this engine, which returns log-probabilities of the likeliest tokens only"
                .to_owned(),
        ),
    }
}

/// Cuts a text that repeats a client's own words, for these may be as long as a body.
fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}
