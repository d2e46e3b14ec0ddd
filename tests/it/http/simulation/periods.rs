//! When what an operator changes was in force.

use std::sync::Mutex;
use std::time::Instant;

/// Values, each with the time from when and until when it was in force. Periods overlap while the server reads the change.
pub(super) struct Periods<T>(Mutex<Vec<(Instant, Option<Instant>, T)>>);

impl<T: Copy> Periods<T> {
    /// A value that is in force from now on.
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(vec![(Instant::now(), None, value)]))
    }

    /// The value replaced the one before, between `start` and now.
    pub(super) fn replace(&self, start: Instant, value: T) {
        let mut periods = self.0.lock().unwrap();
        if let Some((_, end, _)) = periods.last_mut() {
            *end = Some(Instant::now());
        }
        periods.push((start, None, value));
    }

    /// The values that were in force at some time from `start` to `end`.
    pub(super) fn during(&self, start: Instant, end: Instant) -> Vec<T> {
        let periods = self.0.lock().unwrap();
        let overlapping = periods
            .iter()
            .filter(|(from, until, _)| *from <= end && until.is_none_or(|until| start <= until));
        overlapping.map(|(_, _, value)| *value).collect()
    }
}
