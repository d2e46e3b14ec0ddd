//! Checkpoints of language models: which task they are built for, and how they generate.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;

use super::BuildError;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::heads::{self, judged_tokens, vocabulary_rows::known_by_name};
use super::json::Object;
use super::text::CheckpointText;
use crate::manifest::{SamplingDefaults, Task};
use crate::sampling::{MIN_PS, REPETITION_PENALTIES, TEMPERATURES, TOP_PS};

const GENERATION_CONFIG: &str = "generation_config.json";

/// What an engine is for: the requested task, else what the checkpoint suggests. A plain language model with a chat
/// template is for chat, one without for completion; everything else is for rewards.
///
/// # Errors
/// The checkpoint cannot do the requested task.
pub(super) fn task(
    requested: Option<Task>,
    config: &Config,
    checkpoint: &Checkpoint,
    has_head_file: bool,
    text: &CheckpointText,
) -> Result<Task, BuildError> {
    let language = config.architecture.class == "ForCausalLM" && !heads::has_own_head(checkpoint);
    let wrong = |reason: String| Err(BuildError::Option(reason));
    match requested {
        Some(Task::Reward) => Ok(Task::Reward),
        Some(task) if !language => wrong(format!(
            "--task {task} needs a language model, and {} is not one; leave --task out to build a reward model",
            config.model.architecture
        )),
        Some(task) if has_head_file => wrong(format!(
            "--head says which logits are scores, and --task {task} has no scores; give only one of them"
        )),
        Some(Task::Chat) if !text.has_template => wrong(
            "--task chat needs a chat template, and the checkpoint has none; add chat_template.jinja, or \
             build it with --task completion"
                .into(),
        ),
        Some(task) => Ok(task),
        None if !language || has_head_file || known_by_name(config) || judged_tokens::is_known(config) => {
            Ok(Task::Reward)
        }
        None if text.has_template => Ok(Task::Chat),
        None => Ok(Task::Completion),
    }
}

/// How a language model generates; empty for a reward model.
#[derive(Clone, Default)]
pub(super) struct Generation {
    /// Token ids that end its texts.
    pub(super) end_tokens: Vec<u32>,
    /// The sampling parameters that its makers recommend.
    pub(super) sampling: SamplingDefaults,
}

/// How the language model of the checkpoint in `model` generates.
///
/// # Errors
/// A value in `generation_config.json` or `config.json` is malformed or out of range.
pub(super) fn generation(
    model: &Path,
    config: &Config,
    text: &CheckpointText,
) -> Result<Generation, BuildError> {
    let generation = Object::read_if_present(&model.join(GENERATION_CONFIG))?;
    Ok(Generation {
        end_tokens: end_tokens(generation.as_ref(), config, text)?,
        sampling: generation.as_ref().map(sampling).transpose()?.unwrap_or_default(),
    })
}

/// One line about what was recognised.
pub(super) fn describe(task: Task, config: &Config, generation: &Generation) -> String {
    let Generation { end_tokens, sampling } = generation;
    let sampled = if sampling.is_empty() { String::new() } else { format!(", by default with {sampling}") };
    format!(
        "recognised {} ({}): a language model for {task}, ended by the tokens {end_tokens:?}{sampled}",
        config.model.architecture, config.architecture.family.title
    )
}

/// Token ids that end a text: those of `generation_config.json`, of `config.json` and the tokenizer's.
fn end_tokens(
    generation: Option<&Object>,
    config: &Config,
    text: &CheckpointText,
) -> Result<Vec<u32>, BuildError> {
    let mut tokens = BTreeSet::new();
    for object in generation.into_iter().chain([&config.object]) {
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
                    let reason = format!("{value} is not a token id below {}", config.model.vocab_size);
                    return Err(object.error("eos_token_id", &reason));
                }
            };
        }
    }
    let named = text.prompt.special_tokens.get("eos_token").and_then(|token| text.encoder.token_id(token));
    tokens.extend(named);
    Ok(tokens.into_iter().collect())
}

/// What `generation_config.json` recommends. Its fields are those of transformers' `GenerationConfig`.
fn sampling(generation: &Object) -> Result<SamplingDefaults, BuildError> {
    let number = |field: &str, range: RangeInclusive<f32>| match generation.optional::<f32>(field)? {
        Some(value) if !range.contains(&value) => {
            let reason = format!("{value} must be from {} to {}", range.start(), range.end());
            Err(generation.error(field, &reason))
        }
        value => Ok(value),
    };
    let greedy = generation.optional("do_sample")? == Some(false);
    let temperature = number("temperature", TEMPERATURES)?;
    Ok(SamplingDefaults {
        temperature: if greedy { Some(0.0) } else { temperature },
        top_k: generation.optional("top_k")?,
        top_p: number("top_p", TOP_PS)?,
        min_p: number("min_p", MIN_PS)?,
        repetition_penalty: number("repetition_penalty", REPETITION_PENALTIES)?,
        max_tokens: generation.optional::<NonZeroUsize>("max_new_tokens")?.map(NonZeroUsize::get),
    })
}
