//! Time limits of the sequences that the library holds.
//!
//! The library has a limit of its own, but starts its clock only when it fetches a request from its queue
//! (`LlmRequest::initialize`), so a sequence in the queue would never time out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::engine::SequenceId;

/// Deadlines of sequences, each the same time after its start.
#[derive(Debug, Default)]
pub(super) struct Clock {
    allotted: Option<Duration>,
    /// Ordered by deadline. Sequences that have finished are removed when their turn comes.
    deadlines: VecDeque<(Instant, SequenceId)>,
    running: HashMap<SequenceId, Instant>,
    expired: HashSet<SequenceId>,
}

impl Clock {
    /// A clock that gives each sequence this long.
    pub(super) fn new(allotted: Option<Duration>) -> Self {
        Self { allotted, ..Self::default() }
    }

    /// The library gets a sequence.
    pub(super) fn start(&mut self, sequence: SequenceId, now: Instant) {
        if let Some(end) = self.allotted.and_then(|allotted| now.checked_add(allotted)) {
            self.deadlines.push_back((end, sequence));
            self.running.insert(sequence, end);
        }
    }

    /// The library is done with a sequence.
    pub(super) fn end(&mut self, sequence: SequenceId) {
        self.running.remove(&sequence);
        self.expired.remove(&sequence);
    }

    /// The sequences that have timed out since the last call.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<SequenceId> {
        let mut expired = Vec::new();
        while let Some(&(end, sequence)) = self.deadlines.front() {
            let runs = self.running.get(&sequence) == Some(&end);
            if runs && end > now {
                break;
            }
            self.deadlines.pop_front();
            if runs {
                self.running.remove(&sequence);
                self.expired.insert(sequence);
                expired.push(sequence);
            }
        }
        expired
    }

    /// Time until the next sequence may expire.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        self.deadlines.front().map(|(end, _)| end.saturating_duration_since(now))
    }

    /// Whether a sequence that has not ended expired.
    pub(super) fn has_expired(&self, sequence: SequenceId) -> bool {
        self.expired.contains(&sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_sequence_expires_once_unless_it_ended_before() {
        let start = Instant::now();
        let mut clock = Clock::new(Some(2 * SECOND));
        clock.start(1, start);
        clock.start(2, start + SECOND);
        clock.start(3, start + SECOND);
        clock.end(2);
        assert!(clock.expire(start + SECOND).is_empty());
        assert_eq!(clock.next(start + SECOND), Some(SECOND));
        assert_eq!(clock.expire(start + 2 * SECOND), [1]);
        assert!(clock.has_expired(1) && !clock.has_expired(3));
        assert_eq!(clock.expire(start + 5 * SECOND), [3]);
        clock.end(1);
        clock.end(3);
        assert!(!clock.has_expired(1));
        assert_eq!((clock.expire(start + 9 * SECOND), clock.next(start)), (vec![], None));
    }

    #[test]
    fn without_a_limit_nothing_expires() {
        let start = Instant::now();
        let mut clock = Clock::new(None);
        clock.start(1, start);
        assert_eq!((clock.expire(start + SECOND), clock.next(start)), (vec![], None));
    }
}
