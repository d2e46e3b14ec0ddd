//! What is planned, but not submitted, gives way to a sequence of a higher class that has arrived since.
//!
//! Otherwise such a sequence would wait for two whole iterations: the one that the engine computes, and the one that
//! was prepared meanwhile.

use super::StepCore;
use super::plan::IterationPlan;
use crate::engine::SequenceId;
use crate::scheduler::core::sequence::SequenceState;

impl StepCore {
    /// Makes room in the plan for a waiting sequence. Those of lower classes wait again in their old places, unless they
    /// have started: the last in order first, and none if that is not enough.
    pub(super) fn give_way(&mut self, plan: &mut IterationPlan, first: SequenceId) {
        let limits = self.jobs.limits;
        let sequence = &self.jobs.sequences[first];
        let most = if sequence.lane.long { self.jobs.max_chunk_tokens() } else { limits.max_num_tokens };
        let needed = sequence.state.prompt.len().min(most);
        let mut room = plan.room();
        if room >= needed && plan.entries.len() < limits.max_batch_size {
            return;
        }
        let mut leaving = Vec::new();
        for (id, tokens) in self.after(plan, first) {
            room += tokens;
            leaving.push(id);
            if room >= needed {
                leaving.into_iter().for_each(|id| self.unstart(plan, id));
                return;
            }
        }
    }

    /// The sequences that the plan would start and that go after `first` by their class, the last in order first, with
    /// their tokens in the plan.
    fn after(&self, plan: &IterationPlan, first: SequenceId) -> Vec<(SequenceId, usize)> {
        let first = &self.jobs.sequences[first];
        let mut after = Vec::new();
        for entry in &plan.entries {
            let planned = &self.jobs.sequences[entry.sequence];
            let goes_after = planned.key > first.key && planned.job.priority > first.job.priority;
            if goes_after && planned.started.is_none() && !planned.lane.long {
                after.push((planned.key, entry.len));
            }
        }
        after.sort_unstable_by(|a, b| b.cmp(a));
        after.into_iter().map(|(key, tokens)| (key.sequence(), tokens)).collect()
    }

    /// Takes a sequence that has not started out of the plan and out of flight, unless another in the plan may read what
    /// it writes.
    fn unstart(&mut self, plan: &mut IterationPlan, id: SequenceId) {
        if !self.remove_from(plan, id) {
            return;
        }
        self.release_blocks(id);
        let sequence = &mut self.jobs.sequences[id];
        sequence.cached_tokens = 0;
        sequence.state.requeued();
        self.jobs.requeue(id);
    }
}
