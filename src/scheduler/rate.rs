//! How fast the queue drains.

use std::time::Duration;

/// Seconds over which an observation loses its weight.
const MEMORY: f64 = 10.0;

/// How much longer than estimated work may take before a deadline is missed for it.
const CAUTION: f64 = 1.05;

/// Tokens per second that iterations finish, those taken from the prefix tree included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DrainRate {
    tokens: f64,
    seconds: f64,
    known: bool,
}

impl DrainRate {
    /// An iteration finished `tokens` in `elapsed`. If it was small (`telling` is false), it shows only that the rate is
    /// not lower.
    pub(super) fn observe(&mut self, tokens: usize, elapsed: Duration, telling: bool) {
        let (tokens, seconds) = (tokens as f64, elapsed.as_secs_f64());
        if !telling && tokens * self.seconds <= self.tokens * seconds {
            return;
        }
        self.known |= telling;
        let kept = (-seconds / MEMORY).exp();
        self.tokens = self.tokens * kept + tokens;
        self.seconds = self.seconds * kept + seconds;
    }

    /// How long `tokens` take, judging by small iterations too.
    pub(super) fn guess(&self, tokens: usize) -> Option<Duration> {
        let seconds = tokens as f64 * self.seconds / self.tokens;
        // NaN before the first observation.
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How long `tokens` take; known once an iteration was large.
    pub(super) fn estimate(&self, tokens: usize) -> Option<Duration> {
        self.known.then(|| self.guess(tokens)).flatten()
    }

    /// How long `tokens` take at most; known once an iteration was large.
    pub(super) fn upper_estimate(&self, tokens: usize) -> Option<Duration> {
        self.estimate(tokens).map(|time| time.mul_f64(CAUTION))
    }

    /// How long a job of `tokens` tokens takes once the engine is free, with `ahead` tokens before it and at most
    /// `max_num_tokens` in an iteration, if its answer is of use for `time`; known once an iteration was large.
    ///
    /// A job is answered at the end of the iteration that computes its last token. So there must be time for the rest of
    /// that iteration when the job's turn comes; otherwise, under overload, every job would start slightly too late. If
    /// iterations are long compared with the job's time, a quarter of its time has to be enough, because its deadline then
    /// shortens the iteration.
    pub(super) fn time_to_answer(
        &self,
        ahead: usize,
        tokens: usize,
        max_num_tokens: usize,
        time: Duration,
    ) -> Option<Duration> {
        let work = ahead + tokens;
        let rest = if ahead > 0 { work.next_multiple_of(max_num_tokens) - work } else { 0 };
        Some(self.estimate(work)? + self.estimate(rest)?.min(time / 4))
    }

    /// Tokens that are computed within `time` at least; known once an iteration was large.
    pub(super) fn tokens_within(&self, time: Duration) -> Option<usize> {
        self.known.then(|| (time.as_secs_f64() / CAUTION * self.tokens / self.seconds) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_iterations_do_not_lower_the_rate() {
        let mut rate = DrainRate::default();
        assert_eq!(rate.guess(1), None);
        rate.observe(1000, Duration::from_secs(1), true);
        rate.observe(10, Duration::from_secs(1), false);
        assert_eq!(rate.estimate(500), Some(Duration::from_millis(500)));
    }

    #[test]
    fn the_rate_follows_the_engine() {
        let mut rate = DrainRate::default();
        for _ in 0..20 {
            rate.observe(1000, Duration::from_secs(1), true);
        }
        for _ in 0..40 {
            rate.observe(100, Duration::from_secs(1), true);
        }
        let second = rate.estimate(100).unwrap().as_secs_f64();
        assert!((0.8..1.0).contains(&second), "{second}");
    }
}
