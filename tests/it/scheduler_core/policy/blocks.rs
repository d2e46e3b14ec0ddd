//! The blocks of the KV cache: what stays in them, and who waits or gives way if they run out.

use std::ops::Range;

use assay::engine::Limits;
use assay::scheduler::core::Core;
use assay::scheduler::{Rejection, SchedulerOptions, Work};

use super::{LIMITS, cached_tokens, sequences, world};
use crate::scheduler_core::world::World;

#[test]
fn a_prefix_stays_until_its_blocks_are_needed_and_the_least_used_goes_first() {
    let limits = Limits { kv_blocks: 18, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    let mut reused = |tokens: Range<u32>| {
        let job = world.score(tokens);
        world.run_dry();
        cached_tokens(&world, job)
    };
    assert_eq!(reused(0..100), 0);
    assert_eq!(reused(1000..1100), 0);
    assert_eq!(reused(0..101), 96, "the first prefix is there, and is now the last used");
    assert_eq!(reused(2000..2100), 0, "which takes the room of the second");
    assert_eq!(reused(0..102), 96);
    assert!(reused(1000..1101) < 96);
}

#[test]
fn no_more_blocks_are_kept_for_their_prefixes_than_the_option_says() {
    let mut world = world(LIMITS, SchedulerOptions::default());
    world.core.set_max_cached_blocks(8);
    for n in 0..5 {
        world.score(1000 * n..1000 * n + 100);
        world.run_dry();
    }
    assert_eq!(world.gauges().cached, 8);
    let job = world.score(4000..4101);
    world.run_dry();
    assert_eq!(cached_tokens(&world, job), 96, "those last used");
}

#[test]
fn when_blocks_run_short_later_jobs_do_not_overtake_earlier_ones() {
    let limits = Limits { kv_blocks: 10, max_num_tokens: 64, ..LIMITS };
    let mut world =
        world(limits, SchedulerOptions { max_chunk_tokens: Some(1000), ..SchedulerOptions::default() });
    let first = world.score(0..100);
    let large = world.score(200..300);
    let small = world.score(400..410);
    assert_eq!(sequences(&world.step().unwrap()), [first]);
    world.run_dry();
    assert_eq!(world.begun, [first, large, small]);
}

#[test]
fn what_the_engine_cannot_hold_is_refused() {
    let mut world = world(LIMITS, SchedulerOptions::default());
    let (empty, long) = (world.score([]), world.score(0..4097));
    assert_eq!(world.answers[&empty], Err(Rejection::Empty));
    assert_eq!(world.answers[&long], Err(Rejection::TooLong { tokens: 4097, max_seq_len: 4096 }));
}

/// A prompt of 12 tokens that an answer of up to `max_tokens` follows.
fn answer(world: &mut World, n: u32, max_tokens: usize, end_tokens: Vec<u32>) -> u64 {
    world.arrive((100 * n..100 * n + 12).collect(), Work::greedy(max_tokens, end_tokens), 0, None)
}

#[test]
fn answers_that_could_outgrow_the_cache_run_together_while_they_fit() {
    let mut world = world(Limits { kv_blocks: 64, ..LIMITS }, SchedulerOptions::default());
    let jobs: Vec<u64> = (1..=16).map(|n| answer(&mut world, n, 1000, vec![0])).collect();
    assert_eq!(sequences(&world.step().unwrap()), jobs);
    world.run_dry();
}

#[test]
fn when_blocks_run_out_the_last_sequences_are_preempted_and_still_give_the_same_tokens() {
    let limits = Limits { kv_blocks: 10, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    let jobs: Vec<u64> = (1..=4).map(|n| answer(&mut world, n, 100, vec![])).collect();
    let mut done = Vec::new();
    while !world.core.is_idle() {
        world.step();
        let ended = jobs.iter().filter(|job| world.answers.contains_key(job) && !done.contains(*job));
        let ended: Vec<u64> = ended.copied().collect();
        done.extend(ended);
    }
    // Their tokens were compared as they arrived.
    world.run_dry();
    assert_eq!(done, jobs, "the first never gives way");
    assert!(world.computed > 4 * (12 + 99), "none had to start again");
}
