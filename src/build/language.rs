//! Checkpoints of language models: which task they are built for, and what ends their texts.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::BuildError;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::head;
use super::json::Object;
use super::text::Text;
use crate::engine::manifest::{Family, Task};

const GENERATION_CONFIG: &str = "generation_config.json";

/// What an engine is for: what was asked for, else what the checkpoint is. A plain language model with
/// a chat template is for chat, one without for completion; all else is for rewards.
///
/// # Errors
/// The checkpoint cannot do what was asked for.
pub(super) fn task(
    asked: Option<Task>,
    config: &Config,
    checkpoint: &Checkpoint,
    has_head_file: bool,
    text: &Text,
) -> Result<Task, BuildError> {
    let has_value_head = checkpoint.tensors().any(|tensor| tensor.name.starts_with("v_head."));
    let language = config.rest == "ForCausalLM" && !has_value_head;
    let wrong = |reason: String| Err(BuildError::Option(reason));
    match asked {
        Some(Task::Reward) => Ok(Task::Reward),
        Some(task) if !language => wrong(format!(
            "--task {task} needs a language model, and {} is none; leave --task out to build a reward model",
            config.model.architecture
        )),
        Some(task) if has_head_file => {
            wrong(format!("--head says which logits are scores, and --task {task} has no scores; give one"))
        }
        Some(Task::Chat) if !text.has_template => wrong(
            "--task chat needs a chat template, and the checkpoint has none; add chat_template.jinja, or \
             build it with --task completion"
                .into(),
        ),
        Some(task) => Ok(task),
        None if !language || has_head_file || head::known_by_name(config) => Ok(Task::Reward),
        None if text.has_template => Ok(Task::Chat),
        None => Ok(Task::Completion),
    }
}

/// The tensor that gives a language model's logits.
pub(super) fn matrix(config: &Config, checkpoint: &Checkpoint) -> &'static str {
    match config.model.family {
        Family::InternLm2 => "output.weight",
        _ if checkpoint.tensor("lm_head.weight").is_none() && config.tied => "model.embed_tokens.weight",
        _ => "lm_head.weight",
    }
}

/// Token ids that end a text: those of `generation_config.json`, of `config.json` and the tokenizer's.
///
/// # Errors
/// One of them is no token of the model.
pub(super) fn end_tokens(model: &Path, config: &Config, text: &Text) -> Result<Vec<u32>, BuildError> {
    let generation = Object::read_if_present(&model.join(GENERATION_CONFIG))?;
    let mut tokens = BTreeSet::new();
    for object in generation.iter().chain([&config.object]) {
        let listed = match object.optional::<Value>("eos_token_id")? {
            None => vec![],
            Some(Value::Array(list)) => list,
            Some(one) => vec![one],
        };
        for value in listed {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            match id.filter(|&id| (id as usize) < config.model.vocab_size) {
                Some(id) => tokens.insert(id),
                None => {
                    let reason = format!("{value} is no token id below {}", config.model.vocab_size);
                    return Err(object.error("eos_token_id", &reason));
                }
            };
        }
    }
    let named = text.prompt.special_tokens.get("eos_token").and_then(|token| text.encoder.token_id(token));
    tokens.extend(named);
    Ok(tokens.into_iter().collect())
}
