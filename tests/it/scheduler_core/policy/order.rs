//! What runs first, and what a lost engine costs.

use super::{LIMITS, MS, cached_tokens, sequences, tokens_of, world};
use assay::engine::Limits;
use assay::scheduler::{Rejection, SchedulerOptions, Work};

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
fn a_higher_class_enters_the_next_iteration_though_that_was_full_of_a_lower_one() {
    for limits in [Limits { max_num_tokens: 400, ..LIMITS }, Limits { max_batch_size: 4, ..LIMITS }] {
        let mut world = world(limits, SchedulerOptions::default());
        let bulk: Vec<u64> = (0..12).map(|n| world.arrive(vec![n; 100], Work::score(100), 1, None)).collect();
        world.step();
        let urgent = [100, 101].map(|n| world.arrive(vec![n; 100], Work::score(100), 0, None));
        let same = world.arrive(vec![102; 100], Work::score(100), 1, None);
        assert_eq!(sequences(&world.step().unwrap()), [bulk[4], bulk[5], urgent[0], urgent[1]]);
        world.run_dry();
        assert_eq!(world.begun[8..], [&bulk[6..], &[same]].concat(), "the others keep their places");
        assert_eq!(world.computed, 1500);
    }
}

#[test]
fn texts_of_a_higher_class_beside_a_bulk_load_are_answered_within_two_iterations() {
    let iteration = 20;
    let mut world = world(Limits { max_num_tokens: 400, ..LIMITS }, SchedulerOptions::default());
    for n in 0..1024 {
        world.arrive(vec![n; 100], Work::score(100), 1, None);
    }
    world.step();
    let mut previous = None;
    for n in 0..100 {
        // It arrives at any time of an iteration.
        let after = n % iteration;
        world.pass(after * MS);
        let job = world.arrive(vec![5000 + n; 50], Work::score(50), 0, None);
        let sent = world.now;
        world.prepare();
        world.pass((iteration - after) * MS);
        world.step();
        if let Some((job, sent)) = previous.replace((job, sent)) {
            assert!(world.answers[&job].is_ok());
            assert!(world.now - sent <= 2 * iteration * MS);
        }
    }
    world.run_dry();
}

#[test]
fn what_has_started_gives_way_to_no_class() {
    let mut world = world(Limits { max_num_tokens: 400, ..LIMITS }, SchedulerOptions::default());
    let bulk: Vec<u64> = (0..6).map(|n| world.arrive(vec![n; 150], Work::score(150), 1, None)).collect();
    world.step();
    let urgent = [100, 101].map(|n| world.arrive(vec![n; 200], Work::score(200), 0, None));
    let next = world.step().unwrap();
    // The rest of what has started leaves room for one of them.
    let expected = [(bulk[2], 50), (bulk[3], 150), (urgent[0], 200)];
    assert_eq!(sequences(&next), expected.map(|(job, _)| job));
    assert!(expected.iter().all(|(job, tokens)| tokens_of(&next, *job) == *tokens));
    world.run_dry();
    assert!(bulk.iter().chain(&urgent).all(|job| world.answers[job].is_ok()));
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
fn a_lost_engine_costs_the_jobs_it_had_started_and_the_others_keep_their_order() {
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
