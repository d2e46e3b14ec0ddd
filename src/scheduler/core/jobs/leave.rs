//! How jobs leave the table: answered with the result of their sequence, or rejected.

use std::sync::Arc;
use std::time::Duration;

use super::{Backlog, JobTable};
use crate::engine::SequenceId;
use crate::scheduler::core::job_id::JobId;
use crate::scheduler::core::sequence::{SequenceState, Waiter};
use crate::scheduler::score_cache::ScoreKey;
use crate::scheduler::{Completed, Output, Rejection};

impl<S: SequenceState> JobTable<S> {
    /// Answers everyone who waits for a score, and keeps it for later requests if scores are cached.
    pub(in crate::scheduler::core) fn answer_score(
        &mut self,
        now: Duration,
        id: SequenceId,
        logits: Arc<[f32]>,
    ) {
        if let Some(text) = ScoreKey::scored_by(&self.sequences[id].job) {
            self.scores.insert(text, logits.clone());
        }
        self.answer(now, id, &Output::Logits(logits));
    }

    /// Answers everyone who waits for a sequence.
    pub(in crate::scheduler::core) fn answer(&mut self, now: Duration, id: SequenceId, output: &Output) {
        let sequence = &mut self.sequences[id];
        let started = sequence.started.unwrap_or(now);
        let waiters = std::mem::take(&mut sequence.waiters);
        for waiter in &waiters {
            let cached_tokens =
                if waiter.joined { sequence.job.tokens.len() } else { sequence.cached_tokens };
            let completed = Completed {
                output: output.clone(),
                cached_tokens,
                queue_time: started.saturating_sub(waiter.arrived),
                engine_time: now.saturating_sub(started.max(waiter.arrived)),
            };
            self.observer.completed(now.saturating_sub(waiter.arrived));
            self.jobs.remove(&waiter.job);
            self.answers.push((waiter.job, Ok(completed)));
        }
        self.forget_deadlines(&waiters);
    }

    /// Answers a job with a rejection; returns the sequence that it waited for.
    pub(in crate::scheduler::core) fn reject(
        &mut self,
        job: JobId,
        rejection: Rejection,
    ) -> Option<SequenceId> {
        let sequence = self.detach(job)?;
        self.answer_rejected(job, rejection);
        Some(sequence)
    }

    /// The sequence's jobs that would miss their deadline if it came next after `backlog`. One that has started is not
    /// given up because it was preempted.
    pub(in crate::scheduler::core) fn unmeetable(
        &self,
        id: SequenceId,
        now: Duration,
        backlog: Backlog,
    ) -> Vec<(JobId, Rejection)> {
        let sequence = &self.sequences[id];
        let work = self.rate.upper_estimate(backlog.tokens + sequence.max_len);
        let Some(work) = work.filter(|_| sequence.started.is_none()) else { return Vec::new() };
        let end = backlog.engine_free + work;
        let estimate = end.saturating_sub(now);
        let too_late = |waiter: &&Waiter| waiter.deadline.is_some_and(|deadline| end > deadline);
        let rejected = sequence.waiters.iter().filter(too_late);
        rejected.map(|waiter| (waiter.job, Rejection::DeadlineUnmeetable { estimate })).collect()
    }

    /// Rejects the jobs of a sequence that is gone from the table.
    pub(in crate::scheduler::core) fn reject_all(&mut self, waiters: Vec<Waiter>, rejection: &Rejection) {
        self.forget_deadlines(&waiters);
        for waiter in waiters {
            self.jobs.remove(&waiter.job);
            self.answer_rejected(waiter.job, rejection.clone());
        }
    }

    /// Rejects everything from now on.
    pub(in crate::scheduler::core) fn close(&mut self, rejection: &Rejection) {
        self.closed = Some(rejection.clone());
    }

    /// The engine is lost: jobs of sequences that it had started are rejected, and the others wait again in their old
    /// places.
    pub(in crate::scheduler::core) fn forget_in_flight(&mut self, rejection: &Rejection) {
        let lost = std::mem::take(&mut self.in_flight);
        for id in lost.ids() {
            let sequence = &mut self.sequences[id];
            if sequence.started.is_some() || sequence.waiters.is_empty() {
                self.reject_sequence(id, rejection);
            } else {
                sequence.in_flight = false;
                sequence.cached_tokens = 0;
                sequence.state.requeued();
                self.requeue(id);
            }
        }
        self.scores.clear();
    }

    /// Rejects the jobs of everything that waits.
    pub(in crate::scheduler::core) fn reject_all_waiting(&mut self, rejection: &Rejection) {
        while let Some(id) = self.queue.first(|_| true) {
            self.reject_waiting(id, rejection);
        }
    }

    /// Rejects the jobs of a sequence that waits.
    pub(super) fn reject_waiting(&mut self, id: SequenceId, rejection: &Rejection) {
        let sequence = &self.sequences[id];
        self.queue.remove(sequence.entry());
        self.waiting_jobs -= sequence.waiters.len();
        self.reject_sequence(id, rejection);
    }

    /// Answers a sequence's jobs and forgets it. Its blocks go with it.
    fn reject_sequence(&mut self, id: SequenceId, rejection: &Rejection) {
        self.close_to_joiners(id);
        let waiters = self.sequences.remove(id).waiters;
        self.reject_all(waiters, rejection);
    }

    pub(super) fn answer_rejected(&mut self, job: JobId, rejection: Rejection) {
        self.observer.rejected(&rejection);
        self.answers.push((job, Err(rejection)));
    }
}
