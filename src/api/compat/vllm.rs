//! vLLM's format of `POST /classify`, which verl and others use, and code shared by vLLM's other routes.

use serde::Serialize;
use utoipa::ToSchema;

use super::inputs::{PartLimits, messages_or_input};
use super::scoring::{Activation, CompatRequest, ScoredTexts};
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::wire::{Usage, new_id, unix_time};
use crate::config::ServerSettings;

/// Whether scores are answered as probabilities.
#[derive(ToSchema)]
#[schema(as = VllmActivation)]
#[expect(dead_code, reason = "the schema of what `activation` reads")]
pub(super) struct ActivationSchema {
    /// Whether probabilities are wanted instead of logits.
    use_activation: Option<bool>,
    /// An older name of `use_activation`.
    activation: Option<bool>,
    /// An older name of `use_activation`.
    softmax: Option<bool>,
}

/// How much is read of a prompt and its response.
#[derive(ToSchema)]
#[schema(as = PairFields)]
#[expect(dead_code, reason = "the schema of what `take_pair_fields` reads")]
pub(super) struct PairSchema {
    /// Must be empty: the chat template has no place for it.
    instruction: Option<String>,
    /// Must be empty: the chat template has no place for it.
    instruct: Option<String>,
    /// Tokens to keep of the prompt; 0 for all.
    #[schema(minimum = 0)]
    max_tokens_per_query: Option<i64>,
    /// Tokens to keep of the response; 0 for all.
    #[schema(minimum = 0)]
    max_tokens_per_doc: Option<i64>,
}

/// What vLLM answers about several texts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<'a, T> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<T>,
    usage: Usage,
}

impl<'a, T> List<'a, T> {
    /// A list whose id starts with `prefix`.
    pub(super) fn new(prefix: &str, model: &'a str, data: Vec<T>, usage: Usage) -> Self {
        Self { id: new_id(prefix), object: "list", created: unix_time(), model, data, usage }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Classification {
    index: usize,
    /// The attribute of the largest score.
    label: Option<String>,
    /// Scores in the model's order: logits, unless probabilities are asked for.
    probs: Vec<f64>,
    num_classes: usize,
}

/// The response to `POST /classify`.
pub(super) fn classes<'a, F>(texts: &ScoredTexts<'a, F>) -> List<'a, Classification> {
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        let probs = texts.values(scored);
        let largest = scored.scores.pairs.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let label = largest.map(|(name, _)| name.clone());
        data.push(Classification { index, label, num_classes: probs.len(), probs });
    }
    List::new("classify", texts.model.name, data, texts.usage())
}

/// Reads a request of vLLM's classifiers.
///
/// # Errors
/// A field is missing or wrong.
pub(super) fn read_as<F>(
    shape: F,
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<CompatRequest<F>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    let activation = activation(fields)?;
    fields.take_one_of("encoding_format", &["float"])?;
    fields.take_one_of("task", &["classify", "reward", "score"])?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}

/// Takes `use_activation`, or one of its older names.
///
/// # Errors
/// One of them is not a boolean.
pub(super) fn activation(fields: &mut Fields) -> Result<Activation, ApiError> {
    let mut activation = Activation::Peers;
    for name in ["softmax", "activation", "use_activation"] {
        match Activation::take(fields, name)? {
            Activation::Peers => {}
            asked => activation = asked,
        }
    }
    Ok(activation)
}

/// Takes the fields of a pair of a prompt and a response: how much of each is read, and instructions, which are
/// refused.
///
/// # Errors
/// One of them is wrong, or there is an instruction.
pub(super) fn take_pair_fields(fields: &mut Fields) -> Result<PartLimits, ApiError> {
    for name in ["instruction", "instruct"] {
        if fields.take::<String>(name)?.is_some_and(|text| !text.is_empty()) {
            let reason = "the chat template has no place for it: put it into the text of the prompt";
            return Err(ApiError::unsupported(name, reason));
        }
    }
    PartLimits::take(fields)
}
