//! Which tokens of which sequences an iteration computes.

use std::time::Duration;

use super::StepCore;
use super::state::{Slot, StepState};
use crate::engine::{Chunk, Iteration, PrefixSharing, SequenceId};
use crate::scheduler::core::Batching;
use crate::scheduler::core::jobs::Backlog;
use crate::scheduler::core::sequence::Sequence;
use crate::scheduler::queue::Lane;

/// Rows of logits, as wide as the vocabulary, that prompts may take up in an iteration: as many as it has sequences
/// at most, but no fewer than this.
const LEAST_ROWS: usize = 64;

/// An iteration that is planned, but whose token ids may not all be known yet.
#[derive(Debug)]
pub(super) struct IterationPlan {
    pub(super) number: u64,
    pub(super) entries: Vec<Entry>,
    /// Tokens that still fit.
    room: usize,
    /// The part of `room` that long prompts may take.
    long_room: usize,
    /// The part of `room` for prompts that need log-probabilities.
    rows: usize,
    /// Tokens by which sequences advance, those read from the prefix tree included.
    pub(super) advanced: usize,
    /// When it should start.
    starts: Duration,
    /// The earliest deadline of the scores that it completes, if it can meet that.
    due: Option<Duration>,
    pub(super) submitted: Duration,
    /// Whether there was more to do than it had room for.
    pub(super) full: bool,
}

/// A sequence's part in a plan.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: SequenceId,
    position: usize,
    pub(super) len: usize,
    /// Tokens before `position` that were found in the prefix tree for this plan.
    reused: usize,
    /// The tokens after which logits are requested, counted from `position`.
    pub(super) logits: Vec<usize>,
}

impl IterationPlan {
    /// Tokens that still fit.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    pub(super) fn tokens(&self) -> usize {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    /// Tokens of a prompt that still fit.
    fn room_for(&self, sequence: &Sequence<StepState>) -> usize {
        if sequence.wants_prompt_logprobs() { self.room.min(self.rows) } else { self.room }
    }
}

impl StepCore {
    /// The next iteration, if there is anything to compute. Call it when the engine is free, and submit the result.
    pub fn plan(&mut self, now: Duration) -> Option<Iteration> {
        let mut plan = self.take_prepared();
        self.fill(&mut plan, now);
        self.extend(&mut plan);
        self.fill(&mut plan, now);
        if plan.entries.is_empty() {
            return None;
        }
        plan.submitted = now;
        plan.full = plan.room == 0 || !self.jobs.queue.is_empty();
        let iteration = self.build(&plan, now);
        self.running = Some(plan);
        Some(iteration)
    }

    /// Plans the iteration after the running one, as far as possible. Call it again after arrivals: they join if there
    /// is room.
    pub fn prepare(&mut self, now: Duration) {
        if self.running.is_some() {
            let mut plan = self.take_prepared();
            self.fill(&mut plan, now);
            self.prepared = Some(plan);
        }
    }

    fn take_prepared(&mut self) -> IterationPlan {
        self.prepared.take().unwrap_or_else(|| IterationPlan {
            number: self.reported + 1 + u64::from(self.running.is_some()),
            entries: Vec::new(),
            room: self.jobs.limits.max_num_tokens,
            long_room: self.jobs.max_chunk_tokens(),
            rows: self.jobs.limits.max_batch_size.max(LEAST_ROWS),
            advanced: 0,
            starts: Duration::ZERO,
            due: None,
            submitted: Duration::ZERO,
            full: false,
        })
    }

    /// Adds what is not in the plan yet: tokens to generate, then prompts in progress, then new ones. A
    /// long prompt takes no more than its chunk, so that one that comes later still finds room.
    fn fill(&mut self, plan: &mut IterationPlan, now: Duration) {
        plan.starts = self.engine_free(now);
        plan.due = None;
        for entry in 0..plan.entries.len() {
            self.cap_by_deadline(plan, plan.entries[entry].sequence);
        }
        let in_flight: Vec<SequenceId> = self.jobs.in_flight.ids().collect();
        for &id in &in_flight {
            self.schedule_token(plan, id);
        }
        for &id in &in_flight {
            self.schedule_prompt(plan, id, now);
        }
        self.admit(plan, now);
    }

    fn has_room(&self, plan: &IterationPlan) -> bool {
        plan.room > 0 && plan.entries.len() < self.jobs.limits.max_batch_size
    }

    fn schedule_token(&mut self, plan: &mut IterationPlan, id: SequenceId) {
        let sequence = &self.jobs.sequences[id];
        let wants_token = sequence.wants_token() && sequence.state.planned_in < plan.number;
        if wants_token && self.has_room(plan) && self.ensure_block(id, plan.number) {
            self.push(plan, id, 1, 0);
        }
    }

    /// Adds a chunk of a sequence's prompt, unless it waits for another to compute what comes next, or must be whole and
    /// does not fit.
    fn schedule_prompt(&mut self, plan: &mut IterationPlan, id: SequenceId, now: Duration) {
        if !self.has_room(plan) {
            return;
        }
        let (per_block, max_chunk) = (self.jobs.limits.tokens_per_block, self.jobs.max_chunk_tokens());
        let sequence = &mut self.jobs.sequences[id];
        let planned = sequence.state.planned_in == plan.number;
        // It may have been preempted a moment ago.
        if !sequence.in_flight || !sequence.in_prompt() || planned || sequence.waiters.is_empty() {
            return;
        }
        let reused = sequence.skip_readable(&self.tree, plan.number, per_block);
        let run = sequence.claim_run(&mut self.tree, per_block);
        let held = run == 0;
        let run = if held { sequence.state.prompt.len() - sequence.state.scheduled } else { run };
        plan.advanced += reused;
        self.jobs.in_flight.remaining -= reused;
        if reused > 0 {
            self.jobs.observer.prefix_reused(reused);
        }
        let room = plan.room_for(sequence);
        let whole = self.sharing == PrefixSharing::Nothing;
        if whole && run > room {
            return;
        }
        let is_long = !whole && sequence.lane.long && run > max_chunk;
        let most = if is_long { max_chunk.min(plan.long_room) } else { run };
        let len = most.min(room);
        if len == 0 || (held && !self.stop_waiting_for_prefix(id, now)) {
            return;
        }
        if is_long {
            plan.long_room -= len;
        }
        self.push(plan, id, len, reused);
    }

    /// A sequence that has waited too long computes its prefix itself, in blocks of its own, if there are any.
    fn stop_waiting_for_prefix(&mut self, id: SequenceId, now: Duration) -> bool {
        let per_block = self.jobs.limits.tokens_per_block;
        let state = &mut self.jobs.sequences[id].state;
        let held_since = *state.held_since.get_or_insert(now);
        if now.saturating_sub(held_since) < self.jobs.options.max_prefix_wait {
            return false;
        }
        let from = state.scheduled / per_block;
        let needed = state.table.len() - from;
        let Some(blocks) = self.take_blocks(needed) else { return false };
        let state = &mut self.jobs.sequences[id].state;
        let awaited = state.table.split_off(from);
        state.table.extend(blocks.into_iter().map(|block| Slot { block, node: None }));
        state.held_since = None;
        for node in awaited.into_iter().rev().filter_map(|slot| slot.node) {
            self.tree.leave(node, id);
        }
        true
    }

    fn push(&mut self, plan: &mut IterationPlan, id: SequenceId, len: usize, reused: usize) {
        let state = &mut self.jobs.sequences[id].state;
        let position = state.scheduled;
        state.planned_in = plan.number;
        state.held_since = None;
        plan.entries.push(Entry { sequence: id, position, len: 0, reused, logits: Vec::new() });
        self.lengthen(plan, plan.entries.len() - 1, len);
    }

    /// Adds the sequence's next `len` tokens to an entry.
    fn lengthen(&mut self, plan: &mut IterationPlan, entry: usize, len: usize) {
        let planned = &mut plan.entries[entry];
        let sequence = &mut self.jobs.sequences[planned.sequence];
        let from = sequence.state.scheduled;
        let to = from + len;
        sequence.state.scheduled = to;
        for node in sequence.completed_nodes(from, to, self.jobs.limits.tokens_per_block) {
            self.tree.set_written(node, Some(plan.number));
        }
        planned.len += len;
        planned.logits = sequence.reads(planned.position, to);
        plan.room -= len;
        plan.rows -= sequence.rows_of(planned.position, len);
        plan.advanced += len;
        self.jobs.in_flight.remaining -= len;
        let id = plan.entries[entry].sequence;
        self.cap_by_deadline(plan, id);
    }

    /// Caps the plan so that it ends by the deadline of a score that it completes, unless it is too long for that
    /// already.
    fn cap_by_deadline(&self, plan: &mut IterationPlan, id: SequenceId) {
        let sequence = &self.jobs.sequences[id];
        let ends = !sequence.lane.generates && !sequence.in_prompt();
        let Some(deadline) = sequence.deadline().filter(|_| ends) else { return };
        let work = self.jobs.rate.upper_estimate(plan.advanced).unwrap_or_default();
        if plan.starts + work <= deadline {
            plan.due = Some(plan.due.map_or(deadline, |due| due.min(deadline)));
        }
    }

    /// Tokens by which the plan may grow without missing a deadline.
    fn room_before_due(&self, plan: &IterationPlan) -> usize {
        let Some(due) = plan.due else { return usize::MAX };
        let tokens = self.jobs.rate.tokens_within(due.saturating_sub(plan.starts));
        tokens.map_or(usize::MAX, |tokens| tokens.saturating_sub(plan.advanced))
    }

    /// Gives the remaining room to the long prompts.
    fn extend(&mut self, plan: &mut IterationPlan) {
        plan.long_room = usize::MAX;
        for entry in 0..plan.entries.len() {
            let sequence = &self.jobs.sequences[plan.entries[entry].sequence];
            if plan.room > 0 && sequence.in_prompt() && !sequence.waiters.is_empty() {
                let run = sequence.claim_run(&mut self.tree, self.jobs.limits.tokens_per_block);
                let len = run.min(plan.room_for(sequence)).min(self.room_before_due(plan));
                self.lengthen(plan, entry, len);
            }
        }
    }

    /// Starts the sequences that wait, in order; what the plan would start gives way to higher classes. When
    /// the first finds too few blocks, or would make the iteration too long for a deadline, those after it
    /// wait too, so that others do not overtake it again and again.
    fn admit(&mut self, plan: &mut IterationPlan, now: Duration) {
        // Those that wait for a prefix take no room in the plan, yet they hold blocks.
        let most = self.jobs.limits.max_batch_size.saturating_mul(4);
        // Prompts always get some room, even if sequences that generate could take all of it.
        let per_iteration = self.jobs.limits.max_batch_size.min(self.jobs.limits.max_num_tokens);
        let most_generating = (per_iteration * 3 / 4).max(1);
        while self.jobs.in_flight.order.len() < most {
            let may_generate = self.generating < most_generating;
            let may_go = |lane: Lane| (may_generate || !lane.generates) && (plan.long_room > 0 || !lane.long);
            let Some(id) = self.jobs.queue.first(may_go) else { return };
            self.give_way(plan, id);
            if !self.has_room(plan) {
                return;
            }
            let backlog = Backlog { engine_free: plan.starts, tokens: plan.advanced };
            self.reject_unmeetable(id, now, backlog);
            // A sequence without jobs is gone.
            if let Some(sequence) = self.jobs.sequences.get(id) {
                if sequence.max_len.min(plan.room) > self.room_before_due(plan) || !self.reserve_blocks(id) {
                    return;
                }
                self.schedule_prompt(plan, id, now);
            }
        }
    }

    /// Takes the first waiting sequence into flight, with blocks for its prompt: those of its prefix that
    /// are in the tree, computed or not, and new ones. Returns whether there were enough, with one left for
    /// each sequence that generates.
    fn reserve_blocks(&mut self, id: SequenceId) -> bool {
        let per_block = self.jobs.limits.tokens_per_block;
        let sharing = self.jobs.options.prefix_sharing && self.sharing != PrefixSharing::Nothing;
        let sequence = &self.jobs.sequences[id];
        let prompt = sequence.state.prompt.clone();
        let needed = self.jobs.limits.blocks_for(prompt.len());
        let shareable = if sharing { sequence.shareable(per_block) } else { 0 };
        let class = self.length_classes.class_of(prompt.len());
        let path = self.tree.enter(class, prompt[..shareable].chunks_exact(per_block));
        let missing = needed - path.len();
        let enough = self.pool.free() + self.tree.idle() >= missing + self.generating;
        let fresh = if enough { self.take_blocks(missing) } else { None };
        let Some(fresh) = fresh else {
            for (node, block) in path.into_iter().rev() {
                drop(block);
                self.tree.leave(node, id);
            }
            return false;
        };
        let mut parent = path.last().map(|(node, _)| *node);
        let mut unshared = if sharing { &prompt[path.len() * per_block..] } else { &[] };
        let mut table: Vec<Slot> =
            path.into_iter().map(|(node, block)| Slot { block, node: Some(node) }).collect();
        for block in fresh {
            let tokens = unshared.split_off(..per_block);
            let node = tokens.and_then(|tokens| self.tree.insert(class, parent, tokens, block.clone(), id));
            // Blocks after one that another sequence has entered belong below that sequence's node.
            if node.is_none() {
                unshared = &[];
            }
            parent = node;
            table.push(Slot { block, node });
        }
        self.jobs.enter_flight(id);
        let sequence = &mut self.jobs.sequences[id];
        sequence.state.table = table;
        self.generating += usize::from(sequence.lane.generates);
        true
    }

    /// Takes a sequence out of the prepared plan, unless another there may read what it writes.
    pub(super) fn unplan(&mut self, id: SequenceId) {
        if let Some(mut plan) = self.prepared.take() {
            self.remove_from(&mut plan, id);
            self.prepared = Some(plan);
        }
    }

    /// Takes a sequence out of a plan that is not submitted, unless another there may read what it writes. Returns whether
    /// it did.
    pub(super) fn remove_from(&mut self, plan: &mut IterationPlan, id: SequenceId) -> bool {
        let Some(place) = plan.entries.iter().position(|entry| entry.sequence == id) else { return false };
        let sequence = &mut self.jobs.sequences[id];
        let Entry { position, len, reused, .. } = plan.entries[place];
        let per_block = self.jobs.limits.tokens_per_block;
        let nodes: Vec<_> = sequence.completed_nodes(position, position + len, per_block).collect();
        if nodes.iter().any(|&node| self.tree.is_shared(node)) {
            return false;
        }
        for node in nodes {
            self.tree.set_written(node, None);
        }
        sequence.state.scheduled = position;
        let runs = |running: &IterationPlan| running.entries.iter().any(|entry| entry.sequence == id);
        sequence.state.planned_in = if self.running.as_ref().is_some_and(runs) { plan.number - 1 } else { 0 };
        plan.entries.remove(place);
        plan.room += len;
        plan.rows += sequence.rows_of(position, len);
        plan.advanced -= len + reused;
        self.jobs.in_flight.remaining += len;
        true
    }

    /// Writes a plan down for the engine.
    fn build(&mut self, plan: &IterationPlan, now: Duration) -> Iteration {
        let mut iteration = Iteration::default();
        for entry in &plan.entries {
            let sequence = &mut self.jobs.sequences[entry.sequence];
            sequence.start(now, &*self.jobs.observer);
            let end = entry.position + entry.len;
            let (first_token, first_block) = (iteration.token_ids.len(), iteration.block_table.len());
            iteration.token_ids.extend((entry.position..end).map(|position| sequence.token(position)));
            let blocks = &sequence.state.table[..self.jobs.limits.blocks_for(end)];
            iteration.block_table.extend(blocks.iter().map(|slot| slot.block.id()));
            iteration.chunks.push(Chunk {
                sequence: entry.sequence,
                tokens: first_token..iteration.token_ids.len(),
                position: entry.position,
                text_tokens: end.max(sequence.state.prompt.len()),
                blocks: first_block..iteration.block_table.len(),
                logits: entry.logits.clone(),
            });
        }
        iteration
    }
}
