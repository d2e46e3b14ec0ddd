//! The core for engines that take whole sequences and batch them themselves.

use std::sync::Arc;
use std::time::Duration;

use super::Batching;
use super::jobs::{Backlog, JobTable};
use super::sequence::Sequence;
use crate::engine::{
    Generated, IterationStatistics, Job, Limits, QueueDepth, QueueReport, SequenceId, StepError, Work,
};
use crate::scheduler::{Observer, Output, Rejection, SchedulerOptions};

/// Decides which sequences to submit to the engine, and when.
///
/// Whenever the engine runs, it is handed what [`QueueCore::feed`] gives, and its reports go to
/// [`QueueCore::take_report`].
pub struct QueueCore {
    jobs: JobTable<()>,
    depth: QueueDepth,
    /// How much the engine holds, in the units of `depth`.
    held: QueueDepth,
    /// Sequences in the engine that no job waits for any more; the next feed cancels them.
    cancelled: Vec<SequenceId>,
    /// When the engine last reported, or was fed after it was idle.
    last_report: Duration,
    statistics: IterationStatistics,
}

/// What to hand to [`QueueEngine::feed`](crate::engine::QueueEngine::feed).
#[derive(Debug, Default)]
pub struct Feed {
    /// Sequences to run.
    pub jobs: Vec<(SequenceId, Job)>,
    /// Sequences that nobody wants any more.
    pub cancelled: Vec<SequenceId>,
}

const NOTHING: QueueDepth = QueueDepth { reads: 0, tokens: 0, logit_rows: 0 };

impl QueueCore {
    /// A core for an engine of these limits that should hold up to `depth`, with nothing to do.
    pub fn new(
        limits: Limits,
        depth: QueueDepth,
        options: SchedulerOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            jobs: JobTable::new(limits, options, observer),
            depth,
            held: NOTHING,
            cancelled: Vec::new(),
            last_report: Duration::ZERO,
            statistics: IterationStatistics::default(),
        }
    }

    /// Whether the engine has sequences that it has not concluded.
    pub fn awaits_reports(&self) -> bool {
        !self.jobs.in_flight.order.is_empty()
    }

    /// The waiting sequences that the engine has room for, in order.
    pub fn feed(&mut self, now: Duration) -> Feed {
        if !self.awaits_reports() {
            self.last_report = now;
        }
        let mut feed = Feed { jobs: Vec::new(), cancelled: std::mem::take(&mut self.cancelled) };
        while let Some(id) = self.jobs.queue.first(|_| true) {
            let backlog = Backlog { engine_free: now, tokens: self.jobs.in_flight.remaining };
            self.reject_unmeetable(id, now, backlog);
            // A sequence without jobs is gone.
            if self.jobs.sequences.get(id).is_none() {
                continue;
            }
            if !self.has_room_for(id) {
                break;
            }
            self.jobs.enter_flight(id);
            let sequence = &mut self.jobs.sequences[id];
            sequence.start(now, &*self.jobs.observer);
            self.held.reads += reads(sequence);
            self.held.tokens += scored_tokens(sequence);
            self.held.logit_rows += logit_rows(sequence);
            feed.jobs.push((id, sequence.job.clone()));
        }
        feed
    }

    fn has_room_for(&self, id: SequenceId) -> bool {
        let sequence = &self.jobs.sequences[id];
        let limits = &self.jobs.limits;
        let cache = limits.kv_blocks * limits.tokens_per_block;
        let fits = self.held.reads + reads(sequence) <= self.depth.reads
            && self.held.tokens + scored_tokens(sequence) <= self.depth.tokens
            && self.held.logit_rows + logit_rows(sequence) <= self.depth.logit_rows
            && self.jobs.in_flight.remaining + sequence.max_len <= cache;
        !self.awaits_reports() || fits
    }

    /// Processes a report of the engine.
    ///
    /// # Errors
    /// The engine left out logits that were requested; call [`Core::lose_engine`](super::Core::lose_engine).
    pub fn take_report(&mut self, now: Duration, report: QueueReport) -> Result<(), StepError> {
        let mut tokens = 0;
        for (id, cached) in report.cached {
            if let Some(sequence) = self.reported(id) {
                sequence.cached_tokens = cached.min(sequence.job.tokens.len());
            }
        }
        for (id, error) in report.failed {
            self.conclude(id, Some(&error.into()));
        }
        for (id, logits) in report.scored {
            tokens += self.take_scores(now, id, logits)?;
        }
        for generated in report.generated {
            tokens += self.take_generated(now, generated);
        }
        if let Some(statistics) = report.statistics {
            self.take_statistics(statistics);
        }
        let more_waits = !self.jobs.queue.is_empty();
        self.jobs.rate.observe(tokens, now.saturating_sub(self.last_report), more_waits);
        self.last_report = now;
        Ok(())
    }

    /// Takes in logits, `[positions read, width]`; returns by how many tokens the sequence advanced.
    fn take_scores(&mut self, now: Duration, id: SequenceId, logits: Vec<f32>) -> Result<usize, StepError> {
        let Some(sequence) = self.reported(id) else { return Ok(0) };
        let tokens = sequence.job.tokens.len();
        let Work::Score { read } = &sequence.job.work else {
            return Err(StepError::UnexpectedLogits(id));
        };
        if logits.is_empty() || !logits.len().is_multiple_of(read.len()) {
            return Err(StepError::MissingLogits(id));
        }
        self.jobs.answer_score(now, id, logits.into());
        self.conclude(id, None);
        Ok(tokens)
    }

    /// Takes in generated tokens; returns by how many the sequence advanced, its prompt included.
    fn take_generated(&mut self, now: Duration, generated: Generated) -> usize {
        let id = generated.sequence;
        if self.reported(id).is_none() {
            return 0;
        }
        let sequence = &mut self.jobs.sequences[id];
        let prompt = if sequence.generated.is_empty() { sequence.job.tokens.len() } else { 0 };
        let tokens = generated.tokens.len() + prompt;
        for sampled in generated.tokens {
            let sequence = &mut self.jobs.sequences[id];
            let token = sequence.take_token(now, sampled, &*self.jobs.observer);
            self.jobs.stream(token);
        }
        if generated.last {
            let output = Output::Tokens(std::mem::take(&mut self.jobs.sequences[id].generated));
            self.jobs.answer(now, id, &output);
            self.conclude(id, None);
        }
        tokens
    }

    fn take_statistics(&mut self, statistics: IterationStatistics) {
        let IterationStatistics { tokens, sequences, elapsed, reused_blocks, .. } = statistics;
        self.jobs.observer.iteration(tokens, sequences, elapsed);
        let reused = reused_blocks * self.jobs.limits.tokens_per_block;
        if reused > 0 {
            self.jobs.observer.prefix_reused(reused);
        }
        self.statistics = statistics;
    }

    /// The engine is done with this sequence; rejects the jobs that still wait for it.
    fn conclude(&mut self, id: SequenceId, rejection: Option<&Rejection>) {
        if self.reported(id).is_none() {
            return;
        }
        self.jobs.close_to_joiners(id);
        let sequence = &self.jobs.sequences[id];
        self.held.reads -= reads(sequence);
        self.held.tokens -= scored_tokens(sequence);
        self.held.logit_rows -= logit_rows(sequence);
        self.jobs.leave_flight(id, sequence.max_len);
        let sequence = self.jobs.sequences.remove(id);
        match rejection {
            Some(rejection) => self.jobs.reject_all(sequence.waiters, rejection),
            None => debug_assert!(sequence.waiters.is_empty(), "sequence {id} leaves a job unanswered"),
        }
    }

    /// The sequence that the engine reports on. Each ends only once, so it must be in flight.
    fn reported(&mut self, id: SequenceId) -> Option<&mut Sequence<()>> {
        let sequence = self.jobs.sequences.get_mut(id).filter(|sequence| sequence.in_flight);
        if sequence.is_none() {
            tracing::error!(sequence = id, "the engine reports on a sequence that it does not have");
        }
        sequence
    }
}

/// Number of positions read; a sequence that generates counts as one.
fn reads(sequence: &Sequence<()>) -> usize {
    match &sequence.job.work {
        Work::Score { read } => read.len(),
        Work::Generate(_) => 1,
    }
}

/// Rows of logits that are returned at most.
fn logit_rows(sequence: &Sequence<()>) -> usize {
    match &sequence.job.work {
        Work::Score { read } => read.len(),
        Work::Generate(sampling) => sampling.logprobs.map_or(0, |_| sampling.max_tokens),
    }
}

/// Prompt tokens, if it is scored.
fn scored_tokens(sequence: &Sequence<()>) -> usize {
    if sequence.lane.generates { 0 } else { sequence.job.tokens.len() }
}

impl Batching for QueueCore {
    type State = ();

    fn jobs(&self) -> &JobTable<()> {
        &self.jobs
    }

    fn jobs_mut(&mut self) -> &mut JobTable<()> {
        &mut self.jobs
    }

    fn backlog(&self, now: Duration) -> Backlog {
        Backlog { engine_free: now, tokens: 0 }
    }

    fn release_if_unwanted(&mut self, id: SequenceId) {
        let sequence = &self.jobs.sequences[id];
        if !sequence.waiters.is_empty() {
            return;
        }
        let in_flight = sequence.in_flight;
        self.jobs.close_to_joiners(id);
        if in_flight {
            self.cancelled.push(id);
        } else {
            self.jobs.remove_waiting(id);
        }
    }

    fn forget_in_flight(&mut self, rejection: &Rejection) {
        self.held = NOTHING;
        self.cancelled.clear();
        self.statistics = IterationStatistics::default();
        self.jobs.forget_in_flight(rejection);
    }

    fn observe_blocks(&self) {
        let IterationStatistics { used_blocks, free_blocks, .. } = self.statistics;
        self.jobs.observer.kv_blocks(used_blocks, 0, free_blocks);
    }
}
