//! Scheduler events, for metrics.

use std::time::Duration;

use super::Rejection;

/// Receives every event on the scheduler's thread, so implementations must be quick.
pub trait Observer: Send + Sync {
    /// The number of requests and tokens that wait, whenever they may have changed.
    fn queue(&self, _requests: usize, _tokens: usize) {}
    /// The number of sequences in flight, whenever it may have changed.
    fn in_flight(&self, _sequences: usize) {}
    /// KV blocks that sequences in flight hold, that only the prefix tree keeps, and that are free.
    fn kv_blocks(&self, _used: usize, _cached: usize, _free: usize) {}
    /// The engine reported an iteration: tokens computed, sequences in it, the engine's time.
    fn iteration(&self, _tokens: usize, _sequences: usize, _elapsed: Duration) {}
    /// The number of tokens whose keys and values a sequence took from the prefix tree.
    fn prefix_reused(&self, _tokens: usize) {}
    /// A sequence that generates gave up its blocks to one that is ahead of it.
    fn preempted(&self) {}
    /// A request is answered by the computation for another request, or by the cache of scores.
    fn deduplicated(&self) {}
    /// A request's first iteration started, this long after it arrived.
    fn started(&self, _queue_time: Duration) {}
    /// A request's first token was generated, this long after it arrived.
    fn first_token(&self, _time: Duration) {}
    /// Another token of a request was generated, this long after the one before.
    fn next_token(&self, _time: Duration) {}
    /// A request was answered with its output, this long after it arrived.
    fn completed(&self, _time: Duration) {}
    /// A request was rejected, at arrival or later.
    fn rejected(&self, _rejection: &Rejection) {}
    /// A request's client left before the answer.
    fn cancelled(&self) {}
    /// The engine failed or stalled.
    fn engine_failed(&self) {}
    /// The engine was started again after a failure.
    fn engine_restarted(&self) {}
}

/// Observes nothing.
impl Observer for () {}
