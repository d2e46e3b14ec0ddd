//! [`ApiError`]: every error of every route. What it means to a client (status, OpenAI's `type`, `code` and
//! `param`) is decided in [`classification`], the status of a full queue in [`overload_status`], how an error is written
//! out in [`response`], and nowhere else.

mod classification;
mod kinds;
mod malformed;
mod overload_status;
mod response;

use std::time::Duration;

use axum::http::StatusCode;

pub(super) use self::kinds::INVALID_HOST;
pub(super) use self::overload_status::apply_overload_status;
pub(super) use self::response::{ErrorBody, ErrorObject, FailureLog};
use super::item_path::ItemPath;
use crate::reward::Unscorable;
use crate::scheduler::Rejection;
use crate::serving::ServingError;

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The body is not JSON. The text comes from the parser, with line and column.
    #[error("the request body is not valid JSON: {0}")]
    MalformedJson(String),
    /// The body is JSON, but not an object.
    #[error("the request body must be a JSON object, not {0}")]
    NotAnObject(&'static str),
    /// A field is missing, has the wrong type, or holds an impossible value.
    #[error("`{param}` {reason}")]
    Invalid {
        param: String,
        /// The rest of the sentence.
        reason: String,
    },
    /// A field asks for something that the model or the server does not do.
    #[error("`{param}` is not supported: {reason}")]
    Unsupported {
        param: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The request has this number of `Host` headers instead of one.
    #[error("the request has {0} `Host` headers; HTTP/1.1 requires one")]
    InvalidHost(usize),
    /// The request's `Host` header is something else than a host.
    #[error("the `Host` header is not a host with or without a port; send one such as `example.org:8000`")]
    MalformedHost,
    /// The body could not be read to its end.
    #[error("the request body could not be read to its end")]
    UnreadableBody,
    /// The body did not arrive in time.
    #[error("the request body did not arrive within {} s", .0.as_secs_f64())]
    SlowBody(Duration),
    /// The request has no API key.
    #[error(
        "no API key was given; send `Authorization: Bearer KEY`, or the key as the password of Basic authentication"
    )]
    MissingKey,
    /// The request's API key is not one of this server's.
    #[error("the API key is not valid")]
    InvalidKey,
    /// A page in a browser sent the request to the admin port.
    #[error("the admin port does not answer requests from web pages: send it without an `Origin` header")]
    FromWebPage,
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
    #[error("there is no {path} on this server{}; GET /openapi.json lists the routes", meant(nearest.as_deref()))]
    UnknownRoute {
        path: String,
        /// The route that may have been meant.
        nearest: Option<String>,
    },
    /// The path is known, the method is not.
    #[error("{path} does not answer {method}; send {}", allowed.as_deref().unwrap_or("what the Allow header says"))]
    WrongMethod {
        path: String,
        method: String,
        /// The methods that it answers, if the path is in the OpenAPI document.
        allowed: Option<String>,
    },
    /// The served model does not do this; the text says what it does, and on which routes.
    #[error("{0}")]
    WrongTask(&'static str),
    /// The engine is still being loaded.
    #[error("the server is starting: its engine is being loaded; try again shortly")]
    Starting,
    /// The server has all the connections that it accepts.
    #[error("too many connections to this server; try again shortly")]
    TooManyConnections,
    /// The bodies of requests in flight take all of this number of bytes.
    #[error("the requests in flight fill the {0} bytes that this server keeps for bodies; try again shortly")]
    TooManyBytes(usize),
    /// The model gave no score or no text.
    #[error("{}", named(error, item.as_ref()))]
    Serving {
        error: ServingError,
        /// Where the text is in the request; `None` if the error is not about one text.
        item: Option<ItemPath>,
    },
    /// A bug in Assay.
    #[error("an internal error: {0}")]
    Internal(String),
}

impl ApiError {
    pub(super) fn invalid(param: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), reason: reason.into() }
    }

    /// A body that the parser refuses.
    pub(super) fn malformed_json(body: &[u8], error: &serde_json::Error) -> Self {
        Self::MalformedJson(malformed::reason(body, error))
    }

    pub(super) fn unsupported(param: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { param: param.into(), reason: reason.into() }
    }

    /// A bug in Assay; `error` goes to the log alone.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// A failure of the model on the text in `item`.
    pub(super) fn on_item(error: impl Into<ServingError>, item: &ItemPath) -> Self {
        Self::Serving { error: error.into(), item: Some(item.clone()) }
    }

    /// A failure of the model that is not about one text of the request.
    pub(super) fn without_item(error: ServingError) -> Self {
        Self::Serving { error, item: None }
    }

    /// Whether the same request could succeed later, or on another server.
    pub(super) fn is_servers_fault(&self) -> bool {
        let status = self.kind().status;
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether the queue or the memory for bodies was full.
    fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::TooManyBytes(_)
                | Self::Serving { error: ServingError::Rejected(Rejection::QueueFull { .. }), .. }
        )
    }
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|path| format!(": did you mean {path}?")).unwrap_or_default()
}

/// The field of `item` that an error is about; `None` if the text is not at fault.
fn field_of(error: &ServingError, item: &ItemPath) -> Option<String> {
    if !error.is_items_own() {
        return None;
    }
    Some(match error {
        ServingError::Unscorable(Unscorable::Continued) => "continue_final_message".to_owned(),
        ServingError::Unscorable(Unscorable::NotAConversation | Unscorable::Rendered) => {
            item.start().to_owned()
        }
        error if error.is_too_long() => item.longer().to_owned(),
        _ => item.whole().to_owned(),
    })
}

/// The error in full, after the field that it is about.
fn named(error: &ServingError, item: Option<&ItemPath>) -> String {
    let Some(field) = item.and_then(|item| field_of(error, item)) else { return error.to_string() };
    format!("`{field}`: {error}")
}
