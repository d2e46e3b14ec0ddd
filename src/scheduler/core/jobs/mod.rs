//! The table of jobs that both cores share: who waits for which sequence, and what waits in the queue.

mod arrive;
mod leave;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::job_id::JobId;
use super::sequence::{SequenceState, Sequences, Waiter};
use crate::engine::{Limits, SequenceId};
use crate::sampling::Sampled;
use crate::scheduler::queue::{Key, Queue};
use crate::scheduler::rate::DrainRate;
use crate::scheduler::score_cache::{ScoreCache, ScoreKey};
use crate::scheduler::{JobResult, Observer, Rejection, SchedulerOptions};

pub(super) struct JobTable<S> {
    pub(super) limits: Limits,
    pub(super) options: SchedulerOptions,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) sequences: Sequences<S>,
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    pub(super) rate: DrainRate,
    /// The sequence that each job waits for.
    jobs: HashMap<JobId, SequenceId>,
    deadlines: BTreeSet<(Duration, JobId)>,
    /// Jobs whose sequence is in the queue.
    waiting_jobs: usize,
    /// Sequences that are scored and that others of the same text may still join.
    by_score_key: HashMap<ScoreKey, SequenceId>,
    scores: ScoreCache,
    answers: Vec<(JobId, JobResult)>,
    /// Tokens chosen since they were last taken.
    tokens: Vec<(JobId, Sampled)>,
    /// Tokens of the last job that the limit on the queue's tokens kept out.
    refused_tokens: usize,
    /// Why nothing is taken any more.
    closed: Option<Rejection>,
}

/// The work that comes before anything that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backlog {
    /// When the engine should be done with what it computes; now, if it computes nothing.
    pub(super) engine_free: Duration,
    /// Tokens that are planned after that.
    pub(super) tokens: usize,
}

/// The sequences that have left the queue.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) order: BTreeSet<Key>,
    /// Tokens not yet scheduled.
    pub(super) remaining: usize,
}

impl InFlight {
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = SequenceId> + '_ {
        self.order.iter().map(|key| key.sequence())
    }
}

impl<S: SequenceState> JobTable<S> {
    pub(super) fn new(limits: Limits, options: SchedulerOptions, observer: Arc<dyn Observer>) -> Self {
        Self {
            limits,
            observer,
            sequences: Sequences::new(),
            queue: Queue::default(),
            in_flight: InFlight::default(),
            rate: DrainRate::default(),
            jobs: HashMap::new(),
            deadlines: BTreeSet::new(),
            waiting_jobs: 0,
            by_score_key: HashMap::new(),
            scores: ScoreCache::new(options.score_cache),
            answers: Vec::new(),
            tokens: Vec::new(),
            refused_tokens: 0,
            closed: None,
            options,
        }
    }

    /// Maximum tokens of one long prompt per iteration while others wait.
    pub(super) fn max_chunk_tokens(&self) -> usize {
        let most = self.options.max_chunk_tokens.unwrap_or(self.limits.max_num_tokens / 4);
        most.clamp(1, self.limits.max_num_tokens)
    }

    /// Tokens of the longest prompt that an iteration computes whole; longer ones are computed in chunks.
    pub(super) fn longest_whole_prompt(&self) -> usize {
        let most = self.options.max_chunk_tokens.unwrap_or(self.limits.max_num_tokens / 2);
        most.clamp(1, self.limits.max_num_tokens)
    }

    /// Drops a job whose client left; returns the sequence that it waited for.
    pub(super) fn cancel(&mut self, job: JobId) -> Option<SequenceId> {
        let sequence = self.detach(job)?;
        self.observer.cancelled();
        Some(sequence)
    }

    /// Forgets a job; returns the sequence that it waited for, unless it was answered already.
    pub(super) fn detach(&mut self, job: JobId) -> Option<SequenceId> {
        let id = self.jobs.remove(&job)?;
        let sequence = &mut self.sequences[id];
        let (detached, left) =
            std::mem::take(&mut sequence.waiters).into_iter().partition(|waiter| waiter.job == job);
        sequence.waiters = left;
        if !sequence.in_flight {
            self.waiting_jobs -= 1;
        }
        self.forget_deadlines(&detached);
        Some(id)
    }

    fn forget_deadlines(&mut self, waiters: &[Waiter]) {
        for waiter in waiters {
            if let Some(deadline) = waiter.deadline {
                self.deadlines.remove(&(deadline, waiter.job));
            }
        }
    }

    /// Lets no more jobs join a sequence.
    pub(super) fn close_to_joiners(&mut self, id: SequenceId) {
        if let Some(text) = ScoreKey::scored_by(&self.sequences[id].job)
            && self.by_score_key.get(&text) == Some(&id)
        {
            self.by_score_key.remove(&text);
        }
    }

    /// Takes a waiting sequence out of the queue and into flight.
    pub(super) fn enter_flight(&mut self, id: SequenceId) {
        let sequence = &mut self.sequences[id];
        self.queue.remove(sequence.entry());
        self.waiting_jobs -= sequence.waiters.len();
        self.in_flight.order.insert(sequence.key);
        self.in_flight.remaining += sequence.max_len;
        sequence.in_flight = true;
    }

    /// Takes a sequence out of flight; `remaining` of its tokens were not scheduled.
    pub(super) fn leave_flight(&mut self, id: SequenceId, remaining: usize) {
        let sequence = &mut self.sequences[id];
        self.in_flight.order.remove(&sequence.key);
        self.in_flight.remaining -= remaining;
        sequence.in_flight = false;
    }

    /// Gives a sequence that left flight its old place in the queue.
    pub(super) fn requeue(&mut self, id: SequenceId) {
        let sequence = &self.sequences[id];
        self.queue.insert(sequence.entry());
        self.waiting_jobs += sequence.waiters.len();
    }

    /// Removes a waiting sequence that no job waits for.
    pub(super) fn remove_waiting(&mut self, id: SequenceId) {
        let sequence = self.sequences.remove(id);
        self.queue.remove(sequence.entry());
    }

    /// Removes the next job whose deadline has passed; the caller rejects it.
    pub(super) fn take_expired(&mut self, now: Duration) -> Option<JobId> {
        let (deadline, _) = self.deadlines.first()?;
        if *deadline > now {
            return None;
        }
        self.deadlines.pop_first().map(|(_, job)| job)
    }

    pub(super) fn jobs_of(&self, id: SequenceId) -> Vec<JobId> {
        self.sequences[id].waiters.iter().map(|waiter| waiter.job).collect()
    }

    pub(super) fn stream(&mut self, token: Option<(JobId, Sampled)>) {
        self.tokens.extend(token);
    }

    pub(super) fn take_tokens(&mut self) -> Vec<(JobId, Sampled)> {
        std::mem::take(&mut self.tokens)
    }

    pub(super) fn take_answers(&mut self) -> Vec<(JobId, JobResult)> {
        std::mem::take(&mut self.answers)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How long all that is here at `now` should take.
    pub(super) fn time_to_drain(&self, now: Duration, backlog: Backlog) -> Duration {
        let tokens = backlog.tokens + self.in_flight.remaining + self.queue.tokens();
        let after = self.rate.guess(tokens).unwrap_or(Duration::from_secs(1));
        backlog.engine_free.saturating_sub(now) + after
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    pub(super) fn observe(&self) {
        self.observer.queue(self.waiting_jobs, self.queue.tokens());
        self.observer.in_flight(self.in_flight.order.len());
    }
}
