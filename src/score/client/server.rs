//! One of the servers that a client may ask: how much it has in hand, and whether it answers.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::retry::pause;
use super::server_root;
use crate::score::ScoreError;

/// Requests in a row that a server may fail on, and another one answer, before it rests.
const TOLERATED_ERRORS: u32 = 3;
/// Longest time for which the others wait for the request that finds out whether a server answers again.
const LONGEST_TRIAL: Duration = Duration::from_secs(60);

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
    last_answer: Option<Instant>,
    /// Requests in a row that it failed on and another server answered.
    errors: u32,
    /// Until when other servers are preferred.
    backoff_until: Option<Instant>,
    /// Until when one request finds out whether it answers again.
    trial_until: Option<Instant>,
}

impl Health {
    fn is_backing_off(&self) -> bool {
        is_ahead(self.backoff_until)
    }

    fn is_resting(&self) -> bool {
        self.is_backing_off() || is_ahead(self.trial_until)
    }

    /// Starts a rest, unless one has started already: requests that were sent at the same time fail at the same time,
    /// and count once. Returns whether it answered before.
    fn rest(&mut self, retry_after: Option<Duration>) -> bool {
        self.last_failure = Some(Instant::now());
        if self.is_backing_off() {
            return false;
        }
        self.trial_until = None;
        self.backoff_until = Some(Instant::now() + pause(retry_after, self.failures));
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}

fn is_ahead(time: Option<Instant>) -> bool {
    time.is_some_and(|time| Instant::now() < time)
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

    /// Whether to ask other servers instead: it failed a moment ago, or one request finds out whether it answers again.
    pub(super) fn is_resting(&self) -> bool {
        self.health().is_resting()
    }

    /// Whether a request may be sent to it. After a rest, the first that asks may, and the others wait for its answer.
    pub(super) fn take_turn(&self) -> bool {
        let mut health = self.health();
        if health.is_resting() {
            return false;
        }
        if health.failures > 0 {
            health.trial_until = Some(Instant::now() + LONGEST_TRIAL);
        }
        true
    }

    /// Lets other requests find out whether it answers again: the one that tried does not know.
    pub(super) fn end_trial(&self) {
        self.health().trial_until = None;
    }

    /// Whether it has failed since it last answered, so that it may have been restarted with something else.
    pub(super) fn has_failed(&self) -> bool {
        self.health().failures > 0
    }

    /// Whether it has failed since `time`.
    pub(super) fn has_failed_since(&self, time: Instant) -> bool {
        self.health().last_failure.is_some_and(|failed| failed >= time)
    }

    /// Whether it has answered any request since `time`.
    pub(super) fn has_answered_since(&self, time: Instant) -> bool {
        self.health().last_answer.is_some_and(|answered| answered >= time)
    }

    /// Whether it fails on requests that others answer.
    pub(super) fn is_broken(&self) -> bool {
        self.health().errors >= TOLERATED_ERRORS
    }

    /// Records that it does not answer, or refuses everything. Returns whether it answered before.
    pub(super) fn record_failure(&self, retry_after: Option<Duration>) -> bool {
        self.health().rest(retry_after)
    }

    /// Records that it failed on a request that another server answered. A server that does nothing else rests. Returns
    /// whether it answered before.
    pub(super) fn record_error(&self) -> bool {
        let mut health = self.health();
        health.errors = health.errors.saturating_add(1);
        health.errors >= TOLERATED_ERRORS && health.rest(None)
    }

    /// Records the answer to a request that was sent at `sent`. Returns whether it answers again after a failure. A
    /// request that was sent before the failure does not show that: a server that shuts down still answers what it has,
    /// and refuses the rest.
    pub(super) fn record_answer(&self, sent: Instant) -> bool {
        let mut health = self.health();
        health.last_answer = Some(Instant::now());
        if health.last_failure.is_some_and(|failed| sent <= failed) {
            return false;
        }
        let answer = Health { last_answer: health.last_answer, ..Health::default() };
        std::mem::replace(&mut *health, answer).failures > 0
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::retry::MIN_DELAY;
    use super::*;

    #[test]
    fn an_answer_to_an_earlier_request_does_not_end_a_rest() {
        let server = Server::new("http://a", 1);
        let before = Instant::now();
        assert!(server.record_failure(None));
        assert!(!server.record_failure(None), "those at the same time count once");
        assert!(!server.record_answer(before));
        assert!(server.is_resting() && server.has_failed());
        assert!(server.record_answer(Instant::now() + Duration::from_millis(1)));
        assert!(!server.is_resting() && !server.has_failed());
    }

    #[test]
    fn after_a_rest_one_request_finds_out_whether_the_server_answers_again() {
        let server = Server::new("http://a", 1);
        assert!(server.take_turn() && server.take_turn());
        server.record_failure(Some(Duration::ZERO));
        assert!(!server.take_turn());
        std::thread::sleep(2 * MIN_DELAY);
        assert!(server.take_turn() && !server.take_turn());
        // It fails again, and rests again.
        assert!(!server.record_failure(None) && server.is_resting());
        server.record_answer(Instant::now() + Duration::from_millis(1));
        assert!(server.take_turn() && server.take_turn());
    }

    #[test]
    fn a_server_that_keeps_failing_on_what_others_answer_rests() {
        let server = Server::new("http://a", 1);
        for _ in 1..TOLERATED_ERRORS {
            assert!(!server.record_error());
            assert!(server.take_turn() && !server.is_broken());
        }
        // An answer in between shows that it was the request.
        server.record_answer(Instant::now());
        for _ in 1..TOLERATED_ERRORS {
            assert!(!server.record_error());
        }
        assert!(server.record_error());
        assert!(!server.take_turn() && server.is_broken());
    }
}
