//! Sends a request to the server of its prompt, and to the others if that one cannot answer.

use std::fmt::Display;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use super::error::{BodyError, ConnectError, Redirect, read_body, root_cause};
use super::retry::{MAX_FAILURES, MAX_WAIT, RetryBudget, is_final, retry_after};
use super::routing::{PROMPT_HEADER, PromptDigest};
use super::server::Server;
use super::wire::error_message;
use super::{RewardClient, ScoreError};
use crate::cli::output::eprint_line;
use crate::signing::{Mismatch, ReceivedResponse, verify_response};

/// A request that any of the servers can answer.
pub(super) struct Request<'a> {
    pub(super) route: &'static str,
    pub(super) body: &'a Value,
    /// The prompt of its conversations.
    pub(super) prompt: &'a PromptDigest,
    /// Number of its conversations.
    pub(super) conversations: usize,
    /// How often it got an answer that could not be used: each time, another server comes first.
    pub(super) rotation: usize,
}

/// How long a server may answer nothing before the client asks whether it still answers anything.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A failed attempt that may succeed if it is repeated, at this server or another.
struct Failure {
    reason: String,
    fault: Fault,
}

/// Who may be at fault.
enum Fault {
    /// The server: it would fail on any other request, too.
    Server {
        /// The delay that it asks for.
        retry_after: Option<Duration>,
    },
    /// The server is busy for now.
    Busy { retry_after: Option<Duration> },
    /// The server, or the request. The response is final if the request is at fault.
    Unknown { status: StatusCode, text: String },
}

/// A response, as it came.
struct Received {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A response that the expected key did not sign.
#[derive(Debug, thiserror::Error)]
#[error("{url}{route}: {mismatch}; with --verify-key, every response with scores must be signed by that key")]
struct NotVerified {
    url: String,
    route: &'static str,
    mismatch: Mismatch,
}

/// A response that is not read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {error}; is it the server of a reward model?")]
struct TooLarge {
    url: String,
    error: BodyError,
}

type Attempt = Result<(StatusCode, String), Failure>;

impl RewardClient {
    /// Status and text of a response that would be the same on another attempt.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<(StatusCode, String), ScoreError> {
        let mut order = request.prompt.order(self.urls());
        order.rotate_left(request.rotation % self.servers.len().max(1));
        let servers: Vec<&Server> = order.iter().filter_map(|&index| self.servers.get(index)).collect();
        let mut budget = RetryBudget::new();
        // The servers that failed on this request, perhaps because of it.
        let mut failed: Vec<(&Server, String)> = Vec::new();
        loop {
            let (mut reason, mut delay) = ("no server answers".to_owned(), None);
            let all_rest = servers.iter().all(|server| server.is_resting());
            for &server in &servers {
                if !all_rest && !server.take_turn() {
                    continue;
                }
                let failure = match self.attempt(server, request).await? {
                    Ok(answer) => {
                        if answer.0.is_success() {
                            note_errors(&failed, server);
                        }
                        return Ok(answer);
                    }
                    Err(failure) => failure,
                };
                budget.failures += 1;
                reason = failure.reason;
                match failure.fault {
                    Fault::Server { retry_after } => {
                        self.note_failure(server, &reason, retry_after);
                        delay = [delay, retry_after].into_iter().flatten().min();
                    }
                    Fault::Busy { retry_after } => {
                        server.end_trial();
                        delay = [delay, retry_after].into_iter().flatten().min();
                    }
                    Fault::Unknown { status, text } => {
                        server.end_trial();
                        if failed.iter().all(|(other, _)| other.url != server.url) {
                            failed.push((server, reason.clone()));
                        }
                        let by_request = failed.len() > 1 || !server.is_broken();
                        if budget.failures > MAX_FAILURES && (by_request || self.servers.len() == 1) {
                            return Ok((status, text));
                        }
                    }
                }
            }
            budget.wait(reason, delay).await?;
        }
    }

    async fn attempt(&self, server: &Server, request: &Request<'_>) -> Result<Attempt, ScoreError> {
        let asked = Instant::now();
        let _permits = server.acquire(request.conversations).await?;
        if self.servers.len() > 1 && server.has_failed_since(asked) {
            let reason = format!("{} does not answer", server.url);
            return Ok(Err(Failure { reason, fault: Fault::Busy { retry_after: None } }));
        }
        let unreachable = |what: String| {
            let fault = Fault::Server { retry_after: None };
            Ok(Err(Failure { reason: format!("{} {what}", server.url), fault }))
        };
        if server.has_failed() && !self.check_identity(server).await? && self.servers.len() > 1 {
            return unreachable("does not answer".to_owned());
        }
        let body = Bytes::from(request.body.to_string());
        let sent = Instant::now();
        let received = match self.exchange(server, request, body.clone()).await? {
            Ok(received) => received,
            Err(what) => return unreachable(what),
        };
        let (status, retry_after) = (received.status, retry_after(&received.headers));
        self.identity.check_headers(&received.headers, &server.url)?;
        if status.is_success() {
            self.verify(server, request.route, &body, &received)?;
        }
        let text = String::from_utf8_lossy(&received.body).into_owned();
        if is_final(status) {
            if server.record_answer(sent) && self.servers.len() > 1 {
                eprint_line(format_args!("{} answers again", server.url));
            }
            return Ok(Ok((status, text)));
        }
        let reason = format!("{}: {}", server.url, error_message(status, &text));
        let fault = match status {
            StatusCode::INTERNAL_SERVER_ERROR => Fault::Unknown { status, text },
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Fault::Server { retry_after }
            }
            _ => Fault::Busy { retry_after },
        };
        Ok(Err(Failure { reason, fault }))
    }

    /// Sends a request and reads the response, or says what the server does instead.
    ///
    /// # Errors
    /// It does what no server of scores does.
    async fn exchange(
        &self,
        server: &Server,
        request: &Request<'_>,
        body: Bytes,
    ) -> Result<Result<Received, String>, ScoreError> {
        let url = || format!("{}{}", server.url, request.route);
        let post = self.authorized(self.http.post(url()));
        let post = post.header(PROMPT_HEADER, request.prompt.header()).header(CONTENT_TYPE, JSON);
        let response = match self.unless_hung(server, post.body(body).send()).await {
            Some(Ok(response)) => response,
            Some(Err(error)) => return Ok(Err(format!("does not answer: {}", root_cause(&error)))),
            None => return Ok(Err(HUNG.to_owned())),
        };
        if let Some(redirect) = Redirect::from_response(&response) {
            return Err(ScoreError::Gone(ConnectError::Redirects { url: url(), redirect }.into()));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        match self.unless_hung(server, read_body(response)).await {
            Some(Ok(body)) => Ok(Ok(Received { status, headers, body })),
            Some(Err(BodyError::BrokenOff(error))) => {
                Ok(Err(format!("broke off its response: {}", root_cause(&error))))
            }
            Some(Err(error)) => Err(ScoreError::Gone(TooLarge { url: url(), error }.into())),
            None => Ok(Err(HUNG.to_owned())),
        }
    }

    /// Checks the signature of a response, if all must be signed.
    fn verify(
        &self,
        server: &Server,
        route: &'static str,
        request_body: &[u8],
        received: &Received,
    ) -> Result<(), ScoreError> {
        let Some(key) = &self.verify_key else { return Ok(()) };
        let Received { status, headers, body } = received;
        let response = ReceivedResponse {
            status: status.as_u16(),
            headers,
            body,
            method: "POST",
            path: route,
            request_body,
        };
        verify_response(key, response).map(drop).map_err(|mismatch| {
            ScoreError::Gone(NotVerified { url: server.url.clone(), route, mismatch }.into())
        })
    }

    /// Waits for a server's answer; `None` if there are other servers and this one answers nothing at all any more. One
    /// that works on a large request still says what models it has, or answers other requests.
    async fn unless_hung<T>(&self, server: &Server, answer: impl Future<Output = T>) -> Option<T> {
        if self.servers.len() == 1 {
            return Some(answer.await);
        }
        let mut answer = pin!(answer);
        loop {
            let since = Instant::now();
            if let Ok(answer) = tokio::time::timeout(self.silence, &mut answer).await {
                return Some(answer);
            }
            if server.has_answered_since(since) {
                continue;
            }
            tokio::select! {
                answer = &mut answer => return Some(answer),
                answers = self.answers_at_all(server) => if !answers { return None },
            }
        }
    }

    /// Lets a server rest that fails on everything.
    pub(super) fn note_failure(&self, server: &Server, reason: impl Display, retry_after: Option<Duration>) {
        if !server.record_failure(retry_after) {
            return;
        }
        if self.servers.len() > 1 {
            eprint_line(format_args!("warning: {reason}; the other servers score its rows until it answers"));
        } else {
            let seconds = MAX_WAIT.as_secs();
            eprint_line(format_args!("warning: {reason}; trying again for up to {seconds} s"));
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HUNG: &str = "answers nothing any more, not even what models it has";

/// Counts the failures on a request that the server `answered` then has answered.
fn note_errors(failed: &[(&Server, String)], answered: &Server) {
    for (server, reason) in failed {
        if server.url != answered.url && server.record_error() {
            eprint_line(format_args!(
                "warning: {reason}; it fails on what the other servers answer, and they score its rows until it answers"
            ));
        }
    }
}
