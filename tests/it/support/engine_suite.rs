//! What every engine keeps to, whether it is told its iterations or makes them itself.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use assay::engine::{
    Chunk, Engine, EngineFactory, Iteration, Limits, PrefixSharing, Report, SequenceId, Task, WholeSequence,
};
use assay::scheduler::{self, Job, Output, Priority, Work};
use crossbeam_channel::{Receiver, bounded};

/// An engine to test, and what it needs to live.
pub struct Subject {
    pub factory: Box<dyn EngineFactory>,
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

struct Running {
    engine: Box<dyn Engine>,
    reports: Receiver<Report>,
}

impl Running {
    fn start(subject: &mut Subject) -> Self {
        let (sender, reports) = bounded(1);
        Self { engine: subject.factory.start(sender).expect("the engine starts"), reports }
    }

    /// Hands texts over, named from `first` on.
    fn submit(&mut self, first: SequenceId, texts: &[Vec<u32>]) {
        if self.engine.sharing() == PrefixSharing::Own {
            self.engine.feed(whole(first, texts), &[]).expect("the engine is fed");
        } else {
            let iteration = iteration(first, texts, &self.engine.limits());
            self.engine.submit(iteration).expect("the engine takes an iteration");
        }
    }

    /// The logits after the last token of each.
    fn score(&mut self, first: SequenceId, texts: &[Vec<u32>]) -> HashMap<SequenceId, Vec<f32>> {
        self.submit(first, texts);
        let mut logits = HashMap::new();
        while logits.len() < texts.len() {
            let outputs = self.reports.recv().expect("the engine's thread lives").expect("the engine runs");
            assert_eq!(outputs.failed, []);
            for (id, row) in outputs.logits {
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

fn whole(first: SequenceId, texts: &[Vec<u32>]) -> Vec<WholeSequence> {
    let sequence = |(id, text): (SequenceId, &Vec<u32>)| WholeSequence {
        id,
        tokens: text.as_slice().into(),
        task: Task::Score([text.len() - 1].into()),
        priority: 0.5,
    };
    (first..).zip(texts).map(sequence).collect()
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
    assert!(running.reports.try_recv().is_err(), "nothing is left to report");
}

pub fn a_text_as_long_as_the_limit_is_scored(mut subject: Subject) {
    let mut running = Running::start(&mut subject);
    let limits = running.engine.limits();
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
    let handle = scheduler::start(factory, scheduler::Options::default(), Arc::new(())).unwrap();
    let job = |text: &Vec<u32>| Job {
        tokens: text.as_slice().into(),
        work: Work::score(text.len()),
        priority: Priority(0),
        deadline: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        let tickets: Vec<_> = texts().iter().map(|text| handle.submit(job(text)).unwrap()).collect();
        for (ticket, alone) in tickets.into_iter().zip(&alone) {
            let completed = runtime.block_on(ticket).unwrap();
            let Output::Logits(logits) = completed.output else { panic!("asked for a score") };
            assert_eq!(&*logits, alone.as_slice());
        }
    }
    drop(keeps);
}
