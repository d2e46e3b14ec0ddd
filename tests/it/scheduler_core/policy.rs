//! One rule each.

use std::ops::Range;
use std::time::Duration;

use assay::engine::{Iteration, LengthClasses, Limits, PrefixSharing};
use assay::scheduler::core::Core;
use assay::scheduler::{QueueLimit, Rejection, SchedulerOptions, Work};

use super::world::{World, too_odd};

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
fn texts_that_the_engine_rotates_otherwise_share_no_prefix() {
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
fn where_only_the_cache_is_shared_one_goes_first_and_the_others_follow() {
    let mut world = World::new(LIMITS, PrefixSharing::Cached, SchedulerOptions::default());
    let jobs: Vec<u64> = (1..=16).map(|n| world.score(response(n))).collect();
    let other = world.score(5000..5100);
    assert_eq!(sequences(&world.step().unwrap()), [jobs[0], other]);
    assert_eq!(sequences(&world.step().unwrap()), jobs[1..]);
    world.run_dry();
    assert_eq!(world.computed, 512 + 16 * 128 + 100);
}

#[test]
fn a_follower_is_held_no_longer_than_the_option_says() {
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
fn a_sequence_that_the_engine_refuses_alone_leaves_those_that_share_its_prefix_alone() {
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
fn a_short_prompt_enters_the_next_iteration_though_a_long_one_is_in_progress() {
    let limits = Limits { max_num_tokens: 256, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    let long = world.score(0..4000);
    assert_eq!(tokens_of(&world.step().unwrap(), long), 256, "alone, it has the whole iteration");
    let short = world.score(5000..5100);
    let shared = world.step().unwrap();
    assert_eq!((tokens_of(&shared, long), tokens_of(&shared, short)), (156, 100));
    let other_long = world.score(6000..9000);
    let later = world.score(5100..5200);
    assert_eq!(sequences(&world.step().unwrap()), [long, later], "one long prompt after the other");
    world.run_dry();
    assert!(world.answers[&other_long].is_ok());
}

#[test]
fn a_higher_class_goes_first_until_the_lower_has_waited_long_enough() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let mut world = world(limits, SchedulerOptions { ageing: 100 * MS, ..SchedulerOptions::default() });
    let mut arrive = |n: u32, priority: i8, after: u32| {
        world.pass(after * MS);
        world.arrive(vec![n; 20], Work::score(20), priority, None)
    };
    let (low, high) = (arrive(1, 1, 0), arrive(2, 0, 50));
    let (late_high, highest) = (arrive(3, 0, 51), arrive(4, -1, 0));
    world.run_dry();
    assert_eq!(world.begun, [highest, high, low, late_high]);
}

#[test]
fn a_duplicate_of_a_higher_class_hurries_the_sequence() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    let patient = world.arrive(vec![1; 20], Work::score(20), 1, None);
    let other = world.arrive(vec![2; 20], Work::score(20), 0, None);
    let twin = world.arrive(vec![1; 20], Work::score(20), -1, None);
    world.run_dry();
    assert_eq!(world.begun, [patient, other]);
    assert!(world.answers[&twin].is_ok());
}

#[test]
fn a_stream_of_urgent_work_does_not_starve_the_rest() {
    let limits = Limits { max_batch_size: 1, ..LIMITS };
    let mut world = world(limits, SchedulerOptions { ageing: 100 * MS, ..SchedulerOptions::default() });
    let patient = world.arrive(vec![7; 20], Work::score(20), 2, None);
    for n in 0..500 {
        world.arrive(vec![n, 1], Work::score(2), 0, None);
        world.arrive(vec![n, 2], Work::score(2), 0, None);
        world.step();
        world.pass(MS);
    }
    assert!(world.is_settled(patient));
}

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
fn busy(max_queue_requests: usize, max_queue_tokens: usize) -> World {
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
fn arrive(world: &mut World, len: usize, priority: i8) -> u64 {
    let tokens = vec![10_000 + world.jobs.len() as u32; len];
    world.arrive(tokens, Work::score(len), priority, None)
}

fn is_refused(world: &World, job: u64) -> bool {
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

/// Whether a text of 100 tokens is taken that must be answered within this many seconds.
fn is_taken(world: &mut World, priority: i8, seconds: f64) -> bool {
    let token = 5000 + world.jobs.len() as u32;
    let job =
        world.arrive(vec![token; 100], Work::score(100), priority, Some(Duration::from_secs_f64(seconds)));
    let taken = !world.is_settled(job);
    world.cancel(job);
    taken
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
fn what_expires_while_it_waits_costs_nothing() {
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
fn what_is_cancelled_in_flight_leaves_after_its_iteration_and_frees_its_blocks() {
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
fn no_more_blocks_are_kept_for_their_prefixes_than_is_said() {
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
fn where_blocks_are_short_what_comes_later_does_not_overtake() {
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
fn tokens_are_generated_beside_scores_in_one_iteration() {
    let mut world = world(LIMITS, SchedulerOptions::default());
    let generate = Work::greedy(10, vec![]);
    let job = world.arrive((0..30).collect(), generate, 0, None);
    world.step();
    let score = world.score(100..150);
    let iteration = world.step().unwrap();
    assert_eq!((tokens_of(&iteration, job), tokens_of(&iteration, score)), (1, 50));
    world.run_dry();
    // The last token that is generated is never computed.
    assert_eq!(world.computed, 30 + 9 + 50);
}

#[test]
fn finished_scores_are_kept_if_asked_and_forgotten_with_the_engine() {
    let mut world = world(LIMITS, SchedulerOptions { score_cache: 8, ..SchedulerOptions::default() });
    world.score(0..100);
    world.run_dry();
    let again = world.score(0..100);
    assert_eq!(cached_tokens(&world, again), 100, "answered at once");
    assert_eq!(world.computed, 100);
    world.fail();
    let after = world.score(0..100);
    world.run_dry();
    assert_eq!((world.computed, cached_tokens(&world, after)), (200, 0));
}

#[test]
fn a_lost_engine_costs_what_it_had_begun_and_the_rest_keeps_its_place() {
    let limits = Limits { max_num_tokens: 200, ..LIMITS };
    let mut world = world(limits, SchedulerOptions::default());
    let begun: Vec<u64> = (0..2).map(|n| world.score(100 * n..100 * n + 100)).collect();
    world.step();
    let waiting: Vec<u64> = (2..9).map(|n| world.score(100 * n..100 * n + 90)).collect();
    let left = world.score(5000..5100);
    world.prepare();
    world.cancel(left);
    assert_eq!(world.gauges().in_flight, 5, "the next iteration is planned");
    world.fail();
    for id in begun {
        assert!(matches!(world.answers[&id], Err(Rejection::EngineFailed(_))));
    }
    assert_eq!(world.gauges().waiting, 7);
    world.begun.clear();
    world.run_dry();
    assert_eq!(world.begun, waiting);
    assert!(waiting.iter().all(|id| world.answers[id].is_ok()));
}

#[test]
fn what_the_engine_cannot_hold_is_refused() {
    let mut world = world(LIMITS, SchedulerOptions::default());
    let (empty, long) = (world.score([]), world.score(0..4097));
    assert_eq!(world.answers[&empty], Err(Rejection::Empty));
    assert_eq!(world.answers[&long], Err(Rejection::TooLong { tokens: 4097, max_seq_len: 4096 }));
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

/// A prompt of 12 tokens that an answer of up to `max_tokens` follows.
fn answer(world: &mut World, n: u32, max_tokens: usize, end_tokens: Vec<u32>) -> u64 {
    world.arrive((100 * n..100 * n + 12).collect(), Work::greedy(max_tokens, end_tokens), 0, None)
}

#[test]
fn answers_that_might_fill_the_cache_run_side_by_side_while_they_do_not() {
    let mut world = world(Limits { kv_blocks: 64, ..LIMITS }, SchedulerOptions::default());
    let jobs: Vec<u64> = (1..=16).map(|n| answer(&mut world, n, 1000, vec![0])).collect();
    assert_eq!(sequences(&world.step().unwrap()), jobs);
    world.run_dry();
}

#[test]
fn where_blocks_run_out_the_last_give_way_and_still_give_the_same_tokens() {
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
    // What they gave was compared as it came.
    world.run_dry();
    assert_eq!(done, jobs, "the first never gives way");
    assert!(world.computed > 4 * (12 + 99), "none had to start again");
}
