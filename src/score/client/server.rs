//! One of the servers that a client may ask: how much it has in hand, and whether it answers.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::retry::pause;
use super::server_root;
use crate::score::ScoreError;

pub(super) struct Server {
    pub(super) url: String,
    /// A permit for each conversation that may be at the server at once.
    permits: Semaphore,
    concurrency: u32,
    health: Mutex<Health>,
}

/// What is known from a server's last answers.
#[derive(Default)]
struct Health {
    /// Failures since its last answer.
    failures: u32,
    last_failure: Option<Instant>,
    /// Until when other servers are preferred.
    backoff_until: Option<Instant>,
}

impl Health {
    fn is_backing_off(&self) -> bool {
        self.backoff_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Server {
    /// The server at `url`, its root or with `/v1`, which gets up to `concurrency` conversations at once.
    pub(super) fn new(url: &str, concurrency: usize) -> Self {
        let concurrency = u32::try_from(concurrency.max(1)).unwrap_or(u32::MAX);
        Self {
            url: server_root(url).to_owned(),
            permits: Semaphore::new((concurrency as usize).min(Semaphore::MAX_PERMITS)),
            concurrency,
            health: Mutex::default(),
        }
    }

    /// Waits until the server may get this number of conversations.
    pub(super) async fn acquire(&self, conversations: usize) -> Result<SemaphorePermit<'_>, ScoreError> {
        let permits = u32::try_from(conversations).unwrap_or(u32::MAX).min(self.concurrency);
        self.permits.acquire_many(permits).await.map_err(|error| ScoreError::Gone(error.into()))
    }

    /// Whether it failed a moment ago.
    pub(super) fn is_backing_off(&self) -> bool {
        self.health().is_backing_off()
    }

    /// Whether it has failed since it last answered, so that it may have been restarted with something else.
    pub(super) fn has_failed(&self) -> bool {
        self.health().failures > 0
    }

    /// Records that it does not answer, or refuses everything. Returns whether it answered before.
    pub(super) fn record_failure(&self, retry_after: Option<Duration>) -> bool {
        let mut health = self.health();
        health.last_failure = Some(Instant::now());
        // Requests that were sent at the same time fail at the same time, and count once.
        if health.is_backing_off() {
            return false;
        }
        health.backoff_until = Some(Instant::now() + pause(retry_after, health.failures));
        health.failures = health.failures.saturating_add(1);
        health.failures == 1
    }

    /// Records the answer to a request that was sent at `sent`. Returns whether it answers again after a failure. A
    /// request that was sent before the failure does not show that: a server that shuts down still answers what it has,
    /// and refuses the rest.
    pub(super) fn record_answer(&self, sent: Instant) -> bool {
        let mut health = self.health();
        if health.last_failure.is_some_and(|failed| sent <= failed) {
            return false;
        }
        std::mem::take(&mut *health).failures > 0
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_an_earlier_request_does_not_end_a_rest() {
        let server = Server::new("http://a", 1);
        let before = Instant::now();
        assert!(server.record_failure(None));
        assert!(!server.record_failure(None), "those at the same time count once");
        assert!(!server.record_answer(before));
        assert!(server.is_backing_off() && server.has_failed());
        assert!(server.record_answer(Instant::now() + Duration::from_millis(1)));
        assert!(!server.is_backing_off() && !server.has_failed());
    }
}
