//! The text side of a checkpoint: tokenizer, chat template, special tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::BuildError;
use super::json::{Object, unreadable};
use super::options::BuildOptions;
use crate::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE, TemplateDate};
use crate::prompt::{DateUse, EncodeOptions, Encoder, Message, PromptError, parse_tokenizer};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";

/// What an engine needs to turn a conversation into token ids.
pub(super) struct Text {
    /// The checkpoint's `tokenizer.json`.
    pub(super) tokenizer: String,
    /// The chat template; if the checkpoint has none, one that refuses every conversation.
    pub(super) template: String,
    /// Whether the checkpoint has a chat template.
    pub(super) has_template: bool,
    /// The special tokens that the template may use.
    pub(super) prompt: PromptSpec,
    /// All of it, ready to use.
    pub(super) encoder: Encoder,
    /// What the user should know about it, in lines.
    pub(super) notes: Vec<String>,
}

impl Text {
    /// The files that go into an engine, and their contents.
    pub(super) fn files(&self) -> [(&'static str, &str); 2] {
        [(TOKENIZER_FILE, self.tokenizer.as_str()), (TEMPLATE_FILE, self.template.as_str())]
    }
}

/// Takes the place of a missing chat template.
const NO_TEMPLATE: &str =
    "{{ raise_exception('this model has no chat template: it completes texts, at /v1/completions') }}";

/// Reads and checks the text side of the checkpoint in the directory `checkpoint`, whose embedding has `vocab_size` rows.
///
/// # Errors
/// A file is missing or malformed, a required chat template is missing, the template cannot be compiled, or a token
/// has no row in the embedding.
pub(super) fn read(
    checkpoint: &Path,
    options: &BuildOptions,
    vocab_size: usize,
    must_chat: bool,
) -> Result<Text, BuildError> {
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
    let date_use = DateUse::detect(&template);
    let template_date =
        options.template_date.or(date_use.default_date()).filter(|_| date_use != DateUse::None);
    let notes = date_note(date_use, options.template_date).into_iter().collect();
    let prompt = PromptSpec { special_tokens, template_date, ..PromptSpec::default() };
    // The server would refuse these at its start; it is better to do so here.
    let encoder = Encoder::new(&tokenizer, &template, &prompt).map_err(|error| {
        let path = if error.file() == TOKENIZER_FILE {
            checkpoint.join(TOKENIZER_FILE)
        } else {
            template_path.clone()
        };
        BuildError::checkpoint(path, error.to_string())
    })?;
    try_template(&encoder, &template_path)?;
    Ok(Text { tokenizer, template, has_template, prompt, encoder, notes })
}

/// Renders a question and its answer, to find templates that fail, give nothing or do not end. A template that
/// refuses them with a message of its own may accept other conversations.
fn try_template(encoder: &Encoder, path: &Path) -> Result<(), BuildError> {
    let turn = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let turns = [turn("user", "What is 2 + 3?"), turn("assistant", "It is 5.")];
    match encoder.encode(&turns, EncodeOptions::default()) {
        Ok(_) | Err(PromptError::Refused(_)) => Ok(()),
        Err(error) => {
            let reason = format!("the chat template fails on a question and its answer: {error}");
            Err(BuildError::checkpoint(path, reason))
        }
    }
}

/// What a build says about the date that the template prints.
fn date_note(date_use: DateUse, requested: Option<TemplateDate>) -> Option<String> {
    let default = TemplateDate::DEFAULT;
    match (date_use, requested) {
        (DateUse::None, None) => None,
        (DateUse::None, Some(date)) => {
            Some(format!("the chat template prints no date, so --template-date {date} changes nothing"))
        }
        (_, Some(date)) => Some(format!("the chat template prints the date {date}, whatever the day")),
        (DateUse::Today, None) => Some(format!(
            "the chat template prints the date {default}, whatever the day; --template-date sets another"
        )),
        (DateUse::Variable | DateUse::Fallback, None) => Some(
            "the chat template prints its own fixed date, whatever the day; --template-date sets another"
                .into(),
        ),
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
    let tokenizer = parse_tokenizer(&text)
        .map_err(|error| BuildError::checkpoint(&path, format!("it is not a valid tokenizer: {error}")))?;
    let largest = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
    match largest {
        Some((token, id)) if id as usize >= vocab_size => {
            let reason = format!(
                "its token {token:?} has the id {id}, but the embedding has {vocab_size} rows \
                 (vocab_size in config.json); tokenizer and weights are from different checkpoints"
            );
            Err(BuildError::checkpoint(&path, reason))
        }
        _ => Ok(text),
    }
}

/// The template, if there is one, and its file. A file of its own takes precedence over the tokenizer's configuration.
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

/// The template called `default` among several, each `{"name": ..., "template": ...}`.
fn named_default(config: &Object, named: &[Value]) -> Result<String, BuildError> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let default = named.iter().find(|entry| text(entry, "name").as_deref() == Some("default"));
    default.and_then(|entry| text(entry, "template")).ok_or_else(|| {
        let names: Vec<_> = named.iter().filter_map(|entry| text(entry, "name")).collect();
        let reason = format!("none of its templates ({}) is called default", names.join(", "));
        config.error("chat_template", &reason)
    })
}

/// Every `..._token` with a text, from the tokenizer's configuration or else from `special_tokens_map.json`.
fn special_tokens(
    checkpoint: &Path,
    config: Option<&Object>,
) -> Result<BTreeMap<String, String>, BuildError> {
    let map = Object::read_if_present(&checkpoint.join(SPECIAL_TOKENS_MAP))?;
    let mut tokens = BTreeMap::new();
    for object in [map.as_ref(), config].into_iter().flatten() {
        for (name, value) in object.fields().filter(|(name, _)| name.ends_with("_token")) {
            // The value is either the text or an AddedToken, whose content is the text.
            if let Some(text) = value.as_str().or_else(|| value.get("content")?.as_str()) {
                tokens.insert(name.to_owned(), text.to_owned());
            }
        }
    }
    Ok(tokens)
}
