//! Finds the chat template of a checkpoint, where transformers looks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::BuildError;
use super::json::{Object, read_plain, unreadable};
use crate::manifest::TEMPLATE_FILE;

pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Where the processors of multimodal models keep their template.
const PROCESSOR_FILES: [&str; 2] = ["processor_config.json", "chat_template.json"];
const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";
const DEFAULT: &str = "default";
/// Bytes of the largest template. Those of published models have at most some 20 kB.
const LARGEST: u64 = 1 << 20;

/// A chat template and the file that it is in.
pub(super) struct ChatTemplate {
    pub(super) text: String,
    pub(super) path: PathBuf,
    /// Names of the checkpoint's other templates.
    pub(super) others: Vec<String>,
}

/// Templates by name, and the file that each is in.
type Templates = BTreeMap<String, (String, PathBuf)>;

/// The template called `name`, or else the default one; `None` if the checkpoint has none at all. Files of their own
/// take precedence over the tokenizer's configuration, and that over the processor's.
///
/// # Errors
/// A file is malformed, or there are templates but not that one.
pub(super) fn find(
    checkpoint: &Path,
    config: Option<&Object>,
    name: Option<&str>,
) -> Result<Option<ChatTemplate>, BuildError> {
    let mut templates = from_files(checkpoint)?;
    if let (true, Some(config)) = (templates.is_empty(), config) {
        templates = from_config(config, &checkpoint.join(TOKENIZER_CONFIG))?;
    }
    for file in PROCESSOR_FILES {
        let path = checkpoint.join(file);
        if templates.is_empty()
            && let Some(config) = Object::read_if_present(&path)?
        {
            templates = from_config(&config, &path)?;
        }
    }
    choose(templates, name)
}

fn choose(mut templates: Templates, name: Option<&str>) -> Result<Option<ChatTemplate>, BuildError> {
    if templates.is_empty() {
        return match name {
            Some(name) => Err(BuildError::Option(format!(
                "--chat-template {name}: the checkpoint has no chat template; leave the option out"
            ))),
            None => Ok(None),
        };
    }
    let found = templates.remove(name.unwrap_or(DEFAULT));
    let others: Vec<String> = templates.keys().cloned().collect();
    match (found, name) {
        (Some((text, path)), _) if text.is_empty() => {
            let reason = format!(
                "the chat template is empty; put the one that the model was trained with into {TEMPLATE_FILE}"
            );
            Err(BuildError::checkpoint(path, reason))
        }
        (Some((text, path)), _) => Ok(Some(ChatTemplate { text, path, others })),
        (None, Some(name)) => Err(BuildError::Option(format!(
            "--chat-template {name}: the checkpoint's chat templates are {}; choose one of them",
            others.join(", ")
        ))),
        (None, None) => {
            let path = templates.into_values().map(|(_, path)| path).next().unwrap_or_default();
            let reason = format!(
                "none of its chat_template entries ({}) is called {DEFAULT}; choose one with --chat-template",
                others.join(", ")
            );
            Err(BuildError::checkpoint(path, reason))
        }
    }
}

/// `chat_template.jinja` and the files beside it.
fn from_files(checkpoint: &Path) -> Result<Templates, BuildError> {
    let mut templates = Templates::new();
    let main = checkpoint.join(TEMPLATE_FILE);
    if main.exists() {
        templates.insert(DEFAULT.to_owned(), (read(&main)?, main));
    }
    let directory = checkpoint.join(ADDITIONAL_TEMPLATES);
    if !directory.is_dir() {
        return Ok(templates);
    }
    let entries = std::fs::read_dir(&directory).map_err(|error| unreadable(&directory, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&directory, &error))?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jinja"));
        if let Some(name) = name {
            templates.insert(name.to_owned(), (read(&path)?, path.clone()));
        }
    }
    Ok(templates)
}

fn read(path: &Path) -> Result<String, BuildError> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(BuildError::checkpoint(path, "it is not a file; put the chat template into one"));
    }
    check_size(path, metadata.len())?;
    read_plain(path).map_err(|error| unreadable(path, &error))
}

fn check_size(path: &Path, bytes: u64) -> Result<(), BuildError> {
    if bytes <= LARGEST {
        return Ok(());
    }
    let reason = format!(
        "the chat template has {bytes} bytes, more than the limit of {LARGEST}; check that the file is a chat template"
    );
    Err(BuildError::checkpoint(path, reason))
}

/// The field `chat_template`: a text, a list of `{"name": ..., "template": ...}`, or texts by name.
fn from_config(config: &Object, path: &Path) -> Result<Templates, BuildError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let named: Option<Vec<(String, String)>> = match config.optional::<Value>("chat_template")? {
        None => Some(Vec::new()),
        Some(Value::String(template)) => Some(vec![(DEFAULT.to_owned(), template)]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|entry| Some((text(entry.get("name")?)?, text(entry.get("template")?)?)))
            .collect(),
        Some(Value::Object(by_name)) => {
            by_name.iter().map(|(name, template)| Some((name.clone(), text(template)?))).collect()
        }
        Some(_) => None,
    };
    let Some(named) = named else {
        return Err(config.error("chat_template", "it is neither text nor a list of templates with names"));
    };
    let mut templates = Templates::new();
    for (name, template) in named {
        check_size(path, template.len() as u64)?;
        templates.insert(name, (template, path.to_owned()));
    }
    Ok(templates)
}
