//! How a job enters the table: rejected, answered at once, added to a sequence of the same text, or queued.

use std::sync::Arc;
use std::time::Duration;

use super::{Backlog, JobTable};
use crate::engine::{Job, Priority, SequenceId};
use crate::scheduler::admission::{Admission, FullQueue, WorkAhead};
use crate::scheduler::core::job_id::JobId;
use crate::scheduler::core::sequence::{Sequence, SequenceState, Waiter};
use crate::scheduler::queue::{Key, Lane};
use crate::scheduler::score_cache::ScoreKey;
use crate::scheduler::{Completed, Output, QueueLimit, Rejection, SchedulerOptions, validate};

/// The part of the queue's tokens that may stay free in a queue that counts as full.
const SMALL_PART: usize = 64;

impl<S: SequenceState> JobTable<S> {
    /// Takes a job in.
    pub(in crate::scheduler::core) fn arrive(
        &mut self,
        now: Duration,
        id: JobId,
        job: Job,
        deadline: Option<Duration>,
        backlog: Backlog,
    ) {
        if let Err(rejection) = self.try_arrive(now, id, job, deadline, backlog) {
            self.answer_rejected(id, rejection);
        }
    }

    fn try_arrive(
        &mut self,
        now: Duration,
        id: JobId,
        job: Job,
        deadline: Option<Duration>,
        backlog: Backlog,
    ) -> Result<(), Rejection> {
        if let Some(rejection) = &self.closed {
            return Err(rejection.clone());
        }
        validate(&job, &self.limits)?;
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Rejection::DeadlineExceeded);
        }
        let text = ScoreKey::scored_by(&job);
        if let Some(logits) = text.as_ref().and_then(|text| self.scores.get(text)) {
            self.answer_from_cache(id, &job, logits);
            return Ok(());
        }
        let waiter = Waiter { job: id, arrived: now, deadline, joined: false };
        match text.and_then(|text| self.by_score_key.get(&text).copied()) {
            Some(duplicate) => self.join(duplicate, &job, waiter, backlog),
            None => self.enqueue(job, waiter, backlog),
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
    fn join(
        &mut self,
        duplicate: SequenceId,
        job: &Job,
        waiter: Waiter,
        backlog: Backlog,
    ) -> Result<(), Rejection> {
        if !self.sequences[duplicate].in_flight {
            self.make_room(job.priority, 0, Some(duplicate), waiter.arrived, backlog)?;
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
            self.queue.remove(sequence.entry());
            sequence.key = sequence.key.min(key);
            sequence.job.priority = sequence.job.priority.min(job.priority);
            self.queue.insert(sequence.entry());
        }
        self.observer.deduplicated();
        Ok(())
    }

    fn enqueue(&mut self, job: Job, waiter: Waiter, backlog: Backlog) -> Result<(), Rejection> {
        let max_len = job.work.max_len(job.tokens.len());
        self.check_deadline(&job, &waiter, max_len, backlog)?;
        self.make_room(job.priority, max_len, None, waiter.arrived, backlog)?;
        let id = waiter.job;
        self.register(&waiter, id);
        let sequence = Sequence {
            id,
            max_len,
            key: Key::new(waiter.arrived, job.priority, self.options.ageing, id),
            lane: Lane {
                generates: job.work.generates(),
                long: job.tokens.len() > self.longest_whole_prompt(),
            },
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
            && let Some(text) = ScoreKey::scored_by(&sequence.job)
        {
            self.by_score_key.insert(text, id);
        }
        self.sequences.insert(sequence);
        Ok(())
    }

    /// Makes room in the queue for a job of `tokens` tokens, or for one that joins the waiting sequence `joined`.
    /// If the queue is full, the last of the lowest class gives way to a higher class, unless it has started.
    fn make_room(
        &mut self,
        priority: Priority,
        tokens: usize,
        joined: Option<SequenceId>,
        now: Duration,
        backlog: Backlog,
    ) -> Result<(), Rejection> {
        let (mut jobs, mut queued) = (self.waiting_jobs, self.queue.tokens());
        let Some(limit) = self.limit_met(jobs, queued, tokens) else { return Ok(()) };
        let staying = self.queue.tokens_up_to(priority);
        let mut displaced = Vec::new();
        if self.limit_met(0, staying, tokens).is_none() {
            for id in self.queue.last_below(priority) {
                let sequence = &self.sequences[id];
                if sequence.started.is_none() && Some(id) != joined {
                    jobs -= sequence.waiters.len();
                    queued -= sequence.max_len;
                    displaced.push(id);
                }
                if self.limit_met(jobs, queued, tokens).is_none() {
                    break;
                }
            }
        }
        if self.limit_met(jobs, queued, tokens).is_some() {
            if matches!(limit, QueueLimit::Tokens(_)) {
                self.refused_tokens = tokens;
            }
            return Err(self.queue_full(limit, now, backlog));
        }
        for id in displaced {
            let rejection = self.queue_full(limit, now, backlog);
            self.reject_waiting(id, &rejection);
        }
        Ok(())
    }

    /// What keeps jobs out of the queue whatever their text is.
    pub(in crate::scheduler::core) fn admission(&self, backlog: Backlog) -> Admission {
        // Only a text's tokens show whether its score is in the cache.
        if self.options.score_cache > 0 {
            return Admission::default();
        }
        let work_ahead = WorkAhead {
            engine_free: backlog.engine_free,
            started: self.started_tokens(backlog),
            waiting: self.queue.tokens_by_class(),
            rate: self.rate,
            max_num_tokens: self.limits.max_num_tokens,
        };
        Admission { full_queue: self.full_queue(), work_ahead: Some(work_ahead) }
    }

    /// How many tokens a text will have is not known: the limit on tokens counts as met while there is no room for the
    /// last job that met it, or for a small part of the queue.
    fn full_queue(&self) -> Option<FullQueue> {
        let tokens = self.refused_tokens.min(self.options.max_queue_tokens / SMALL_PART).max(1);
        let limit = self.limit_met(self.waiting_jobs, self.queue.tokens(), tokens)?;
        Some(FullQueue { limit, lowest: self.queue.lowest_class() })
    }

    /// The limit of the queue that keeps out a job of `tokens` tokens while `jobs` jobs of `queued` tokens wait. A job
    /// that joins another sequence brings no tokens.
    fn limit_met(&self, jobs: usize, queued: usize, tokens: usize) -> Option<QueueLimit> {
        let SchedulerOptions { max_queue_requests, max_queue_tokens, .. } = self.options;
        if jobs >= max_queue_requests {
            Some(QueueLimit::Requests(max_queue_requests))
        } else if queued > 0 && tokens > 0 && queued + tokens > max_queue_tokens {
            Some(QueueLimit::Tokens(max_queue_tokens))
        } else {
            None
        }
    }

    fn queue_full(&self, limit: QueueLimit, now: Duration, backlog: Backlog) -> Rejection {
        Rejection::QueueFull { limit, retry_after: self.time_to_drain(now, backlog) }
    }

    /// Rejects a job that would be answered too late, as far as the drain rate is known.
    fn check_deadline(
        &self,
        job: &Job,
        waiter: &Waiter,
        tokens: usize,
        backlog: Backlog,
    ) -> Result<(), Rejection> {
        let Some(deadline) = waiter.deadline else { return Ok(()) };
        let time = deadline.saturating_sub(waiter.arrived);
        let ahead = self.started_tokens(backlog) + self.queue.tokens_up_to(job.priority);
        let Some(computed) = self.rate.time_to_answer(ahead, tokens, self.limits.max_num_tokens, time) else {
            return Ok(());
        };
        let estimate = backlog.engine_free.saturating_sub(waiter.arrived) + computed;
        if estimate > time { Err(Rejection::DeadlineUnmeetable { estimate }) } else { Ok(()) }
    }

    /// Tokens that go before anything that waits.
    fn started_tokens(&self, backlog: Backlog) -> usize {
        backlog.tokens + self.in_flight.remaining
    }

    fn register(&mut self, waiter: &Waiter, sequence: SequenceId) {
        self.jobs.insert(waiter.job, sequence);
        if let Some(deadline) = waiter.deadline {
            self.deadlines.insert((deadline, waiter.job));
        }
    }
}
