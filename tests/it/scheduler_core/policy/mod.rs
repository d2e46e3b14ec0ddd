//! The rules of the scheduler, one per test.

mod blocks;
mod deadlines;
mod full_queue;
mod order;
mod prefixes;
mod room;

use std::time::Duration;

use assay::engine::{Iteration, Limits, PrefixSharing};
use assay::scheduler::SchedulerOptions;

use super::world::World;

const LIMITS: Limits = Limits {
    max_seq_len: 4096,
    max_batch_size: 32,
    max_num_tokens: 4096,
    kv_blocks: 1024,
    tokens_per_block: 16,
};

const MS: Duration = Duration::from_millis(1);

fn world(limits: Limits, options: SchedulerOptions) -> World {
    World::new(limits, PrefixSharing::WithinIteration, options)
}

/// A prompt of 512 tokens and a response of 128.
fn response(n: u32) -> impl Iterator<Item = u32> {
    (0..512).chain(1000 * n..1000 * n + 128)
}

fn sequences(iteration: &Iteration) -> Vec<u64> {
    iteration.chunks.iter().map(|chunk| chunk.sequence).collect()
}

fn tokens_of(iteration: &Iteration, sequence: u64) -> usize {
    iteration.chunks.iter().filter(|chunk| chunk.sequence == sequence).map(|chunk| chunk.tokens.len()).sum()
}

fn cached_tokens(world: &World, job: u64) -> usize {
    world.answers[&job].as_ref().unwrap().cached_tokens
}
