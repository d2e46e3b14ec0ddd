//! What a full queue refuses, and what gives way in it.

use std::time::Duration;

use assay::engine::Limits;
use assay::scheduler::{QueueLimit, Rejection, SchedulerOptions, Work};

use super::{LIMITS, world};
use crate::scheduler_core::world::World;

#[test]
fn a_full_queue_refuses_and_says_when_there_will_be_room() {
    let limits = Limits { max_num_tokens: 100, ..LIMITS };
    let options =
        SchedulerOptions { max_queue_requests: 3, max_queue_tokens: 1000, ..SchedulerOptions::default() };
    let mut world = world(limits, options);
    world.score(0..200);
    world.step();
    world.pass(Duration::from_secs(1));
    world.step();
    for n in 1..=3 {
        world.score(1000 * n..1000 * n + 200);
    }
    let refused = world.score(6000..6200);
    // 100 tokens a second; 100 are running, and 600 wait.
    let expected =
        Rejection::QueueFull { limit: QueueLimit::Requests(3), retry_after: Duration::from_secs(7) };
    assert_eq!(world.answers[&refused], Err(expected));
    world.run_dry();
}

/// A world with room for one sequence at a time, in which one runs and one is planned, so that what comes next waits.
pub(super) fn busy(max_queue_requests: usize, max_queue_tokens: usize) -> World {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let options = SchedulerOptions { max_queue_requests, max_queue_tokens, ..SchedulerOptions::default() };
    let mut world = world(limits, options);
    world.score(0..50);
    world.begin();
    world.score(50..100);
    world.prepare();
    world
}

/// A text of `len` tokens that no other job has.
pub(super) fn arrive(world: &mut World, len: usize, priority: i8) -> u64 {
    let tokens = vec![10_000 + world.jobs.len() as u32; len];
    world.arrive(tokens, Work::score(len), priority, None)
}

pub(super) fn is_refused(world: &World, job: u64) -> bool {
    matches!(world.answers.get(&job), Some(Err(Rejection::QueueFull { .. })))
}

#[test]
fn the_last_of_the_lowest_class_gives_way_to_a_higher_class_in_a_full_queue() {
    let mut world = busy(4, 10_000);
    let jobs = [1, 2, 2, 1].map(|priority| arrive(&mut world, 20, priority));
    let urgent = [0, 0, 0].map(|priority| arrive(&mut world, 20, priority));
    assert!(is_refused(&world, jobs[2]) && is_refused(&world, jobs[1]) && is_refused(&world, jobs[3]));
    let same = arrive(&mut world, 20, 1);
    assert!(is_refused(&world, same), "its own class does not give way");
    assert_eq!(world.gauges().waiting, 4);
    world.run_dry();
    assert!(urgent.iter().chain(&jobs[..1]).all(|job| world.answers[job].is_ok()));
}

#[test]
fn as_many_of_lower_classes_give_way_as_tokens_are_needed_and_none_if_that_is_not_enough() {
    let mut world = busy(100, 1000);
    let low: Vec<u64> = (0..4).map(|_| arrive(&mut world, 200, 1)).collect();
    let high = arrive(&mut world, 200, 0);
    let too_long = arrive(&mut world, 900, 0);
    assert!(is_refused(&world, too_long), "200 tokens of its own class wait");
    assert!(!low.iter().any(|job| is_refused(&world, *job)), "and no one gave way for it");
    let long = arrive(&mut world, 500, 0);
    assert_eq!(low.iter().filter(|job| is_refused(&world, **job)).count(), 3);
    assert_eq!(world.gauges().waiting_tokens, 900);
    world.run_dry();
    assert!([low[0], high, long].iter().all(|job| world.answers[job].is_ok()));
}

#[test]
fn a_text_that_an_urgent_request_joined_does_not_give_way_to_its_class() {
    let mut world = busy(3, 10_000);
    let patient = world.arrive(vec![7; 20], Work::score(20), 3, None);
    let low = arrive(&mut world, 20, 1);
    let other = arrive(&mut world, 20, 2);
    let joined = world.arrive(vec![7; 20], Work::score(20), 0, None);
    assert!(is_refused(&world, other), "the text itself was of the lowest class, and what joins it needs it");
    let urgent = arrive(&mut world, 20, 0);
    assert!(is_refused(&world, low));
    let one_more = arrive(&mut world, 20, 0);
    assert!(is_refused(&world, one_more));
    world.run_dry();
    assert!([patient, joined, urgent].iter().all(|job| world.answers[job].is_ok()));
}

#[test]
fn a_generation_that_was_preempted_does_not_give_way() {
    let limits = Limits { max_seq_len: 64, kv_blocks: 5, ..LIMITS };
    let options = SchedulerOptions { max_queue_requests: 1, ..SchedulerOptions::default() };
    let mut world = world(limits, options);
    let first = world.arrive(vec![1; 31], Work::greedy(30, Vec::new()), 0, None);
    world.step();
    let second = world.arrive(vec![2; 31], Work::greedy(30, Vec::new()), 5, None);
    world.prepare();
    world.step();
    while world.gauges().waiting == 0 {
        assert!(world.step().is_some(), "the second gives up its blocks when the first needs one");
    }
    let urgent = arrive(&mut world, 20, 0);
    assert!(is_refused(&world, urgent), "some of its tokens were sent already");
    world.run_dry();
    assert!(world.answers[&first].is_ok() && world.answers[&second].is_ok());
}

#[test]
fn a_request_that_joins_a_waiting_duplicate_waits_like_any_other() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let mut world = world(limits, SchedulerOptions { max_queue_requests: 3, ..SchedulerOptions::default() });
    world.score(0..100);
    world.begin();
    // The next iteration is planned: these are beyond it.
    world.score(100..200);
    world.prepare();
    let waiting: Vec<u64> = (0..3).map(|_| world.score(200..300)).collect();
    let refused = world.score(200..300);
    assert!(matches!(world.answers[&refused], Err(Rejection::QueueFull { .. })));
    world.cancel(waiting[1]);
    assert_eq!(world.gauges().waiting, 2);
    let joins = world.score(200..300);
    assert_eq!(world.gauges().waiting, 3);
    world.run_dry();
    assert!(world.answers[&joins].is_ok());
}

#[test]
fn a_client_that_leaves_makes_room_in_the_queue() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let mut world = world(
        limits,
        SchedulerOptions { max_queue_requests: 1, max_queue_tokens: 150, ..SchedulerOptions::default() },
    );
    world.score(0..100);
    world.begin();
    world.score(100..200);
    world.prepare();
    let waiting = world.score(200..300);
    world.cancel(waiting);
    let next = world.score(300..400);
    assert!(!world.is_settled(next));
    world.run_dry();
    assert!(world.answers[&next].is_ok());
}

#[test]
fn a_queue_is_bounded_in_tokens_too() {
    let mut world = world(LIMITS, SchedulerOptions { max_queue_tokens: 1000, ..SchedulerOptions::default() });
    world.score(0..900);
    let refused = world.score(1000..1200);
    let limit = QueueLimit::Tokens(1000);
    assert_eq!(
        world.answers[&refused],
        Err(Rejection::QueueFull { limit, retry_after: Duration::from_secs(1) })
    );
    world.run_dry();
}
