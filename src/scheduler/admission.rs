//! [`Admission`]: what keeps jobs out before anything is known of their text.

use std::time::Duration;

use super::rate::DrainRate;
use super::{QueueLimit, Rejection};
use crate::engine::Priority;

/// What keeps jobs out of the queue whatever their text is, at some moment.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    pub(super) full_queue: Option<FullQueue>,
    /// `None` if the answer may be known already.
    pub(super) work_ahead: Option<WorkAhead>,
}

/// A queue without room for any job, unless one of a lower class gives way to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FullQueue {
    /// Which limit is met.
    pub(super) limit: QueueLimit,
    /// The lowest class that waits; `None` if nothing waits.
    pub(super) lowest: Option<Priority>,
}

/// The work that goes before a job which arrives, and how fast it is done.
#[derive(Clone, Debug)]
pub(super) struct WorkAhead {
    /// When the engine should be done with what it computes.
    pub(super) engine_free: Duration,
    /// Tokens that go before anything that waits.
    pub(super) started: usize,
    /// Waiting tokens of each class.
    pub(super) waiting: Vec<(Priority, usize)>,
    pub(super) rate: DrainRate,
    pub(super) max_num_tokens: usize,
}

impl Admission {
    /// The limit of the queue that keeps out jobs of this class.
    pub fn limit_met(&self, priority: Priority) -> Option<QueueLimit> {
        let full = self.full_queue.filter(|full| full.lowest.is_none_or(|lowest| priority >= lowest));
        full.map(|full| full.limit)
    }

    /// Whether a job that arrives at `now` may be answered by `deadline`. It is judged as if it had one token, so one that
    /// passes may be rejected all the same.
    ///
    /// # Errors
    /// [`Rejection::DeadlineExceeded`] or [`Rejection::DeadlineUnmeetable`].
    pub fn check_deadline(
        &self,
        now: Duration,
        priority: Priority,
        deadline: Duration,
    ) -> Result<(), Rejection> {
        let time = deadline.saturating_sub(now);
        if time.is_zero() {
            return Err(Rejection::DeadlineExceeded);
        }
        match self.work_ahead.as_ref().and_then(|work| work.time_to_answer(now, priority, time)) {
            Some(estimate) if estimate > time => Err(Rejection::DeadlineUnmeetable { estimate }),
            _ => Ok(()),
        }
    }
}

impl WorkAhead {
    /// How long a job of one token takes that arrives at `now` and is of use for `time`.
    fn time_to_answer(&self, now: Duration, priority: Priority, time: Duration) -> Option<Duration> {
        let before = self.waiting.iter().filter(|(class, _)| *class <= priority);
        let ahead = self.started + before.map(|(_, tokens)| tokens).sum::<usize>();
        let computed = self.rate.time_to_answer(ahead, 1, self.max_num_tokens, time)?;
        Some(self.engine_free.saturating_sub(now) + computed)
    }
}
