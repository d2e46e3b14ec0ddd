//! The scheduler as state machines: no threads, no clocks, no channels.
//!
//! There is one for each kind of engine: [`StepCore`] composes the iterations of a
//! [`StepEngine`](crate::engine::StepEngine), [`QueueCore`] feeds a
//! [`QueueEngine`](crate::engine::QueueEngine). Both keep jobs in the same table and offer the same
//! operations, [`Core`].
//!
//! Time is a [`Duration`] since whatever moment the driver chose; it must not go back. The driver calls
//! [`Core::arrive`] and [`Core::cancel`] as they come and [`Core::expire`] when [`Core::next_wakeup`] says, and
//! collects answers with [`Core::take_answers`]: exactly one for each job that was not cancelled.

mod job_id;
mod jobs;
mod queue_core;
mod sequence;
mod step;

use std::time::Duration;

pub use self::job_id::JobId;
pub use self::queue_core::{Feed, QueueCore};
pub use self::step::StepCore;

use self::jobs::{Backlog, JobTable};
use self::sequence::SequenceState;
use super::{Admission, JobResult, Rejection};
use crate::engine::{Job, SequenceId};
use crate::sampling::Sampled;

/// What the scheduler does with jobs, whichever kind of engine runs them.
pub trait Core {
    /// Accepts a job. It is answered at once if it is rejected or its score is known. After `deadline` its answer is
    /// useless.
    fn arrive(&mut self, now: Duration, id: JobId, job: Job, deadline: Option<Duration>);

    /// Cancels a job. Does nothing if it was answered already.
    fn cancel(&mut self, id: JobId);

    /// Ends a job that needs no more tokens than it has. Does nothing if it was answered already.
    fn finish(&mut self, id: JobId);

    /// Answers the jobs whose deadline has passed.
    fn expire(&mut self, now: Duration);

    /// The engine is lost, with its cache. Answers the jobs it had started with `rejection`; the others keep waiting.
    fn lose_engine(&mut self, rejection: &Rejection);

    /// Rejects every job, including those that arrive from now on.
    fn close(&mut self, rejection: &Rejection);

    /// The tokens generated since the last call, in order; take them before the answers.
    fn take_tokens(&mut self) -> Vec<(JobId, Sampled)>;

    /// The answers since the last call.
    fn take_answers(&mut self) -> Vec<(JobId, JobResult)>;

    /// When [`Core::expire`] will have something to do.
    fn next_wakeup(&self) -> Option<Duration>;

    /// How long the work that is here at `now` should take at the present drain rate.
    fn retry_after(&self, now: Duration) -> Duration;

    /// What keeps out jobs that arrive, whatever their text is.
    fn admission(&self, now: Duration) -> Admission;

    /// Whether nothing waits and nothing is in flight.
    fn is_idle(&self) -> bool;

    /// Reports the sizes of queue, batch and cache to the observer.
    fn observe(&self);
}

/// What differs between the kinds of core.
trait Batching {
    type State: SequenceState;

    fn jobs(&self) -> &JobTable<Self::State>;

    fn jobs_mut(&mut self) -> &mut JobTable<Self::State>;

    /// What comes before anything that waits.
    fn backlog(&self, now: Duration) -> Backlog;

    /// Removes a sequence that no job waits for, as soon as the engine is done with it.
    fn release_if_unwanted(&mut self, id: SequenceId);

    /// Forgets what the lost engine was doing, and answers those jobs with `rejection`.
    fn forget_in_flight(&mut self, rejection: &Rejection);

    fn observe_blocks(&self);

    /// Answers a job with a rejection, if it was not answered before.
    fn reject(&mut self, job: JobId, rejection: Rejection) {
        if let Some(sequence) = self.jobs_mut().reject(job, rejection) {
            self.release_if_unwanted(sequence);
        }
    }

    /// Rejects those of a waiting sequence's jobs that would be answered too late if it came next after `backlog`.
    fn reject_unmeetable(&mut self, id: SequenceId, now: Duration, backlog: Backlog) {
        for (job, rejection) in self.jobs().unmeetable(id, now, backlog) {
            self.reject(job, rejection);
        }
    }
}

impl<B: Batching> Core for B {
    fn arrive(&mut self, now: Duration, id: JobId, job: Job, deadline: Option<Duration>) {
        let backlog = self.backlog(now);
        self.jobs_mut().arrive(now, id, job, deadline, backlog);
    }

    fn cancel(&mut self, id: JobId) {
        if let Some(sequence) = self.jobs_mut().cancel(id) {
            self.release_if_unwanted(sequence);
        }
    }

    fn finish(&mut self, id: JobId) {
        if let Some(sequence) = self.jobs_mut().detach(id) {
            self.release_if_unwanted(sequence);
        }
    }

    fn expire(&mut self, now: Duration) {
        while let Some(job) = self.jobs_mut().take_expired(now) {
            self.reject(job, Rejection::DeadlineExceeded);
        }
    }

    fn lose_engine(&mut self, rejection: &Rejection) {
        self.forget_in_flight(rejection);
    }

    fn close(&mut self, rejection: &Rejection) {
        self.jobs_mut().close(rejection);
        self.forget_in_flight(rejection);
        self.jobs_mut().reject_all_waiting(rejection);
    }

    fn take_tokens(&mut self) -> Vec<(JobId, Sampled)> {
        self.jobs_mut().take_tokens()
    }

    fn take_answers(&mut self) -> Vec<(JobId, JobResult)> {
        self.jobs_mut().take_answers()
    }

    fn next_wakeup(&self) -> Option<Duration> {
        self.jobs().next_deadline()
    }

    fn retry_after(&self, now: Duration) -> Duration {
        self.jobs().time_to_drain(now, self.backlog(now))
    }

    fn admission(&self, now: Duration) -> Admission {
        self.jobs().admission(self.backlog(now))
    }

    fn is_idle(&self) -> bool {
        self.jobs().is_empty()
    }

    fn observe(&self) {
        self.jobs().observe();
        self.observe_blocks();
    }
}
