//! From a conversation to its scores: the way that every route for rewards takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::ApiError;
use crate::config::OverloadStatus;
use crate::engine::Limits;
use crate::engine::score_options::ScoreOptions;
use crate::prompt::{EncodeOptions, Encoder, Message};
use crate::reward::{Head, RewardError, Scores};
use crate::scheduler::{Completed, Handle, Job, Output, Priority, Work};
use crate::telemetry::{Answered, Metrics};

/// A loaded engine with all that stands before and behind it.
pub struct Scorer {
    encoder: Encoder,
    head: Head,
    scheduler: Handle,
    metrics: Arc<Metrics>,
    overload: OverloadStatus,
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// When it arrived.
    pub arrived: Instant,
    /// Its class.
    pub priority: Priority,
    /// How long after arrival its answer is of use.
    pub timeout: Option<Duration>,
}

/// A conversation's scores and what they cost.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The scores.
    pub scores: Scores,
    /// What was done to them, if anything.
    pub score_options: Option<ScoreOptions>,
    /// Tokens of the conversation.
    pub prompt_tokens: usize,
    /// Those of them that were not computed for it.
    pub cached_tokens: usize,
    /// Time until its first iteration.
    pub queue_time: Duration,
    /// Time from there until its output.
    pub inference_time: Duration,
}

impl Scorer {
    /// Puts the parts together.
    pub fn new(
        encoder: Encoder,
        head: Head,
        scheduler: Handle,
        metrics: Arc<Metrics>,
        overload: OverloadStatus,
    ) -> Self {
        Self { encoder, head, scheduler, metrics, overload }
    }

    /// Whether requests can be answered.
    pub fn ready(&self) -> bool {
        self.scheduler.ready()
    }

    /// What is done to scores, if anything.
    pub fn score_options(&self) -> Option<&ScoreOptions> {
        self.head.options()
    }

    /// What names the scores.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What the engine can hold.
    pub fn limits(&self) -> Limits {
        self.scheduler.limits()
    }

    /// Token ids of a conversation. Takes time in proportion to its length.
    ///
    /// # Errors
    /// The template refuses it.
    pub fn encode(&self, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
        Ok(self.encoder.encode(messages, EncodeOptions::default())?)
    }

    /// Scores of a tokenized conversation. Dropping the future cancels the work.
    ///
    /// # Errors
    /// It was refused, the engine failed, or its output is no score.
    pub async fn score(&self, tokens: Vec<u32>, urgency: Urgency) -> Result<Scored, ApiError> {
        self.submit(tokens, urgency)?.await
    }

    /// Scores of many, in their order: all are with the scheduler before the first is waited for, so
    /// that what they share is computed once. What could not be encoded stays the error that it is.
    pub async fn score_all(
        &self,
        texts: impl IntoIterator<Item = Result<Vec<u32>, ApiError>>,
        urgency: Urgency,
    ) -> Vec<Result<Scored, ApiError>> {
        let submitted: Vec<_> =
            texts.into_iter().map(|tokens| tokens.and_then(|tokens| self.submit(tokens, urgency))).collect();
        join_all(submitted.into_iter().map(async |submitted| submitted?.await)).await
    }

    /// Hands a text to the scheduler at once; what it gives resolves to the scores.
    fn submit(
        &self,
        tokens: Vec<u32>,
        urgency: Urgency,
    ) -> Result<impl Future<Output = Result<Scored, ApiError>>, ApiError> {
        let prompt_tokens = tokens.len();
        let job = Job {
            work: Work::Score { read: self.head.read(&tokens)? },
            tokens: tokens.into(),
            priority: urgency.priority,
            deadline: urgency.timeout.and_then(|timeout| urgency.arrived.checked_add(timeout)),
        };
        let refused = |rejection| ApiError::Rejected(rejection, self.overload);
        let ticket = self.scheduler.submit(job).map_err(refused)?;
        Ok(async move { self.scored(ticket.await.map_err(refused)?, prompt_tokens, urgency) })
    }

    fn scored(
        &self,
        completed: Completed,
        prompt_tokens: usize,
        urgency: Urgency,
    ) -> Result<Scored, ApiError> {
        let scored = Scored {
            scores: self.scores(&completed.output)?,
            score_options: self.head.options().cloned(),
            prompt_tokens,
            cached_tokens: completed.cached_tokens,
            queue_time: completed.queue_time,
            inference_time: completed.engine_time,
        };
        self.metrics.answered(Answered {
            scores: &self.head.counted(&scored.scores),
            prompt_tokens,
            queue_time: scored.queue_time,
            inference_time: scored.inference_time,
            elapsed: urgency.arrived.elapsed(),
        });
        Ok(scored)
    }

    fn scores(&self, output: &Output) -> Result<Scores, ApiError> {
        let Output::Logits(logits) = output else {
            return Err(ApiError::Internal("the engine answered a score with tokens".into()));
        };
        self.head.scores(logits).map_err(|error| {
            if matches!(error, RewardError::NotFinite { .. }) {
                self.metrics.non_finite();
            }
            error.into()
        })
    }
}
