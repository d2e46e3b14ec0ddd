//! Sends a request to the server of its prompt, and to the others if that one cannot answer.

use std::fmt::Display;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use super::error::root_cause;
use super::retry::{RetryBudget, is_final, retry_after};
use super::routing::{PROMPT_HEADER, PromptDigest};
use super::server::Server;
use super::wire::error_message;
use super::{RewardClient, ScoreError};
use crate::cli::output::eprint_line;

/// A request that any of the servers can answer.
pub(super) struct Request<'a> {
    pub(super) route: &'static str,
    pub(super) body: &'a Value,
    /// The prompt of its conversations.
    pub(super) prompt: &'a PromptDigest,
    /// Number of its conversations.
    pub(super) conversations: usize,
    /// How often it was answered already, but not well: each time, another server comes first.
    pub(super) rotation: usize,
}

/// An attempt that another may make good, at this server or at another one.
struct Failure {
    reason: String,
    /// The delay that the server asks for.
    retry_after: Option<Duration>,
    /// Whether the server would fail on any other request, too.
    is_of_server: bool,
}

type Attempt = Result<(StatusCode, String), Failure>;

impl RewardClient {
    /// Status and text of a response that would be the same on another attempt.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<(StatusCode, String), ScoreError> {
        let mut order = request.prompt.order(self.urls());
        order.rotate_left(request.rotation % self.servers.len().max(1));
        let mut budget = RetryBudget::new();
        loop {
            let (mut reason, mut delay) = (String::new(), None);
            for server in self.candidates(&order) {
                match self.attempt(server, request, budget.failures).await? {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => {
                        budget.failures += 1;
                        if failure.is_of_server {
                            self.note_failure(server, &failure.reason, failure.retry_after);
                        }
                        delay = [delay, failure.retry_after].into_iter().flatten().min();
                        reason = failure.reason;
                    }
                }
            }
            budget.wait(reason, delay).await?;
        }
    }

    /// The servers that may answer, in this order: those that did not fail a moment ago, or else all.
    fn candidates(&self, order: &[usize]) -> Vec<&Server> {
        let servers: Vec<&Server> = order.iter().filter_map(|&index| self.servers.get(index)).collect();
        let answering: Vec<&Server> =
            servers.iter().copied().filter(|server| !server.is_backing_off()).collect();
        if answering.is_empty() { servers } else { answering }
    }

    async fn attempt(
        &self,
        server: &Server,
        request: &Request<'_>,
        failures: u32,
    ) -> Result<Attempt, ScoreError> {
        let _permits = server.acquire(request.conversations).await?;
        if server.has_failed() {
            self.check_identity(server).await?;
        }
        let post = self.authorized(self.http.post(format!("{}{}", server.url, request.route)));
        let post = post.header(PROMPT_HEADER, request.prompt.header()).json(request.body);
        let broken = |what, error| Failure {
            reason: format!("{} {what}: {}", server.url, root_cause(&error)),
            retry_after: None,
            is_of_server: true,
        };
        let sent = Instant::now();
        let response = match post.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(broken("does not answer", error))),
        };
        let (status, retry_after) = (response.status(), retry_after(&response));
        self.identity.check_headers(response.headers(), &server.url)?;
        let text = match response.text().await {
            Ok(text) => text,
            Err(error) => return Ok(Err(broken("broke off its response", error))),
        };
        if is_final(status, failures) {
            if server.record_answer(sent) && self.servers.len() > 1 {
                eprint_line(format_args!("{} answers again", server.url));
            }
            return Ok(Ok((status, text)));
        }
        Ok(Err(Failure {
            reason: format!("{}: {}", server.url, error_message(status, &text)),
            retry_after,
            is_of_server: matches!(
                status,
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
            ),
        }))
    }

    /// Lets a server rest that fails on everything.
    pub(super) fn note_failure(&self, server: &Server, reason: impl Display, retry_after: Option<Duration>) {
        if server.record_failure(retry_after) && self.servers.len() > 1 {
            eprint_line(format_args!("warning: {reason}; the other servers score its rows until it answers"));
        }
    }
}
