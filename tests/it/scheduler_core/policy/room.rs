//! What is known of the queue before a job is tokenized: whether it is full.

use assay::engine::Limits;
use assay::scheduler::core::Core;
use assay::scheduler::{Priority, SchedulerOptions};

use super::full_queue::{arrive, busy, is_refused};
use super::{LIMITS, world};
use crate::scheduler_core::world::World;

/// Whether a job of this class is kept out before its tokens are known.
fn is_kept_out(world: &World, priority: i8) -> bool {
    world.core.admission(world.now).limit_met(Priority(priority)).is_some()
}

#[test]
fn a_full_queue_keeps_out_all_but_classes_for_which_another_gives_way() {
    let mut world = busy(3, 10_000);
    arrive(&mut world, 20, 0);
    let waiting = arrive(&mut world, 20, 0);
    assert!(!is_kept_out(&world, 100), "there is room for one");
    arrive(&mut world, 20, 2);
    for (priority, kept_out) in [(-1, false), (0, false), (1, false), (2, true), (3, true)] {
        assert_eq!(is_kept_out(&world, priority), kept_out, "{priority}");
        if kept_out {
            let job = arrive(&mut world, 20, priority);
            assert!(is_refused(&world, job), "{priority}");
        }
    }
    // The only job of the lowest class gives way.
    arrive(&mut world, 20, 1);
    assert!(!is_kept_out(&world, 0) && is_kept_out(&world, 1));
    world.cancel(waiting);
    assert!(!is_kept_out(&world, 1));
    world.run_dry();
}

#[test]
fn a_queue_without_room_for_the_tokens_of_a_job_keeps_out_the_next_until_there_is_room() {
    let mut world = busy(1000, 64_000);
    let jobs: Vec<u64> = (0..80).map(|_| arrive(&mut world, 800, 0)).collect();
    assert!(!jobs.iter().any(|job| is_refused(&world, *job)));
    assert!(is_kept_out(&world, 0), "not one token has room");
    world.cancel(jobs[0]);
    assert!(!is_kept_out(&world, 0));
    let long = arrive(&mut world, 900, 0);
    assert!(is_refused(&world, long) && is_kept_out(&world, 0), "800 tokens have room, and 900 had not");
    world.cancel(jobs[1]);
    assert!(!is_kept_out(&world, 0));
    world.run_dry();
}

#[test]
fn a_job_that_is_long_for_the_queue_does_not_close_it_to_short_ones() {
    let mut world = busy(1000, 1000);
    arrive(&mut world, 600, 0);
    let long = arrive(&mut world, 900, 0);
    assert!(is_refused(&world, long) && !is_kept_out(&world, 0));
    world.run_dry();
}

#[test]
fn with_a_cache_of_scores_nothing_is_kept_out_before_its_tokens_are_known() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let options = SchedulerOptions { max_queue_requests: 0, ..SchedulerOptions::default() };
    for (score_cache, kept_out) in [(0, true), (9, false)] {
        let world = world(limits, SchedulerOptions { score_cache, ..options.clone() });
        assert_eq!(is_kept_out(&world, 0), kept_out);
    }
}
