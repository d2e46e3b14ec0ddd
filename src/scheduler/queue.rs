//! Priority queue of waiting sequences.
//!
//! The order is fixed at arrival: the time of arrival plus a handicap for lower classes. So higher classes go first,
//! nothing starves, and a decision takes logarithmic time. A plan may have no room for one kind of sequence while
//! others may go on, so each kind has a lane.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::engine::{Priority, SequenceId};

/// A sequence's place in the order; the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Microseconds on the scheduler's clock.
    due: i64,
    sequence: SequenceId,
}

impl Key {
    pub(super) fn new(arrived: Duration, priority: Priority, ageing: Duration, sequence: SequenceId) -> Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let due = micros(arrived).saturating_add(micros(ageing).saturating_mul(i64::from(priority.0)));
        Self { due, sequence }
    }

    pub(super) fn sequence(self) -> SequenceId {
        self.sequence
    }
}

/// What kind of sequence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) generates: bool,
    /// Whether its prompt is computed in chunks while others wait.
    pub(super) long: bool,
}

impl Lane {
    fn index(self) -> usize {
        usize::from(self.generates) * 2 + usize::from(self.long)
    }

    const ALL: [Self; 4] = [
        Self { generates: false, long: false },
        Self { generates: false, long: true },
        Self { generates: true, long: false },
        Self { generates: true, long: true },
    ];
}

/// A sequence in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) lane: Lane,
    pub(super) priority: Priority,
    /// The longest that it may become.
    pub(super) tokens: usize,
}

/// The waiting sequences.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [BTreeSet<Key>; 4],
    classes: BTreeMap<Priority, PriorityClass>,
    total: usize,
}

/// What waits of one priority class.
#[derive(Debug, Default)]
struct PriorityClass {
    order: BTreeSet<Key>,
    tokens: usize,
}

impl Queue {
    pub(super) fn insert(&mut self, entry: Entry) {
        let new = self.lanes[entry.lane.index()].insert(entry.key);
        debug_assert!(new, "sequence {} is in the queue twice", entry.key.sequence);
        let class = self.classes.entry(entry.priority).or_default();
        class.order.insert(entry.key);
        class.tokens += entry.tokens;
        self.total += entry.tokens;
    }

    pub(super) fn remove(&mut self, entry: Entry) {
        let found = self.lanes[entry.lane.index()].remove(&entry.key);
        debug_assert!(found, "sequence {} is not in the queue", entry.key.sequence);
        if let Some(class) = self.classes.get_mut(&entry.priority) {
            class.order.remove(&entry.key);
            class.tokens -= entry.tokens;
            if class.order.is_empty() {
                self.classes.remove(&entry.priority);
            }
        }
        self.total -= entry.tokens;
    }

    /// The first sequence in any of the lanes that `may_go` allows.
    pub(super) fn first(&self, may_go: impl Fn(Lane) -> bool) -> Option<SequenceId> {
        let heads = Lane::ALL.into_iter().filter(|lane| may_go(*lane));
        heads.filter_map(|lane| self.lanes[lane.index()].first()).min().map(|key| key.sequence)
    }

    /// Waiting tokens.
    pub(super) fn tokens(&self) -> usize {
        self.total
    }

    /// Waiting tokens of a class and of those ahead of it.
    pub(super) fn tokens_up_to(&self, priority: Priority) -> usize {
        self.classes.range(..=priority).map(|(_, class)| class.tokens).sum()
    }

    /// Waiting tokens of each class.
    pub(super) fn tokens_by_class(&self) -> Vec<(Priority, usize)> {
        self.classes.iter().map(|(priority, class)| (*priority, class.tokens)).collect()
    }

    /// The sequences of classes below `priority`: the lowest class first, and within it the last in order
    /// first.
    pub(super) fn last_below(&self, priority: Priority) -> impl Iterator<Item = SequenceId> + '_ {
        let lower = self.classes.range((Bound::Excluded(priority), Bound::Unbounded)).rev();
        lower.flat_map(|(_, class)| class.order.iter().rev().map(|key| key.sequence()))
    }

    /// The lowest class that waits.
    pub(super) fn lowest_class(&self) -> Option<Priority> {
        self.classes.last_key_value().map(|(class, _)| *class)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(BTreeSet::is_empty)
    }
}
