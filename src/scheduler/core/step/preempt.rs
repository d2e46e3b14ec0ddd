//! KV blocks for tokens as they are generated, preempting lower-priority sequences when none are free.
//!
//! The length of an answer is unknown, so a sequence that generates is admitted with blocks for its prompt only.
//! When one finds no block for its next token, the last sequence after it in order gives up its own and waits
//! again; what it had generated is then computed with its prompt. The first in order never gives way, so that
//! something always makes progress.

use super::StepCore;
use super::state::Slot;
use crate::engine::SequenceId;
use crate::scheduler::queue::Key;

impl StepCore {
    /// Gives a sequence a block for its next token in `iteration`, if it needs one. Returns whether it has it.
    pub(super) fn ensure_block(&mut self, id: SequenceId, iteration: u64) -> bool {
        let sequence = &self.jobs.sequences[id];
        let key = sequence.key;
        let needed = self.jobs.limits.blocks_for(sequence.state.scheduled + 1);
        let missing = needed.saturating_sub(sequence.state.table.len());
        if missing == 0 {
            return true;
        }
        loop {
            if let Some(blocks) = self.take_blocks(missing) {
                let table = &mut self.jobs.sequences[id].state.table;
                table.extend(blocks.into_iter().map(|block| Slot { block, node: None }));
                return true;
            }
            // While an iteration runs it may read and write any of its blocks.
            let last = if self.running.is_none() { self.last_preemptible(key, iteration) } else { None };
            let Some(last) = last else { return false };
            self.preempt(last);
        }
    }

    /// The last sequence after `key` in order that generates and has no part in `iteration`.
    fn last_preemptible(&self, key: Key, iteration: u64) -> Option<SequenceId> {
        let after = self.jobs.in_flight.order.iter().rev().take_while(|other| **other > key);
        after.map(|key| key.sequence()).find(|&id| {
            let sequence = &self.jobs.sequences[id];
            sequence.wants_token() && sequence.state.planned_in < iteration
        })
    }

    fn preempt(&mut self, id: SequenceId) {
        self.release_blocks(id);
        self.jobs.sequences[id].reset_for_recompute();
        self.jobs.requeue(id);
        self.jobs.observer.preempted();
    }
}
