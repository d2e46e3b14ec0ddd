//! The scheduler as a state machine: no threads, no clocks, no channels.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Completed, Observer, Options, Output, Priority, Rejection, Work};
use crate::engine::{Chunk, EngineError, Iteration, Limits, Outputs, PrefixSharing};

/// Names a job; grows in the order of arrival.
pub type JobId = u64;

struct Sequence {
    id: JobId,
    tokens: Vec<u32>,
    prompt: usize,
    work: Work,
    deadline: Option<Duration>,
    arrived: Duration,
    started: Duration,
    computed: usize,
    gone: bool,
}

/// The state machine.
pub struct Core {
    limits: Limits,
    options: Options,
    observer: Arc<dyn Observer>,
    waiting: VecDeque<Sequence>,
    running: Option<Sequence>,
    answers: Vec<(JobId, Answer)>,
    closed: Option<Rejection>,
}

impl Core {
    /// An empty one.
    pub fn new(limits: Limits, _: PrefixSharing, options: Options, observer: Arc<dyn Observer>) -> Self {
        Self {
            limits,
            options,
            observer,
            waiting: VecDeque::new(),
            running: None,
            answers: Vec::new(),
            closed: None,
        }
    }

    fn answer(&mut self, id: JobId, answer: Answer) {
        if let Err(rejection) = &answer {
            self.observer.refused(rejection);
        }
        self.answers.push((id, answer));
    }

    /// A job arrives.
    pub fn arrive(
        &mut self,
        now: Duration,
        id: JobId,
        tokens: Arc<[u32]>,
        work: Work,
        _: Priority,
        deadline: Option<Duration>,
    ) {
        if let Some(rejection) = self.closed.clone() {
            return self.answer(id, Err(rejection));
        }
        if self.waiting.len() >= self.options.max_queue_requests {
            let limit = format!("{} requests", self.options.max_queue_requests);
            return self.answer(id, Err(Rejection::QueueFull { limit, retry_after: Duration::from_secs(1) }));
        }
        self.waiting.push_back(Sequence {
            id,
            prompt: tokens.len(),
            tokens: tokens.to_vec(),
            work,
            deadline,
            arrived: now,
            started: now,
            computed: 0,
            gone: false,
        });
    }

    /// A job is no longer wanted.
    pub fn cancel(&mut self, _now: Duration, id: JobId) {
        self.waiting.retain(|sequence| sequence.id != id);
        if let Some(running) = &mut self.running
            && running.id == id
        {
            running.gone = true;
        }
        self.observer.cancelled();
    }

    /// Drops what has expired.
    pub fn expire(&mut self, now: Duration) {
        let (expired, waiting): (Vec<_>, _) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|sequence| sequence.deadline.is_some_and(|deadline| deadline <= now));
        self.waiting = waiting.into();
        for sequence in expired {
            self.answer(sequence.id, Err(Rejection::DeadlineExceeded));
        }
    }

    /// The next iteration, if there is work. Called when the engine is free.
    pub fn plan(&mut self, now: Duration) -> Option<Iteration> {
        if self.running.as_ref().is_none_or(|running| running.gone) {
            self.running = self.waiting.pop_front();
            let running = self.running.as_mut()?;
            running.started = now;
            self.observer.started(now - running.arrived);
        }
        let running = self.running.as_mut()?;
        let position = running.computed;
        let end = running.tokens.len().min(position + self.limits.max_num_tokens);
        let blocks = self.limits.blocks_for(end);
        Some(Iteration {
            token_ids: running.tokens[position..end].to_vec(),
            block_table: (0..blocks as u32).collect(),
            chunks: vec![Chunk {
                sequence: running.id,
                tokens: 0..end - position,
                position,
                blocks: 0..blocks,
                logits: end == running.tokens.len(),
            }],
        })
    }

    /// Plans ahead while an iteration runs.
    pub fn prepare(&mut self, _now: Duration) {}

    /// The iteration that ran has given this.
    pub fn complete(&mut self, now: Duration, outputs: Outputs) -> Result<(), EngineError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.computed = running.tokens.len().min(running.computed + self.limits.max_num_tokens);
        let Some((_, logits)) = outputs.logits.into_iter().next() else {
            self.running = Some(running);
            return Ok(());
        };
        let output = match &running.work {
            Work::Score => Output::Logits(logits.into()),
            Work::Generate { max_tokens, stop } => {
                let token =
                    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i as u32);
                running.tokens.push(token);
                if running.tokens.len() - running.prompt < *max_tokens && !stop.contains(&token) {
                    self.running = Some(running);
                    return Ok(());
                }
                Output::Tokens(running.tokens.split_off(running.prompt))
            }
        };
        if !running.gone {
            let completed = Completed {
                output,
                cached_tokens: 0,
                queue_time: running.started - running.arrived,
                engine_time: now - running.started,
            };
            self.observer.completed(now - running.arrived);
            self.answer(running.id, Ok(completed));
        }
        Ok(())
    }

    /// The engine is lost; what was in flight is answered.
    pub fn fail(&mut self, _now: Duration, rejection: &Rejection) {
        if let Some(running) = self.running.take() {
            self.answer(running.id, Err(rejection.clone()));
        }
    }

    /// The engine runs again.
    pub fn restart(&mut self) {}

    /// Answers everything with a refusal, from now on.
    pub fn refuse_all(&mut self, now: Duration, rejection: &Rejection) {
        self.closed = Some(rejection.clone());
        self.fail(now, rejection);
        for sequence in std::mem::take(&mut self.waiting) {
            self.answer(sequence.id, Err(rejection.clone()));
        }
    }

    /// What there is to answer since the last call.
    pub fn take_answers(&mut self) -> Vec<(JobId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// When to call [`Core::expire`] next.
    pub fn next_wakeup(&self) -> Option<Duration> {
        self.waiting.iter().filter_map(|sequence| sequence.deadline).min()
    }

    /// When the queue should have room.
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_none()
    }
}
