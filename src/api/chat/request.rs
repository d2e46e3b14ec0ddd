//! What `POST /v1/chat/completions` reads for a reward model.
//!
//! A field that says how to generate cannot change a reward and is ignored. One that asks for something else, or
//! that is unknown, is refused by name.

use serde_json::Value;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::generation::{ChatChoiceSchema, GenerationSchema};
use crate::api::messages::PromptEndSchema;
use crate::api::messages::{self, Turn};
use crate::api::request::{CommonSchema, SchedulingFields};
use crate::api::stream_options::{StreamOptions, take_stream_options};
use crate::api::template_variables::{VariablesSchema, take_variables};
use crate::api::truncation::{LengthSchema, take_length_policy};
use crate::prompt::{EncodeOptions, Message, TemplateVariables};
use crate::serving::LengthPolicy;

/// A request for the score of a conversation's last turn.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) model: Option<String>,
    pub(super) messages: Vec<Message>,
    /// Whether the response is streamed.
    pub(super) stream: bool,
    /// What a streamed response says about usage.
    pub(super) usage: StreamOptions,
    /// How its prompt ends.
    pub(super) encoding: EncodeOptions<'static>,
    /// Further variables of the chat template.
    pub(super) variables: TemplateVariables,
    /// What is done about a conversation that is too long.
    pub(super) length: LengthPolicy,
    pub(super) scheduling: SchedulingFields,
}

/// A conversation whose last turn is scored. Other fields of OpenAI's that cannot change a reward are
/// accepted; a field that asks for something else is refused by name.
#[derive(ToSchema)]
#[schema(as = ChatRequest)]
#[expect(dead_code, reason = "the schema of what `ChatRequest::parse` reads")]
pub(super) struct ChatSchema {
    #[schema(min_items = 1)]
    messages: Vec<Turn>,
    #[serde(flatten)]
    choice: ChatChoiceSchema,
    #[serde(flatten)]
    generation: GenerationSchema,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    variables: VariablesSchema,
    #[serde(flatten)]
    length: LengthSchema,
    #[serde(flatten)]
    common: CommonSchema,
}

/// The type that a field must have although it is ignored.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Whole,
    Flag,
    Any,
}

/// Fields that say how to generate.
const IGNORED: [(&str, Kind); 38] = [
    ("temperature", Kind::Number),
    ("top_p", Kind::Number),
    ("top_k", Kind::Whole),
    ("min_p", Kind::Number),
    ("typical_p", Kind::Number),
    ("frequency_penalty", Kind::Number),
    ("presence_penalty", Kind::Number),
    ("repetition_penalty", Kind::Number),
    ("repetition_ngram_size", Kind::Whole),
    ("repetition_ngram_threshold", Kind::Whole),
    ("repetition_detection", Kind::Any),
    ("do_sample", Kind::Flag),
    ("use_beam_search", Kind::Flag),
    ("watermarking", Kind::Flag),
    ("seed", Kind::Any),
    ("logit_bias", Kind::Any),
    ("allowed_token_ids", Kind::Any),
    ("bad_words", Kind::Any),
    ("logprobs", Kind::Any),
    ("top_logprobs", Kind::Whole),
    ("logprob_token_ids", Kind::Any),
    ("return_tokens_as_token_ids", Kind::Flag),
    ("max_tokens", Kind::Whole),
    ("max_completion_tokens", Kind::Whole),
    ("max_new_tokens", Kind::Whole),
    ("min_tokens", Kind::Whole),
    ("min_new_tokens", Kind::Whole),
    ("thinking_token_budget", Kind::Any),
    ("reasoning_effort", Kind::Any),
    ("stop", Kind::Any),
    ("stop_token_ids", Kind::Any),
    ("ignore_eos", Kind::Flag),
    ("skip_special_tokens", Kind::Flag),
    ("include_stop_str_in_output", Kind::Flag),
    ("no_stop_trim", Kind::Flag),
    ("suffix", Kind::Any),
    ("prediction", Kind::Any),
    ("verbosity", Kind::Any),
];

impl ChatRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// It is malformed, or a field is wrong, unknown or not supported; the error names it.
    pub(super) fn parse(body: &[u8], app: &App) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let model = fields.take("model")?;
        let messages = messages::read("messages", fields.require("messages")?)?;
        let encoding = messages::take_encode_options(&mut fields, false)?;
        let variables = take_variables(&mut fields)?;
        let stream = fields.take("stream")?.unwrap_or(false);
        let usage = take_stream_options(&mut fields, stream)?;
        let length = take_length_policy(&mut fields, app)?;
        let scheduling = SchedulingFields::take(&mut fields)?;
        ignore(&mut fields)?;
        one_result(&mut fields)?;
        fields.take_neutral()?;
        fields.end("a reward model has no use for it; leave it out")?;
        Ok(Self { model, messages, encoding, variables, stream, usage, length, scheduling })
    }
}

fn ignore(fields: &mut Fields) -> Result<(), ApiError> {
    for (name, kind) in IGNORED {
        match kind {
            Kind::Number => drop(fields.take::<f64>(name)?),
            Kind::Whole => drop(fields.take::<i64>(name)?),
            Kind::Flag => drop(fields.take::<bool>(name)?),
            Kind::Any => drop(fields.take::<Value>(name)?),
        }
    }
    Ok(())
}

fn one_result(fields: &mut Fields) -> Result<(), ApiError> {
    for name in ["n", "best_of"] {
        if fields.take::<i64>(name)?.is_some_and(|count| count != 1) {
            let reason = "a reward model has one result for a conversation; leave it out or send 1";
            return Err(ApiError::unsupported(name, reason));
        }
    }
    Ok(())
}
