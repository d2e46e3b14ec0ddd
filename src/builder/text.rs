//! The text side of a checkpoint: tokenizer, chat template, special tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::BuildError;
use super::json::{Object, unreadable};
use crate::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE};
use crate::prompt::{EncodeOptions, Encoder, Message, PromptError};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";

/// What an engine needs to make token ids of a conversation.
pub(super) struct Text {
    /// `tokenizer.json`, as the checkpoint has it.
    pub(super) tokenizer: String,
    /// The chat template; where there is none, one that refuses every conversation.
    pub(super) template: String,
    /// Whether there is one.
    pub(super) has_template: bool,
    /// What the template may name.
    pub(super) prompt: PromptSpec,
    /// What they make together.
    pub(super) encoder: Encoder,
}

impl Text {
    /// The files that an engine has of it, and their contents.
    pub(super) fn files(&self) -> [(&'static str, &str); 2] {
        [(TOKENIZER_FILE, self.tokenizer.as_str()), (TEMPLATE_FILE, self.template.as_str())]
    }
}

/// Stands in for the chat template of a model that has none.
const NO_TEMPLATE: &str =
    "{{ raise_exception('this model has no chat template: it completes texts, at /v1/completions') }}";

/// Reads and checks the text side of a checkpoint whose embedding has `vocab_size` rows.
///
/// # Errors
/// A file is missing or malformed, there is no chat template where there must be one, or one that cannot be compiled, or a token
/// has no row in the embedding.
pub(super) fn read(checkpoint: &Path, vocab_size: usize, must_chat: bool) -> Result<Text, BuildError> {
    let config = Object::read_if_present(&checkpoint.join(TOKENIZER_CONFIG))?;
    let tokenizer = tokenizer(checkpoint, vocab_size)?;
    let found = template(checkpoint, config.as_ref())?;
    if must_chat && found.is_none() {
        return Err(no_template(checkpoint));
    }
    let has_template = found.is_some();
    let (template, template_path) =
        found.unwrap_or_else(|| (NO_TEMPLATE.to_owned(), checkpoint.join(TEMPLATE_FILE)));
    let special_tokens = special_tokens(checkpoint, config.as_ref())?;
    let prompt = PromptSpec { special_tokens, ..PromptSpec::default() };
    // What the server would refuse at its start is better refused here.
    let encoder = Encoder::new(&tokenizer, &template, &prompt).map_err(|error| {
        let path = if error.file() == TOKENIZER_FILE {
            checkpoint.join(TOKENIZER_FILE)
        } else {
            template_path.clone()
        };
        BuildError::checkpoint(path, error.to_string())
    })?;
    try_template(&encoder).map_err(|reason| BuildError::checkpoint(&template_path, reason))?;
    Ok(Text { tokenizer, template, has_template, prompt, encoder })
}

/// Renders a question and its answer: a template that fails, gives nothing or does not end is found out
/// here. One that refuses them in words of its own may take other conversations.
fn try_template(encoder: &Encoder) -> Result<(), String> {
    let turn = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let turns = [turn("user", "What is 2 + 3?"), turn("assistant", "It is 5.")];
    match encoder.encode(&turns, EncodeOptions::default()) {
        Ok(_) | Err(PromptError::Refused(_)) => Ok(()),
        Err(error) => Err(format!("the chat template fails on a question and its answer: {error}")),
    }
}

fn tokenizer(checkpoint: &Path, vocab_size: usize) -> Result<String, BuildError> {
    let path = checkpoint.join(TOKENIZER_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::checkpoint(
            &path,
            "it is missing; load the tokenizer with transformers' AutoTokenizer and call `save_pretrained`",
        ),
        _ => unreadable(&path, &error),
    })?;
    let tokenizer = Tokenizer::from_str(&text)
        .map_err(|error| BuildError::checkpoint(&path, format!("it is not a tokenizer: {error}")))?;
    let largest = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
    match largest {
        Some((token, id)) if id as usize >= vocab_size => {
            let reason = format!(
                "its token {token:?} has the id {id}, but the embedding has {vocab_size} rows \
                 (vocab_size in config.json); tokenizer and weights are not of one checkpoint"
            );
            Err(BuildError::checkpoint(&path, reason))
        }
        _ => Ok(text),
    }
}

/// The template, if there is one, and the file that it stands in: one of its own wins over the tokenizer's configuration.
fn template(checkpoint: &Path, config: Option<&Object>) -> Result<Option<(String, PathBuf)>, BuildError> {
    let path = checkpoint.join(TEMPLATE_FILE);
    if path.exists() {
        let template = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        return Ok(Some((template, path)));
    }
    let found = match config {
        Some(config) => match config.optional::<Value>("chat_template")? {
            Some(Value::String(template)) => Some(template),
            Some(Value::Array(named)) => Some(named_default(config, &named)?),
            Some(_) => {
                return Err(config.error("chat_template", "it is neither text nor a list of templates"));
            }
            None => None,
        },
        None => None,
    };
    Ok(found.map(|template| (template, checkpoint.join(TOKENIZER_CONFIG))))
}

fn no_template(checkpoint: &Path) -> BuildError {
    let reason = format!(
        "there is no chat template, neither {TEMPLATE_FILE} nor chat_template in {TOKENIZER_CONFIG}; \
         put the one that the model was trained with into {TEMPLATE_FILE}"
    );
    BuildError::checkpoint(checkpoint, reason)
}

/// Of several templates, each `{"name": ..., "template": ...}`, the one called `default`.
fn named_default(config: &Object, named: &[Value]) -> Result<String, BuildError> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let default = named.iter().find(|entry| text(entry, "name").as_deref() == Some("default"));
    default.and_then(|entry| text(entry, "template")).ok_or_else(|| {
        let names: Vec<_> = named.iter().filter_map(|entry| text(entry, "name")).collect();
        let reason = format!("none of its templates ({}) is called default", names.join(", "));
        config.error("chat_template", &reason)
    })
}

/// Every `..._token` with a text, out of the tokenizer's configuration and, where that is silent, out of
/// `special_tokens_map.json`.
fn special_tokens(
    checkpoint: &Path,
    config: Option<&Object>,
) -> Result<BTreeMap<String, String>, BuildError> {
    let map = Object::read_if_present(&checkpoint.join(SPECIAL_TOKENS_MAP))?;
    let mut tokens = BTreeMap::new();
    for object in [map.as_ref(), config].into_iter().flatten() {
        for (name, value) in object.fields().filter(|(name, _)| name.ends_with("_token")) {
            // Either the text, or an AddedToken with the text as its content.
            if let Some(text) = value.as_str().or_else(|| value.get("content")?.as_str()) {
                tokens.insert(name.to_owned(), text.to_owned());
            }
        }
    }
    Ok(tokens)
}
