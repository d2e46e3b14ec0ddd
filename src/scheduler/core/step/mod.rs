//! The core for engines that are handed each iteration.

mod complete;
mod give_way;
mod plan;
mod preempt;
mod state;

use std::sync::Arc;
use std::time::Duration;

use self::plan::IterationPlan;
use self::state::StepState;
use super::Batching;
use super::jobs::{Backlog, JobTable};
use crate::engine::{LengthClasses, Limits, PrefixSharing, SequenceId};
use crate::scheduler::blocks::BlockPool;
use crate::scheduler::prefix::PrefixTree;
use crate::scheduler::{Observer, Rejection, SchedulerOptions};

/// Composes iterations: what is computed next, in which blocks, and what is shared.
///
/// Whenever the engine is free, [`StepCore::plan`] gives its next iteration. While that runs,
/// [`StepCore::prepare`] does most of the next plan's work; then the report goes to [`StepCore::complete`] or, if it
/// is an error, [`Core::lose_engine`](super::Core::lose_engine).
pub struct StepCore {
    jobs: JobTable<StepState>,
    sharing: PrefixSharing,
    pool: BlockPool,
    tree: PrefixTree,
    /// Maximum number of blocks that only the tree keeps.
    max_cached_blocks: usize,
    /// Which texts may share a prefix.
    length_classes: LengthClasses,
    /// Sequences in flight that generate.
    generating: usize,
    /// The iteration that the engine computes.
    running: Option<IterationPlan>,
    /// The iteration after it.
    prepared: Option<IterationPlan>,
    /// Number of the last iteration that ended; they count from 1.
    reported: u64,
}

impl StepCore {
    /// A core for an engine of these limits, with nothing to do.
    pub fn new(
        limits: Limits,
        sharing: PrefixSharing,
        options: SchedulerOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            jobs: JobTable::new(limits, options, observer),
            sharing,
            pool: BlockPool::new(limits.kv_blocks),
            tree: PrefixTree::new(sharing),
            max_cached_blocks: limits.kv_blocks,
            length_classes: LengthClasses::Alike,
            generating: 0,
            running: None,
            prepared: None,
            reported: 0,
        }
    }

    /// Keeps no more than this many blocks for their prefixes while no sequence uses them.
    pub fn set_max_cached_blocks(&mut self, blocks: usize) {
        self.max_cached_blocks = blocks;
    }

    /// Lets only texts of one class share a prefix.
    pub fn set_length_classes(&mut self, classes: LengthClasses) {
        self.length_classes = classes;
    }

    /// When the running iteration should end; now, if none runs.
    fn engine_free(&self, now: Duration) -> Duration {
        let running = self.running.as_ref();
        let end = running.and_then(|plan| Some(plan.submitted + self.jobs.rate.guess(plan.advanced)?));
        end.unwrap_or(now).max(now)
    }

    /// Takes a sequence out of flight and gives its blocks back.
    fn release_blocks(&mut self, id: SequenceId) {
        let sequence = &mut self.jobs.sequences[id];
        self.generating -= usize::from(sequence.lane.generates);
        let remaining = sequence.max_len - sequence.state.scheduled;
        // The tree gives up a path from its end.
        while let Some(slot) = sequence.state.table.pop() {
            drop(slot.block);
            if let Some(node) = slot.node {
                self.tree.leave(node, id);
            }
        }
        self.jobs.leave_flight(id, remaining);
        self.tree.evict(self.tree.idle().saturating_sub(self.max_cached_blocks));
    }

    /// Takes free blocks, evicting cached ones if needed; `None` if there are too few.
    fn take_blocks(&mut self, count: usize) -> Option<Vec<crate::scheduler::blocks::Block>> {
        let free = self.pool.free();
        if free + self.tree.idle() < count {
            return None;
        }
        self.tree.evict(count.saturating_sub(free));
        self.pool.take(count)
    }
}

impl Batching for StepCore {
    type State = StepState;

    fn jobs(&self) -> &JobTable<StepState> {
        &self.jobs
    }

    fn jobs_mut(&mut self) -> &mut JobTable<StepState> {
        &mut self.jobs
    }

    fn backlog(&self, now: Duration) -> Backlog {
        let tokens = self.prepared.as_ref().map_or(0, |plan| plan.advanced);
        Backlog { engine_free: self.engine_free(now), tokens }
    }

    fn release_if_unwanted(&mut self, id: SequenceId) {
        // When the last of its jobs is rejected it is released at once, so it may be gone.
        let Some(sequence) = self.jobs.sequences.get(id).filter(|sequence| sequence.waiters.is_empty())
        else {
            return;
        };
        let in_flight = sequence.in_flight;
        self.jobs.close_to_joiners(id);
        if !in_flight {
            self.jobs.remove_waiting(id);
            return;
        }
        self.unplan(id);
        // Until its iteration has ended, the engine uses its blocks.
        if self.jobs.sequences[id].state.planned_in <= self.reported {
            self.release_blocks(id);
            self.jobs.sequences.remove(id);
        }
    }

    fn forget_in_flight(&mut self, rejection: &Rejection) {
        (self.running, self.prepared) = (None, None);
        self.generating = 0;
        self.jobs.forget_in_flight(rejection);
        self.tree = PrefixTree::new(self.sharing);
    }

    fn observe_blocks(&self) {
        let (free, cached) = (self.pool.free(), self.tree.idle());
        self.jobs.observer.kv_blocks(self.jobs.limits.kv_blocks - free - cached, cached, free);
    }
}
