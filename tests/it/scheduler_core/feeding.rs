//! An engine that batches for itself is fed whole sequences.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use assay::engine::simulated::expected_logits;
use assay::engine::{Generated, Limits, QueueDepth, QueueReport, SequenceId};
use assay::sampling::{Sampled, Sampling};
use assay::scheduler::core::{Core, JobId, QueueCore};
use assay::scheduler::{EngineFailure, Job, JobResult, Output, Priority, Rejection, SchedulerOptions, Work};
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::too_odd;

const LIMITS: Limits =
    Limits { max_seq_len: 200, max_batch_size: 4, max_num_tokens: 100, kv_blocks: 32, tokens_per_block: 16 };

const DEPTH: QueueDepth = QueueDepth { reads: 4, tokens: 100, logit_rows: 30 };

/// A core, an engine that has what it was fed, and a clock.
struct Fed {
    core: QueueCore,
    now: Duration,
    /// What the engine has, in the order in which it came.
    engine: Vec<(SequenceId, Job)>,
    /// All that it ever had.
    had: HashSet<SequenceId>,
    /// Sequences that the engine knows to be unwanted.
    unwanted: HashSet<SequenceId>,
    jobs: HashMap<JobId, Job>,
    answers: HashMap<JobId, JobResult>,
    tokens: HashMap<JobId, Vec<u32>>,
    cancelled: HashSet<JobId>,
}

impl Fed {
    fn new(options: SchedulerOptions) -> Self {
        Self {
            core: QueueCore::new(LIMITS, DEPTH, options, Arc::new(())),
            now: Duration::ZERO,
            engine: Vec::new(),
            had: HashSet::new(),
            unwanted: HashSet::new(),
            jobs: HashMap::new(),
            answers: HashMap::new(),
            tokens: HashMap::new(),
            cancelled: HashSet::new(),
        }
    }

    fn arrive(&mut self, tokens: Vec<u32>, work: Work, priority: i8, timeout: Option<Duration>) -> JobId {
        let id = self.jobs.len() as JobId;
        let deadline = timeout.map(|timeout| self.now + timeout);
        let job = Job { tokens: tokens.into(), work, priority: Priority(priority) };
        self.jobs.insert(id, job.clone());
        self.core.arrive(self.now, id, job, deadline);
        self.collect();
        id
    }

    /// A text of `len` tokens that no other job has.
    fn score(&mut self, len: usize, priority: i8) -> JobId {
        let tokens = vec![1000 + self.jobs.len() as u32; len];
        self.arrive(tokens, Work::score(len), priority, None)
    }

    fn cancel(&mut self, id: JobId) {
        if !self.answers.contains_key(&id) && self.cancelled.insert(id) {
            self.core.cancel(id);
            self.collect();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.expire(self.now);
        self.collect();
    }

    /// Feeds the engine, and returns the sequences that it was fed.
    fn feed(&mut self) -> Vec<SequenceId> {
        let feed = self.core.feed(self.now);
        for id in feed.cancelled {
            // It may have ended in the meantime.
            assert!(self.had.contains(&id), "{id} was not the engine's");
            assert!(self.unwanted.insert(id), "{id} was cancelled twice");
        }
        let fed: Vec<_> = feed.jobs.iter().map(|(id, _)| *id).collect();
        self.had.extend(&fed);
        self.engine.extend(feed.jobs);
        let scored = self.engine.iter().filter(|(_, job)| matches!(job.work, Work::Score { .. }));
        let tokens: usize = scored.map(|(_, job)| job.tokens.len()).sum();
        let few = self.engine.len() <= DEPTH.reads && tokens <= DEPTH.tokens;
        assert!(few || self.engine.len() == 1, "more than the engine asked for");
        self.collect();
        fed
    }

    /// The engine concludes one of its sequences.
    fn report(&mut self, place: usize) -> SequenceId {
        let (id, job) = self.engine.remove(place);
        let mut report = QueueReport::default();
        let last = |tokens| Generated { sequence: id, tokens, last: true };
        match &job.work {
            _ if self.unwanted.remove(&id) => report.generated.push(last(Vec::new())),
            Work::Score { .. } => report.scored.push((id, expected_logits(&job.tokens, 2))),
            Work::Generate(sampling) => {
                let sampled = |token| Sampled { token, logprob: None, top: Vec::new() };
                let (first, rest): (Vec<u32>, _) =
                    (0..sampling.max_tokens as u32).partition(|token| *token < 2);
                let begun =
                    Generated { sequence: id, tokens: first.into_iter().map(sampled).collect(), last: false };
                report.generated = vec![begun, last(rest.into_iter().map(sampled).collect())];
            }
        }
        self.take_report(report);
        id
    }

    fn take_report(&mut self, report: QueueReport) {
        self.core.take_report(self.now, report).unwrap();
        self.collect();
    }

    fn fail(&mut self) {
        self.core.lose_engine(&EngineFailure::GivenUp("as asked".into()).into());
        self.engine.clear();
        self.had.clear();
        self.unwanted.clear();
        self.collect();
    }

    fn collect(&mut self) {
        for (id, token) in self.core.take_tokens() {
            assert!(!self.cancelled.contains(&id) && !self.answers.contains_key(&id));
            self.tokens.entry(id).or_default().push(token.token);
        }
        for (id, answer) in self.core.take_answers() {
            assert!(!self.cancelled.contains(&id), "job {id} was answered though nobody listens");
            if let Ok(completed) = &answer {
                self.check(id, &completed.output);
            }
            assert!(self.answers.insert(id, answer).is_none(), "job {id} was answered twice");
        }
    }

    fn check(&self, id: JobId, output: &Output) {
        let job = &self.jobs[&id];
        match (&job.work, output) {
            (Work::Score { .. }, Output::Logits(logits)) => {
                assert_eq!(**logits, expected_logits(&job.tokens, 2))
            }
            (Work::Generate(sampling), Output::Tokens(tokens)) => {
                assert!(tokens.iter().copied().eq(0..sampling.max_tokens as u32));
                assert_eq!(&self.tokens[&id], tokens, "every token was reported");
            }
            _ => panic!("{output:?} of {:?}", job.work),
        }
    }

    /// Feeds and reports until nothing is left to do.
    fn run_dry(&mut self) {
        while !self.core.is_idle() {
            self.feed();
            if self.core.is_idle() {
                break;
            }
            assert!(!self.engine.is_empty(), "something waits though the engine has nothing");
            self.report(0);
        }
        assert!(self.engine.is_empty());
        for id in self.jobs.keys() {
            assert!(
                self.answers.contains_key(id) || self.cancelled.contains(id),
                "job {id} was not answered"
            );
        }
    }
}

#[test]
fn the_engine_has_no_more_than_it_asked_for_and_gets_more_as_it_answers() {
    let mut world = Fed::new(SchedulerOptions::default());
    let jobs: Vec<_> = (0..6).map(|_| world.score(20, 0)).collect();
    assert_eq!(world.feed(), jobs[..4], "as many sequences");
    let long = world.score(90, 0);
    assert_eq!(world.report(2), jobs[2]);
    assert_eq!(world.feed(), jobs[4..5]);
    for _ in 0..3 {
        world.report(0);
    }
    assert_eq!(world.feed(), jobs[5..], "as many tokens: the long one waits");
    world.report(0);
    assert!(world.feed().is_empty());
    world.report(0);
    assert_eq!(world.feed(), [long]);
    world.run_dry();
}

#[test]
fn a_text_longer_than_the_engine_asks_for_at_once_goes_alone() {
    let mut world = Fed::new(SchedulerOptions::default());
    let (short, long, later) = (world.score(20, 0), world.score(150, 0), world.score(20, 0));
    assert_eq!(world.feed(), [short]);
    world.report(0);
    assert_eq!(world.feed(), [long]);
    world.report(0);
    assert_eq!(world.feed(), [later]);
    world.run_dry();
}

#[test]
fn what_is_urgent_goes_first_here_and_in_the_engine() {
    let mut world = Fed::new(SchedulerOptions::default());
    let jobs: Vec<_> = [1, 0, i8::MIN, i8::MAX].map(|priority| world.score(20, priority)).into();
    assert_eq!(world.feed(), [jobs[2], jobs[1], jobs[0], jobs[3]]);
    let urgency: Vec<f32> = world.engine.iter().map(|(_, job)| job.priority.urgency()).collect();
    assert!(urgency.is_sorted_by(|a, b| a > b) && urgency[0] <= 1.0 && urgency[3] >= 0.0, "{urgency:?}");
    world.run_dry();
}

#[test]
fn an_abandoned_sequence_is_cancelled_once_and_frees_its_place_when_answered() {
    let mut world = Fed::new(SchedulerOptions::default());
    let jobs: Vec<_> = (0..4).map(|_| world.score(20, 0)).collect();
    world.feed();
    let next = world.score(20, 0);
    world.cancel(jobs[1]);
    assert!(world.feed().is_empty(), "the engine still has it");
    assert!(world.unwanted.contains(&jobs[1]));
    world.feed();
    world.report(1);
    assert_eq!(world.feed(), [next]);
    world.run_dry();
}

#[test]
fn a_repeat_of_a_cancelled_request_is_answered() {
    let mut world = Fed::new(SchedulerOptions::default());
    let tokens: Vec<u32> = (0..20).collect();
    let first = world.arrive(tokens.clone(), Work::score(20), 0, None);
    world.feed();
    world.cancel(first);
    let again = world.arrive(tokens, Work::score(20), 0, None);
    world.run_dry();
    assert!(world.answers[&again].is_ok());
}

#[test]
fn a_new_engine_gets_no_cancellations_of_the_old_one() {
    let mut world = Fed::new(SchedulerOptions::default());
    let first = world.score(20, 0);
    world.feed();
    world.cancel(first);
    world.fail();
    let second = world.score(20, 0);
    assert_eq!(world.feed(), [second], "and nothing is cancelled that it does not have");
    world.run_dry();
}

#[test]
fn a_sequence_that_the_engine_refuses_is_answered_with_its_words() {
    let mut world = Fed::new(SchedulerOptions::default());
    let (refused, other) = (world.score(20, 0), world.score(20, 0));
    world.feed();
    world.engine.remove(0);
    world.take_report(QueueReport { failed: vec![(refused, too_odd())], ..Default::default() });
    assert_eq!(world.answers[&refused], Err(too_odd().into()));
    world.run_dry();
    assert!(world.answers[&other].is_ok());
}

#[test]
fn cached_tokens_are_reported() {
    let mut world = Fed::new(SchedulerOptions::default());
    let job = world.score(40, 0);
    world.feed();
    world.take_report(QueueReport { cached: vec![(job, 32)], ..Default::default() });
    world.run_dry();
    assert_eq!(world.answers[&job].as_ref().unwrap().cached_tokens, 32);
}

#[test]
fn a_job_that_cannot_meet_its_deadline_is_not_started() {
    let mut world = Fed::new(SchedulerOptions::default());
    // Work waits while it is done, so that the rate is known: 100 tokens a second.
    for _ in 0..3 {
        world.score(100, 0);
    }
    for _ in 0..2 {
        world.feed();
        world.pass(Duration::from_secs(1));
        world.report(0);
    }
    let timeout = Some(Duration::from_millis(2500));
    let late = world.arrive(vec![1; 100], Work::score(100), 0, timeout);
    world.feed();
    world.pass(Duration::from_secs(2));
    world.report(0);
    assert!(world.feed().is_empty(), "half a second is left of the second that it takes");
    assert!(matches!(world.answers[&late], Err(Rejection::DeadlineUnmeetable { .. })));
    world.run_dry();
}

#[derive(Clone, Debug)]
enum Operation {
    Arrive { text: u32, len: usize, generate: usize, priority: i8, timeout: Option<u64> },
    Cancel(usize),
    Pass(u64),
    Feed,
    Report(usize),
    Fail,
}

fn operation() -> impl Strategy<Value = Operation> {
    let arrive = (
        0..6u32,
        1..60usize,
        prop_oneof![3 => Just(0), 1 => 1..20usize],
        -2..3i8,
        prop::option::of(1..80u64),
    );
    prop_oneof![
        6 => arrive.prop_map(|(text, len, generate, priority, timeout)| Operation::Arrive {
            text, len, generate, priority, timeout
        }),
        2 => (0..8usize).prop_map(Operation::Cancel),
        2 => (0..20u64).prop_map(Operation::Pass),
        4 => Just(Operation::Feed),
        4 => (0..4usize).prop_map(Operation::Report),
        1 => Just(Operation::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every job gets exactly one answer and the right one, and the engine never more than it asked for.
    #[test]
    fn every_job_of_a_fed_engine_is_answered_once_and_rightly(operations in vec(operation(), 1..120)) {
        let mut world = Fed::new(SchedulerOptions::default());
        for operation in operations {
            match operation {
                Operation::Arrive { text, len, generate, priority, timeout } => {
                    let work = if generate == 0 { Work::score(len) } else { Work::greedy(generate, Vec::new()) };
                    world.arrive(vec![text; len], work, priority, timeout.map(Duration::from_millis));
                }
                Operation::Cancel(back) => {
                    if let Some(id) = world.jobs.len().checked_sub(back + 1) {
                        world.cancel(id as JobId);
                    }
                }
                Operation::Pass(millis) => world.pass(Duration::from_millis(millis)),
                Operation::Feed => { world.feed(); }
                Operation::Report(place) => {
                    if place < world.engine.len() {
                        world.report(place);
                    }
                }
                Operation::Fail => world.fail(),
            }
        }
        world.run_dry();
    }
}

#[test]
fn sequences_with_log_probabilities_wait_until_their_logits_have_room() {
    let mut fed = Fed::new(SchedulerOptions::default());
    let generate = |fed: &mut Fed, token: u32, max_tokens, logprobs| {
        let sampling = Sampling { logprobs, ..Sampling::greedy(max_tokens, Vec::new()) };
        fed.arrive(vec![token], Work::Generate(Arc::new(sampling)), 0, None)
    };
    generate(&mut fed, 1, 20, Some(0));
    generate(&mut fed, 2, 20, Some(0));
    generate(&mut fed, 3, 150, None);
    assert_eq!(fed.feed().len(), 1);
    fed.report(0);
    assert_eq!(fed.feed().len(), 2);
}
