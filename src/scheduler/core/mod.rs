//! The scheduler as a state machine: no threads, no clocks, no channels.
//!
//! Time is a [`Duration`] since whatever moment its driver chose; it must not go back. The driver
//! calls [`Core::arrive`] and [`Core::cancel`] as they come, [`Core::expire`] when
//! [`Core::next_wakeup`] says, and, whenever the engine is free, [`Core::plan`] for its next
//! iteration. While that runs, [`Core::prepare`] does most of the next plan's work; then the report
//! goes to [`Core::complete`] or, if it is an error, [`Core::fail`]. Answers are collected with
//! [`Core::take_answers`]: exactly one for each job that was not cancelled.
//!
//! An engine that makes iterations itself gets what [`Core::feed`] gives, whenever it runs, and its
//! reports go to [`Core::take_in`].

mod feeding;
mod planning;
mod preempting;
mod reports;
mod sequence;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use self::feeding::Feed;
use self::planning::Plan;
use self::sequence::{Sequence, Waiter};
use super::blocks::BlockPool;
use super::prefix::PrefixTree;
use super::queue::{Key, Lane, Queue};
use super::rate::DrainRate;
use super::scores::{ScoreCache, Text};
use super::{Answer, Completed, Observer, Options, Output, Priority, Rejection, Work};
use crate::engine::{Limits, PrefixSharing, SequenceId, Statistics};
use crate::sampling::Sampled;
use crate::sampling::Sampler;

/// Names a job. Those that arrive later have higher ones.
pub type JobId = u64;

/// A job as the core takes it; see [`super::Job`].
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its name.
    pub id: JobId,
    /// Token ids of the whole prompt.
    pub tokens: Arc<[u32]>,
    /// What to do with them.
    pub work: Work,
    /// Class.
    pub priority: Priority,
    /// When the answer is of no more use, on the core's clock.
    pub deadline: Option<Duration>,
}

/// The state machine.
pub struct Core {
    limits: Limits,
    sharing: PrefixSharing,
    options: Options,
    observer: Arc<dyn Observer>,
    sequences: HashMap<SequenceId, Sequence>,
    jobs: HashMap<JobId, SequenceId>,
    deadlines: BTreeSet<(Duration, JobId)>,
    queue: Queue,
    waiting_requests: usize,
    /// Those that score, waiting or in flight.
    identical: HashMap<Text, SequenceId>,
    in_flight: InFlight,
    pool: BlockPool,
    tree: PrefixTree,
    /// Most blocks that only the tree keeps.
    kept_blocks: usize,
    scores: ScoreCache,
    rate: DrainRate,
    /// The iteration that the engine computes.
    running: Option<Plan>,
    /// The iteration after it.
    prepared: Option<Plan>,
    /// Fed sequences that nobody wants any more, until the engine is told.
    dropped: Vec<SequenceId>,
    /// Since when fed sequences are awaited, or the last report of them.
    awaited_since: Duration,
    /// What an engine that makes iterations itself said last.
    statistics: Statistics,
    /// Number of the last iteration that ended; they count from 1.
    reported: u64,
    answers: Vec<(JobId, Answer)>,
    /// Tokens chosen since they were last taken.
    tokens: Vec<(JobId, Sampled)>,
    /// Why nothing is taken any more.
    closed: Option<Rejection>,
}

/// The sequences that hold blocks, or that the engine was fed.
#[derive(Debug, Default)]
struct InFlight {
    order: BTreeSet<Key>,
    generating: usize,
    /// Places where they are read.
    reads: usize,
    /// Tokens of those that score.
    scoring: usize,
    /// Tokens not yet scheduled.
    remaining: usize,
}

impl Core {
    /// A core for an engine of these limits, with nothing to do.
    pub fn new(
        limits: Limits,
        sharing: PrefixSharing,
        options: Options,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            limits,
            sharing,
            observer,
            sequences: HashMap::new(),
            jobs: HashMap::new(),
            deadlines: BTreeSet::new(),
            queue: Queue::default(),
            waiting_requests: 0,
            identical: HashMap::new(),
            in_flight: InFlight::default(),
            pool: BlockPool::new(limits.kv_blocks),
            tree: PrefixTree::new(sharing),
            kept_blocks: limits.kv_blocks,
            scores: ScoreCache::new(options.score_cache),
            rate: DrainRate::default(),
            running: None,
            prepared: None,
            dropped: Vec::new(),
            awaited_since: Duration::ZERO,
            statistics: Statistics::default(),
            reported: 0,
            answers: Vec::new(),
            tokens: Vec::new(),
            closed: None,
            options,
        }
    }

    /// Keeps no more than so many blocks for their prefixes while no sequence uses them.
    pub fn keep_at_most(&mut self, blocks: usize) {
        self.kept_blocks = blocks;
    }

    /// Takes a job in. It is answered at once if it is refused or its score is known.
    pub fn arrive(&mut self, now: Duration, arrival: Arrival) {
        let id = arrival.id;
        if let Err(rejection) = self.try_arrive(now, arrival) {
            self.observer.refused(&rejection);
            self.answers.push((id, Err(rejection)));
        }
    }

    fn try_arrive(&mut self, now: Duration, arrival: Arrival) -> Result<(), Rejection> {
        if let Some(rejection) = &self.closed {
            return Err(rejection.clone());
        }
        arrival.work.check(arrival.tokens.len(), &self.limits)?;
        if arrival.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Rejection::DeadlineExceeded);
        }
        let text = arrival.work.text(&arrival.tokens);
        if let Some(logits) = text.as_ref().and_then(|text| self.scores.get(text)) {
            self.answer_from_cache(&arrival, logits);
            return Ok(());
        }
        let twin = text.and_then(|text| self.identical.get(&text).copied());
        match twin {
            Some(twin) => self.join(now, twin, &arrival),
            None => self.enqueue(now, arrival),
        }
    }

    fn answer_from_cache(&mut self, arrival: &Arrival, logits: Arc<[f32]>) {
        let completed = Completed {
            output: Output::Logits(logits),
            cached_tokens: arrival.tokens.len(),
            queue_time: Duration::ZERO,
            engine_time: Duration::ZERO,
        };
        self.observer.deduplicated();
        self.observer.completed(Duration::ZERO);
        self.answers.push((arrival.id, Ok(completed)));
    }

    /// Adds a job to a sequence of the same tokens. Its class, if higher, is the sequence's now.
    fn join(&mut self, now: Duration, twin: SequenceId, arrival: &Arrival) -> Result<(), Rejection> {
        let Some(sequence) = self.sequences.get_mut(&twin) else { return Ok(()) };
        if sequence.waits() {
            check_requests(self.waiting_requests, &self.options).map_err(|limit| self.queue_full(limit))?;
        }
        let Some(sequence) = self.sequences.get_mut(&twin) else { return Ok(()) };
        sequence.waiters.push(Waiter {
            job: arrival.id,
            arrived: now,
            deadline: arrival.deadline,
            joined: true,
        });
        if sequence.waits() {
            self.waiting_requests += 1;
            let key = Key::new(now, arrival.priority, self.options.ageing, twin);
            if key < sequence.key {
                let tokens = sequence.max_len();
                self.queue.remove(sequence.lane, sequence.key, sequence.priority, tokens);
                (sequence.key, sequence.priority) = (key, arrival.priority);
                self.queue.insert(sequence.lane, key, arrival.priority, tokens);
            }
        } else if sequence.started.is_some() {
            self.observer.started(Duration::ZERO);
        }
        self.observer.deduplicated();
        self.register(arrival, twin);
        Ok(())
    }

    fn enqueue(&mut self, now: Duration, arrival: Arrival) -> Result<(), Rejection> {
        let tokens = arrival.work.max_len(arrival.tokens.len());
        check_requests(self.waiting_requests, &self.options).map_err(|limit| self.queue_full(limit))?;
        if !self.queue.is_empty() && self.queue.tokens() + tokens > self.options.max_queue_tokens {
            return Err(self.queue_full(format!("{} tokens", self.options.max_queue_tokens)));
        }
        self.check_deadline(now, &arrival, tokens)?;
        let id = arrival.id;
        let sequence = Sequence {
            id,
            prompt: arrival.tokens.clone(),
            rows: Vec::new(),
            looked_up: 1,
            folded: 0,
            generated: Vec::new(),
            sampler: match &arrival.work {
                Work::Generate(sampling) => Some(Sampler::new(sampling.clone(), &arrival.tokens)),
                Work::Score { .. } => None,
            },
            lane: Lane {
                generates: !matches!(arrival.work, Work::Score { .. }),
                long: arrival.tokens.len() > self.max_chunk_tokens(),
            },
            work: arrival.work.clone(),
            priority: arrival.priority,
            key: Key::new(now, arrival.priority, self.options.ageing, id),
            waiters: vec![Waiter { job: id, arrived: now, deadline: arrival.deadline, joined: false }],
            table: Vec::new(),
            fed: false,
            scheduled: 0,
            reused: 0,
            planned_in: 0,
            started: None,
            last_token: None,
            held_since: None,
        };
        self.queue.insert(sequence.lane, sequence.key, sequence.priority, tokens);
        self.waiting_requests += 1;
        if self.options.prefix_sharing
            && let Some(text) = sequence.text()
        {
            self.identical.insert(text, id);
        }
        self.sequences.insert(id, sequence);
        self.register(&arrival, id);
        Ok(())
    }

    /// Refuses what would be ready too late, as far as the drain rate is known.
    fn check_deadline(&self, now: Duration, arrival: &Arrival, tokens: usize) -> Result<(), Rejection> {
        let Some(deadline) = arrival.deadline else { return Ok(()) };
        let prepared = self.prepared.as_ref().map_or(0, |plan| plan.advanced);
        let ahead = prepared + self.in_flight.remaining + self.queue.tokens_up_to(arrival.priority);
        match self.rate.estimate(ahead + tokens) {
            Some(estimate) if now + estimate > deadline => Err(Rejection::DeadlineUnmeetable { estimate }),
            _ => Ok(()),
        }
    }

    fn register(&mut self, arrival: &Arrival, sequence: SequenceId) {
        self.jobs.insert(arrival.id, sequence);
        if let Some(deadline) = arrival.deadline {
            self.deadlines.insert((deadline, arrival.id));
        }
    }

    fn queue_full(&self, limit: String) -> Rejection {
        Rejection::QueueFull { limit, retry_after: self.retry_after() }
    }

    /// Drops a job whose answer is no longer wanted. Of one already answered, it does nothing.
    pub fn cancel(&mut self, id: JobId) {
        if let Some(sequence) = self.withdraw(id) {
            self.observer.cancelled();
            self.settle(sequence);
        }
    }

    /// Ends a job whose tokens so far are all that was wanted. Of one already answered, it does nothing.
    pub fn finish(&mut self, id: JobId) {
        if let Some(sequence) = self.withdraw(id) {
            self.settle(sequence);
        }
    }

    /// Answers the jobs whose deadline has passed.
    pub fn expire(&mut self, now: Duration) {
        while let Some(&(deadline, job)) = self.deadlines.first()
            && deadline <= now
        {
            self.refuse(job, Rejection::DeadlineExceeded);
        }
    }

    fn refuse(&mut self, job: JobId, rejection: Rejection) {
        let Some(sequence) = self.withdraw(job) else { return };
        self.observer.refused(&rejection);
        self.answers.push((job, Err(rejection)));
        self.settle(sequence);
    }

    /// Forgets a job; gives the sequence it waited for.
    fn withdraw(&mut self, job: JobId) -> Option<SequenceId> {
        let id = self.jobs.remove(&job)?;
        let sequence = self.sequences.get_mut(&id)?;
        let place = sequence.waiters.iter().position(|waiter| waiter.job == job)?;
        let waiter = sequence.waiters.remove(place);
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, job));
        }
        if sequence.waits() {
            self.waiting_requests -= 1;
        }
        Some(id)
    }

    /// Removes a sequence that nobody wants, as soon as no iteration uses its blocks.
    fn settle(&mut self, id: SequenceId) {
        let Some(sequence) = self.sequences.get(&id) else { return };
        if !sequence.waiters.is_empty() {
            return;
        }
        let (text, fed) = (sequence.text(), sequence.fed);
        self.forget(text, id);
        if fed {
            self.dropped.push(id);
            return;
        }
        let Some(sequence) = self.sequences.get(&id) else { return };
        if sequence.waits() {
            self.queue.remove(sequence.lane, sequence.key, sequence.priority, sequence.max_len());
            self.sequences.remove(&id);
            return;
        }
        self.unplan(id);
        if self.sequences.get(&id).is_some_and(|sequence| sequence.planned_in <= self.reported) {
            self.release(id);
        }
    }

    /// Lets no more jobs join a sequence.
    fn forget(&mut self, text: Option<Text>, id: SequenceId) {
        if let Some(text) = text
            && self.identical.get(&text) == Some(&id)
        {
            self.identical.remove(&text);
        }
    }

    /// Gives a sequence's blocks back.
    fn release(&mut self, id: SequenceId) {
        if let Some(mut sequence) = self.sequences.remove(&id) {
            self.take_out_of_flight(&mut sequence);
        }
    }

    fn take_out_of_flight(&mut self, sequence: &mut Sequence) {
        self.in_flight.order.remove(&sequence.key);
        self.in_flight.generating -= usize::from(sequence.lane.generates);
        self.in_flight.reads -= sequence.places();
        self.in_flight.scoring -= sequence.scoring();
        self.in_flight.remaining -= sequence.max_len() - sequence.scheduled;
        while let Some(slot) = sequence.table.pop() {
            drop(slot.block);
            if let Some(node) = slot.node {
                self.tree.leave(node, sequence.id);
            }
        }
        self.tree.evict(self.tree.idle().saturating_sub(self.kept_blocks));
    }

    /// The tokens generated since the last call, in order; take them before the answers.
    pub fn take_tokens(&mut self) -> Vec<(JobId, Sampled)> {
        std::mem::take(&mut self.tokens)
    }

    /// The answers since the last call.
    pub fn take_answers(&mut self) -> Vec<(JobId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// When [`Core::expire`] will have something to do.
    pub fn next_wakeup(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// When what is here now should be through, at the present drain rate.
    pub fn retry_after(&self) -> Duration {
        let tokens = self.queue.tokens() + self.in_flight.remaining;
        self.rate.guess(tokens).unwrap_or(Duration::from_secs(1))
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tells the observer how much of everything there is.
    pub fn observe(&self) {
        self.observer.queue(self.waiting_requests, self.queue.tokens());
        self.observer.in_flight(self.in_flight.order.len());
        if self.is_fed() {
            self.observer.kv_blocks(self.statistics.used_blocks, 0, self.statistics.free_blocks);
            return;
        }
        let (free, cached) = (self.pool.free(), self.tree.idle());
        self.observer.kv_blocks(self.limits.kv_blocks - free - cached, cached, free);
    }

    /// Most tokens of a long prompt in one iteration while others want in.
    fn max_chunk_tokens(&self) -> usize {
        let most = self.options.max_chunk_tokens.unwrap_or(self.limits.max_num_tokens / 2);
        most.clamp(1, self.limits.max_num_tokens)
    }
}

fn check_requests(waiting: usize, options: &Options) -> Result<(), String> {
    if waiting < options.max_queue_requests {
        Ok(())
    } else {
        Err(format!("{} requests", options.max_queue_requests))
    }
}
