//! What can be set.

use std::time::Duration;

/// What happens after the engine failed or stalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The engine is started again; what waits is kept meanwhile.
    #[default]
    Restart,
    /// [`super::Handle::failed`] resolves, so that the process can end and be replaced.
    Exit,
}

/// The scheduler's options and their defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most requests that may wait.
    pub max_queue_requests: usize,
    /// Most tokens that may wait, those to generate included.
    pub max_queue_tokens: usize,
    /// What one priority class is worth: a request that has waited this much longer than another
    /// goes before it though its class is one lower.
    pub ageing: Duration,
    /// Longest that a sequence is held for another which computes its prefix.
    pub follower_hold: Duration,
    /// Finished scores to keep; 0 keeps none.
    pub score_cache: usize,
    /// With work in flight, longest time without a report until the engine counts as stalled.
    pub stall_timeout: Duration,
    /// What happens after the engine failed or stalled.
    pub on_failure: OnFailure,
    /// Attempts to start the engine again before giving up, the wait doubling from `restart_wait`.
    pub restart_attempts: u32,
    /// Wait before the second attempt.
    pub restart_wait: Duration,
    /// Whether sequences share KV blocks of equal prefixes, and identical ones in flight are
    /// computed once.
    pub prefix_sharing: bool,
    /// Most tokens of one long prompt in an iteration while others want in; half the iteration if
    /// not set.
    pub max_chunk_tokens: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_queue_requests: 4096,
            max_queue_tokens: 4 << 20,
            ageing: Duration::from_secs(5),
            follower_hold: Duration::from_secs(10),
            score_cache: 0,
            stall_timeout: Duration::from_secs(60),
            on_failure: OnFailure::Restart,
            restart_attempts: 5,
            restart_wait: Duration::from_secs(1),
            prefix_sharing: true,
            max_chunk_tokens: None,
        }
    }
}
