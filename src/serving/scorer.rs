//! [`Scorer`]: a loaded reward model.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::timings::Timings;
use super::{Scorable, Scored, ServingError};
use crate::engine::Limits;
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::{EncodeOptions, Encoder, Fit, FollowUp, Message, Truncation};
use crate::reward::{Head, RewardError, Scores};
use crate::scheduler::{Completed, Handle, Job, Output, Priority, Rejection, Ticket, Work};
use crate::telemetry::{Answered, Metrics};

/// A loaded reward model: its encoder, its head and the scheduler of its engine.
pub struct Scorer {
    encoder: Arc<Encoder>,
    head: Head,
    /// Whether the engine gives the logits of the whole vocabulary.
    vocabulary: bool,
    /// How a judge's questions follow conversations that clients have rendered, if they can; found on first use.
    follow_up: OnceLock<Option<FollowUp>>,
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
    /// How long after its arrival the result is of use.
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
    /// Maximum number of tokens that it may have; as many as the engine takes if not set.
    pub tokens: Option<usize>,
}

impl Scorer {
    /// A scorer on the engine that `scheduler` runs.
    pub fn new(
        encoder: impl Into<Arc<Encoder>>,
        head: Head,
        scheduler: Handle,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (encoder, follow_up) = (encoder.into(), OnceLock::new());
        Self { encoder, head, vocabulary: false, follow_up, scheduler, metrics }
    }

    /// The same on an engine that gives the logits of the whole vocabulary.
    #[must_use]
    pub fn with_vocabulary(self) -> Self {
        Self { vocabulary: true, ..self }
    }

    pub(super) fn has_vocabulary(&self) -> bool {
        self.vocabulary
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

    /// How a judge's questions follow conversations that clients have rendered, if they can.
    pub(super) fn follow_up(&self) -> Option<&FollowUp> {
        self.follow_up.get_or_init(|| self.encoder.follow_up()).as_ref()
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
    pub fn encode(&self, messages: &[Message], policy: LengthPolicy) -> Result<Scorable, ServingError> {
        self.encode_with(messages, EncodeOptions::default(), policy)
    }

    /// The same, with other ends of the prompt, or with variables for the chat template. The prompts of a judge all end
    /// where its answer starts, and are never cut.
    ///
    /// # Errors
    /// As [`Scorer::encode`], and the last message cannot be continued.
    pub fn encode_with(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        policy: LengthPolicy,
    ) -> Result<Scorable, ServingError> {
        if self.head.judge().is_some() {
            return self.encode_questions(messages, options, &self.head, None);
        }
        if let Some(last) = messages.last().filter(|message| message.role == "assistant") {
            self.head.check_last_step(&last.content)?;
        }
        Ok(self.encoder.encode_within(messages, options, self.fit(policy))?.into())
    }

    /// The start of a message's text that has `most` tokens, and how many tokens are left out.
    ///
    /// # Errors
    /// The text cannot be encoded.
    pub(crate) fn first_tokens(&self, text: String, most: usize) -> Result<(String, usize), ServingError> {
        Ok(self.encoder.first_tokens(text, most)?)
    }

    /// Token ids of a text that was templated already, cut as by [`Scorer::encode`]. A judge's questions follow it.
    ///
    /// # Errors
    /// The text is empty, or the model judges and cannot put a question after it.
    pub fn encode_templated(&self, text: &str, policy: LengthPolicy) -> Result<Scorable, ServingError> {
        if let Some(judge) = self.head.judge() {
            return self.encode_follow_ups(text, judge);
        }
        self.encoder.check_size(text, self.fit(policy))?;
        self.cut(self.encoder.encode_templated(text)?, policy)
    }

    /// Token ids of a text to which nothing is added, cut as by [`Scorer::encode`].
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_text(&self, text: &str, policy: LengthPolicy) -> Result<Scorable, ServingError> {
        self.encoder.check_size(text, self.fit(policy))?;
        self.cut(self.encoder.encode_text(text)?, policy)
    }

    /// A prompt of token ids, cut as by [`Scorer::encode`].
    ///
    /// # Errors
    /// The model takes conversations only, or the last step has no end.
    pub fn cut(&self, tokens: Vec<u32>, policy: LengthPolicy) -> Result<Scorable, ServingError> {
        self.check_takes_texts()?;
        self.check_last_step(&tokens)?;
        Ok(self.encoder.cut(tokens, self.fit(policy)).into())
    }

    /// Whether a text was templated already: it spells a control token.
    pub fn is_templated(&self, text: &str) -> bool {
        self.encoder.is_templated(text)
    }

    /// Checks that a text can be scored.
    ///
    /// # Errors
    /// It is too long, or lacks the tokens at which the model is read.
    pub(crate) fn check(&self, text: &Scorable) -> Result<(), ServingError> {
        let max_seq_len = self.limits().longest();
        for tokens in text.prompts() {
            if tokens.len() > max_seq_len {
                return Err(Rejection::TooLong { tokens: tokens.len(), max_seq_len }.into());
            }
            self.positions(text, tokens)?;
        }
        Ok(())
    }

    /// The head that scores a text.
    pub(super) fn head_of<'a>(&'a self, text: &'a Scorable) -> &'a Head {
        text.rubric().map_or(&self.head, |rubric| rubric)
    }

    pub(super) fn fit(&self, policy: LengthPolicy) -> Fit {
        let longest = self.limits().longest();
        let limit = policy.tokens.map_or(longest, |tokens| tokens.min(longest));
        Fit { limit, truncation: policy.truncation }
    }

    /// Scores of a tokenized conversation. Dropping the future cancels the work.
    ///
    /// # Errors
    /// The scheduler refused it, the engine failed, or its output is not a score.
    pub async fn score(
        &self,
        text: impl Into<Scorable>,
        scheduling: Scheduling,
    ) -> Result<Scored, ServingError> {
        self.submit(&text.into(), false, scheduling)?.await
    }

    /// Hands a tokenized conversation to the scheduler at once; the future resolves to its scores. Submit all of
    /// several before waiting for the first, so that what they share is computed once.
    ///
    /// With `each_token` there are also scores at each token: a head that
    /// [scores any token](Head::scores_any_token) is needed. Such a text takes nothing from the prefix cache.
    ///
    /// # Errors
    /// As [`Scorer::score`]; an error here means that the scheduler never had it.
    pub(crate) fn submit(
        &self,
        text: &Scorable,
        each_token: bool,
        scheduling: Scheduling,
    ) -> Result<impl Future<Output = Result<Scored, ServingError>> + use<'_>, ServingError> {
        let (mut tickets, mut positions) = (Vec::new(), Arc::from([]));
        for tokens in text.prompts() {
            let read: Arc<[usize]> =
                if each_token { (0..tokens.len()).collect() } else { self.positions(text, tokens)? };
            positions = read.clone();
            let job =
                Job { work: Work::Score { read }, tokens: tokens.clone(), priority: scheduling.priority };
            tickets.push(self.scheduler.submit(job, scheduling.deadline())?);
        }
        let text = text.clone();
        Ok(async move {
            let completed = completed(tickets).await?;
            self.scored(&text, &completed, (positions, each_token), scheduling)
        })
    }

    fn scored(
        &self,
        text: &Scorable,
        completed: &Completed,
        (positions, each_token): (Arc<[usize]>, bool),
        scheduling: Scheduling,
    ) -> Result<Scored, ServingError> {
        let head = self.head_of(text);
        let Output::Logits(logits) = &completed.output else {
            unreachable!("the scheduler answered a score with tokens")
        };
        let (scores, tokens) = self.scores(head, logits, each_token.then_some(positions.len()))?;
        let scored = Scored {
            scores,
            positions,
            tokens,
            answer_mass: head.answer_mass(logits)?,
            score_options: head.options().cloned(),
            prompt_tokens: text.len(),
            truncated: text.truncated(),
            rubric: text.rubric().cloned(),
            cached_tokens: completed.cached_tokens,
            queue_time: completed.queue_time,
            inference_time: completed.engine_time,
        };
        let (prompt_tokens, cached_tokens) = (scored.prompt_tokens, scored.cached_tokens);
        Timings::current().add_sequence(
            (prompt_tokens, cached_tokens),
            scored.queue_time,
            scored.inference_time,
        );
        // Requests name the items of their rubrics as they like, and a metric has one series per name.
        let counted = if text.rubric().is_some() { Cow::default() } else { head.counted(&scored.scores) };
        self.metrics.answered(Answered {
            scores: &counted,
            prompt_tokens,
            truncated: scored.truncated,
            queue_time: scored.queue_time,
            inference_time: scored.inference_time,
            elapsed: scheduling.arrived.elapsed(),
        });
        Ok(scored)
    }

    /// The scores, and those at each of `positions` tokens if the outputs are of that many.
    fn scores(
        &self,
        head: &Head,
        logits: &[f32],
        positions: Option<usize>,
    ) -> Result<(Scores, Vec<Scores>), ServingError> {
        let scores = match positions {
            None => head.scores(logits).map(|scores| (scores, Vec::new())),
            Some(count) => head.scores_at_each(logits, count),
        };
        if let Err(RewardError::NotFinite { .. }) = scores {
            self.metrics.non_finite();
        }
        Ok(scores?)
    }
}

/// The outputs of several jobs as those of one: one after the other, with the longest times.
async fn completed(tickets: Vec<Ticket>) -> Result<Completed, ServingError> {
    let mut whole: Option<Completed> = None;
    let mut outputs = Vec::new();
    let single = tickets.len() == 1;
    for ticket in tickets {
        let next = ticket.await?;
        if single {
            return Ok(next);
        }
        if let Output::Logits(logits) = &next.output {
            outputs.extend_from_slice(logits);
        }
        whole = Some(match whole {
            None => next,
            Some(whole) => Completed {
                cached_tokens: whole.cached_tokens + next.cached_tokens,
                queue_time: whole.queue_time.min(next.queue_time),
                engine_time: whole.engine_time.max(next.engine_time),
                output: whole.output,
            },
        });
    }
    let whole = whole.ok_or(Rejection::Empty)?;
    Ok(Completed { output: Output::Logits(outputs.into()), ..whole })
}
