//! What sequences with a prefix in common compute.

use std::time::Duration;

use assay::engine::{LengthClasses, Limits, PrefixSharing};
use assay::scheduler::{Rejection, SchedulerOptions, Work};

use super::{LIMITS, cached_tokens, response, sequences, world};
use crate::scheduler_core::world::{World, too_odd};

#[test]
fn the_prompt_of_many_responses_is_computed_once_in_one_iteration() {
    let mut world = world(LIMITS, SchedulerOptions::default());
    let jobs: Vec<u64> = (1..=16).map(|n| world.score(response(n))).collect();
    assert_eq!(world.step().unwrap().chunks.len(), 16);
    world.run_dry();
    assert_eq!(world.computed, 512 + 16 * 128);
    assert_eq!(cached_tokens(&world, jobs[0]), 0);
    assert_eq!(cached_tokens(&world, jobs[9]), 512);
}

#[test]
fn texts_with_different_rotary_frequencies_share_no_prefix() {
    let beginning = |length: u32| 0..length;
    for (classes, computed) in [
        (LengthClasses::Alike, 560 + 80 + 32 + 32),
        (LengthClasses::Two { usual: 600 }, 560 + 640 + 32 + 32),
        (LengthClasses::EachBeyond { usual: 600 }, 560 + 640 + 672 + 16),
    ] {
        let mut world = world(LIMITS, SchedulerOptions::default());
        world.core.set_length_classes(classes);
        world.score(beginning(560));
        world.score(beginning(640));
        world.score(beginning(672));
        let other_end = if classes == (LengthClasses::EachBeyond { usual: 600 }) { 656 } else { 640 };
        world.score(beginning(other_end).chain(9000..9000 + 672 - other_end));
        let chunks = world.step().unwrap().chunks;
        assert!(chunks.iter().all(|chunk| chunk.text_tokens >= 560));
        world.run_dry();
        assert_eq!(world.computed, computed as usize, "{classes:?}");
    }
}

#[test]
fn if_only_the_cache_is_shared_one_goes_first_and_the_others_follow() {
    let mut world = World::new(LIMITS, PrefixSharing::Cached, SchedulerOptions::default());
    let jobs: Vec<u64> = (1..=16).map(|n| world.score(response(n))).collect();
    let other = world.score(5000..5100);
    assert_eq!(sequences(&world.step().unwrap()), [jobs[0], other]);
    assert_eq!(sequences(&world.step().unwrap()), jobs[1..]);
    world.run_dry();
    assert_eq!(world.computed, 512 + 16 * 128 + 100);
}

#[test]
fn a_follower_waits_no_longer_than_the_option_says() {
    let options = SchedulerOptions { max_prefix_wait: Duration::ZERO, ..SchedulerOptions::default() };
    let mut world = World::new(LIMITS, PrefixSharing::Cached, options);
    let (leader, follower) = (world.score(response(1)), world.score(response(2)));
    assert_eq!(sequences(&world.step().unwrap()), [leader, follower]);
    world.run_dry();
    assert_eq!(world.computed, 2 * 640);
}

#[test]
fn when_a_leader_is_cancelled_its_followers_go_on_from_where_it_was() {
    let limits = Limits { max_num_tokens: 256, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    let (leader, follower) = (world.score(response(1)), world.score(response(2)));
    world.step();
    world.cancel(leader);
    world.run_dry();
    assert!(world.answers[&follower].is_ok());
    // The leader's second chunk was planned but not begun, and nobody had read from it.
    assert_eq!(world.computed, 512 + 128);
}

#[test]
fn a_follower_takes_over_from_a_leader_whose_client_left() {
    let limits = Limits { max_num_tokens: 700, ..LIMITS };
    let options = SchedulerOptions { max_chunk_tokens: Some(700), ..SchedulerOptions::default() };
    for sharing in [PrefixSharing::WithinIteration, PrefixSharing::Cached] {
        let mut world = World::new(limits, sharing, options.clone());
        world.score(5000..5444);
        let leader = world.score(response(1));
        world.begin();
        world.cancel(leader);
        // It still computes half of the prompt, and these wait for the other half.
        let followers = [2, 3].map(|n| world.score(response(n)));
        world.prepare();
        assert_eq!(world.gauges().in_flight, 4);
        world.run_dry();
        assert!(followers.iter().all(|id| world.answers[id].is_ok()));
        assert_eq!(world.computed, 444 + 512 + 2 * 128, "nothing is computed twice");
    }
}

#[test]
fn a_leader_whose_client_leaves_still_computes_what_a_planned_follower_reads() {
    for sharing in [PrefixSharing::WithinIteration, PrefixSharing::Cached] {
        let limits = Limits { max_num_tokens: 1400, ..LIMITS };
        let mut world = World::new(limits, sharing, SchedulerOptions::default());
        world.score(5000..6400);
        world.begin();
        let (leader, follower) = (world.score(response(1)), world.score(response(2)));
        world.prepare();
        world.cancel(leader);
        world.run_dry();
        assert!(world.answers[&follower].is_ok());
        assert_eq!(world.computed, 1400 + 512 + 2 * 128);
    }
}

#[test]
fn a_sequence_that_the_engine_refuses_does_not_affect_those_that_share_its_prefix() {
    for sharing in [PrefixSharing::WithinIteration, PrefixSharing::Cached] {
        let mut world = World::new(LIMITS, sharing, SchedulerOptions::default());
        let (refused, other) = (world.score(response(1)), world.score(response(2)));
        world.begin();
        world.finish_refusing(&[refused]);
        world.run_dry();
        assert_eq!(world.answers[&refused], Err(too_odd().into()));
        assert!(world.answers[&other].is_ok());
    }
}

#[test]
fn identical_conversations_are_computed_once_and_answered_to_each() {
    let mut world = world(LIMITS, SchedulerOptions::default());
    let first = world.score(0..100);
    world.step();
    let (second, third) = (world.score(0..100), world.score(0..100));
    world.cancel(first);
    world.run_dry();
    assert_eq!(world.computed, 100);
    assert_eq!(cached_tokens(&world, second), 100);
    assert!(world.answers[&third].is_ok());
}

#[test]
fn a_prefix_is_reused_only_up_to_the_first_position_that_is_read() {
    let mut world = World::new(LIMITS, PrefixSharing::WithinIteration, SchedulerOptions::default());
    world.score(0..100);
    world.run_dry();
    let job = world.arrive((0..100).collect(), Work::Score { read: [50, 99].into() }, 0, None);
    world.run_dry();
    assert_eq!(world.answers[&job].as_ref().unwrap().cached_tokens, 48);
}

#[test]
fn positions_that_a_text_does_not_have_are_refused() {
    let mut world = World::new(LIMITS, PrefixSharing::WithinIteration, SchedulerOptions::default());
    for read in [vec![], vec![3, 2, 9], vec![4, 4], vec![10]] {
        let job = world.arrive((0..10).collect(), Work::Score { read: read.into() }, 0, None);
        assert_eq!(world.answers[&job], Err(Rejection::Unreadable { prompt: 10 }));
    }
}
