//! When a request was at which stage: for `Server-Timing`, for traces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;

tokio::task_local! {
    static CURRENT: Timeline;
}

/// A stage of a request, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Parsing the body and making tokens of it.
    Prompt,
    /// Waiting for the engine's first iteration.
    Queue,
    /// In the engine.
    Engine,
    /// From the engine's last output until the answer was complete.
    Answer,
}

impl Stage {
    /// All of them, in the order in which they begin.
    pub(super) const ALL: [Self; 4] = [Self::Prompt, Self::Queue, Self::Engine, Self::Answer];

    /// What it is called outside.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Queue => "queue",
            Self::Engine => "engine",
            Self::Answer => "answer",
        }
    }
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Its begin.
    pub(super) begin: Instant,
    /// Its end, not before.
    pub(super) end: Instant,
}

impl Period {
    fn length(self) -> Duration {
        self.end.saturating_duration_since(self.begin)
    }

    fn with(self, other: Self) -> Self {
        Self { begin: self.begin.min(other.begin), end: self.end.max(other.end) }
    }
}

/// The stages of one request. Cheap to clone: all clones are the same.
#[derive(Clone, Default)]
pub(super) struct Timeline(Arc<Mutex<Record>>);

/// What a timeline holds: each stage from the first sequence's begin to the last one's end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Record {
    stages: [Option<Period>; Stage::ALL.len()],
    /// Sequences that the engine answered.
    pub(super) sequences: usize,
    /// Their tokens.
    pub(super) prompt_tokens: usize,
    /// Those of them that were not computed.
    pub(super) cached_tokens: usize,
}

impl Record {
    /// When it was at `stage`, if it was.
    pub(super) fn stage(&self, stage: Stage) -> Option<Period> {
        self.stages[stage as usize]
    }

    fn add(&mut self, stage: Stage, period: Period) {
        let slot = &mut self.stages[stage as usize];
        *slot = Some(slot.map_or(period, |other| other.with(period)));
    }

    /// The stages in milliseconds, in the form of the header `Server-Timing`; none if there is none.
    pub(super) fn server_timing(&self) -> Option<HeaderValue> {
        let stages = Stage::ALL.iter().filter_map(|&stage| {
            let milliseconds = self.stage(stage)?.length().as_secs_f64() * 1e3;
            Some(format!("{};dur={milliseconds:.3}", stage.name()))
        });
        let text = stages.collect::<Vec<_>>().join(", ");
        HeaderValue::try_from(text).ok().filter(|text| !text.is_empty())
    }
}

impl Timeline {
    /// Runs a request whose stages are noted here.
    pub(super) async fn of<T>(&self, request: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), request).await
    }

    /// That of the request that this task answers; one that nobody reads where it answers none.
    pub(super) fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Notes a stage that ends now.
    pub(super) fn ended(&self, stage: Stage, begin: Instant) {
        self.record(|record| record.add(stage, Period { begin, end: Instant::now() }));
    }

    /// Notes a sequence that the engine has answered just now, after `queue` of waiting and `engine` of work.
    pub(super) fn answered(&self, tokens: (usize, usize), queue: Duration, engine: Duration) {
        let end = Instant::now();
        let begin = end.checked_sub(engine).unwrap_or(end);
        let queued = begin.checked_sub(queue).unwrap_or(begin);
        self.record(|record| {
            record.add(Stage::Queue, Period { begin: queued, end: begin });
            record.add(Stage::Engine, Period { begin, end });
            record.sequences += 1;
            record.prompt_tokens += tokens.0;
            record.cached_tokens += tokens.1;
        });
    }

    /// What was noted until now.
    pub(super) fn read(&self) -> Record {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the answer's stage: from the engine's end until now.
    pub(super) fn answer_complete(&self) {
        if let Some(engine) = self.read().stage(Stage::Engine) {
            self.ended(Stage::Answer, engine.end);
        }
    }

    fn record(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_of_many_sequences_lasts_from_the_first_to_the_last() {
        let timeline = Timeline::default();
        assert_eq!(timeline.read().server_timing(), None);
        let second = Duration::from_secs(1);
        timeline.answered((7, 2), second, second);
        timeline.answered((5, 0), second, 3 * second);
        let record = timeline.read();
        assert_eq!((record.sequences, record.prompt_tokens, record.cached_tokens), (2, 12, 2));
        let engine = record.stage(Stage::Engine).unwrap().length();
        assert!(engine >= 3 * second && engine < 4 * second, "{engine:?}");
        let header = record.server_timing().unwrap();
        assert!(header.to_str().unwrap().starts_with("queue;dur="), "{header:?}");
        assert!(header.to_str().unwrap().contains(", engine;dur=3"), "{header:?}");
    }
}
