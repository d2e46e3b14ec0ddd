//! KV blocks for tokens as they are generated, at the cost of those behind where none is left.
//!
//! How long an answer becomes nobody knows, so a sequence that generates is admitted with blocks for its
//! prompt alone. Where one finds no block for its next token, the last of those behind it gives up its own
//! and waits again; what it had generated is then computed with its prompt. The first in order never gives
//! way, so that something always gets on.

use super::Core;
use super::sequence::{Sequence, Slot};
use crate::engine::SequenceId;
use crate::scheduler::queue::Key;

impl Core {
    /// Gives a sequence a block for its next token in `iteration`, if it needs one. Gives whether it has it.
    pub(super) fn grow(&mut self, id: SequenceId, iteration: u64) -> bool {
        let Some(sequence) = self.sequences.get(&id) else { return false };
        let key = sequence.key;
        let missing = self.limits.blocks_for(sequence.scheduled + 1).saturating_sub(sequence.table.len());
        if missing == 0 {
            return true;
        }
        loop {
            if let Some(blocks) = self.take_blocks(missing) {
                let Some(sequence) = self.sequences.get_mut(&id) else { return false };
                sequence.table.extend(blocks.into_iter().map(|block| Slot { block, node: None }));
                return true;
            }
            // While an iteration runs it may read and write any of its blocks.
            let last = if self.running.is_none() { self.last_behind(key, iteration) } else { None };
            let Some(last) = last else { return false };
            self.preempt(last);
        }
    }

    /// The last sequence behind `key` that generates and has no part in `iteration`.
    fn last_behind(&self, key: Key, iteration: u64) -> Option<SequenceId> {
        let behind = self.in_flight.order.iter().rev().take_while(|other| **other > key);
        behind.map(|key| key.sequence()).find(|id| {
            let gives_way = |sequence: &Sequence| sequence.wants_token() && sequence.planned_in < iteration;
            self.sequences.get(id).is_some_and(gives_way)
        })
    }

    fn preempt(&mut self, id: SequenceId) {
        let Some(mut sequence) = self.sequences.remove(&id) else { return };
        self.take_out_of_flight(&mut sequence);
        sequence.begin_again();
        self.queue.insert(sequence.lane, sequence.key, sequence.priority, sequence.max_len());
        self.waiting_requests += sequence.waiters.len();
        self.sequences.insert(id, sequence);
        self.observer.preempted();
    }
}
