//! Scheduler options.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// What happens after the engine failed or stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    // The lines that help shows.
    /// Exit with status 3, so that an orchestrator replaces the process
    Exit,
    /// Load the engine again; requests in the queue keep waiting
    Restart,
}

/// How the scheduler orders, batches and bounds its work, and what it does about a failing engine.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Maximum number of requests that wait.
    pub max_queue_requests: usize,
    /// Maximum number of tokens that wait, including those to generate.
    pub max_queue_tokens: usize,
    /// How long a request must wait to move up one priority class.
    pub ageing: Duration,
    /// How long a sequence may wait for another to compute its prefix.
    pub max_prefix_wait: Duration,
    /// Number of finished scores to keep.
    pub score_cache: usize,
    /// How long the engine may go without a report while work is in flight before it counts as stalled.
    pub stall_timeout: Duration,
    /// What happens after the engine failed or stalled.
    pub on_failure: OnFailure,
    /// Number of attempts to start the engine again before giving up. The wait before each doubles, starting from
    /// `restart_wait` before the second.
    pub restart_attempts: u32,
    /// Wait before the second attempt.
    pub restart_wait: Duration,
    /// Whether sequences share KV blocks of equal prefixes, and identical ones in flight are
    /// computed once.
    pub prefix_sharing: bool,
    /// Maximum tokens of one long prompt per iteration while others wait. By default a prompt longer than half an
    /// iteration takes a quarter of one.
    pub max_chunk_tokens: Option<usize>,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            max_queue_requests: 4096,
            max_queue_tokens: 4 << 20,
            ageing: Duration::from_secs(5),
            max_prefix_wait: Duration::from_secs(10),
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
