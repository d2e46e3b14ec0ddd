//! The state of a sequence whose iterations the scheduler composes.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Job, Work};
use crate::sampling::{Sampled, Sampler, Sampling, SamplingError};
use crate::scheduler::blocks::Block;
use crate::scheduler::core::sequence::{Sequence, SequenceState};
use crate::scheduler::prefix::{NodeId, PrefixTree};

/// An entry of a block table.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) block: Block,
    /// The block's node in the prefix tree, if it has one.
    pub(super) node: Option<NodeId>,
}

/// What the sequence has given so far.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Logits of the first of `reads` positions.
    Score {
        reads: usize,
        logits: Vec<f32>,
    },
    Tokens(Chooser),
}

/// Computes the log-probabilities of the prompt's tokens, if requested, and then chooses the next ones.
#[derive(Debug)]
pub(super) struct Chooser {
    sampler: Sampler,
    sampling: Arc<Sampling>,
    prompt: Arc<[u32]>,
    /// Tokens of the prompt that need no log-probability any more; the first never does.
    known: usize,
    chosen: usize,
}

/// What a row of logits gave.
#[derive(Debug)]
pub(super) enum Chosen {
    /// The prompt's next token, with its log-probability.
    InPrompt(Sampled),
    Next {
        sampled: Sampled,
        /// Whether it ends the sequence.
        last: bool,
    },
}

impl Chooser {
    fn new(sampling: &Arc<Sampling>, prompt: &Arc<[u32]>) -> Self {
        Self {
            sampler: Sampler::new(sampling.clone(), prompt),
            sampling: sampling.clone(),
            prompt: prompt.clone(),
            known: if sampling.prompt_logprobs { 1 } else { prompt.len() },
            chosen: 0,
        }
    }

    /// Takes in the logits after one more token, `[vocabulary]`, which are changed.
    pub(super) fn take_row(&mut self, logits: &mut [f32]) -> Result<Chosen, SamplingError> {
        if let Some(&token) = self.prompt.get(self.known) {
            self.known += 1;
            return Ok(Chosen::InPrompt(self.sampler.prompt_logprob(token, logits)?));
        }
        let sampled = self.sampler.sample(logits)?;
        self.chosen += 1;
        Ok(Chosen::Next { last: self.sampling.ends(self.chosen, sampled.token), sampled })
    }
}

#[derive(Debug)]
pub(in crate::scheduler::core) struct StepState {
    /// The job's tokens, followed by what had been generated when the sequence was last preempted.
    pub(super) prompt: Arc<[u32]>,
    /// Generated tokens that preemption moved into `prompt`.
    pub(super) recomputed: usize,
    pub(super) outcome: Outcome,
    /// Blocks of all its tokens; a generated token gets its block when it is needed. Empty while it waits.
    pub(super) table: Vec<Slot>,
    /// Tokens that are computed once all planned iterations are.
    pub(super) scheduled: usize,
    /// Number of the last iteration that it has a part in; 0 if none.
    pub(super) planned_in: u64,
    /// When it started to wait for another sequence to compute its prefix.
    pub(super) held_since: Option<Duration>,
}

impl SequenceState for StepState {
    fn new(job: &Job) -> Self {
        let outcome = match &job.work {
            Work::Score { read } => Outcome::Score { reads: read.len(), logits: Vec::new() },
            Work::Generate(sampling) => Outcome::Tokens(Chooser::new(sampling, &job.tokens)),
        };
        Self {
            prompt: job.tokens.clone(),
            recomputed: 0,
            outcome,
            table: Vec::new(),
            scheduled: 0,
            planned_in: 0,
            held_since: None,
        }
    }

    fn requeued(&mut self) {
        self.table.clear();
        self.scheduled = 0;
        self.planned_in = 0;
        self.held_since = None;
    }
}

impl Sequence<StepState> {
    /// Resets it after it lost its blocks: the generated tokens must be recomputed with the prompt.
    pub(super) fn reset_for_recompute(&mut self) {
        let state = &mut self.state;
        state.prompt = [&state.prompt[..], &self.generated[state.recomputed..]].concat().into();
        state.recomputed = self.generated.len();
        state.scheduled = 0;
    }

    /// Whether the logits after all tokens of its prompt are needed.
    pub(super) fn wants_prompt_logprobs(&self) -> bool {
        self.job.work.wants_prompt_logprobs() && self.state.recomputed == 0
    }

    pub(super) fn in_prompt(&self) -> bool {
        self.state.scheduled < self.state.prompt.len()
    }

    /// Whether another token can be requested: the prompt, which yields the first one, is computed.
    pub(super) fn wants_token(&self) -> bool {
        !self.in_prompt() && self.state.scheduled + 1 < self.max_len && !self.waiters.is_empty()
    }

    /// The token at a position that is known: in the prompt, or generated.
    pub(super) fn token(&self, position: usize) -> u32 {
        match position.checked_sub(self.state.prompt.len()) {
            None => self.state.prompt[position],
            Some(generated) => self.generated[self.state.recomputed + generated],
        }
    }

    /// Rows of logits that `len` tokens from `position` on take, if the prompt's log-probabilities are wanted.
    pub(super) fn rows_of(&self, position: usize, len: usize) -> usize {
        if self.wants_prompt_logprobs() && position < self.state.prompt.len() { len } else { 0 }
    }

    /// Which of its tokens `from..to` need logits after them, counted from `from`.
    pub(super) fn reads(&self, from: usize, to: usize) -> Vec<usize> {
        let prompt = self.state.prompt.len();
        match &self.job.work {
            Work::Score { read } => {
                let first = read.partition_point(|&position| position < from);
                let end = read.partition_point(|&position| position < to);
                read[first..end].iter().map(|position| position - from).collect()
            }
            Work::Generate(_) if self.wants_prompt_logprobs() && from < prompt => (0..to - from).collect(),
            Work::Generate(_) if to >= prompt => vec![to - 1 - from],
            Work::Generate(_) => Vec::new(),
        }
    }

    /// Tokens at its start that may be taken from the tree: whole blocks, and never one whose logits are needed.
    pub(super) fn shareable(&self, per_block: usize) -> usize {
        let first_read = match &self.job.work {
            Work::Score { read } => read.first().copied(),
            Work::Generate(_) => self.wants_prompt_logprobs().then_some(0),
        };
        first_read.unwrap_or(self.state.prompt.len() - 1) / per_block * per_block
    }

    /// Skips the blocks that the iteration can read without computing them; returns their tokens.
    pub(super) fn skip_readable(&mut self, tree: &PrefixTree, iteration: u64, per_block: usize) -> usize {
        let before = self.state.scheduled;
        let shareable = self.shareable(per_block);
        while self.state.scheduled.is_multiple_of(per_block)
            && self.state.scheduled < shareable
            && let Some(node) = self.state.table[self.state.scheduled / per_block].node
            && tree.is_readable(node, iteration)
        {
            self.state.scheduled += per_block;
        }
        let skipped = self.state.scheduled - before;
        // Tokens that the sequence itself computed before a preemption do not count as cached.
        self.cached_tokens += if self.state.recomputed == 0 { skipped } else { 0 };
        skipped
    }

    /// Prompt tokens from here on that it computes itself: up to a block that another sequence writes.
    pub(super) fn claim_run(&self, tree: &mut PrefixTree, per_block: usize) -> usize {
        let prompt = self.state.prompt.len();
        let blocks = self.state.scheduled / per_block..prompt.div_ceil(per_block);
        let others = blocks.clone().find(|&block| {
            let node = self.state.table[block].node;
            node.is_some_and(|node| !tree.claim(node, self.id))
        });
        let end = (others.unwrap_or(blocks.end) * per_block).min(prompt);
        end.saturating_sub(self.state.scheduled)
    }

    /// The nodes of blocks that tokens `from..to` complete.
    pub(super) fn completed_nodes(
        &self,
        from: usize,
        to: usize,
        per_block: usize,
    ) -> impl Iterator<Item = NodeId> + '_ {
        self.state.table[from / per_block..to / per_block].iter().filter_map(|slot| slot.node)
    }
}
