//! Which kind each error is, and what the client reads about it.

use std::time::Duration;

use axum::http::StatusCode;

use super::kinds::{self, ErrorKind};
use super::{ApiError, field_of};
use crate::api::deadline;
use crate::prompt::PromptError;
use crate::reward::Unscorable;
use crate::sampling::UnsupportedSampling;
use crate::scheduler::Rejection;
use crate::serving::{SHORTEN_OR_TRUNCATE, ServingError};

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

/// In characters.
const LONGEST_MESSAGE: usize = 500;
const ONE_SECOND: Duration = Duration::from_secs(1);

impl ApiError {
    /// Status, code and message of this error.
    pub(in crate::api) fn classify(&self) -> Classification {
        let ErrorKind { status, error_type, code } = self.kind();
        Classification {
            status,
            error_type,
            code,
            param: self.param().map(shorten),
            message: shorten(self.message()),
            retry_after: self.retry_after(),
        }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedJson(_) => kinds::MALFORMED_JSON,
            Self::NotAnObject(_) | Self::Invalid { .. } => kinds::INVALID_VALUE,
            Self::Unsupported { .. } => kinds::UNSUPPORTED_PARAMETER,
            Self::UnreadableBody => kinds::UNREADABLE_BODY,
            Self::InvalidHost(_) | Self::MalformedHost => kinds::INVALID_HOST,
            Self::SlowBody(_) => kinds::SLOW_BODY,
            Self::MissingKey => kinds::MISSING_API_KEY,
            Self::InvalidKey => kinds::INVALID_API_KEY,
            Self::FromWebPage => kinds::ORIGIN_NOT_ALLOWED,
            Self::TooLarge(_) => kinds::REQUEST_TOO_LARGE,
            Self::UnknownModel { .. } => kinds::MODEL_NOT_FOUND,
            Self::UnknownRoute { .. } => kinds::UNKNOWN_URL,
            Self::WrongMethod { .. } => kinds::METHOD_NOT_ALLOWED,
            Self::WrongTask(_) => kinds::WRONG_TASK,
            Self::Starting => kinds::STARTING,
            Self::TooManyConnections => kinds::TOO_MANY_CONNECTIONS,
            Self::TooManyBytes(_) => kinds::OVERLOADED,
            Self::Internal(_) => kinds::INTERNAL_ERROR,
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
                deadline::source().map(str::to_owned)
            }
            Self::Serving { error, item: Some(item) } => field_of(error, item),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Internal(_) => "an internal error; see the server's log".into(),
            Self::Serving { error, .. } => match error {
                ServingError::Rejected(Rejection::EngineFailed(_)) => {
                    "the engine failed on this request; try again, and see the server's log for why".into()
                }
                ServingError::Rejected(Rejection::TooLong { .. })
                | ServingError::Prompt(PromptError::TooManyBytes { .. }) => {
                    format!("{self}{SHORTEN_OR_TRUNCATE}")
                }
                ServingError::Prompt(PromptError::TooLong { .. }) => {
                    format!("{self}, or set `truncation` to `left`")
                }
                ServingError::Unscorable(Unscorable::NotAConversation | Unscorable::Rendered) => {
                    format!("{self}; send `messages` to POST /v1/rewards or /v1/chat/completions")
                }
                ServingError::NoRoom { .. } => {
                    format!("{self}; reduce the length of the prompt, or `max_tokens`")
                }
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
            Self::Starting | Self::TooManyConnections | Self::TooManyBytes(_) => Some(ONE_SECOND),
            Self::Serving { error: ServingError::Rejected(rejection), .. } => match rejection {
                Rejection::QueueFull { retry_after, .. } => Some(*retry_after),
                Rejection::ShuttingDown | Rejection::EngineStalled(_) => Some(ONE_SECOND),
                _ => None,
            },
            _ => None,
        }
    }
}

fn serving(error: &ServingError) -> ErrorKind {
    match error {
        ServingError::Prompt(PromptError::TooLong { .. } | PromptError::TooManyBytes { .. })
        | ServingError::TooLongToAsk { .. }
        | ServingError::NoRoom { .. } => kinds::CONTEXT_LENGTH_EXCEEDED,
        ServingError::Prompt(_) | ServingError::Unscorable(_) => kinds::INVALID_MESSAGES,
        ServingError::UnsupportedSampling(_) => kinds::UNSUPPORTED_PARAMETER,
        ServingError::Reward(_) => kinds::NON_FINITE_SCORE,
        ServingError::Rejected(rejection) => rejected(rejection),
    }
}

fn rejected(rejection: &Rejection) -> ErrorKind {
    match rejection {
        Rejection::QueueFull { .. } => kinds::OVERLOADED,
        Rejection::Empty => kinds::INVALID_MESSAGES,
        Rejection::TooLong { .. } => kinds::CONTEXT_LENGTH_EXCEEDED,
        Rejection::DeadlineUnmeetable { .. } => kinds::DEADLINE_UNMEETABLE,
        Rejection::DeadlineExceeded => kinds::DEADLINE_EXCEEDED,
        Rejection::EngineFailed(_) => kinds::ENGINE_FAILED,
        Rejection::Unreadable { .. } => kinds::INTERNAL_ERROR,
        Rejection::EngineStalled(_) => kinds::ENGINE_STALLED,
        Rejection::ShuttingDown => kinds::SHUTTING_DOWN,
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
        UnsupportedSampling::AllowedTokens => (
            "allowed_token_ids",
            "is not supported by this engine; exclude tokens by logit_bias, or leave it out".to_owned(),
        ),
        UnsupportedSampling::LogitBias => (
            "logit_bias",
            "is not supported by this engine, whose ranks do not divide the vocabulary evenly; leave it out"
                .to_owned(),
        ),
        UnsupportedSampling::LogprobsTokens { max, max_tokens } => (
            "max_tokens",
            format!(
                "must be up to {max} with log-probabilities on this engine, which reserves memory for the logits of \
                 every token, and is {max_tokens}; lower it, or leave out logprobs"
            ),
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

/// Truncates a message that quotes the client, since a quote may be as long as a body.
fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}
