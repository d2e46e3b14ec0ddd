//! Language models that judge by tokens: the logits of a few words are the score.

use serde_json::Value;

use super::vocabulary_rows::lm_head;
use super::{CheckpointHead, Context, HeadKind, ONE_SCORE, StepToken, Steps};
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::manifest::{StepValue, check_attribute_names};

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &["...ForCausalLM"],
    fits: |architecture| ["ForCausalLM", "ForSequenceClassification"].contains(&architecture.class.as_str()),
    read,
};

/// vLLM's field for the tokens whose logits make a classifier of a language model, and the one for how.
const TOKENS: &str = "classifier_from_token";
const METHOD: &str = "method";

/// A model whose name says which tokens it judges by.
struct Known {
    /// Parts of its name, in lower case.
    name: &'static [&'static str],
    read: fn(&Context<'_>) -> Result<CheckpointHead, BuildError>,
}

const KNOWN: [Known; 4] = [
    Known { name: &["qwen3-reranker"], read: qwen3_reranker },
    Known { name: &["math-shepherd", "prm"], read: math_shepherd },
    Known { name: &["prm", "deepseek-data"], read: judged_turns },
    Known { name: &["prm", "mistral-data"], read: judged_turns },
];

/// Qwen3-Reranker's prompt, as its model card writes it: a user's turn is the query, an assistant's the document.
const RERANKER_TEMPLATE: &str = "\
<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer \
can only be \"yes\" or \"no\".<|im_end|>
<|im_start|>user
{%- set parts = namespace(instruct='Given a web search query, retrieve relevant passages that answer the query', \
query='', document='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}{% set parts.instruct = message.content %}
{%- elif message.role == 'user' %}{% set parts.query = message.content %}
{%- else %}{% set parts.document = message.content %}{% endif %}
{%- endfor %}
<Instruct>: {{ parts.instruct }}
<Query>: {{ parts.query }}
<Document>: {{ parts.document }}<|im_end|>
<|im_start|>assistant
<think>

</think>

";
/// What a template of a reranker has, and a plain chat template has not.
const RERANKER_MARK: &str = "<Document>";

/// Whether the name or a field of the configuration says which logits are the score.
pub(in crate::builder) fn is_known(config: &Config) -> bool {
    config.object.has(TOKENS) || known(config).is_some()
}

fn known(config: &Config) -> Option<&'static Known> {
    let name = config.model.name.to_lowercase();
    KNOWN.iter().find(|known| known.name.iter().all(|part| name.contains(part)))
}

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    if super::network::layers("score", context.checkpoint).is_some() {
        return Ok(None);
    }
    if context.config.object.has(TOKENS) {
        return from_config(context).map(Some);
    }
    match known(context.config) {
        Some(known) if context.config.architecture.class == "ForCausalLM" => (known.read)(context).map(Some),
        _ => Ok(None),
    }
}

/// As vLLM reads `classifier_from_token`: the difference of two logits (`from_2_way_softmax`), or the logits
/// themselves (`no_post_processing`).
fn from_config(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    let object = &context.config.object;
    let tokens: Vec<String> = object.required(TOKENS)?;
    let mut rows = Vec::new();
    for token in &tokens {
        rows.push(context.token(token).map_err(|error| object.error(TOKENS, &error.to_string()))?);
    }
    let default = if tokens.len() == 2 { "from_2_way_softmax" } else { "no_post_processing" };
    let method = match object.optional::<Value>(METHOD)? {
        None => default.to_owned(),
        Some(Value::String(method)) => method,
        Some(other) => return Err(object.error(METHOD, &format!("{other} is not a text"))),
    };
    let head = lm_head(context.config, context.checkpoint)?;
    let mut head = match (method.as_str(), &rows[..]) {
        ("from_2_way_softmax", &[no, yes]) => difference(head, yes, no),
        ("no_post_processing", [_, ..]) => {
            let names: Vec<String> = tokens.iter().map(|token| token.trim().to_lowercase()).collect();
            check_attribute_names(&names).map_err(|error| object.error(TOKENS, &error.to_string()))?;
            CheckpointHead { rows, attributes: names, ..head }
        }
        _ => {
            let reason = format!(
                "{method} with {} tokens is not known; known are from_2_way_softmax with two and no_post_processing",
                tokens.len()
            );
            return Err(object.error(METHOD, &reason));
        }
    };
    if object.optional("is_original_qwen3_reranker")? == Some(true) {
        head.template = Some(RERANKER_TEMPLATE);
        head.template_mark = RERANKER_MARK;
    }
    Ok(head)
}

fn difference(head: CheckpointHead, yes: usize, no: usize) -> CheckpointHead {
    CheckpointHead { rows: vec![yes], subtract: Some(no), attributes: vec![ONE_SCORE.to_owned()], ..head }
}

/// The logit of `yes` minus that of `no`, after the answer that the model gives without thinking.
fn qwen3_reranker(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    let [yes, no] = context.tokens(["yes", "no"])?;
    let head = difference(lm_head(context.config, context.checkpoint)?, yes, no);
    Ok(CheckpointHead { template: Some(RERANKER_TEMPLATE), template_mark: RERANKER_MARK, ..head })
}

/// The probability of `+` against `-` at every step tag.
fn math_shepherd(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    judged_steps(context, StepToken::Text("ки".to_owned()))
}

/// The probability of `+` against `-` at the start of every assistant's turn: RLHFlow's process reward models answer
/// every step, a user's turn, with one of them.
fn judged_turns(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    judged_steps(context, StepToken::Turn)
}

fn judged_steps(context: &Context<'_>, token: StepToken) -> Result<CheckpointHead, BuildError> {
    let [bad, good] = context.tokens(["-", "+"])?;
    let head = lm_head(context.config, context.checkpoint)?;
    let steps = Steps { token, value: StepValue::Softmax };
    Ok(CheckpointHead {
        rows: vec![bad, good],
        attributes: vec!["step".to_owned()],
        steps: Some(steps),
        ..head
    })
}
