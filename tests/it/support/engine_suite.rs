//! What every engine keeps to, whether it is handed iterations or batches whole sequences itself.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use assay::engine::{Chunk, EngineFactory, Iteration, Limits, QueueEngine, SequenceId, StepEngine};
use assay::scheduler::{self, Job, Output, Priority, Work};

/// An engine to test, and what it needs to live.
pub struct Subject {
    pub factory: EngineFactory,
    pub keeps: Box<dyn Any + Send>,
}

/// Tests of the engine that `$subject` makes.
macro_rules! engine_suite {
    ($subject:expr, $($test:ident),* $(,)?) => {
        $(#[test] fn $test() { $crate::support::engine_suite::$test($subject); })*
    };
    ($subject:expr) => {
        $crate::support::engine_suite::engine_suite!(
            $subject,
            a_text_has_one_score_alone_and_among_others,
            every_sequence_is_reported_once_and_by_its_name,
            a_text_as_long_as_the_limit_is_scored,
            an_engine_can_be_dropped_with_work_in_flight_and_started_again,
            the_scheduler_gets_the_same_scores_from_it,
        );
    };
}
pub(crate) use engine_suite;

enum Running {
    Step(Box<dyn StepEngine>),
    Queue(Box<dyn QueueEngine>),
}

impl Running {
    fn start(subject: &mut Subject) -> Self {
        match &mut subject.factory {
            EngineFactory::Step(factory) => Self::Step(factory.start().expect("the engine starts")),
            EngineFactory::Queue(factory) => Self::Queue(factory.start().expect("the engine starts")),
        }
    }

    fn limits(&self) -> Limits {
        match self {
            Self::Step(engine) => engine.limits(),
            Self::Queue(engine) => engine.limits(),
        }
    }

    /// Hands texts over, with ids from `first` on.
    fn submit(&mut self, first: SequenceId, texts: &[Vec<u32>]) {
        match self {
            Self::Step(engine) => {
                let iteration = iteration(first, texts, &engine.limits());
                engine.submit(iteration).expect("the engine takes an iteration");
            }
            Self::Queue(engine) => {
                let jobs = (first..).zip(texts.iter().map(|text| job(text))).collect();
                engine.feed(jobs, &[]).expect("the engine is fed");
            }
        }
    }

    /// The logits of the next report.
    fn next_report(&self) -> Vec<(SequenceId, Vec<f32>)> {
        match self {
            Self::Step(engine) => {
                let report = engine.reports().recv().expect("the engine's thread lives");
                let report = report.expect("the engine runs");
                assert_eq!(report.failed, []);
                report.logits
            }
            Self::Queue(engine) => {
                let report = engine.reports().recv().expect("the engine's thread lives");
                let report = report.expect("the engine runs");
                assert_eq!(report.failed, []);
                report.scored
            }
        }
    }

    fn has_report(&self) -> bool {
        match self {
            Self::Step(engine) => !engine.reports().is_empty(),
            Self::Queue(engine) => !engine.reports().is_empty(),
        }
    }

    /// The logits after the last token of each.
    fn score(&mut self, first: SequenceId, texts: &[Vec<u32>]) -> HashMap<SequenceId, Vec<f32>> {
        self.submit(first, texts);
        let mut logits = HashMap::new();
        while logits.len() < texts.len() {
            for (id, row) in self.next_report() {
                assert!((first..first + texts.len() as u64).contains(&id), "{id} was not handed over");
                assert!(logits.insert(id, row).is_none(), "{id} is reported twice");
            }
        }
        logits
    }

    fn score_alone(&mut self, text: &[u32]) -> Vec<f32> {
        self.score(1000, &[text.to_vec()]).remove(&1000).unwrap()
    }
}

fn job(text: &[u32]) -> Job {
    Job { tokens: text.into(), work: Work::score(text.len()), priority: Priority(0) }
}

/// One iteration with a chunk for each text, in blocks of its own.
fn iteration(first: SequenceId, texts: &[Vec<u32>], limits: &Limits) -> Iteration {
    let mut iteration = Iteration::default();
    for (sequence, text) in (first..).zip(texts) {
        let token = iteration.token_ids.len();
        let block = iteration.block_table.len();
        iteration.token_ids.extend_from_slice(text);
        iteration.block_table.extend((0..limits.blocks_for(text.len())).map(|each| (block + each) as u32));
        iteration.chunks.push(Chunk {
            sequence,
            tokens: token..iteration.token_ids.len(),
            position: 0,
            text_tokens: text.len(),
            blocks: block..iteration.block_table.len(),
            logits: vec![text.len() - 1],
        });
    }
    iteration
}

/// Five texts, some with a beginning in common.
fn texts() -> Vec<Vec<u32>> {
    (0..5u32)
        .map(|i| (0..20 + 3 * i).map(|token| token % 7 + if token < 16 { 0 } else { i }).collect())
        .collect()
}

pub fn a_text_has_one_score_alone_and_among_others(mut subject: Subject) {
    let mut running = Running::start(&mut subject);
    let together = running.score(0, &texts());
    for (id, text) in (0..).zip(texts()) {
        assert_eq!(running.score_alone(&text), together[&id]);
    }
}

pub fn every_sequence_is_reported_once_and_by_its_name(mut subject: Subject) {
    let mut running = Running::start(&mut subject);
    for round in 0..4 {
        assert_eq!(running.score(100 * round, &texts()).len(), texts().len());
    }
    assert!(!running.has_report(), "nothing is left to report");
}

pub fn a_text_as_long_as_the_limit_is_scored(mut subject: Subject) {
    let mut running = Running::start(&mut subject);
    let limits = running.limits();
    let longest = limits.max_seq_len.min(limits.max_num_tokens);
    let text: Vec<u32> = (0..longest as u32).map(|token| token % 11).collect();
    assert!(running.score_alone(&text).iter().all(|logit| logit.is_finite()));
}

pub fn an_engine_can_be_dropped_with_work_in_flight_and_started_again(mut subject: Subject) {
    let before = Running::start(&mut subject).score_alone(&[1, 2, 3]);
    let mut running = Running::start(&mut subject);
    running.submit(0, &texts());
    drop(running);
    assert_eq!(Running::start(&mut subject).score_alone(&[1, 2, 3]), before);
}

pub fn the_scheduler_gets_the_same_scores_from_it(mut subject: Subject) {
    let mut running = Running::start(&mut subject);
    let alone: Vec<_> = texts().iter().map(|text| running.score_alone(text)).collect();
    drop(running);
    let Subject { factory, keeps } = subject;
    let handle = scheduler::start(factory, scheduler::SchedulerOptions::default(), Arc::new(())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        let tickets: Vec<_> = texts().iter().map(|text| handle.submit(job(text), None).unwrap()).collect();
        for (ticket, alone) in tickets.into_iter().zip(&alone) {
            let completed = runtime.block_on(ticket).unwrap();
            let Output::Logits(logits) = completed.output else { panic!("asked for a score") };
            assert_eq!(&*logits, alone.as_slice());
        }
    }
    drop(keeps);
}
