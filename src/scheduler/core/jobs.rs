//! The table of jobs that both cores share: who waits for which sequence, and what each is answered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::JobId;
use super::sequence::{Sequence, SequenceState, Sequences, Waiter};
use crate::engine::{Job, Limits, SequenceId};
use crate::sampling::Sampled;
use crate::scheduler::queue::{Key, Lane, Queue};
use crate::scheduler::rate::DrainRate;
use crate::scheduler::scores::{ScoreCache, Text};
use crate::scheduler::{Answer, Completed, Observer, Options, Output, Rejection, validate};

pub(super) struct JobTable<S> {
    pub(super) limits: Limits,
    pub(super) options: Options,
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
    by_text: HashMap<Text, SequenceId>,
    scores: ScoreCache,
    answers: Vec<(JobId, Answer)>,
    /// Tokens chosen since they were last taken.
    tokens: Vec<(JobId, Sampled)>,
    /// Why nothing is taken any more.
    closed: Option<Rejection>,
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
    pub(super) fn new(limits: Limits, options: Options, observer: Arc<dyn Observer>) -> Self {
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
            by_text: HashMap::new(),
            scores: ScoreCache::new(options.score_cache),
            answers: Vec::new(),
            tokens: Vec::new(),
            closed: None,
            options,
        }
    }

    /// Takes a job in; `planned` tokens are planned already, beyond those that wait or remain.
    pub(super) fn arrive(
        &mut self,
        now: Duration,
        id: JobId,
        job: Job,
        deadline: Option<Duration>,
        planned: usize,
    ) {
        if let Err(rejection) = self.try_arrive(now, id, job, deadline, planned) {
            self.answer_rejected(id, rejection);
        }
    }

    fn try_arrive(
        &mut self,
        now: Duration,
        id: JobId,
        job: Job,
        deadline: Option<Duration>,
        planned: usize,
    ) -> Result<(), Rejection> {
        if let Some(rejection) = &self.closed {
            return Err(rejection.clone());
        }
        validate(&job, &self.limits)?;
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Rejection::DeadlineExceeded);
        }
        let text = Text::scored_by(&job);
        if let Some(logits) = text.as_ref().and_then(|text| self.scores.get(text)) {
            self.answer_from_cache(id, &job, logits);
            return Ok(());
        }
        let waiter = Waiter { job: id, arrived: now, deadline, joined: false };
        match text.and_then(|text| self.by_text.get(&text).copied()) {
            Some(duplicate) => self.join(duplicate, &job, waiter),
            None => self.enqueue(job, waiter, planned),
        }
    }

    fn answer_from_cache(&mut self, id: JobId, job: &Job, logits: Arc<[f32]>) {
        let completed = Completed {
            output: Output::Logits(logits),
            cached_tokens: job.tokens.len(),
            queue_time: Duration::ZERO,
            engine_time: Duration::ZERO,
        };
        self.observer.deduplicated();
        self.observer.completed(Duration::ZERO);
        self.answers.push((id, Ok(completed)));
    }

    /// Adds a job to a sequence of the same text. If its class is higher, it becomes the sequence's.
    fn join(&mut self, duplicate: SequenceId, job: &Job, waiter: Waiter) -> Result<(), Rejection> {
        if !self.sequences[duplicate].in_flight {
            self.check_waiting_jobs()?;
        }
        let key = Key::new(waiter.arrived, job.priority, self.options.ageing, duplicate);
        self.register(&waiter, duplicate);
        let sequence = &mut self.sequences[duplicate];
        sequence.waiters.push(Waiter { joined: true, ..waiter });
        if sequence.in_flight {
            if sequence.started.is_some() {
                self.observer.started(Duration::ZERO);
            }
        } else {
            self.waiting_jobs += 1;
            if key < sequence.key {
                self.queue.remove(sequence.entry());
                (sequence.key, sequence.job.priority) = (key, job.priority);
                self.queue.insert(sequence.entry());
            }
        }
        self.observer.deduplicated();
        Ok(())
    }

    fn enqueue(&mut self, job: Job, waiter: Waiter, planned: usize) -> Result<(), Rejection> {
        let max_len = job.work.max_len(job.tokens.len());
        self.check_waiting_jobs()?;
        let most = self.options.max_queue_tokens;
        if !self.queue.is_empty() && self.queue.tokens() + max_len > most {
            return Err(self.queue_full(format!("{most} tokens")));
        }
        self.check_deadline(&job, &waiter, planned + max_len)?;
        let id = waiter.job;
        self.register(&waiter, id);
        let sequence = Sequence {
            id,
            max_len,
            key: Key::new(waiter.arrived, job.priority, self.options.ageing, id),
            lane: Lane { generates: job.work.generates(), long: job.tokens.len() > self.max_chunk_tokens() },
            waiters: vec![waiter],
            in_flight: false,
            cached_tokens: 0,
            generated: Vec::new(),
            started: None,
            last_token: None,
            state: S::new(&job),
            job,
        };
        self.queue.insert(sequence.entry());
        self.waiting_jobs += 1;
        if self.options.prefix_sharing
            && let Some(text) = Text::scored_by(&sequence.job)
        {
            self.by_text.insert(text, id);
        }
        self.sequences.insert(sequence);
        Ok(())
    }

    fn check_waiting_jobs(&self) -> Result<(), Rejection> {
        let most = self.options.max_queue_requests;
        if self.waiting_jobs < most { Ok(()) } else { Err(self.queue_full(format!("{most} requests"))) }
    }

    fn queue_full(&self, limit: String) -> Rejection {
        Rejection::QueueFull { limit, retry_after: self.time_to_drain() }
    }

    /// Rejects what would be ready too late, as far as the drain rate is known.
    fn check_deadline(&self, job: &Job, waiter: &Waiter, tokens: usize) -> Result<(), Rejection> {
        let Some(deadline) = waiter.deadline else { return Ok(()) };
        let ahead = self.in_flight.remaining + self.queue.tokens_up_to(job.priority);
        match self.rate.estimate(ahead + tokens) {
            Some(estimate) if waiter.arrived + estimate > deadline => {
                Err(Rejection::DeadlineUnmeetable { estimate })
            }
            _ => Ok(()),
        }
    }

    fn register(&mut self, waiter: &Waiter, sequence: SequenceId) {
        self.jobs.insert(waiter.job, sequence);
        if let Some(deadline) = waiter.deadline {
            self.deadlines.insert((deadline, waiter.job));
        }
    }

    /// Most tokens of a long prompt in one iteration while others want in.
    pub(super) fn max_chunk_tokens(&self) -> usize {
        let most = self.options.max_chunk_tokens.unwrap_or(self.limits.max_num_tokens / 2);
        most.clamp(1, self.limits.max_num_tokens)
    }

    /// Drops a job whose client left; returns the sequence that it waited for.
    pub(super) fn cancel(&mut self, job: JobId) -> Option<SequenceId> {
        let sequence = self.detach(job)?;
        self.observer.cancelled();
        Some(sequence)
    }

    /// Answers a job with a rejection; returns the sequence that it waited for.
    pub(super) fn reject(&mut self, job: JobId, rejection: Rejection) -> Option<SequenceId> {
        let sequence = self.detach(job)?;
        self.answer_rejected(job, rejection);
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
        if let Some(text) = Text::scored_by(&self.sequences[id].job)
            && self.by_text.get(&text) == Some(&id)
        {
            self.by_text.remove(&text);
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

    /// Takes a sequence out of flight, of which `remaining` tokens were not scheduled.
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

    /// The next job whose deadline has passed. It is to be rejected.
    pub(super) fn take_expired(&mut self, now: Duration) -> Option<JobId> {
        let (deadline, _) = self.deadlines.first()?;
        if *deadline > now {
            return None;
        }
        self.deadlines.pop_first().map(|(_, job)| job)
    }

    /// Those of a sequence's jobs that would be answered too late if it started now. One that has started is not
    /// given up for having been preempted.
    pub(super) fn unmeetable(&self, id: SequenceId, now: Duration) -> Vec<(JobId, Rejection)> {
        let sequence = &self.sequences[id];
        let estimate = self.rate.estimate(sequence.max_len);
        let Some(estimate) = estimate.filter(|_| sequence.started.is_none()) else { return Vec::new() };
        let too_late = |waiter: &&Waiter| waiter.deadline.is_some_and(|deadline| now + estimate > deadline);
        let rejected = sequence.waiters.iter().filter(too_late);
        rejected.map(|waiter| (waiter.job, Rejection::DeadlineUnmeetable { estimate })).collect()
    }

    pub(super) fn jobs_of(&self, id: SequenceId) -> Vec<JobId> {
        self.sequences[id].waiters.iter().map(|waiter| waiter.job).collect()
    }

    /// Answers everyone who waits for a score, and whoever asks for it later if scores are kept.
    pub(super) fn answer_score(&mut self, now: Duration, id: SequenceId, logits: Arc<[f32]>) {
        if let Some(text) = Text::scored_by(&self.sequences[id].job) {
            self.scores.insert(text, logits.clone());
        }
        self.answer(now, id, &Output::Logits(logits));
    }

    /// Answers everyone who waits for a sequence.
    pub(super) fn answer(&mut self, now: Duration, id: SequenceId, output: &Output) {
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

    fn answer_rejected(&mut self, job: JobId, rejection: Rejection) {
        self.observer.rejected(&rejection);
        self.answers.push((job, Err(rejection)));
    }

    /// Rejects the jobs of a sequence that is gone from the table.
    pub(super) fn reject_all(&mut self, waiters: Vec<Waiter>, rejection: &Rejection) {
        self.forget_deadlines(&waiters);
        for waiter in waiters {
            self.jobs.remove(&waiter.job);
            self.answer_rejected(waiter.job, rejection.clone());
        }
    }

    /// The engine is lost: the jobs of what it had started are rejected, the rest waits again in its old place.
    pub(super) fn lose_engine(&mut self, rejection: &Rejection) {
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

    /// Rejects everything from now on.
    pub(super) fn close(&mut self, rejection: &Rejection) {
        self.closed = Some(rejection.clone());
    }

    /// Rejects the jobs of everything that waits.
    pub(super) fn reject_waiting(&mut self, rejection: &Rejection) {
        while let Some(id) = self.queue.first(|_| true) {
            let sequence = &self.sequences[id];
            self.queue.remove(sequence.entry());
            self.waiting_jobs -= sequence.waiters.len();
            self.reject_sequence(id, rejection);
        }
    }

    /// Answers a sequence's jobs and forgets it. Its blocks go with it.
    fn reject_sequence(&mut self, id: SequenceId, rejection: &Rejection) {
        self.close_to_joiners(id);
        let waiters = self.sequences.remove(id).waiters;
        self.reject_all(waiters, rejection);
    }

    pub(super) fn stream(&mut self, token: Option<(JobId, Sampled)>) {
        self.tokens.extend(token);
    }

    pub(super) fn take_tokens(&mut self) -> Vec<(JobId, Sampled)> {
        std::mem::take(&mut self.tokens)
    }

    pub(super) fn take_answers(&mut self) -> Vec<(JobId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn time_to_drain(&self) -> Duration {
        let tokens = self.queue.tokens() + self.in_flight.remaining;
        self.rate.guess(tokens).unwrap_or(Duration::from_secs(1))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    pub(super) fn observe(&self) {
        self.observer.queue(self.waiting_jobs, self.queue.tokens());
        self.observer.in_flight(self.in_flight.order.len());
    }
}
