//! Which tokens of which sequences an iteration computes.

use std::time::Duration;

use super::Core;
use super::sequence::{Sequence, Slot};
use crate::engine::{Chunk, Iteration, SequenceId};
use crate::scheduler::Rejection;

/// Rows of logits, as wide as the vocabulary, that prompts may take of an iteration: as many as those that
/// generate may, but no fewer than this.
const LEAST_ROWS: usize = 64;

/// An iteration to be: decided, but its token ids may not all be known yet.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) entries: Vec<Entry>,
    /// Tokens that still fit.
    room: usize,
    /// Of those, tokens that prompts longer than one chunk may take.
    long_room: usize,
    /// Of those, tokens that prompts may take which are looked up.
    rows: usize,
    /// Tokens by which sequences get on, those read from the prefix tree included.
    pub(super) advanced: usize,
    pub(super) submitted: Duration,
    /// Whether more was there to do than it had room for.
    pub(super) full: bool,
}

/// A sequence's part in a plan.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: SequenceId,
    position: usize,
    pub(super) len: usize,
    /// After which of its tokens the logits are wanted.
    pub(super) logits: Vec<usize>,
}

impl Plan {
    pub(super) fn tokens(&self) -> usize {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    /// Tokens of a prompt that still fit.
    fn room_for(&self, sequence: &Sequence) -> usize {
        if sequence.looks_up() { self.room.min(self.rows) } else { self.room }
    }
}

impl Core {
    /// The next iteration, if there is anything to compute. Call it when the engine is free, and
    /// hand the engine what it gives.
    pub fn plan(&mut self, now: Duration) -> Option<Iteration> {
        let mut plan = self.take_prepared();
        self.fill(&mut plan, now);
        self.extend(&mut plan);
        self.fill(&mut plan, now);
        if plan.entries.is_empty() {
            return None;
        }
        plan.submitted = now;
        plan.full = plan.room == 0 || !self.queue.is_empty();
        let iteration = self.build(&plan, now);
        self.running = Some(plan);
        Some(iteration)
    }

    /// Plans the iteration after the one that runs, as far as it can be known. Call it again after
    /// arrivals: they join if there is room.
    pub fn prepare(&mut self, now: Duration) {
        if self.running.is_some() {
            let mut plan = self.take_prepared();
            self.fill(&mut plan, now);
            self.prepared = Some(plan);
        }
    }

    fn take_prepared(&mut self) -> Plan {
        self.prepared.take().unwrap_or_else(|| Plan {
            number: self.reported + 1 + u64::from(self.running.is_some()),
            entries: Vec::new(),
            room: self.limits.max_num_tokens,
            long_room: self.max_chunk_tokens(),
            rows: self.limits.max_batch_size.max(LEAST_ROWS),
            advanced: 0,
            submitted: Duration::ZERO,
            full: false,
        })
    }

    /// Adds what is not in the plan yet: tokens to generate, then prompts begun, then new ones. A
    /// long prompt takes no more than its chunk, so that one that comes later still finds room.
    fn fill(&mut self, plan: &mut Plan, now: Duration) {
        let in_flight: Vec<SequenceId> = self.in_flight.order.iter().map(|key| key.sequence()).collect();
        for &id in &in_flight {
            self.schedule_token(plan, id);
        }
        for &id in &in_flight {
            self.schedule_prompt(plan, id, now);
        }
        self.admit(plan, now);
    }

    fn has_room(&self, plan: &Plan) -> bool {
        plan.room > 0 && plan.entries.len() < self.limits.max_batch_size
    }

    fn schedule_token(&mut self, plan: &mut Plan, id: SequenceId) {
        let wants = |sequence: &Sequence| sequence.wants_token() && sequence.planned_in < plan.number;
        if self.has_room(plan) && self.sequences.get(&id).is_some_and(wants) && self.grow(id, plan.number) {
            self.push(plan, id, 1);
        }
    }

    /// Adds a chunk of a sequence's prompt, unless it waits for another to compute what comes next.
    fn schedule_prompt(&mut self, plan: &mut Plan, id: SequenceId, now: Duration) {
        if !self.has_room(plan) {
            return;
        }
        let per_block = self.limits.tokens_per_block;
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let planned = sequence.planned_in == plan.number;
        // It may have been preempted a moment ago.
        if sequence.waits() || !sequence.in_prompt() || planned || sequence.waiters.is_empty() {
            return;
        }
        let reused = sequence.skip_readable(&self.tree, plan.number, per_block);
        let run = sequence.claim_run(&mut self.tree, per_block);
        let held = run == 0;
        let run = if held { sequence.prompt.len() - sequence.scheduled } else { run };
        plan.advanced += reused;
        self.in_flight.remaining -= reused;
        if reused > 0 {
            self.observer.prefix_reused(reused);
        }
        let room = plan.room_for(sequence);
        let max_chunk = self.max_chunk_tokens();
        let most = if run > max_chunk { max_chunk.min(plan.long_room) } else { run };
        let len = most.min(room);
        if len == 0 || (held && !self.stop_following(id, now)) {
            return;
        }
        if run > max_chunk {
            plan.long_room -= len;
        }
        self.push(plan, id, len);
    }

    /// A sequence held too long computes its prefix itself, in blocks of its own, if there are any.
    fn stop_following(&mut self, id: SequenceId, now: Duration) -> bool {
        let per_block = self.limits.tokens_per_block;
        let Some(sequence) = self.sequences.get_mut(&id) else { return false };
        let held_since = *sequence.held_since.get_or_insert(now);
        if now.saturating_sub(held_since) < self.options.follower_hold {
            return false;
        }
        let from = sequence.scheduled / per_block;
        let needed = sequence.table.len() - from;
        let Some(blocks) = self.take_blocks(needed) else { return false };
        let Some(sequence) = self.sequences.get_mut(&id) else { return false };
        let followed = sequence.table.split_off(from);
        sequence.table.extend(blocks.into_iter().map(|block| Slot { block, node: None }));
        sequence.held_since = None;
        for node in followed.into_iter().rev().filter_map(|slot| slot.node) {
            self.tree.leave(node, id);
        }
        true
    }

    /// Free blocks, made by evicting cached ones where needed; none if there are too few.
    pub(super) fn take_blocks(&mut self, count: usize) -> Option<Vec<crate::scheduler::blocks::Block>> {
        let free = self.pool.free();
        if free + self.tree.idle() < count {
            return None;
        }
        self.tree.evict(count.saturating_sub(free));
        self.pool.take(count)
    }

    fn push(&mut self, plan: &mut Plan, id: SequenceId, len: usize) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let position = sequence.scheduled;
        sequence.planned_in = plan.number;
        sequence.held_since = None;
        plan.entries.push(Entry { sequence: id, position, len: 0, logits: Vec::new() });
        self.lengthen(plan, plan.entries.len() - 1, len);
    }

    /// Adds the sequence's next `len` tokens to an entry.
    fn lengthen(&mut self, plan: &mut Plan, entry: usize, len: usize) {
        let entry = &mut plan.entries[entry];
        let Some(sequence) = self.sequences.get_mut(&entry.sequence) else { return };
        let from = sequence.scheduled;
        sequence.scheduled += len;
        for node in sequence.completed_nodes(from, sequence.scheduled, self.limits.tokens_per_block) {
            self.tree.set_written(node, Some(plan.number));
        }
        entry.len += len;
        entry.logits = sequence.reads(entry.position, sequence.scheduled);
        plan.room -= len;
        plan.rows -= sequence.rows_of(entry.position, len);
        plan.advanced += len;
        self.in_flight.remaining -= len;
    }

    /// Gives the room that nobody else wanted to the long prompts.
    fn extend(&mut self, plan: &mut Plan) {
        plan.long_room = usize::MAX;
        for entry in 0..plan.entries.len() {
            let Some(sequence) = self.sequences.get(&plan.entries[entry].sequence) else { continue };
            if plan.room > 0 && sequence.in_prompt() && !sequence.waiters.is_empty() {
                let run = sequence.claim_run(&mut self.tree, self.limits.tokens_per_block);
                let len = run.min(plan.room_for(sequence));
                self.lengthen(plan, entry, len);
            }
        }
    }

    /// Starts waiting sequences in order. Where the first finds too few blocks, those behind it
    /// wait too, so that it does not wait for ever.
    fn admit(&mut self, plan: &mut Plan, now: Duration) {
        // Those that wait for a prefix take no room in the plan, yet they hold blocks.
        let most = self.limits.max_batch_size.saturating_mul(4);
        // Prompts always get some room beside what generates.
        let most_generating = (self.limits.max_batch_size.min(self.limits.max_num_tokens) * 3 / 4).max(1);
        while self.has_room(plan) && self.in_flight.order.len() < most {
            let may_generate = self.in_flight.generating < most_generating;
            let may_go =
                |lane: super::Lane| (may_generate || !lane.generates) && (plan.long_room > 0 || !lane.long);
            let Some(id) = self.queue.first(may_go) else { return };
            self.drop_hopeless(id, now);
            if self.sequences.contains_key(&id) {
                if !self.reserve_blocks(id) {
                    return;
                }
                self.schedule_prompt(plan, id, now);
            }
        }
    }

    /// Answers those of a sequence's jobs that would be too late if it began now.
    pub(super) fn drop_hopeless(&mut self, id: SequenceId, now: Duration) {
        // One that has begun is not given up for being preempted.
        let Some(sequence) = self.sequences.get(&id).filter(|sequence| sequence.started.is_none()) else {
            return;
        };
        let Some(estimate) = self.rate.estimate(sequence.max_len()) else { return };
        let too_late =
            |deadline: Option<Duration>| deadline.is_some_and(|deadline| now + estimate > deadline);
        let hopeless: Vec<_> = sequence
            .waiters
            .iter()
            .filter(|waiter| too_late(waiter.deadline))
            .map(|waiter| waiter.job)
            .collect();
        for job in hopeless {
            self.refuse(job, Rejection::DeadlineUnmeetable { estimate });
        }
    }

    /// Takes the first waiting sequence in flight, with blocks for its prompt: those of its prefix that
    /// are in the tree, computed or not, and new ones. Gives whether there were enough, and one left for
    /// each sequence that generates.
    fn reserve_blocks(&mut self, id: SequenceId) -> bool {
        let per_block = self.limits.tokens_per_block;
        let Some(sequence) = self.sequences.get(&id) else { return false };
        let prompt = sequence.prompt.clone();
        let needed = self.limits.blocks_for(prompt.len());
        let shareable = if self.options.prefix_sharing { sequence.shareable(per_block) } else { 0 };
        let path = self.tree.enter(prompt[..shareable].chunks_exact(per_block));
        let missing = needed - path.len();
        let enough = self.pool.free() + self.tree.idle() >= missing + self.in_flight.generating;
        let fresh = if enough { self.take_blocks(missing) } else { None };
        let Some(fresh) = fresh else {
            for (node, block) in path.into_iter().rev() {
                drop(block);
                self.tree.leave(node, id);
            }
            return false;
        };
        let mut parent = path.last().map(|(node, _)| *node);
        let mut unshared = if self.options.prefix_sharing { &prompt[path.len() * per_block..] } else { &[] };
        let mut table: Vec<Slot> =
            path.into_iter().map(|(node, block)| Slot { block, node: Some(node) }).collect();
        for block in fresh {
            let tokens = unshared.split_off(..per_block);
            let node = tokens.and_then(|tokens| self.tree.insert(parent, tokens, block.clone(), id));
            // What follows a block that another sequence has entered stands below that one's.
            if node.is_none() {
                unshared = &[];
            }
            parent = node;
            table.push(Slot { block, node });
        }
        self.take_in_flight(id, table);
        true
    }

    pub(super) fn take_in_flight(&mut self, id: SequenceId, table: Vec<Slot>) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        sequence.table = table;
        let tokens = sequence.max_len();
        self.queue.remove(sequence.lane, sequence.key, sequence.priority, tokens);
        self.waiting_requests -= sequence.waiters.len();
        self.in_flight.order.insert(sequence.key);
        self.in_flight.generating += usize::from(sequence.lane.generates);
        self.in_flight.reads += sequence.places();
        self.in_flight.scoring += sequence.scoring();
        self.in_flight.remaining += tokens;
    }

    /// Takes a sequence out of the prepared plan, unless another there may read what it writes.
    pub(super) fn unplan(&mut self, id: SequenceId) {
        let Some(plan) = &mut self.prepared else { return };
        let Some(place) = plan.entries.iter().position(|entry| entry.sequence == id) else { return };
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let Entry { position, len, .. } = plan.entries[place];
        let per_block = self.limits.tokens_per_block;
        let nodes: Vec<_> = sequence.completed_nodes(position, position + len, per_block).collect();
        if nodes.iter().any(|&node| self.tree.is_shared(node)) {
            return;
        }
        for node in nodes {
            self.tree.set_written(node, None);
        }
        sequence.scheduled = position;
        let runs = |running: &Plan| running.entries.iter().any(|entry| entry.sequence == id);
        sequence.planned_in = if self.running.as_ref().is_some_and(runs) { plan.number - 1 } else { 0 };
        plan.entries.remove(place);
        plan.room += len;
        plan.rows += sequence.rows_of(position, len);
        plan.advanced -= len;
        self.in_flight.remaining += len;
    }

    /// Writes a plan down for the engine.
    fn build(&mut self, plan: &Plan, now: Duration) -> Iteration {
        let mut iteration = Iteration::default();
        for entry in &plan.entries {
            let Some(sequence) = self.sequences.get_mut(&entry.sequence) else { continue };
            sequence.start(now, &*self.observer);
            let end = entry.position + entry.len;
            let (first_token, first_block) = (iteration.token_ids.len(), iteration.block_table.len());
            iteration.token_ids.extend((entry.position..end).filter_map(|at| sequence.token(at)));
            let blocks = &sequence.table[..self.limits.blocks_for(end)];
            iteration.block_table.extend(blocks.iter().map(|slot| slot.block.id()));
            iteration.chunks.push(Chunk {
                sequence: entry.sequence,
                tokens: first_token..iteration.token_ids.len(),
                position: entry.position,
                blocks: first_block..iteration.block_table.len(),
                logits: entry.logits.clone(),
            });
        }
        iteration
    }
}
