//! What an iteration gave, and what becomes of sequences when the engine is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::sequence::{Sequence, Waiter};
use crate::engine::{EngineError, Outputs, SequenceId, Statistics};
use crate::sampling::SamplingError;
use crate::scheduler::prefix::PrefixTree;
use crate::scheduler::{Completed, Output, Rejection, Work};

impl Core {
    /// Takes in what the running iteration gave. Without one, it does nothing.
    ///
    /// # Errors
    /// The engine left out logits that were asked for; call [`Core::fail`].
    pub fn complete(&mut self, now: Duration, outputs: Outputs) -> Result<(), EngineError> {
        let Some(plan) = self.running.take() else { return Ok(()) };
        self.reported = plan.number;
        self.observer.iteration(plan.tokens(), plan.entries.len(), outputs.elapsed);
        self.rate.observe(plan.advanced, now.saturating_sub(plan.submitted), plan.full);
        let mut logits: HashMap<SequenceId, Vec<f32>> = outputs.logits.into_iter().collect();
        let mut failed: HashMap<SequenceId, String> = outputs.failed.into_iter().collect();
        for entry in &plan.entries {
            if let Some(reason) = failed.remove(&entry.sequence) {
                self.refuse_waiters(entry.sequence, &Rejection::EngineFailed(reason));
            } else if !entry.logits.is_empty() {
                let whole =
                    |logits: &Vec<f32>| !logits.is_empty() && logits.len().is_multiple_of(entry.logits.len());
                let logits = logits.remove(&entry.sequence).filter(whole);
                let logits = logits.ok_or_else(|| EngineError::Step("it left out logits".into()))?;
                self.take_logits(now, entry.sequence, entry.logits.len(), logits);
            }
            self.settle(entry.sequence);
        }
        Ok(())
    }

    /// Answers the jobs of a sequence that the engine refused alone.
    fn refuse_waiters(&mut self, id: SequenceId, rejection: &Rejection) {
        let Some(sequence) = self.sequences.get(&id) else { return };
        let jobs: Vec<_> = sequence.waiters.iter().map(|waiter| waiter.job).collect();
        for job in jobs {
            self.refuse(job, rejection.clone());
        }
    }

    /// Takes in the logits of `reads` positions.
    pub(super) fn take_logits(&mut self, now: Duration, id: SequenceId, reads: usize, mut logits: Vec<f32>) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let output = match &sequence.work {
            Work::Score { read } => {
                let all = read.len() * (logits.len() / reads);
                sequence.rows.extend_from_slice(&logits);
                if sequence.rows.len() < all {
                    return;
                }
                let logits: Arc<[f32]> = std::mem::take(&mut sequence.rows).into();
                if let Some(text) = sequence.text() {
                    self.scores.insert(text, logits.clone());
                }
                Output::Logits(logits)
            }
            Work::Generate(_) => {
                let width = logits.len() / reads;
                let mut rows = logits.chunks_exact_mut(width);
                match rows.try_fold(None, |_, row| self.take_row(now, id, row)) {
                    Ok(Some(output)) => output,
                    Ok(None) => return,
                    Err(error) => {
                        return self.refuse_waiters(id, &Rejection::EngineFailed(error.to_string()));
                    }
                }
            }
        };
        self.answer_waiters(now, id, &output);
    }

    /// Takes in the logits after one more token of a sequence that generates: looks up the prompt's next, or
    /// chooses one. Gives all that were chosen, if that is the last.
    fn take_row(
        &mut self,
        now: Duration,
        id: SequenceId,
        row: &mut [f32],
    ) -> Result<Option<Output>, SamplingError> {
        let Some(sequence) = self.sequences.get_mut(&id) else { return Ok(None) };
        let (next, job) = (sequence.look_up(), sequence.waiters.first().map(|waiter| waiter.job));
        let (Work::Generate(sampling), Some(sampler)) = (&sequence.work, &mut sequence.sampler) else {
            return Ok(None);
        };
        if let Some(token) = next {
            let looked_up = sampler.prompt_logprob(token, row)?;
            self.tokens.extend(job.map(|job| (job, looked_up)));
            return Ok(None);
        }
        let sampled = sampler.sample(row)?;
        let ends = sampling.ends(sequence.generated.len() + 1, sampled.token);
        let job = sequence.take_token(now, sampled.token, &*self.observer);
        self.tokens.extend(job.map(|job| (job, sampled)));
        Ok(ends.then(|| Output::Tokens(std::mem::take(&mut sequence.generated))))
    }

    pub(super) fn answer_waiters(&mut self, now: Duration, id: SequenceId, output: &Output) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let started = sequence.started.unwrap_or(now);
        for waiter in std::mem::take(&mut sequence.waiters) {
            let cached_tokens = if waiter.joined { sequence.prompt.len() } else { sequence.reused };
            let completed = Completed {
                output: output.clone(),
                cached_tokens,
                queue_time: started.saturating_sub(waiter.arrived),
                engine_time: now.saturating_sub(started.max(waiter.arrived)),
            };
            self.observer.completed(now.saturating_sub(waiter.arrived));
            self.jobs.remove(&waiter.job);
            if let Some(deadline) = waiter.deadline {
                self.deadlines.remove(&(deadline, waiter.job));
            }
            self.answers.push((waiter.job, Ok(completed)));
        }
    }

    /// The engine is lost, with its cache: what it had begun is answered, all else waits on.
    pub fn fail(&mut self, rejection: &Rejection) {
        (self.running, self.prepared) = (None, None);
        self.dropped.clear();
        self.statistics = Statistics::default();
        let lost = std::mem::take(&mut self.in_flight);
        for id in lost.order.iter().map(|key| key.sequence()) {
            let begun = |sequence: &Sequence| sequence.started.is_some() || sequence.waiters.is_empty();
            if self.sequences.get(&id).is_some_and(begun) {
                self.refuse_sequence(id, rejection);
            } else {
                self.put_back(id);
            }
        }
        self.tree = PrefixTree::new(self.sharing);
        self.scores.clear();
    }

    /// Gives a sequence that no iteration has begun its old place among those that wait.
    fn put_back(&mut self, id: SequenceId) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        sequence.table.clear();
        (sequence.scheduled, sequence.reused, sequence.planned_in) = (0, 0, 0);
        sequence.held_since = None;
        self.waiting_requests += sequence.waiters.len();
        self.queue.insert(sequence.lane, sequence.key, sequence.priority, sequence.max_len());
    }

    /// Answers everything with a refusal, now and from now on.
    pub fn close(&mut self, rejection: &Rejection) {
        self.closed = Some(rejection.clone());
        self.fail(rejection);
        while let Some(id) = self.queue.first(|_| true) {
            self.refuse_waiting(id, rejection);
        }
    }

    fn refuse_waiting(&mut self, id: SequenceId, rejection: &Rejection) {
        if let Some(sequence) = self.sequences.get(&id) {
            self.queue.remove(sequence.lane, sequence.key, sequence.priority, sequence.max_len());
            self.waiting_requests -= sequence.waiters.len();
            self.refuse_sequence(id, rejection);
        }
    }

    /// Answers a sequence's jobs and forgets it. Its blocks go with it, its nodes with the tree.
    fn refuse_sequence(&mut self, id: SequenceId, rejection: &Rejection) {
        let Some(sequence) = self.sequences.remove(&id) else { return };
        self.forget(sequence.text(), id);
        self.refuse_waiters_of(sequence.waiters, rejection);
    }

    pub(super) fn refuse_waiters_of(&mut self, waiters: Vec<Waiter>, rejection: &Rejection) {
        for waiter in waiters {
            self.jobs.remove(&waiter.job);
            if let Some(deadline) = waiter.deadline {
                self.deadlines.remove(&(deadline, waiter.job));
            }
            self.observer.refused(rejection);
            self.answers.push((waiter.job, Err(rejection.clone())));
        }
    }
}
