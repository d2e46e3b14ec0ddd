//! Processes the results of an iteration, and answers jobs with them.

use std::collections::HashMap;
use std::time::Duration;

use super::StepCore;
use super::state::{Chosen, Outcome};
use crate::engine::{SequenceError, SequenceId, StepError, StepReport};
use crate::scheduler::core::Batching;
use crate::scheduler::{Output, Rejection};

impl StepCore {
    /// Processes the report of the running iteration. Does nothing if none runs.
    ///
    /// # Errors
    /// The engine left out logits that were requested; call [`Core::lose_engine`](crate::scheduler::core::Core::lose_engine).
    pub fn complete(&mut self, now: Duration, report: StepReport) -> Result<(), StepError> {
        let Some(plan) = self.running.take() else { return Ok(()) };
        self.reported = plan.number;
        self.jobs.observer.iteration(plan.tokens(), plan.entries.len(), report.elapsed);
        // A small iteration takes its fixed costs rather than the time of its tokens.
        let telling = plan.full || plan.tokens() >= self.jobs.limits.max_num_tokens / 4;
        self.jobs.rate.observe(plan.advanced, now.saturating_sub(plan.submitted), telling);
        let mut logits: HashMap<SequenceId, Vec<f32>> = report.logits.into_iter().collect();
        let mut failed: HashMap<SequenceId, SequenceError> = report.failed.into_iter().collect();
        for entry in &plan.entries {
            let id = entry.sequence;
            if let Some(error) = failed.remove(&id) {
                self.reject_jobs_of(id, &error.into());
            } else if !entry.logits.is_empty() {
                let reads = entry.logits.len();
                let logits = logits.remove(&id).unwrap_or_default();
                if logits.is_empty() || !logits.len().is_multiple_of(reads) {
                    return Err(StepError::MissingLogits(id));
                }
                self.take_logits(now, id, reads, logits);
            }
            self.release_if_unwanted(id);
        }
        Ok(())
    }

    fn reject_jobs_of(&mut self, id: SequenceId, rejection: &Rejection) {
        for job in self.jobs.jobs_of(id) {
            self.reject(job, rejection.clone());
        }
    }

    /// Takes in the logits of `reads` positions, `[reads, width]`.
    fn take_logits(&mut self, now: Duration, id: SequenceId, reads: usize, mut logits: Vec<f32>) {
        let width = logits.len() / reads;
        match &mut self.jobs.sequences[id].state.outcome {
            Outcome::Score { reads, logits: so_far } => {
                so_far.append(&mut logits);
                if so_far.len() >= *reads * width {
                    let logits = std::mem::take(so_far).into();
                    self.jobs.answer_score(now, id, logits);
                }
            }
            Outcome::Tokens(chooser) => {
                let rows = logits.chunks_exact_mut(width);
                match rows.map(|row| chooser.take_row(row)).collect::<Result<Vec<_>, _>>() {
                    Ok(chosen) => chosen.into_iter().for_each(|token| self.take_chosen(now, id, token)),
                    Err(error) => self.reject_jobs_of(id, &SequenceError::NoToken(error).into()),
                }
            }
        }
    }

    fn take_chosen(&mut self, now: Duration, id: SequenceId, chosen: Chosen) {
        let sequence = &mut self.jobs.sequences[id];
        match chosen {
            Chosen::InPrompt(sampled) => {
                let job = sequence.only_waiter().map(|waiter| waiter.job);
                self.jobs.stream(job.map(|job| (job, sampled)));
            }
            Chosen::Next { sampled, last } => {
                let token = sequence.take_token(now, sampled, &*self.jobs.observer);
                let output = last.then(|| Output::Tokens(std::mem::take(&mut sequence.generated)));
                self.jobs.stream(token);
                if let Some(output) = output {
                    self.jobs.answer(now, id, &output);
                }
            }
        }
    }
}
