//! Which log-probabilities a request asks for.

use serde_json::Value;

use super::logprobs::LogprobStyle;
use super::options::whole;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::token_ids;
use crate::sampling::Sampling;

/// Maximum number of likeliest tokens whose log-probabilities a request may ask for.
const MAX_LOGPROBS: i64 = 20;
/// Maximum number of tokens whose log-probabilities a request may ask for by id, as in vLLM.
const MAX_LABELS: usize = 128;
const LABELS: &str = "logprob_token_ids";

/// The log-probabilities that a request asks for.
#[derive(Debug)]
pub(super) struct WantedLogprobs {
    /// How those of a choice are written; `None` if they are not wanted.
    pub(super) choice: Option<LogprobStyle>,
    /// How many of the likeliest tokens are wanted at each token of the prompt, in vLLM's format.
    pub(super) prompt: Option<usize>,
    /// Tokens whose log-probabilities are wanted in place of those of the likeliest.
    labels: Vec<u32>,
}

impl WantedLogprobs {
    /// Takes the fields that all routes have. `top` and `prompt` are the numbers of likeliest tokens wanted beside each
    /// token of a choice and of the prompt; `None` if log-probabilities are not wanted.
    ///
    /// # Errors
    /// One of them is wrong, or asks for what comes only with log-probabilities of a choice.
    pub(super) fn take(
        fields: &mut Fields,
        (top, prompt): (Option<usize>, Option<usize>),
        vocab_size: usize,
    ) -> Result<Self, ApiError> {
        let labels = labels(fields, vocab_size)?;
        if top.is_none() && !labels.is_empty() {
            let reason = "is for log-probabilities: send it with `logprobs`, or leave it out";
            return Err(ApiError::invalid(LABELS, reason));
        }
        let as_ids = fields.take("return_tokens_as_token_ids")?.unwrap_or(false);
        let style = |top| LogprobStyle { top, labels: !labels.is_empty(), as_ids };
        Ok(Self { choice: top.map(style), prompt, labels })
    }

    /// Asks the sampler for them.
    pub(super) fn apply(&self, sampling: &mut Sampling) {
        sampling.logprobs = self.choice.map(|style| style.top).max(self.prompt);
        sampling.prompt_logprobs = self.prompt.is_some();
        sampling.label_tokens.clone_from(&self.labels);
    }

    /// Refuses named tokens in a choice that repeats its prompt, whose tokens would have others.
    ///
    /// # Errors
    /// There are some.
    pub(super) fn refuse_labels_with_echo(&self) -> Result<(), ApiError> {
        if self.labels.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(LABELS, "is for generated tokens: leave it out, or `echo`"))
    }
}

/// Takes the number of likeliest tokens to report in addition to the chosen one.
///
/// # Errors
/// It is out of range.
pub(super) fn top_logprobs(fields: &mut Fields, name: &'static str) -> Result<Option<usize>, ApiError> {
    Ok(whole(fields, name, 0, MAX_LOGPROBS)?.map(|count| count as usize))
}

/// Takes `prompt_logprobs`: the number of likeliest tokens to report at each token of the prompt.
///
/// # Errors
/// It is out of range, or the response is streamed.
pub(super) fn prompt_logprobs(fields: &mut Fields, stream: bool) -> Result<Option<usize>, ApiError> {
    let top = top_logprobs(fields, "prompt_logprobs")?;
    if top.is_some() && stream {
        let reason = "is for responses that are not streamed: send it with `stream` false, or leave it out";
        return Err(ApiError::invalid("prompt_logprobs", reason));
    }
    Ok(top)
}

fn labels(fields: &mut Fields, vocab_size: usize) -> Result<Vec<u32>, ApiError> {
    let Some(list) = fields.take::<Vec<Value>>(LABELS)? else { return Ok(Vec::new()) };
    if list.len() > MAX_LABELS {
        let reason = format!("has {} tokens: send up to {MAX_LABELS}", list.len());
        return Err(ApiError::invalid(LABELS, reason));
    }
    token_ids::read(LABELS, &list, vocab_size)
}
