//! What chat and completions have in common of a request: how to generate, and how to answer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::api::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::request::SchedulingFields;
use crate::sampling::{MIN_PS, REPETITION_PENALTIES, Sampling, TEMPERATURES, TOP_PS};
use crate::serving::{GenerateOptions, Generator};

/// Most answers to one prompt.
const MOST_ANSWERS: i64 = 128;
/// Most stop strings, as in OpenAI's API.
const MOST_STOPS: usize = 4;
/// Most of the likeliest tokens whose log-probabilities are told.
const MOST_LOGPROBS: i64 = 20;
/// Fields that change nothing here.
const IGNORED: [&str; 7] = [
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
];

/// How to generate and how to answer.
#[derive(Debug)]
pub(super) struct Options {
    /// How to generate.
    pub(super) generate: GenerateOptions,
    /// Whether the answer is to be streamed.
    pub(super) stream: bool,
    /// Whether a streamed answer ends with the usage.
    pub(super) include_usage: bool,
    /// How urgent it is.
    pub(super) scheduling: SchedulingFields,
}

impl Options {
    /// Takes them out of a request. Log-probabilities and the limit of tokens are the routes' own.
    ///
    /// # Errors
    /// A field is out of range, or asks for what cannot be done.
    pub(super) fn take(fields: &mut Fields, generator: &Generator) -> Result<Self, ApiError> {
        for name in IGNORED {
            fields.take::<Value>(name)?;
        }
        let stream = fields.take("stream")?.unwrap_or(false);
        let n = whole(fields, "n", 1, MOST_ANSWERS)?.unwrap_or(1) as usize;
        if fields.take::<i64>("best_of")?.is_some_and(|best_of| best_of != n as i64) {
            return Err(ApiError::Unsupported(
                "best_of".into(),
                "answers are not ranked; send n instead".into(),
            ));
        }
        Ok(Self {
            generate: GenerateOptions {
                sampling: sampling(fields, generator)?,
                max_tokens: None,
                prompt_only: false,
                n,
                stop: stop(fields)?,
                skip_special: fields.take("skip_special_tokens")?.unwrap_or(true),
            },
            stream,
            include_usage: include_usage(fields, stream)?,
            scheduling: SchedulingFields::take(fields)?,
        })
    }
}

fn sampling(fields: &mut Fields, generator: &Generator) -> Result<Sampling, ApiError> {
    let ignore_eos = fields.take("ignore_eos")?.unwrap_or(false);
    let mut end_tokens = if ignore_eos { Vec::new() } else { generator.end_tokens().to_vec() };
    for (index, value) in fields.take::<Vec<Value>>("stop_token_ids")?.unwrap_or_default().iter().enumerate()
    {
        let token = token_id(value, &format!("stop_token_ids[{index}]"), generator)?;
        if !end_tokens.contains(&token) {
            end_tokens.push(token);
        }
    }
    let defaults = generator.defaults();
    let top_k = match fields.take::<i64>("top_k")? {
        None => defaults.top_k.unwrap_or(0),
        // Both mean all.
        Some(-1 | 0) => 0,
        Some(top_k) => usize::try_from(top_k).map_err(|_| {
            ApiError::Invalid("top_k".into(), "must be at least 1, or -1 for all tokens".into())
        })?,
    };
    let seed = fields.take::<i64>("seed")?.map_or_else(|| Uuid::new_v4().as_u64_pair().0, |seed| seed as u64);
    Ok(Sampling {
        max_tokens: 1,
        min_tokens: whole(fields, "min_tokens", 0, i64::MAX)?.unwrap_or(0) as usize,
        end_tokens,
        logit_bias: logit_bias(fields, generator)?,
        repetition_penalty: number(fields, "repetition_penalty", REPETITION_PENALTIES)?
            .or(defaults.repetition_penalty)
            .unwrap_or(1.0),
        frequency_penalty: number(fields, "frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        presence_penalty: number(fields, "presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        temperature: number(fields, "temperature", TEMPERATURES)?.or(defaults.temperature).unwrap_or(1.0),
        min_p: number(fields, "min_p", MIN_PS)?.or(defaults.min_p).unwrap_or(0.0),
        top_k,
        top_p: number(fields, "top_p", TOP_PS)?.or(defaults.top_p).unwrap_or(1.0),
        seed,
        logprobs: None,
        prompt_logprobs: false,
    })
}

/// A number within bounds.
fn number(fields: &mut Fields, name: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, ApiError> {
    let value = fields.take::<f64>(name)?.map(|value| value as f32);
    match value.is_none_or(|value| range.contains(&value)) {
        true => Ok(value),
        false => {
            let reason = format!("must be from {} to {}", range.start(), range.end());
            Err(ApiError::Invalid(fields.path(name), reason))
        }
    }
}

/// A whole number within bounds.
pub(super) fn whole(fields: &mut Fields, name: &str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
    let value = fields.take::<i64>(name)?;
    match value.is_none_or(|value| (least..=most).contains(&value)) {
        true => Ok(value),
        false if most == i64::MAX => {
            Err(ApiError::Invalid(fields.path(name), format!("must be at least {least}")))
        }
        false => Err(ApiError::Invalid(fields.path(name), format!("must be from {least} to {most}"))),
    }
}

/// How many of the likeliest tokens are told.
pub(super) fn top_logprobs(fields: &mut Fields, name: &str) -> Result<Option<usize>, ApiError> {
    Ok(whole(fields, name, 0, MOST_LOGPROBS)?.map(|count| count as usize))
}

/// Most tokens to generate.
pub(super) fn max_tokens(fields: &mut Fields, name: &str) -> Result<Option<usize>, ApiError> {
    Ok(whole(fields, name, 1, i64::MAX)?.map(|count| count as usize))
}

fn stop(fields: &mut Fields) -> Result<Arc<[String]>, ApiError> {
    let list = match fields.take::<Value>("stop")? {
        None => vec![],
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    if list.len() > MOST_STOPS {
        return Err(ApiError::Invalid(
            "stop".into(),
            format!("has {} strings: send up to {MOST_STOPS}", list.len()),
        ));
    }
    let text = |value: Value| match value {
        Value::String(text) if text.is_empty() => {
            Err(ApiError::Invalid("stop".into(), "has an empty string: leave it out".into()))
        }
        Value::String(text) => Ok(text),
        other => Err(wrong_type("stop".into(), "a string or a list of strings", &other)),
    };
    list.into_iter().map(text).collect()
}

fn include_usage(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = fields.take::<Value>("stream_options")? else { return Ok(false) };
    if !stream {
        let reason = "is for streamed answers: send it with `stream` true, or leave it out";
        return Err(ApiError::Invalid("stream_options".into(), reason.into()));
    }
    let mut options = Fields::from_value("stream_options".into(), value)?;
    let include_usage = options.take("include_usage")?.unwrap_or(false);
    options.take::<bool>("include_obfuscation")?;
    options.end("only include_usage is known")?;
    Ok(include_usage)
}

fn logit_bias(fields: &mut Fields, generator: &Generator) -> Result<Vec<(u32, f32)>, ApiError> {
    let map: Map<String, Value> = match fields.take::<Value>("logit_bias")? {
        None => return Ok(vec![]),
        Some(Value::Object(map)) => map,
        Some(other) => {
            return Err(wrong_type("logit_bias".into(), "an object of token ids and numbers", &other));
        }
    };
    let entry = |(id, bias): (String, Value)| {
        let path = format!("logit_bias.{id}");
        let id = id.parse::<u64>().ok().map(Value::from).unwrap_or_default();
        let token = token_id(&id, &path, generator)?;
        match bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias)) {
            Some(bias) => Ok((token, bias as f32)),
            None => Err(ApiError::Invalid(path, "must be a number from -100 to 100".into())),
        }
    };
    map.into_iter().map(entry).collect()
}

/// A token that the model has.
pub(super) fn token_id(value: &Value, path: &str, generator: &Generator) -> Result<u32, ApiError> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.filter(|&id| (id as usize) < generator.vocab_size()).ok_or_else(|| {
        let size = generator.vocab_size();
        ApiError::Invalid(path.to_owned(), format!("must be a token id, a whole number below {size}"))
    })
}
