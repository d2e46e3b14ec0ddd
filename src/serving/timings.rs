//! When a request was in which stage. [`Timings`] belong to the task that serves a request, so that the
//! scorer can note what it knows without knowing who asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

tokio::task_local! {
    static CURRENT: Timings;
}

/// A stage of a request, in the order in which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Parsing the body and making token ids of it.
    Prompt,
    /// Waiting for the engine's first iteration.
    Queue,
    /// In the engine.
    Engine,
    /// From the engine's last output until the response was complete.
    Answer,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Prompt, Self::Queue, Self::Engine, Self::Answer];

    /// The stage's name in `Server-Timing` and in traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Queue => "queue",
            Self::Engine => "engine",
            Self::Answer => "answer",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) start: Instant,
    /// Not before `start`.
    pub(crate) end: Instant,
}

impl Period {
    pub(crate) fn length(self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }

    fn union(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// The stages of one request. Clones share their record.
#[derive(Clone, Default)]
pub(crate) struct Timings(Arc<Mutex<Record>>);

/// What was noted of a request. A stage lasts from its first sequence's start to its last one's end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Record {
    stages: [Option<Period>; Stage::ALL.len()],
    /// Sequences that the engine finished.
    pub(crate) sequences: usize,
    pub(crate) prompt_tokens: usize,
    /// Prompt tokens that were not computed, because a cached or shared prefix had them.
    pub(crate) cached_tokens: usize,
}

impl Record {
    /// When the request was in `stage`, if it was.
    pub(crate) fn stage(&self, stage: Stage) -> Option<Period> {
        self.stages[stage as usize]
    }

    fn add(&mut self, stage: Stage, period: Period) {
        let slot = &mut self.stages[stage as usize];
        *slot = Some(slot.map_or(period, |other| other.union(period)));
    }
}

impl Timings {
    /// Runs the future that serves a request; what it notes goes here.
    pub(crate) async fn scope<T>(&self, request: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), request).await
    }

    /// The current request's timings; a detached value outside a request.
    pub(crate) fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Notes a stage that ends now.
    pub(crate) fn add(&self, stage: Stage, start: Instant) {
        self.update(|record| record.add(stage, Period { start, end: Instant::now() }));
    }

    /// Notes a sequence that the engine has finished just now, after `queue` of waiting and `engine` of work.
    /// `tokens` are those of its prompt, and how many of them were cached.
    pub(crate) fn add_sequence(&self, tokens: (usize, usize), queue: Duration, engine: Duration) {
        let end = Instant::now();
        let start = end.checked_sub(engine).unwrap_or(end);
        let queued = start.checked_sub(queue).unwrap_or(start);
        self.update(|record| {
            record.add(Stage::Queue, Period { start: queued, end: start });
            record.add(Stage::Engine, Period { start, end });
            record.sequences += 1;
            record.prompt_tokens += tokens.0;
            record.cached_tokens += tokens.1;
        });
    }

    /// What was noted until now.
    pub(crate) fn read(&self) -> Record {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the response's stage: from the engine's end until now.
    pub(crate) fn answer_complete(&self) {
        if let Some(engine) = self.read().stage(Stage::Engine) {
            self.add(Stage::Answer, engine.end);
        }
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_of_many_sequences_lasts_from_the_first_to_the_last() {
        let timings = Timings::default();
        assert_eq!(timings.read().stage(Stage::Engine), None);
        let second = Duration::from_secs(1);
        timings.add_sequence((7, 2), second, second);
        timings.add_sequence((5, 0), second, 3 * second);
        let record = timings.read();
        assert_eq!((record.sequences, record.prompt_tokens, record.cached_tokens), (2, 12, 2));
        let engine = record.stage(Stage::Engine).unwrap().length();
        assert!(engine >= 3 * second && engine < 4 * second, "{engine:?}");
    }
}
