//! [`Scorer`]: a loaded reward model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::timings::Timings;
use super::{Model, ServingError};
use crate::engine::Limits;
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::{EncodeOptions, Encoder, Fit, Message, Prompt, Truncated, Truncation};
use crate::reward::{Head, RewardError, Scores};
use crate::scheduler::{Completed, Handle, Job, Output, Priority, Rejection, Work};
use crate::telemetry::{Answered, Metrics};

/// A loaded reward model: its encoder, its head and the scheduler of its engine.
pub struct Scorer {
    encoder: Encoder,
    head: Head,
    scheduler: Handle,
    metrics: Arc<Metrics>,
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug)]
pub struct Scheduling {
    /// When the request arrived.
    pub arrived: Instant,
    /// Its priority class.
    pub priority: Priority,
    /// How long after its arrival the answer is of use.
    pub timeout: Option<Duration>,
}

impl Scheduling {
    /// A request that arrives now, of the default priority and without a deadline.
    pub fn now() -> Self {
        Self { arrived: Instant::now(), priority: Priority::default(), timeout: None }
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.arrived.checked_add(timeout))
    }
}

/// What is done about a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LengthPolicy {
    /// Which end of it is cut off, if it is cut.
    pub truncation: Truncation,
    /// Most tokens that it may have; as many as the engine takes if not set.
    pub tokens: Option<usize>,
}

/// A conversation's scores and what they cost.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The scores.
    pub scores: Scores,
    /// The scores at each token, if they were wanted; the last are `scores`.
    pub tokens: Vec<Scores>,
    /// What was done to the scores, if anything.
    pub score_options: Option<ScoreOptions>,
    /// The tokens at which the model was read, by their index.
    pub positions: Arc<[usize]>,
    /// Tokens of the conversation.
    pub prompt_tokens: usize,
    /// What was cut off the conversation, if anything.
    pub truncated: Option<Truncated>,
    /// How many of the tokens were not computed for this conversation: shared or cached.
    pub cached_tokens: usize,
    /// Time until the first iteration.
    pub queue_time: Duration,
    /// Time from there until the engine's output.
    pub inference_time: Duration,
}

impl Scored {
    /// Keeps only the scores that `model` has.
    pub(crate) fn select(&mut self, model: Model<'_>) {
        for scores in std::iter::once(&mut self.scores).chain(&mut self.tokens) {
            model.select(scores);
        }
    }

    /// The same with probabilities in place of logits.
    pub(crate) fn activated(self) -> Self {
        let tokens = self.tokens.into_iter().map(Scores::activated).collect();
        Self { scores: self.scores.activated(), tokens, ..self }
    }
}

impl Scorer {
    /// A scorer on the engine that `scheduler` runs.
    pub fn new(encoder: Encoder, head: Head, scheduler: Handle, metrics: Arc<Metrics>) -> Self {
        Self { encoder, head, scheduler, metrics }
    }

    pub(crate) fn scheduler(&self) -> &Handle {
        &self.scheduler
    }

    /// What is done to scores, if anything.
    pub fn score_options(&self) -> Option<&ScoreOptions> {
        self.head.options()
    }

    /// The head, which names the scores.
    pub fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What the engine can hold.
    pub fn limits(&self) -> Limits {
        self.scheduler.limits()
    }

    /// Token ids of a conversation, cut if it is too long and `policy` says so. Takes time in proportion to
    /// its length.
    ///
    /// # Errors
    /// The template refuses the conversation, what must stay of it is too long, or its last step has no end.
    pub fn encode(&self, messages: &[Message], policy: LengthPolicy) -> Result<Prompt, ServingError> {
        self.encode_with(messages, EncodeOptions::default(), policy)
    }

    /// The same, with other ends of the prompt, or with variables for the chat template.
    ///
    /// # Errors
    /// As [`Scorer::encode`], and the last message cannot be continued.
    pub fn encode_with(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        policy: LengthPolicy,
    ) -> Result<Prompt, ServingError> {
        if let Some(last) = messages.last().filter(|message| message.role == "assistant") {
            self.head.check_last_step(&last.content)?;
        }
        Ok(self.encoder.encode_within(messages, options, self.fit(policy))?)
    }

    /// The start of a message's text that has `most` tokens, and how many tokens are left out.
    ///
    /// # Errors
    /// The text cannot be encoded.
    pub(crate) fn first_tokens(&self, text: String, most: usize) -> Result<(String, usize), ServingError> {
        Ok(self.encoder.first_tokens(text, most)?)
    }

    /// Token ids of a text that was templated already, cut as by [`Scorer::encode`].
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_templated(&self, text: &str, policy: LengthPolicy) -> Result<Prompt, ServingError> {
        Ok(self.encoder.encode_templated_within(text, self.fit(policy))?)
    }

    /// Token ids of a text to which nothing is added, cut as by [`Scorer::encode`].
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_text(&self, text: &str, policy: LengthPolicy) -> Result<Prompt, ServingError> {
        self.encoder.check_size(text, self.fit(policy))?;
        Ok(self.cut(self.encoder.encode_text(text)?, policy))
    }

    /// A prompt of token ids, cut as by [`Scorer::encode`].
    pub fn cut(&self, tokens: Vec<u32>, policy: LengthPolicy) -> Prompt {
        self.encoder.cut(tokens, self.fit(policy))
    }

    /// Whether a text was templated already: it spells a control token.
    pub fn is_templated(&self, text: &str) -> bool {
        self.encoder.is_templated(text)
    }

    /// Checks that a text of these tokens can be scored.
    ///
    /// # Errors
    /// It is too long, or lacks the tokens at which the model is read.
    pub(crate) fn check(&self, tokens: &[u32]) -> Result<(), ServingError> {
        let max_seq_len = self.limits().longest();
        if tokens.len() > max_seq_len {
            return Err(Rejection::TooLong { tokens: tokens.len(), max_seq_len }.into());
        }
        self.head.positions(tokens)?;
        Ok(())
    }

    fn fit(&self, policy: LengthPolicy) -> Fit {
        let longest = self.limits().longest();
        let limit = policy.tokens.map_or(longest, |tokens| tokens.min(longest));
        Fit { limit, truncation: policy.truncation }
    }

    /// Scores of a tokenized conversation. Dropping the future cancels the work.
    ///
    /// # Errors
    /// The scheduler refused it, the engine failed, or its output is not a score.
    pub async fn score(&self, prompt: Prompt, scheduling: Scheduling) -> Result<Scored, ServingError> {
        self.submit(prompt, scheduling)?.await
    }

    /// Hands a tokenized conversation to the scheduler at once; the future resolves to its scores. Submit all of
    /// several before waiting for the first, so that what they share is computed once.
    ///
    /// # Errors
    /// As [`Scorer::score`]; an error here means that the scheduler never had it.
    pub fn submit(
        &self,
        prompt: Prompt,
        scheduling: Scheduling,
    ) -> Result<impl Future<Output = Result<Scored, ServingError>>, ServingError> {
        self.submit_reading(prompt, false, scheduling)
    }

    /// The same, with scores at each token besides if `each_token`: a head that
    /// [scores any token](Head::scores_any_token) is needed. Such a text takes nothing from the prefix cache.
    ///
    /// # Errors
    /// As [`Scorer::submit`].
    pub(crate) fn submit_reading(
        &self,
        prompt: Prompt,
        each_token: bool,
        scheduling: Scheduling,
    ) -> Result<impl Future<Output = Result<Scored, ServingError>>, ServingError> {
        self.submit_shared(prompt.tokens.into(), prompt.truncated, each_token, scheduling)
    }

    /// The same for tokens that the caller keeps, in order to try again if the queue is full.
    ///
    /// # Errors
    /// As [`Scorer::submit`].
    pub(crate) fn submit_shared(
        &self,
        tokens: Arc<[u32]>,
        truncated: Option<Truncated>,
        each_token: bool,
        scheduling: Scheduling,
    ) -> Result<impl Future<Output = Result<Scored, ServingError>> + use<'_>, ServingError> {
        let prompt_tokens = tokens.len();
        let read: Arc<[usize]> =
            if each_token { (0..prompt_tokens).collect() } else { self.head.positions(&tokens)? };
        let positions = read.clone();
        let job = Job { work: Work::Score { read }, tokens, priority: scheduling.priority };
        let ticket = self.scheduler.submit(job, scheduling.deadline())?;
        let read = (positions, each_token);
        Ok(async move { self.scored(&ticket.await?, prompt_tokens, read, truncated, scheduling) })
    }

    fn scored(
        &self,
        completed: &Completed,
        prompt_tokens: usize,
        (positions, each_token): (Arc<[usize]>, bool),
        truncated: Option<Truncated>,
        scheduling: Scheduling,
    ) -> Result<Scored, ServingError> {
        let (scores, tokens) = self.scores(&completed.output, each_token.then_some(positions.len()))?;
        let scored = Scored {
            scores,
            positions,
            tokens,
            score_options: self.head.options().cloned(),
            prompt_tokens,
            truncated,
            cached_tokens: completed.cached_tokens,
            queue_time: completed.queue_time,
            inference_time: completed.engine_time,
        };
        Timings::current().add_sequence(
            (prompt_tokens, scored.cached_tokens),
            scored.queue_time,
            scored.inference_time,
        );
        self.metrics.answered(Answered {
            scores: &self.head.counted(&scored.scores),
            prompt_tokens,
            truncated,
            queue_time: scored.queue_time,
            inference_time: scored.inference_time,
            elapsed: scheduling.arrived.elapsed(),
        });
        Ok(scored)
    }

    /// The scores, and those at each of `positions` tokens if the output has that many.
    fn scores(
        &self,
        output: &Output,
        positions: Option<usize>,
    ) -> Result<(Scores, Vec<Scores>), ServingError> {
        let Output::Logits(logits) = output else {
            unreachable!("the scheduler answered a score with tokens")
        };
        let scores = match positions {
            None => self.head.scores(logits).map(|scores| (scores, Vec::new())),
            Some(count) => self.head.scores_at_each(logits, count),
        };
        if let Err(RewardError::NotFinite { .. }) = scores {
            self.metrics.non_finite();
        }
        Ok(scores?)
    }
}
