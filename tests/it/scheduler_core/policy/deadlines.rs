//! Deadlines, and clients that leave.

use std::time::Duration;

use assay::engine::Limits;
use assay::scheduler::core::Core;
use assay::scheduler::{Priority, Rejection, SchedulerOptions, Work};

use super::{LIMITS, MS, sequences, world};
use crate::scheduler_core::world::World;

#[test]
fn a_deadline_that_cannot_be_met_is_refused_at_arrival() {
    let limits = Limits { max_num_tokens: 100, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    world.score(0..900);
    world.step();
    world.pass(Duration::from_secs(1));
    world.step();
    let meetable =
        world.arrive((2000..2100).collect(), Work::score(100), 0, Some(Duration::from_millis(9500)));
    let hopeless = world.arrive((3000..3100).collect(), Work::score(100), 0, Some(Duration::from_secs(8)));
    // At 100 tokens a second: 100 that run, 700 after them, 100 of the other, and its own.
    let estimate = Duration::from_secs(10);
    assert_eq!(world.answers[&hopeless], Err(Rejection::DeadlineUnmeetable { estimate }));
    assert!(!world.is_settled(meetable));
    world.run_dry();
}

/// A world that has computed 100 tokens a second, with nothing left to do.
fn hundred_a_second(limits: Limits) -> World {
    let mut world = world(limits, SchedulerOptions { prefix_sharing: false, ..SchedulerOptions::default() });
    world.score(0..200);
    world.step();
    world.pass(Duration::from_secs(1));
    world.step();
    world.pass(Duration::from_secs(1));
    world.run_dry();
    world
}

/// Whether a text of 100 tokens is taken that must be answered within this many seconds. It may be refused before its
/// tokens are known only if it is refused once they are.
fn is_taken(world: &mut World, priority: i8, seconds: f64) -> bool {
    let time = Duration::from_secs_f64(seconds);
    let expected = is_expected(world, priority, seconds);
    let token = 5000 + world.jobs.len() as u32;
    let job = world.arrive(vec![token; 100], Work::score(100), priority, Some(time));
    let taken = !world.is_settled(job);
    assert!(expected || !taken, "it was refused too early");
    world.cancel(job);
    taken
}

/// Whether a text of unknown length is expected that must be answered within this many seconds.
fn is_expected(world: &World, priority: i8, seconds: f64) -> bool {
    let deadline = world.now + Duration::from_secs_f64(seconds);
    world.core.admission(world.now).check_deadline(world.now, Priority(priority), deadline).is_ok()
}

#[test]
fn a_deadline_that_what_goes_before_leaves_no_time_for_is_refused_before_the_tokens_are_known() {
    let mut world = hundred_a_second(Limits { max_num_tokens: 100, ..LIMITS });
    assert!(is_expected(&world, 0, 0.1) && !is_expected(&world, 0, 0.0));
    world.score(1000..1100);
    world.begin();
    let waiting = world.arrive((2000..2300).collect(), Work::score(300), 1, None);
    // One second of what runs, and for the lower class three of what waits; then the rest of an iteration.
    for (priority, seconds, expected) in [(0, 0.9, false), (0, 1.4, true), (1, 3.9, false), (1, 5.1, true)] {
        assert_eq!(is_expected(&world, priority, seconds), expected, "{priority}, {seconds} s");
    }
    world.cancel(waiting);
    assert!(is_expected(&world, 1, 1.4));
    world.run_dry();
}

#[test]
fn a_deadline_counts_what_goes_before_and_nothing_else() {
    let mut world = hundred_a_second(Limits { max_num_tokens: 100, ..LIMITS });
    assert!(is_taken(&mut world, 0, 1.5));
    let running = world.score(1000..1100);
    world.begin();
    let waiting = world.arrive((2000..2300).collect(), Work::score(300), 1, None);
    assert!(!is_taken(&mut world, 0, 1.5), "what runs goes before");
    assert!(is_taken(&mut world, 0, 2.5), "the lower class goes last");
    assert!(!is_taken(&mut world, 1, 4.5), "the same class goes before");
    assert!(is_taken(&mut world, 1, 5.5));
    world.prepare();
    assert!(!is_taken(&mut world, 1, 4.5), "what is planned goes before");
    assert!(is_taken(&mut world, 1, 5.5));
    world.cancel(waiting);
    assert!(is_taken(&mut world, 1, 2.5), "what was cancelled goes nowhere");
    world.cancel(running);
    world.run_dry();
    let waiting = world.arrive((2000..2300).collect(), Work::score(300), 1, None);
    world.cancel(waiting);
    assert!(is_taken(&mut world, 1, 1.5));
    world.run_dry();
}

#[test]
fn a_job_that_would_miss_its_deadline_when_its_turn_comes_is_not_started() {
    let mut world = hundred_a_second(Limits { max_num_tokens: 100, max_batch_size: 1, ..LIMITS });
    world.score(1000..1100);
    world.step();
    let late = world.arrive((2000..2100).collect(), Work::score(100), 0, Some(Duration::from_millis(2500)));
    // The first takes longer than was to be expected.
    world.pass(Duration::from_secs(2));
    world.run_dry();
    assert!(matches!(world.answers[&late], Err(Rejection::DeadlineUnmeetable { .. })));
    assert_eq!(world.computed, 300);
}

#[test]
fn an_iteration_is_no_longer_than_its_first_deadline_allows() {
    // It computes 200 tokens a second, because all fit into one iteration.
    let mut world = hundred_a_second(Limits { max_num_tokens: 400, ..LIMITS });
    let urgent = world.arrive((1000..1100).collect(), Work::score(100), 0, Some(1200 * MS));
    let others = [2000, 3000, 4000].map(|from| world.score(from..from + 100));
    let first = world.step().unwrap();
    assert_eq!(sequences(&first), [urgent, others[0]], "a third would make it take 1.5 s");
    world.pass(Duration::from_secs(1));
    world.run_dry();
    assert!([urgent].iter().chain(&others).all(|job| world.answers[job].is_ok()));
}

#[test]
fn a_job_that_expires_while_it_waits_costs_nothing() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    world.score(0..100);
    world.step();
    world.score(100..200);
    let late = world.arrive((200..300).collect(), Work::score(100), 0, Some(5 * MS));
    world.pass(5 * MS);
    assert_eq!(world.answers[&late], Err(Rejection::DeadlineExceeded));
    world.run_dry();
    assert_eq!(world.computed, 200);
}

#[test]
fn a_job_cancelled_in_flight_leaves_after_its_iteration_and_frees_its_blocks() {
    let limits = Limits { max_num_tokens: 64, ..LIMITS };
    let mut world = world(limits, SchedulerOptions { prefix_sharing: false, ..SchedulerOptions::default() });
    let job = world.score(0..1600);
    world.step();
    assert_eq!(world.gauges().used, 100);
    world.cancel(job);
    assert_eq!(world.gauges().used, 100, "the engine still uses them");
    world.finish();
    assert_eq!(world.gauges().used, 0);
    assert!(world.core.is_idle());
    assert_eq!(world.computed, 64);
}
