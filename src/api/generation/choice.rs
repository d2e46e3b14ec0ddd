//! One sequence that is being generated for an answer.

use std::sync::Arc;

use crate::api::ApiError;
use crate::config::OverloadStatus;
use crate::engine::sampling::{Sampled, Sampling};
use crate::generate::TextStream;
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
}

/// What became certain of a sequence.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Text; may be empty.
    pub(super) text: String,
    /// The tokens that it is made of.
    pub(super) tokens: Vec<Sampled>,
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
    pub(super) fn new(
        index: usize,
        ticket: Ticket,
        text: TextStream,
        sampling: Arc<Sampling>,
        overload: OverloadStatus,
    ) -> Self {
        Self { index, ticket: Some(ticket), text, sampling, overload, generated: 0, pending: Vec::new() }
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
                delta => return Some(delta),
            }
        }
    }

    /// All of it.
    pub(super) async fn whole(&mut self) -> Result<Delta, ApiError> {
        let mut whole = Delta::default();
        while let Some(delta) = self.next().await {
            let delta = delta?;
            whole.text.push_str(&delta.text);
            whole.tokens.extend(delta.tokens);
            whole.ending = delta.ending;
        }
        Ok(whole)
    }

    async fn take(&mut self, sampled: Sampled) -> Result<Delta, ApiError> {
        self.generated += 1;
        let token = sampled.token;
        let ended = self.sampling.end_tokens.contains(&token);
        let mut delta = Delta { tokens: std::mem::take(&mut self.pending), ..Delta::default() };
        if !ended {
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
