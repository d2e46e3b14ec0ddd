//! When and for how long to try again after a server failed to answer.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::ScoreError;

/// How long to keep asking a server that is overloaded or restarting.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(600);
/// How often to retry what a server fails on: the request itself may be the cause.
pub(super) const MAX_FAILURES: u32 = 3;
/// Delay before the first retry; each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(250);
pub(super) const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Limits the time that is spent on one request and its retries.
pub(super) struct RetryBudget {
    started: Instant,
    waits: u32,
    /// Number of attempts that failed.
    pub(super) failures: u32,
}

/// The retry budget is spent.
#[derive(Debug, thiserror::Error)]
#[error("gave up after {} s: {reason}", MAX_WAIT.as_secs())]
struct BudgetSpent {
    reason: String,
}

impl RetryBudget {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), waits: 0, failures: 0 }
    }

    /// Waits until the next attempt: for as long as the server says, or else longer each time. `reason` is
    /// why the last attempt failed.
    ///
    /// # Errors
    /// [`ScoreError::Gone`] if the budget is spent.
    pub(super) async fn wait(
        &mut self,
        reason: String,
        retry_after: Option<Duration>,
    ) -> Result<(), ScoreError> {
        if self.started.elapsed() > MAX_WAIT {
            return Err(ScoreError::Gone(BudgetSpent { reason }.into()));
        }
        let delay = pause(retry_after, self.waits);
        self.waits += 1;
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// How long to wait after a failure, before which there were `failures` others.
pub(super) fn pause(retry_after: Option<Duration>, failures: u32) -> Duration {
    let delay = retry_after.unwrap_or(FIRST_DELAY * 2u32.pow(failures.min(8)));
    delay.clamp(MIN_DELAY, MAX_DELAY)
}

/// Whether further attempts would get the same answer. An overloaded or restarting server says 429 or 503.
pub(super) fn is_final(status: StatusCode) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => false,
        StatusCode::NOT_IMPLEMENTED => true,
        status => !status.is_server_error(),
    }
}

/// The delay that a response asks for.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_is_retried_and_refusals_are_not() {
        assert!(is_final(StatusCode::OK) && is_final(StatusCode::BAD_REQUEST));
        assert!(!is_final(StatusCode::SERVICE_UNAVAILABLE) && !is_final(StatusCode::TOO_MANY_REQUESTS));
    }
}
