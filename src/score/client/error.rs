//! Why servers cannot be used.

use std::error::Error;

use reqwest::StatusCode;
use reqwest::header::LOCATION;

use super::REWARDS;
use crate::score::ScoreError;

/// Environment variable with the API key of a server. Not an option: other users can see the options of a
/// process.
pub(in crate::score) const API_KEY: &str = "ASSAY_API_KEY";

/// Largest response that is read. The scores of the most conversations that are asked for at once need a small part.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Why servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("--url `{0}` must start with http:// or https://")]
    Url(String),
    #[error("cannot create an HTTP client: {}", root_cause(.0))]
    Client(#[source] reqwest::Error),
    #[error("{url} refuses the API key ({status}): set {API_KEY} to one of the server's keys")]
    Key { url: String, status: StatusCode },
    #[error("{url} requires an API key ({status}): set {API_KEY} to one of the server's keys")]
    NoKey { url: String, status: StatusCode },
    #[error("{url}/v1/models {}: {}; {}", failure(source), root_cause(source), advice(source))]
    Models { url: String, source: reqwest::Error },
    #[error("{url}/v1/metadata does not answer: {}; check --url", root_cause(source))]
    Metadata { url: String, source: reqwest::Error },
    #[error("{url}/v1/models does not list models: {reason}; check --url")]
    NotModels { url: String, reason: String },
    #[error("{url} {redirect}")]
    Redirects { url: String, redirect: Redirect },
    #[error("{0} serves no model")]
    NoModel(String),
    #[error("{0} has no route {REWARDS}, which takes rubrics; leave --rubric out, or name an Assay server")]
    NoRubrics(String),
    #[error(
        "{first} and {other} run different engines, or the same with other options ({first_runs}; {other_runs}); start \
         them alike, or leave one --url out"
    )]
    Different { first: String, other: String, first_runs: String, other_runs: String },
}

impl From<ConnectError> for ScoreError {
    fn from(error: ConnectError) -> Self {
        Self::Setup(error.into())
    }
}

impl ConnectError {
    /// Whether the server may answer later: it is not there, or it is starting.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            // A wrong URL stays wrong.
            Self::Models { source, .. } if source.is_builder() => false,
            Self::Models { source, .. } => source.status().is_none_or(|status| status.is_server_error()),
            Self::NotModels { .. } | Self::Metadata { .. } => true,
            _ => false,
        }
    }
}

/// A response that names another address. None is followed: a request would lose its body on the way, and conversations
/// would go to a server that nobody named.
#[derive(Debug, thiserror::Error)]
#[error("redirects to {location}; name the server with --url as it is after that")]
pub(super) struct Redirect {
    location: String,
}

impl Redirect {
    /// The redirect in a response, if it is one.
    pub(super) fn from_response(response: &reqwest::Response) -> Option<Self> {
        if !response.status().is_redirection() {
            return None;
        }
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        Some(Self { location: location.unwrap_or("an address that it does not say").to_owned() })
    }
}

/// Why the body of a response cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("{}", root_cause(.0))]
    BrokenOff(#[from] reqwest::Error),
    #[error("its response has more than {MAX_RESPONSE_BYTES} bytes")]
    TooLarge,
}

/// The body of a response, which a server may make as long as it likes.
pub(super) async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        if body.len() + bytes.len() > MAX_RESPONSE_BYTES {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// What to do about a server that does not list its models.
fn advice(error: &reqwest::Error) -> &'static str {
    match error.status() {
        Some(status) if status.is_client_error() => {
            "give the address of the server without a route, such as http://localhost:8000"
        }
        _ => "check --url",
    }
}

fn failure(error: &reqwest::Error) -> &'static str {
    if error.is_decode() { "does not list models" } else { "does not answer" }
}

/// The innermost cause of an error. reqwest's own texts are general ("error sending request").
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_server_is_tried_again_and_a_wrong_url_is_not() {
        // Fails only if another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (url, expected) in [("http://127.0.0.1:1", true), ("http://[", false)] {
            let source = reqwest::get(url).await.unwrap_err();
            let error = ConnectError::Models { url: url.to_owned(), source };
            assert_eq!(error.may_pass(), expected, "{error}");
        }
    }

    #[tokio::test]
    async fn a_url_with_a_route_is_answered_with_what_to_give() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/rewards", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
        let response = reqwest::get(format!("{url}/v1/models")).await.unwrap();
        let source = response.error_for_status().unwrap_err();
        server.abort();
        let error = ConnectError::Models { url, source };
        assert!(
            error
                .to_string()
                .ends_with("give the address of the server without a route, such as http://localhost:8000")
        );
    }
}
