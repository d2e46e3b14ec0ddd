//! One sequence that is being generated for an answer.

use std::sync::Arc;

use crate::api::ApiError;
use crate::config::OverloadStatus;
use crate::sampling::TextStream;
use crate::sampling::{Sampled, Sampling};
use crate::scheduler::{Rejection, Ticket};

/// A sequence on its way. Dropping it cancels the sequence.
pub(super) struct Choice {
    /// Its place in the answer.
    pub(super) index: usize,
    ticket: Option<Ticket>,
    text: TextStream,
    sampling: Arc<Sampling>,
    overload: OverloadStatus,
    generated: usize,
    /// Tokens whose text is held back.
    pending: Vec<Sampled>,
    /// Tokens of the prompt that are still to be looked up.
    to_look_up: usize,
    /// Those that were, until they are told.
    prompt: Vec<Sampled>,
    /// Whether nothing is wanted but the prompt.
    prompt_only: bool,
}

/// What became certain of a sequence.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Tokens of the prompt, if they were to be looked up, but for its first.
    pub(super) prompt: Vec<Sampled>,
    /// Text; may be empty.
    pub(super) text: String,
    /// The tokens that it is made of.
    pub(super) tokens: Vec<Sampled>,
    /// The token that ended it, which is no part of the text.
    pub(super) end_token: Option<Sampled>,
    /// That it has ended, and how.
    pub(super) ending: Option<Ending>,
}

/// How a sequence ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// `stop` or `length`.
    pub(super) finish_reason: &'static str,
    /// Tokens generated, an end token included.
    pub(super) tokens: usize,
    /// Prompt tokens that were not computed for it; unknown where a stop string ended it.
    pub(super) cached_tokens: Option<usize>,
}

impl Choice {
    /// One after a prompt of `prompt` tokens.
    pub(super) fn new(
        index: usize,
        ticket: Ticket,
        text: TextStream,
        sampling: Arc<Sampling>,
        prompt: usize,
        overload: OverloadStatus,
    ) -> Self {
        Self {
            index,
            ticket: Some(ticket),
            text,
            overload,
            generated: 0,
            pending: Vec::new(),
            to_look_up: if sampling.prompt_logprobs { prompt.saturating_sub(1) } else { 0 },
            prompt: Vec::new(),
            prompt_only: false,
            sampling,
        }
    }

    /// The same, ending with the prompt.
    pub(super) fn prompt_only(self, prompt_only: bool) -> Self {
        Self { prompt_only, ..self }
    }

    /// The next of it, as soon as some text is certain or it ends; nothing after its end.
    pub(super) async fn next(&mut self) -> Option<Result<Delta, ApiError>> {
        loop {
            let Some(sampled) = self.ticket.as_mut()?.next_token().await else {
                // It ends with a token, so that this is a refusal.
                let answer = self.ticket.take()?.await;
                let rejection =
                    answer.err().unwrap_or_else(|| Rejection::EngineFailed("no token came".into()));
                return Some(Err(ApiError::Rejected(rejection, self.overload)));
            };
            match self.take(sampled).await {
                Ok(delta) if delta.text.is_empty() && delta.ending.is_none() => self.pending = delta.tokens,
                Ok(delta) => return Some(Ok(Delta { prompt: std::mem::take(&mut self.prompt), ..delta })),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// All of it.
    pub(super) async fn whole(&mut self) -> Result<Delta, ApiError> {
        let mut whole = Delta::default();
        while let Some(delta) = self.next().await {
            let delta = delta?;
            whole.prompt.extend(delta.prompt);
            whole.text.push_str(&delta.text);
            whole.tokens.extend(delta.tokens);
            (whole.end_token, whole.ending) = (delta.end_token, delta.ending);
        }
        Ok(whole)
    }

    async fn take(&mut self, sampled: Sampled) -> Result<Delta, ApiError> {
        if self.to_look_up > 0 {
            self.to_look_up -= 1;
            self.prompt.push(sampled);
            return Ok(Delta::default());
        }
        if self.prompt_only {
            let cached_tokens = Some(self.cached_tokens().await?);
            return Ok(Delta { ending: Some(self.ending("length", cached_tokens)), ..Delta::default() });
        }
        self.generated += 1;
        let token = sampled.token;
        let ended = self.sampling.end_tokens.contains(&token);
        let mut delta = Delta { tokens: std::mem::take(&mut self.pending), ..Delta::default() };
        if ended {
            delta.end_token = Some(sampled);
        } else {
            delta.text = self.text.push(token);
            delta.tokens.push(sampled);
        }
        if self.text.stopped() {
            if let Some(ticket) = self.ticket.take() {
                ticket.finish();
            }
            delta.ending = Some(self.ending("stop", None));
        } else if self.sampling.ends(self.generated, token) {
            delta.text.push_str(&self.text.finish());
            let cached_tokens = self.cached_tokens().await?;
            delta.ending = Some(self.ending(if ended { "stop" } else { "length" }, Some(cached_tokens)));
        }
        Ok(delta)
    }

    async fn cached_tokens(&mut self) -> Result<usize, ApiError> {
        let Some(ticket) = self.ticket.take() else { return Ok(0) };
        let completed = ticket.await.map_err(|rejection| ApiError::Rejected(rejection, self.overload))?;
        Ok(completed.cached_tokens)
    }

    fn ending(&self, finish_reason: &'static str, cached_tokens: Option<usize>) -> Ending {
        Ending { finish_reason, tokens: self.generated, cached_tokens }
    }
}
