//! One sequence, from arrival to its last answer.

use std::sync::Arc;
use std::time::Duration;

use super::JobId;
use crate::engine::SequenceId;
use crate::sampling::Sampler;
use crate::scheduler::blocks::Block;
use crate::scheduler::prefix::{NodeId, PrefixTree};
use crate::scheduler::queue::{Key, Lane};
use crate::scheduler::scores::Text;
use crate::scheduler::{Observer, Priority, Work};

/// A job that is answered with what the sequence gives.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) job: JobId,
    pub(super) arrived: Duration,
    pub(super) deadline: Option<Duration>,
    /// Whether the sequence was begun for another job.
    pub(super) joined: bool,
}

/// An entry of a block table.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) block: Block,
    /// Where the block stands in the prefix tree, if it does.
    pub(super) node: Option<NodeId>,
}

/// A sequence that waits or is in flight.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    /// What it was begun with, and what it had generated when it was last preempted.
    pub(super) prompt: Arc<[u32]>,
    /// How many of the prompt's tokens it had generated.
    pub(super) folded: usize,
    /// Logits read so far.
    pub(super) rows: Vec<f32>,
    /// Tokens of the prompt that were looked up, the first included.
    pub(super) looked_up: usize,
    /// All that it has generated.
    pub(super) generated: Vec<u32>,
    /// Chooses its tokens, if it generates.
    pub(super) sampler: Option<Sampler>,
    pub(super) work: Work,
    pub(super) priority: Priority,
    pub(super) key: Key,
    pub(super) lane: Lane,
    /// Empty once nobody wants the sequence any more.
    pub(super) waiters: Vec<Waiter>,
    /// Blocks of all its tokens, those to generate left out until their turn comes; empty while it waits.
    pub(super) table: Vec<Slot>,
    /// Whether an engine that makes iterations itself has it.
    pub(super) fed: bool,
    /// Tokens that are computed once all planned iterations are.
    pub(super) scheduled: usize,
    /// Of those, tokens that were not computed for it.
    pub(super) reused: usize,
    /// Number of the last iteration that it has a part in; 0 if none.
    pub(super) planned_in: u64,
    /// When its first iteration began.
    pub(super) started: Option<Duration>,
    /// When its last token was generated.
    pub(super) last_token: Option<Duration>,
    /// Since when it waits for another to compute its prefix.
    pub(super) held_since: Option<Duration>,
}

impl Sequence {
    /// Tokens that it may come to.
    pub(super) fn max_len(&self) -> usize {
        self.work.max_len(self.prompt.len() - self.folded)
    }

    /// It has lost its blocks, and computes what it has generated again with its prompt.
    pub(super) fn begin_again(&mut self) {
        self.prompt = [&self.prompt[..], &self.generated[self.folded..]].concat().into();
        self.folded = self.generated.len();
        self.scheduled = 0;
    }

    /// Whether the logits after all tokens of its prompt are wanted.
    pub(super) fn looks_up(&self) -> bool {
        self.work.looks_prompt_up() && self.folded == 0
    }

    pub(super) fn waits(&self) -> bool {
        self.table.is_empty() && !self.fed
    }

    /// Its first iteration begins, if it has not begun.
    pub(super) fn start(&mut self, now: Duration, observer: &dyn Observer) {
        if self.started.is_none() {
            self.started = Some(now);
            for waiter in &self.waiters {
                observer.started(now.saturating_sub(waiter.arrived));
            }
        }
    }

    /// Takes in a token that was generated; gives whose it is.
    pub(super) fn take_token(&mut self, now: Duration, token: u32, observer: &dyn Observer) -> Option<JobId> {
        self.generated.push(token);
        // Nobody joins what generates: it has one waiter, or none any more.
        let waiter = self.waiters.first()?;
        match self.last_token.replace(now) {
            None => observer.first_token(now.saturating_sub(waiter.arrived)),
            Some(last) => observer.next_token(now.saturating_sub(last)),
        }
        Some(waiter.job)
    }

    /// Its tokens, if it scores.
    pub(super) fn scoring(&self) -> usize {
        if self.lane.generates { 0 } else { self.prompt.len() }
    }

    /// Places where it is read; of what generates, its end.
    pub(super) fn places(&self) -> usize {
        match &self.work {
            Work::Score { read } => read.len(),
            Work::Generate(_) => 1,
        }
    }

    pub(super) fn in_prompt(&self) -> bool {
        self.scheduled < self.prompt.len()
    }

    /// Whether another token can be asked for: the prompt is through and gives one itself.
    pub(super) fn wants_token(&self) -> bool {
        !self.in_prompt() && self.scheduled + 1 < self.max_len() && !self.waiters.is_empty()
    }

    /// The token at a position that has been scheduled.
    pub(super) fn token(&self, position: usize) -> Option<u32> {
        match position.checked_sub(self.prompt.len()) {
            None => self.prompt.get(position),
            Some(position) => self.generated.get(self.folded + position),
        }
        .copied()
    }

    /// What it scores, if it does.
    pub(super) fn text(&self) -> Option<Text> {
        self.work.text(&self.prompt)
    }

    /// Rows of logits that `len` tokens from `position` on take, if they are of a prompt that is looked up.
    pub(super) fn rows_of(&self, position: usize, len: usize) -> usize {
        if self.looks_up() && position < self.prompt.len() { len } else { 0 }
    }

    /// The next token of the prompt to look up, if there is one.
    pub(super) fn look_up(&mut self) -> Option<u32> {
        let token = self.prompt.get(self.looked_up).copied().filter(|_| self.looks_up())?;
        self.looked_up += 1;
        Some(token)
    }

    /// Which of its tokens `from..to` the logits are wanted after, counted from `from`.
    pub(super) fn reads(&self, from: usize, to: usize) -> Vec<usize> {
        match &self.work {
            Work::Score { read } => {
                let begin = read.partition_point(|&position| position < from);
                read[begin..]
                    .iter()
                    .take_while(|&&position| position < to)
                    .map(|position| position - from)
                    .collect()
            }
            Work::Generate(_) if self.looks_up() && from < self.prompt.len() => (0..to - from).collect(),
            Work::Generate(_) if to >= self.prompt.len() => vec![to - 1 - from],
            Work::Generate(_) => Vec::new(),
        }
    }

    /// Tokens at its beginning that may be taken from the tree: whole blocks, and never one whose
    /// logits are wanted.
    pub(super) fn shareable(&self, per_block: usize) -> usize {
        let first_read = match &self.work {
            Work::Score { read } => read.first().copied(),
            Work::Generate(_) => self.looks_up().then_some(0),
        };
        first_read.unwrap_or(self.prompt.len() - 1) / per_block * per_block
    }

    /// Skips the blocks that the iteration can read without computing them; gives their tokens.
    pub(super) fn skip_readable(&mut self, tree: &PrefixTree, iteration: u64, per_block: usize) -> usize {
        let before = self.scheduled;
        while self.scheduled.is_multiple_of(per_block)
            && self.scheduled < self.shareable(per_block)
            && let Some(node) = self.table[self.scheduled / per_block].node
            && tree.is_readable(node, iteration)
        {
            self.scheduled += per_block;
        }
        let skipped = self.scheduled - before;
        // What it had computed itself before is no gain.
        self.reused += if self.folded == 0 { skipped } else { 0 };
        skipped
    }

    /// Prompt tokens from here on that it is to compute itself: up to a block that another writes.
    pub(super) fn claim_run(&self, tree: &mut PrefixTree, per_block: usize) -> usize {
        let blocks = self.scheduled / per_block..self.prompt.len().div_ceil(per_block);
        let own = blocks.clone().find(|&block| {
            let node = self.table[block].node;
            !node.is_none_or(|node| tree.claim(node, self.id))
        });
        let end = (own.unwrap_or(blocks.end) * per_block).min(self.prompt.len());
        end.saturating_sub(self.scheduled)
    }

    /// The nodes of blocks that tokens `from..to` complete.
    pub(super) fn completed_nodes(
        &self,
        from: usize,
        to: usize,
        per_block: usize,
    ) -> impl Iterator<Item = NodeId> + '_ {
        self.table[from / per_block..to / per_block].iter().filter_map(|slot| slot.node)
    }
}
