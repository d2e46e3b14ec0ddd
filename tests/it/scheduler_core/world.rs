//! A core, an engine of hashes and a clock, driven step by step, with the checks that always hold.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay::engine::simulated::{HashCache, expected_logits};
use assay::engine::{Iteration, LibraryError, Limits, PrefixSharing, SequenceError, StepReport};
use assay::scheduler::core::{Core, JobId, StepCore};
use assay::scheduler::{
    EngineFailure, Job, JobResult, Observer, Output, Priority, Rejection, SchedulerOptions, Work,
};

pub(crate) const ROWS: usize = 5;

/// The engine's error for a single sequence that it refuses.
pub(crate) fn too_odd() -> SequenceError {
    SequenceError::Library(LibraryError("it is too odd".into()))
}

/// What the observer was last given: queue, in flight, KV blocks used, cached, free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) waiting: usize,
    pub(crate) waiting_tokens: usize,
    pub(crate) in_flight: usize,
    pub(crate) used: usize,
    pub(crate) cached: usize,
    pub(crate) free: usize,
    /// Requests by how they ended: answered with their output, refused, left by their clients.
    pub(crate) ended: [usize; 3],
}

#[derive(Default)]
struct Gauged(Mutex<Gauges>);

impl Observer for Gauged {
    fn queue(&self, requests: usize, tokens: usize) {
        let mut gauges = self.0.lock().unwrap();
        (gauges.waiting, gauges.waiting_tokens) = (requests, tokens);
    }
    fn in_flight(&self, sequences: usize) {
        self.0.lock().unwrap().in_flight = sequences;
    }
    fn kv_blocks(&self, used: usize, cached: usize, free: usize) {
        let mut gauges = self.0.lock().unwrap();
        (gauges.used, gauges.cached, gauges.free) = (used, cached, free);
    }
    fn completed(&self, _: Duration) {
        self.0.lock().unwrap().ended[0] += 1;
    }
    fn rejected(&self, _: &Rejection) {
        self.0.lock().unwrap().ended[1] += 1;
    }
    fn cancelled(&self) {
        self.0.lock().unwrap().ended[2] += 1;
    }
}

pub(crate) struct World {
    pub(crate) core: StepCore,
    pub(crate) now: Duration,
    limits: Limits,
    sharing: PrefixSharing,
    cache: HashCache,
    pub(crate) running: Option<Iteration>,
    gauged: Arc<Gauged>,
    pub(crate) jobs: HashMap<JobId, Job>,
    deadlines: HashMap<JobId, Duration>,
    pub(crate) answers: HashMap<JobId, JobResult>,
    pub(crate) cancelled: HashSet<JobId>,
    /// Sequences in the order of their first chunk.
    pub(crate) begun: Vec<JobId>,
    /// Tokens computed.
    pub(crate) computed: usize,
}

impl World {
    pub(crate) fn new(limits: Limits, sharing: PrefixSharing, options: SchedulerOptions) -> Self {
        let gauged = Arc::new(Gauged::default());
        Self {
            core: StepCore::new(limits, sharing, options, gauged.clone()),
            now: Duration::ZERO,
            limits,
            sharing,
            cache: HashCache::new(limits, ROWS),
            running: None,
            gauged,
            jobs: HashMap::new(),
            deadlines: HashMap::new(),
            answers: HashMap::new(),
            cancelled: HashSet::new(),
            begun: Vec::new(),
            computed: 0,
        }
    }

    pub(crate) fn arrive(
        &mut self,
        tokens: Vec<u32>,
        work: Work,
        priority: i8,
        timeout: Option<Duration>,
    ) -> JobId {
        let id = self.jobs.len() as JobId;
        let job = Job { tokens: tokens.into(), work, priority: Priority(priority) };
        let deadline = timeout.map(|timeout| self.now + timeout);
        self.jobs.insert(id, job.clone());
        self.deadlines.extend(deadline.map(|deadline| (id, deadline)));
        self.core.arrive(self.now, id, job, deadline);
        self.collect();
        id
    }

    pub(crate) fn score(&mut self, tokens: impl IntoIterator<Item = u32>) -> JobId {
        let tokens: Vec<u32> = tokens.into_iter().collect();
        let work = Work::score(tokens.len());
        self.arrive(tokens, work, 0, None)
    }

    pub(crate) fn cancel(&mut self, id: JobId) {
        if !self.answers.contains_key(&id) && self.cancelled.insert(id) {
            self.core.cancel(id);
            self.collect();
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.expire(self.now);
        self.collect();
        for (id, deadline) in &self.deadlines {
            assert!(self.is_settled(*id) || *deadline > self.now, "job {id} outlived its deadline");
        }
    }

    /// Lets the engine finish what it runs, if anything, then gives it the next iteration.
    pub(crate) fn step(&mut self) -> Option<Iteration> {
        self.finish();
        self.begin()
    }

    pub(crate) fn begin(&mut self) -> Option<Iteration> {
        assert!(self.running.is_none());
        self.running = self.core.plan(self.now);
        self.collect();
        if let Some(iteration) = self.running.clone() {
            self.check(&iteration);
            self.prepare();
        }
        self.running.clone()
    }

    pub(crate) fn prepare(&mut self) {
        self.core.prepare(self.now);
        self.collect();
    }

    pub(crate) fn finish(&mut self) {
        self.finish_refusing(&[]);
    }

    /// The engine finishes what it runs, but for these sequences.
    pub(crate) fn finish_refusing(&mut self, refused: &[JobId]) {
        if let Some(iteration) = self.running.take() {
            let mut logits = self.cache.run(&iteration).unwrap();
            logits.retain(|(id, _)| !refused.contains(id));
            let failed = refused.iter().map(|&id| (id, too_odd())).collect();
            self.core.complete(self.now, StepReport { logits, failed, ..StepReport::default() }).unwrap();
            self.collect();
        }
    }

    pub(crate) fn fail(&mut self) {
        self.running = None;
        self.core.lose_engine(&EngineFailure::GivenUp("as asked".into()).into());
        self.cache = HashCache::new(self.limits, ROWS);
        self.collect();
        let gauges = self.gauges();
        assert_eq!((gauges.in_flight, gauges.used, gauges.cached), (0, 0, 0), "a lost engine holds nothing");
    }

    /// Runs until nothing is left to do.
    pub(crate) fn run_dry(&mut self) {
        let mut steps = 0;
        while !self.core.is_idle() {
            assert!(
                self.step().is_some() || self.core.is_idle(),
                "something waits though the engine is free"
            );
            steps += 1;
            assert!(steps < 100_000, "something waits forever");
        }
        self.finish();
        let gauges = self.gauges();
        assert_eq!((gauges.waiting, gauges.waiting_tokens, gauges.in_flight, gauges.used), (0, 0, 0, 0));
        assert_eq!(gauges.cached + gauges.free, self.limits.kv_blocks, "a block has leaked");
        for id in self.jobs.keys() {
            assert!(self.is_settled(*id), "job {id} was not answered");
        }
        let right = self.answers.values().filter(|answer| answer.is_ok()).count();
        let ended = [right, self.answers.len() - right, self.cancelled.len()];
        assert_eq!(gauges.ended, ended, "each is counted once, by how it ended");
        let soon = self.core.retry_after(self.now);
        assert!(soon.is_zero() || soon == Duration::from_secs(1), "what has ended still counts as work");
    }

    pub(crate) fn is_settled(&self, id: JobId) -> bool {
        self.answers.contains_key(&id) || self.cancelled.contains(&id)
    }

    pub(crate) fn gauges(&self) -> Gauges {
        self.core.observe();
        *self.gauged.0.lock().unwrap()
    }

    fn collect(&mut self) {
        for (id, answer) in self.core.take_answers() {
            assert!(!self.cancelled.contains(&id), "job {id} was answered though nobody listens");
            if let Ok(completed) = &answer {
                assert_eq!(completed.output, expected(&self.jobs[&id]), "job {id}");
                assert!(completed.cached_tokens <= self.jobs[&id].tokens.len());
            }
            assert!(self.answers.insert(id, answer).is_none(), "job {id} was answered twice");
        }
        let gauges = self.gauges();
        assert_eq!(gauges.used + gauges.cached + gauges.free, self.limits.kv_blocks);
    }

    /// Nothing is written twice in an iteration, nor read from it where the engine cannot.
    fn check(&mut self, iteration: &Iteration) {
        let per_block = self.limits.tokens_per_block;
        let mut written = HashSet::new();
        self.computed += iteration.token_ids.len();
        let mut sequences = HashSet::new();
        for chunk in &iteration.chunks {
            assert!(sequences.insert(chunk.sequence), "a sequence has two chunks in an iteration");
            let table = &iteration.block_table[chunk.blocks.clone()];
            let slot = |position: usize| (table[position / per_block], position % per_block);
            if self.sharing == PrefixSharing::Cached {
                assert!((0..chunk.position).all(|position| !written.contains(&slot(position))));
            }
            for position in chunk.position..chunk.position + chunk.tokens.len() {
                assert!(written.insert(slot(position)), "a slot is written twice in an iteration");
            }
            if !self.begun.contains(&chunk.sequence) {
                self.begun.push(chunk.sequence);
            }
        }
    }
}

/// What a job's output is, computed the simple way.
fn expected(job: &Job) -> Output {
    let sampling = match &job.work {
        Work::Score { read } => {
            let rows = read.iter().flat_map(|&position| expected_logits(&job.tokens[..=position], ROWS));
            return Output::Logits(rows.collect());
        }
        Work::Generate(sampling) => sampling,
    };
    let mut tokens = job.tokens.to_vec();
    loop {
        let logits = expected_logits(&tokens, ROWS);
        let best = (0..ROWS).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
        tokens.push(best);
        let generated = &tokens[job.tokens.len()..];
        if sampling.ends(generated.len(), best) {
            return Output::Tokens(generated.to_vec());
        }
    }
}
