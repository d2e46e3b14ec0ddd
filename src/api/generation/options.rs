//! The fields that chat and completions share: how to generate, and how to respond.

use std::ops::RangeInclusive;

use serde_json::Value;
use uuid::Uuid;

use super::stops;
use super::token_limits::{allowed_tokens, logit_bias};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::item_path::ItemPath;
use crate::api::request::SchedulingFields;
use crate::api::stream_options::StreamOptionsSchema;
use crate::api::stream_options::{StreamOptions, take_stream_options};
use crate::api::truncation::take_prompt_tokens;
use crate::prompt::Fit;
use crate::sampling::{MIN_PS, REPETITION_PENALTIES, Sampling, TEMPERATURES, TOP_PS, UnsupportedSampling};
use crate::serving::{GenerateOptions, Generator, LengthPolicy, ServingError};
use utoipa::ToSchema;

/// Maximum number of choices of one prompt.
const MAX_CHOICES: i64 = 128;

/// How to generate and how to respond.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) generate: GenerateOptions,
    /// Whether the response is streamed.
    pub(super) stream: bool,
    /// What a streamed response says about usage.
    pub(super) usage: StreamOptions,
    pub(super) scheduling: SchedulingFields,
}

/// How to generate. A reward model ignores it.
#[derive(ToSchema)]
#[schema(as = GenerationFields)]
#[expect(dead_code, reason = "the schema of what `Options::take` reads, and what both routes read besides")]
pub(in crate::api) struct GenerationSchema {
    /// Choices of each prompt; 1 if absent.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<i64>,
    /// Must be `n`: choices are not ranked.
    best_of: Option<i64>,
    /// The number of likeliest tokens to report at each token of the prompt, in vLLM's format.
    #[schema(minimum = 0, maximum = 20)]
    prompt_logprobs: Option<i64>,
    /// Whether the response comes as server-sent events.
    stream: Option<bool>,
    /// With `stream`.
    stream_options: Option<StreamOptionsSchema>,
    #[serde(flatten)]
    sampling: SamplingSchema,
}

/// How the tokens of a choice are chosen and written.
#[derive(ToSchema)]
#[schema(as = SamplingFields)]
#[expect(dead_code, reason = "the schema of what `Options::take` reads, and what both routes read besides")]
pub(super) struct SamplingSchema {
    /// Maximum number of tokens to generate.
    #[schema(minimum = 1)]
    max_completion_tokens: Option<i64>,
    /// Minimum number of tokens before the text may end.
    #[schema(minimum = 0)]
    min_tokens: Option<i64>,
    /// Another name of `min_tokens`.
    #[schema(minimum = 0)]
    min_new_tokens: Option<i64>,
    seed: Option<i64>,
    #[schema(minimum = 0, maximum = 100)]
    temperature: Option<f64>,
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Likeliest tokens to choose from; -1 or 0 for all.
    #[schema(minimum = -1)]
    top_k: Option<i64>,
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f64>,
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    #[schema(minimum = 1e-9, maximum = 100)]
    repetition_penalty: Option<f64>,
    /// What is added to the logits of tokens, by token id.
    #[schema(value_type = Option<Object>)]
    logit_bias: Option<Value>,
    stop: Option<StopSchema>,
    /// Token ids that end the text besides the model's own.
    stop_token_ids: Option<Vec<u32>>,
    /// Whether the string or token that ends the text is part of it.
    include_stop_str_in_output: Option<bool>,
    /// Another name of `include_stop_str_in_output`.
    no_stop_trim: Option<bool>,
    /// The only tokens that the text may have; all if empty.
    allowed_token_ids: Option<Vec<u32>>,
    /// Whether the model's own end tokens do not end the text.
    ignore_eos: Option<bool>,
    /// Whether control tokens are left out of the text; true if absent.
    skip_special_tokens: Option<bool>,
    /// Tokens whose log-probabilities are reported in place of those of the likeliest, with `logprobs`.
    #[schema(min_items = 1, max_items = 128)]
    logprob_token_ids: Option<Vec<u32>>,
    /// Whether log-probabilities name tokens by their ids: `token_id:9906`.
    return_tokens_as_token_ids: Option<bool>,
    /// Whether the response has the ids of the choice's tokens and of the prompt's.
    return_token_ids: Option<bool>,
}

/// Strings that end the text.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Stop)]
#[expect(dead_code, reason = "the schema of what `stop` reads")]
enum StopSchema {
    One(String),
    List(Vec<String>),
}

impl Options {
    /// Takes the shared fields out of a request. Each route takes its own for log-probabilities and for the
    /// number of tokens.
    ///
    /// # Errors
    /// A field is out of range, or asks for something that is not supported.
    pub(super) fn take(fields: &mut Fields, generator: &Generator) -> Result<Self, ApiError> {
        let stream = fields.take("stream")?.unwrap_or(false);
        let n = whole(fields, "n", 1, MAX_CHOICES)?.unwrap_or(1) as usize;
        if fields.take::<i64>("best_of")?.is_some_and(|best_of| best_of != n as i64) {
            return Err(ApiError::unsupported("best_of", "completions are not ranked; send n instead"));
        }
        let (end_tokens, stops) = stops::take(fields, generator)?;
        Ok(Self {
            generate: GenerateOptions {
                sampling: sampling(fields, generator, end_tokens)?,
                max_tokens: None,
                prompt_only: false,
                n,
                stops,
                skip_special: fields.take("skip_special_tokens")?.unwrap_or(true),
            },
            stream,
            usage: take_stream_options(fields, stream)?,
            scheduling: SchedulingFields::take(fields)?,
        })
    }
}

fn sampling(fields: &mut Fields, generator: &Generator, end_tokens: Vec<u32>) -> Result<Sampling, ApiError> {
    let min_tokens = min_tokens(fields)?;
    let vocab_size = generator.vocab_size();
    let defaults = generator.defaults();
    let seed = fields.take::<i64>("seed")?.map_or_else(|| Uuid::new_v4().as_u64_pair().0, |seed| seed as u64);
    Ok(Sampling {
        max_tokens: 1,
        allowed_tokens: allowed_tokens(fields, vocab_size, (min_tokens > 0, &end_tokens))?,
        min_tokens,
        end_tokens,
        logit_bias: logit_bias(fields, vocab_size)?,
        repetition_penalty: number(fields, "repetition_penalty", REPETITION_PENALTIES)?
            .or(defaults.repetition_penalty)
            .unwrap_or(1.0),
        frequency_penalty: number(fields, "frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        presence_penalty: number(fields, "presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        temperature: number(fields, "temperature", TEMPERATURES)?.or(defaults.temperature).unwrap_or(1.0),
        min_p: number(fields, "min_p", MIN_PS)?.or(defaults.min_p).unwrap_or(0.0),
        top_k: top_k(fields)?.or(defaults.top_k).unwrap_or(0),
        top_p: top_p(fields)?.or(defaults.top_p).unwrap_or(1.0),
        seed,
        logprobs: None,
        label_tokens: Vec::new(),
        prompt_logprobs: false,
    })
}

/// Takes `min_tokens`, which lmdeploy calls `min_new_tokens`.
fn min_tokens(fields: &mut Fields) -> Result<usize, ApiError> {
    let mut least = 0;
    for name in ["min_new_tokens", "min_tokens"] {
        least = whole(fields, name, 0, i64::MAX)?.unwrap_or(least);
    }
    Ok(least as usize)
}

/// Refuses a request that must get more tokens than it may.
///
/// # Errors
/// `min_tokens` is above `max_tokens`.
pub(super) fn check_min_tokens(generate: &GenerateOptions) -> Result<(), ApiError> {
    let least = generate.sampling.min_tokens;
    match generate.max_tokens {
        Some(most) if least > most => {
            let reason = format!("is {least}, and `max_tokens` is {most}: it must be at most that");
            Err(ApiError::invalid("min_tokens", reason))
        }
        _ => Ok(()),
    }
}

/// Takes `top_p`. Engines take no number below [`TOP_PS`]; with its least, only the most likely token is left.
fn top_p(fields: &mut Fields) -> Result<Option<f32>, ApiError> {
    let Some(value) = fields.take::<f64>("top_p")? else { return Ok(None) };
    if value > 0.0 && value <= 1.0 {
        return Ok(Some((value as f32).max(*TOP_PS.start())));
    }
    Err(ApiError::invalid("top_p", format!("is {value}: it must be above 0 and at most 1")))
}

/// Takes `top_k`; 0 means all tokens.
fn top_k(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    match fields.take::<i64>("top_k")? {
        None => Ok(None),
        Some(-1 | 0) => Ok(Some(0)),
        Some(top_k) => match usize::try_from(top_k) {
            Ok(top_k) => Ok(Some(top_k)),
            Err(_) => Err(ApiError::invalid("top_k", "must be at least 1, or -1 for all tokens")),
        },
    }
}

/// Takes a number within bounds.
fn number(
    fields: &mut Fields,
    name: &'static str,
    range: RangeInclusive<f32>,
) -> Result<Option<f32>, ApiError> {
    let value = fields.take::<f64>(name)?.map(|value| value as f32);
    if value.is_none_or(|value| range.contains(&value)) {
        return Ok(value);
    }
    let found = value.unwrap_or_default();
    let reason = format!("is {found}: it must be from {} to {}", range.start(), range.end());
    Err(ApiError::invalid(fields.path(name), reason))
}

/// Takes a whole number within bounds.
pub(super) fn whole(
    fields: &mut Fields,
    name: &'static str,
    least: i64,
    most: i64,
) -> Result<Option<i64>, ApiError> {
    let value = fields.take::<i64>(name)?;
    if value.is_none_or(|value| (least..=most).contains(&value)) {
        return Ok(value);
    }
    let found = value.unwrap_or_default();
    let reason = if most == i64::MAX {
        format!("is {found}: it must be at least {least}")
    } else {
        format!("is {found}: it must be from {least} to {most}")
    };
    Err(ApiError::invalid(fields.path(name), reason))
}

/// The error about the prompt at `path` that the engine did not take; `field` asks for log-probabilities of prompts,
/// if any does.
pub(super) fn refused(error: ServingError, path: &ItemPath, field: &str) -> ApiError {
    match error {
        ServingError::UnsupportedSampling(UnsupportedSampling::PromptLogprobs) => {
            ApiError::unsupported(field, "this engine returns no log-probabilities of a prompt; leave it out")
        }
        ServingError::UnsupportedSampling(UnsupportedSampling::LabelTokens) => {
            let reason = "this engine returns log-probabilities of the likeliest tokens only; leave it out";
            ApiError::unsupported("logprob_token_ids", reason)
        }
        error => ApiError::on_item(error, path),
    }
}

/// Takes `truncate_prompt_tokens` and `truncation_side`, by which prompts are cut. With -1 they are cut to what
/// leaves room for `max_tokens` tokens.
pub(super) fn prompt_fit(fields: &mut Fields, app: &App, max_tokens: usize) -> Result<Option<Fit>, ApiError> {
    let Some(LengthPolicy { truncation, tokens }) = take_prompt_tokens(fields, app)? else { return Ok(None) };
    let limit = tokens.unwrap_or_else(|| app.max_seq_len.saturating_sub(max_tokens).max(1));
    Ok(Some(Fit { limit, truncation }))
}

/// Takes the most tokens to generate.
pub(super) fn max_tokens(fields: &mut Fields, name: &'static str) -> Result<Option<usize>, ApiError> {
    Ok(whole(fields, name, 1, i64::MAX)?.map(|count| count as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_without_log_probabilities_of_prompts_names_the_field_that_asks_for_them() {
        for field in ["prompt_logprobs", "echo"] {
            let error = ServingError::UnsupportedSampling(UnsupportedSampling::PromptLogprobs);
            let error = refused(error, &ItemPath::field("prompt"), field);
            assert!(error.to_string().starts_with(&format!("`{field}` is not supported: ")), "{error}");
        }
    }
}
