//! From a conversation to its scores: the way that every route for rewards takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::timeline::Timeline;
use super::{ApiError, Model};
use crate::config::OverloadStatus;
use crate::engine::Limits;
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::{EncodeOptions, Encoder, Fit, Message, Prompt, Truncated, Truncation};
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

/// What is done about a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What is done.
    pub truncation: Truncation,
    /// How long it may be; as long as the engine takes unless it says less.
    pub tokens: Option<usize>,
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
    /// What was cut off it, if anything.
    pub truncated: Option<Truncated>,
    /// Those of them that were not computed for it.
    pub cached_tokens: usize,
    /// Time until its first iteration.
    pub queue_time: Duration,
    /// Time from there until its output.
    pub inference_time: Duration,
}

impl Scored {
    /// With the scores that `model` has.
    pub fn of(self, model: Model<'_>) -> Self {
        Self { scores: model.select(self.scores), ..self }
    }
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

    /// What makes token ids.
    pub(super) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What the engine can hold.
    pub fn limits(&self) -> Limits {
        self.scheduler.limits()
    }

    /// Token ids of a conversation, cut if it is too long and `cut` says so. Takes time in proportion
    /// to its length.
    ///
    /// # Errors
    /// The template refuses it, or what must stay of it is too long.
    pub fn encode(&self, messages: &[Message], cut: Cut) -> Result<Prompt, ApiError> {
        Ok(self.encoder.encode_within(messages, EncodeOptions::default(), self.fit(cut))?)
    }

    /// Token ids of a text that was templated already, cut likewise.
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_templated(&self, text: &str, cut: Cut) -> Result<Prompt, ApiError> {
        Ok(self.encoder.encode_templated_within(text, self.fit(cut))?)
    }

    /// Token ids, cut likewise.
    pub fn cut(&self, tokens: Vec<u32>, cut: Cut) -> Prompt {
        self.encoder.cut(tokens, self.fit(cut))
    }

    /// Whether a text was templated already: it spells a control token.
    pub fn is_templated(&self, text: &str) -> bool {
        self.encoder.is_templated(text)
    }

    fn fit(&self, cut: Cut) -> Fit {
        let longest = self.limits().longest();
        Fit { limit: cut.tokens.map_or(longest, |tokens| tokens.min(longest)), truncation: cut.truncation }
    }

    /// Scores of a tokenized conversation. Dropping the future cancels the work.
    ///
    /// # Errors
    /// It was refused, the engine failed, or its output is no score.
    pub async fn score(&self, prompt: Prompt, urgency: Urgency) -> Result<Scored, ApiError> {
        self.submit(prompt, urgency)?.await
    }

    /// Scores of many, in their order: all are with the scheduler before the first is waited for, so
    /// that what they share is computed once. What could not be encoded stays the error that it is.
    pub async fn score_all(
        &self,
        prompts: impl IntoIterator<Item = Result<Prompt, ApiError>>,
        urgency: Urgency,
    ) -> Vec<Result<Scored, ApiError>> {
        let submitted: Vec<_> = prompts
            .into_iter()
            .map(|prompt| prompt.and_then(|prompt| self.submit(prompt, urgency)))
            .collect();
        join_all(submitted.into_iter().map(async |submitted| submitted?.await)).await
    }

    /// Hands a text to the scheduler at once; what it gives resolves to the scores.
    fn submit(
        &self,
        prompt: Prompt,
        urgency: Urgency,
    ) -> Result<impl Future<Output = Result<Scored, ApiError>>, ApiError> {
        let Prompt { tokens, truncated } = prompt;
        let prompt_tokens = tokens.len();
        let job = Job {
            work: Work::Score { read: self.head.read(&tokens)? },
            tokens: tokens.into(),
            priority: urgency.priority,
            deadline: urgency.timeout.and_then(|timeout| urgency.arrived.checked_add(timeout)),
        };
        let refused = |rejection| ApiError::Rejected(rejection, self.overload);
        let ticket = self.scheduler.submit(job).map_err(refused)?;
        Ok(async move { self.scored(ticket.await.map_err(refused)?, prompt_tokens, truncated, urgency) })
    }

    fn scored(
        &self,
        completed: Completed,
        prompt_tokens: usize,
        truncated: Option<Truncated>,
        urgency: Urgency,
    ) -> Result<Scored, ApiError> {
        let scored = Scored {
            scores: self.scores(&completed.output)?,
            score_options: self.head.options().cloned(),
            prompt_tokens,
            truncated,
            cached_tokens: completed.cached_tokens,
            queue_time: completed.queue_time,
            inference_time: completed.engine_time,
        };
        let tokens = (prompt_tokens, scored.cached_tokens);
        Timeline::current().answered(tokens, scored.queue_time, scored.inference_time);
        self.metrics.answered(Answered {
            scores: &self.head.counted(&scored.scores),
            prompt_tokens,
            truncated,
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
