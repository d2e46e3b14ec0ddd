//! One sequence, from the arrival of its first job to its last answer.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::job_id::JobId;
use crate::engine::{Job, SequenceId};
use crate::sampling::Sampled;
use crate::scheduler::Observer;
use crate::scheduler::queue::{Entry, Key, Lane};

/// A job that waits for the sequence's result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) job: JobId,
    pub(super) arrived: Duration,
    pub(super) deadline: Option<Duration>,
    /// Whether the sequence was created for an earlier job.
    pub(super) joined: bool,
}

/// State of a sequence that only one kind of core keeps.
pub(super) trait SequenceState {
    fn new(job: &Job) -> Self;

    /// The sequence waits again, having lost its place in flight before it started.
    fn requeued(&mut self);
}

/// A [`QueueCore`](super::QueueCore) keeps nothing: the engine does.
impl SequenceState for () {
    fn new(_: &Job) -> Self {}

    fn requeued(&mut self) {}
}

/// A sequence that waits or is in flight.
#[derive(Debug)]
pub(super) struct Sequence<S> {
    pub(super) id: SequenceId,
    /// The first job, of the highest class among those that joined it while it waited.
    pub(super) job: Job,
    /// The longest that it may become, in tokens.
    pub(super) max_len: usize,
    pub(super) key: Key,
    pub(super) lane: Lane,
    /// Empty once no job waits for the sequence.
    pub(super) waiters: Vec<Waiter>,
    /// Whether it has left the queue: it holds blocks, or the engine has it.
    pub(super) in_flight: bool,
    /// Prompt tokens that were not computed for it.
    pub(super) cached_tokens: usize,
    pub(super) generated: Vec<u32>,
    /// When its first iteration started.
    pub(super) started: Option<Duration>,
    /// When its last token was generated.
    pub(super) last_token: Option<Duration>,
    pub(super) state: S,
}

impl<S> Sequence<S> {
    pub(super) fn entry(&self) -> Entry {
        Entry { key: self.key, lane: self.lane, priority: self.job.priority, tokens: self.max_len }
    }

    /// Its first iteration starts, if none has yet.
    pub(super) fn start(&mut self, now: Duration, observer: &dyn Observer) {
        if self.started.is_none() {
            self.started = Some(now);
            for waiter in &self.waiters {
                observer.started(now.saturating_sub(waiter.arrived));
            }
        }
    }

    /// Takes in a token that was generated; returns the job that it is streamed to, unless nobody waits any more.
    pub(super) fn take_token(
        &mut self,
        now: Duration,
        sampled: Sampled,
        observer: &dyn Observer,
    ) -> Option<(JobId, Sampled)> {
        self.generated.push(sampled.token);
        let waiter = self.only_waiter()?;
        let (job, arrived) = (waiter.job, waiter.arrived);
        match self.last_token.replace(now) {
            None => observer.first_token(now.saturating_sub(arrived)),
            Some(last) => observer.next_token(now.saturating_sub(last)),
        }
        Some((job, sampled))
    }

    /// The earliest deadline of its jobs.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.waiters.iter().filter_map(|waiter| waiter.deadline).min()
    }

    /// The job of a sequence that generates. No other joins one, and its client may have left.
    pub(super) fn only_waiter(&self) -> Option<&Waiter> {
        self.waiters.first()
    }
}

/// Sequences by id. Ids come from the table itself, from the queue and from what is in flight, so one that is not
/// here is a bug: indexing panics with the id rather than lose a job without a trace.
#[derive(Debug)]
pub(super) struct Sequences<S>(HashMap<SequenceId, Sequence<S>>);

impl<S> Sequences<S> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    pub(super) fn insert(&mut self, sequence: Sequence<S>) {
        let before = self.0.insert(sequence.id, sequence);
        assert!(before.is_none(), "a sequence has the id of another");
    }

    /// Looks up an id whose sequence may be gone.
    pub(super) fn get(&self, id: SequenceId) -> Option<&Sequence<S>> {
        self.0.get(&id)
    }

    /// For ids that an engine reports.
    pub(super) fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence<S>> {
        self.0.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: SequenceId) -> Sequence<S> {
        self.0.remove(&id).unwrap_or_else(|| missing(id))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S> Index<SequenceId> for Sequences<S> {
    type Output = Sequence<S>;

    fn index(&self, id: SequenceId) -> &Sequence<S> {
        self.0.get(&id).unwrap_or_else(|| missing(id))
    }
}

impl<S> IndexMut<SequenceId> for Sequences<S> {
    fn index_mut(&mut self, id: SequenceId) -> &mut Sequence<S> {
        self.0.get_mut(&id).unwrap_or_else(|| missing(id))
    }
}

fn missing(id: SequenceId) -> ! {
    panic!("sequence {id} is not in the table")
}
