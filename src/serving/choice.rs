//! One text that is being generated: OpenAI's `choice`.

use std::sync::Arc;

use super::ServingError;
use super::text_stream::{StopReason, TextStream};
use crate::sampling::{Sampled, Sampling};
use crate::scheduler::{EngineFailure, Ticket};

/// A sequence that is being generated. Dropping it cancels the sequence.
pub(crate) struct Choice {
    ticket: Option<Ticket>,
    text: TextStream,
    sampling: Arc<Sampling>,
    generated: usize,
    /// Generated tokens whose text is held back.
    pending: Vec<Sampled>,
    /// Tokens of the prompt whose log-probabilities have not come yet.
    prompt_logprobs_left: usize,
    /// Tokens of the prompt whose log-probabilities have come, until the next delta.
    prompt: Vec<Sampled>,
    /// Whether only the prompt's log-probabilities are wanted.
    prompt_only: bool,
}

/// The next piece of a choice.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Tokens of the prompt but its first, if their log-probabilities are wanted.
    pub(crate) prompt: Vec<Sampled>,
    /// Text; may be empty.
    pub(crate) text: String,
    /// The tokens that the text is made of.
    pub(crate) tokens: Vec<Sampled>,
    /// The token that ended the sequence, which is part of the text only if the request wants that.
    pub(crate) end_token: Option<Sampled>,
    /// How the sequence ended; `None` until it has.
    pub(crate) ending: Option<Ending>,
}

/// How a sequence ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// `stop` or `length`.
    pub(crate) finish_reason: &'static str,
    /// The text or token that ended it; `None` if a limit did.
    pub(crate) stop: Option<StopReason>,
    /// Whether the request names that, rather than the model.
    pub(crate) is_stop_of_request: bool,
    /// Tokens generated, an end token included.
    pub(crate) tokens: usize,
    /// Prompt tokens that were not computed for this sequence; unknown if a stop string ended it.
    pub(crate) cached_tokens: Option<usize>,
}

impl Delta {
    /// Ids of the tokens in it, the one that ended the sequence included.
    pub(crate) fn token_ids(&self) -> Vec<u32> {
        self.tokens.iter().chain(&self.end_token).map(|sampled| sampled.token).collect()
    }
}

impl Choice {
    /// A choice after a prompt of `prompt` tokens.
    pub(super) fn new(
        ticket: Ticket,
        text: TextStream,
        sampling: Arc<Sampling>,
        prompt: usize,
        prompt_only: bool,
    ) -> Self {
        Self {
            ticket: Some(ticket),
            text,
            generated: 0,
            pending: Vec::new(),
            prompt_logprobs_left: if sampling.prompt_logprobs { prompt.saturating_sub(1) } else { 0 },
            prompt: Vec::new(),
            prompt_only,
            sampling,
        }
    }

    /// The next piece, as soon as some text is certain or the sequence ends; `None` after its end.
    pub(crate) async fn next(&mut self) -> Option<Result<Delta, ServingError>> {
        loop {
            let Some(sampled) = self.ticket.as_mut()?.next_token().await else {
                // A sequence that succeeds ends with a token, so this is a refusal.
                let answer = self.ticket.take()?.await;
                let rejection = answer.err().unwrap_or_else(|| EngineFailure::NoToken.into());
                return Some(Err(rejection.into()));
            };
            match self.take(sampled).await {
                Ok(delta) if delta.text.is_empty() && delta.ending.is_none() => self.pending = delta.tokens,
                Ok(delta) => return Some(Ok(Delta { prompt: std::mem::take(&mut self.prompt), ..delta })),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The whole choice.
    pub(crate) async fn whole(&mut self) -> Result<Delta, ServingError> {
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

    async fn take(&mut self, sampled: Sampled) -> Result<Delta, ServingError> {
        if self.prompt_logprobs_left > 0 {
            self.prompt_logprobs_left -= 1;
            self.prompt.push(sampled);
            return Ok(Delta::default());
        }
        if self.prompt_only {
            let cached_tokens = Some(self.cached_tokens().await?);
            return Ok(Delta { ending: Some(self.ending(None, cached_tokens)), ..Delta::default() });
        }
        self.generated += 1;
        let token = sampled.token;
        let ended = self.sampling.end_tokens.contains(&token);
        let mut delta = Delta { tokens: std::mem::take(&mut self.pending), ..Delta::default() };
        if ended {
            delta.text = self.text.push_end(token);
            delta.end_token = Some(sampled);
        } else {
            delta.text = self.text.push(token);
            delta.tokens.push(sampled);
        }
        if let Some(text) = self.text.stopped() {
            let stop = Some(StopReason::Text(text.to_owned()));
            if let Some(ticket) = self.ticket.take() {
                ticket.finish();
            }
            delta.ending = Some(self.ending(stop, None));
        } else if self.sampling.ends(self.generated, token) {
            delta.text.push_str(&self.text.finish());
            let cached_tokens = self.cached_tokens().await?;
            let stop = ended.then_some(StopReason::Token(token));
            delta.ending = Some(self.ending(stop, Some(cached_tokens)));
        }
        Ok(delta)
    }

    async fn cached_tokens(&mut self) -> Result<usize, ServingError> {
        let Some(ticket) = self.ticket.take() else { return Ok(0) };
        Ok(ticket.await?.cached_tokens)
    }

    fn ending(&self, stop: Option<StopReason>, cached_tokens: Option<usize>) -> Ending {
        Ending {
            finish_reason: if stop.is_some() { "stop" } else { "length" },
            is_stop_of_request: stop.as_ref().is_some_and(|stop| self.text.names(stop)),
            stop,
            tokens: self.generated,
            cached_tokens,
        }
    }
}
