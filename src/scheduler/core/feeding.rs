//! Whole sequences for an engine that makes iterations of them itself.

use std::time::Duration;

use super::Core;
use crate::engine::{EngineError, Generated, Outputs, PrefixSharing, SequenceId, Task, WholeSequence};
use crate::scheduler::{Output, Priority, Rejection, Work};

/// What to hand to [`crate::engine::Engine::feed`].
#[derive(Debug, Default)]
pub struct Feed {
    /// Sequences to begin.
    pub sequences: Vec<WholeSequence>,
    /// Sequences that nobody wants any more.
    pub cancelled: Vec<SequenceId>,
}

impl Core {
    /// Whether the engine makes iterations itself.
    pub fn is_fed(&self) -> bool {
        self.sharing == PrefixSharing::Own
    }

    /// Whether the engine has sequences that it has not reported the last of.
    pub fn is_awaiting(&self) -> bool {
        !self.in_flight.order.is_empty()
    }

    /// The waiting sequences that the engine has room for, in order. It keeps a few iterations'
    /// worth, so that what is urgent does not wait behind much.
    pub fn feed(&mut self, now: Duration) -> Feed {
        if !self.is_awaiting() {
            self.awaited_since = now;
        }
        let mut feed = Feed { sequences: Vec::new(), cancelled: std::mem::take(&mut self.dropped) };
        while let Some(id) = self.queue.first(|_| true) {
            self.drop_hopeless(id, now);
            if !self.sequences.contains_key(&id) {
                continue;
            }
            if !self.has_room_for(id) {
                break;
            }
            self.take_in_flight(id, Vec::new());
            feed.sequences.extend(self.hand_over(id, now));
        }
        feed
    }

    fn has_room_for(&self, id: SequenceId) -> bool {
        let Some(sequence) = self.sequences.get(&id) else { return false };
        let cache = self.limits.kv_blocks * self.limits.tokens_per_block;
        let fits = self.in_flight.reads + sequence.places() <= self.limits.max_batch_size
            && self.in_flight.scoring + sequence.scoring() <= self.limits.max_num_tokens
            && self.in_flight.remaining + sequence.max_len() <= cache;
        !self.is_awaiting() || fits
    }

    fn hand_over(&mut self, id: SequenceId, now: Duration) -> Option<WholeSequence> {
        let sequence = self.sequences.get_mut(&id)?;
        sequence.fed = true;
        sequence.start(now, &*self.observer);
        let task = match &sequence.work {
            Work::Score { read } => Task::Score(read.clone()),
            Work::Generate(sampling) => Task::Generate(sampling.clone()),
        };
        let priority = urgency(sequence.priority);
        Some(WholeSequence { id, tokens: sequence.prompt.clone(), task, priority })
    }

    /// Takes in what the engine has to say of the sequences it was fed.
    ///
    /// # Errors
    /// The engine left out logits that were asked for; call [`Core::fail`].
    pub fn take_in(&mut self, now: Duration, outputs: Outputs) -> Result<(), EngineError> {
        let mut tokens = 0;
        for (id, reason) in outputs.failed {
            self.end(id, Some(&Rejection::EngineFailed(reason)));
        }
        for (id, cached) in outputs.cached {
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.reused = cached.min(sequence.prompt.len());
            }
        }
        for (id, logits) in outputs.logits {
            let Some(sequence) = self.sequences.get(&id) else { continue };
            tokens += sequence.prompt.len();
            if let Work::Score { read } = &sequence.work {
                let reads = read.len();
                if logits.is_empty() || !logits.len().is_multiple_of(reads) {
                    return Err(EngineError::Step("it left out logits".into()));
                }
                self.take_logits(now, id, reads, logits);
            }
            self.end(id, None);
        }
        for generated in outputs.generated {
            tokens += self.take_generated(now, generated);
        }
        if let Some(statistics) = outputs.statistics {
            self.observer.iteration(statistics.tokens, statistics.sequences, outputs.elapsed);
            let reused = statistics.reused_blocks * self.limits.tokens_per_block;
            if reused > 0 {
                self.observer.prefix_reused(reused);
            }
            self.statistics = statistics;
        }
        self.rate.observe(tokens, now.saturating_sub(self.awaited_since), !self.queue.is_empty());
        self.awaited_since = now;
        Ok(())
    }

    /// Takes in generated tokens; gives by how many the sequence got on, its prompt included.
    fn take_generated(&mut self, now: Duration, generated: Generated) -> usize {
        let id = generated.sequence;
        let Some(sequence) = self.sequences.get_mut(&id) else { return 0 };
        let first = sequence.generated.is_empty();
        let tokens = generated.tokens.len() + if first { sequence.prompt.len() } else { 0 };
        for sampled in generated.tokens {
            let job = sequence.take_token(now, sampled.token, &*self.observer);
            self.tokens.extend(job.map(|job| (job, sampled)));
        }
        if generated.last {
            let output = Output::Tokens(std::mem::take(&mut sequence.generated));
            self.answer_waiters(now, id, &output);
            self.end(id, None);
        }
        tokens
    }

    /// The engine has said its last word of a sequence. Whoever still waits for it is refused.
    fn end(&mut self, id: SequenceId, rejection: Option<&Rejection>) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let (text, waiters) = (sequence.text(), std::mem::take(&mut sequence.waiters));
        self.forget(text, id);
        self.release(id);
        if let Some(rejection) = rejection {
            self.refuse_waiters_of(waiters, rejection);
        }
    }
}

/// A class as engines have it: 0..=1, of which the higher goes first.
fn urgency(priority: Priority) -> f32 {
    0.5 - f32::from(priority.0) / 256.0
}
