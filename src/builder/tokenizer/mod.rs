//! A checkpoint's tokenizer as transformers assembles it from several files: `tokenizer.json`, and over it
//! `tokenizer_config.json` or the older `special_tokens_map.json` and `added_tokens.json`.
//!
//! The result is written into the engine as one `tokenizer.json`, so that serving reads one file.

mod class;
mod merges;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use self::class::Class;
use self::settings::{Given, NAMED, Settings, TokenFields};
use super::BuildError;
use super::json::{Object, read_text, unreadable};
use crate::manifest::TOKENIZER_FILE;
use crate::prompt::parse_tokenizer;

/// What a checkpoint's files say together.
pub(super) struct CheckpointTokenizer {
    /// Text of the `tokenizer.json` that serves.
    pub(super) json: String,
    /// Special tokens by the names that templates use: `bos_token`, ...
    pub(super) special_tokens: BTreeMap<String, String>,
    /// What the build should say about it, one line each.
    pub(super) notes: Vec<String>,
}

/// Reads the tokenizer of a checkpoint whose `config.json` names `model_type`. `config` is its
/// `tokenizer_config.json`.
///
/// # Errors
/// A file is missing or malformed, or the tokenizer cannot be used.
pub(super) fn read(
    checkpoint: &Path,
    config: Option<&Object>,
    model_type: Option<&str>,
) -> Result<CheckpointTokenizer, BuildError> {
    let path = checkpoint.join(TOKENIZER_FILE);
    let text = read_text(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::checkpoint(
            &path,
            "it is missing; load the tokenizer with transformers' AutoTokenizer and call `save_pretrained`",
        ),
        _ => unreadable(&path, &error),
    })?;
    let invalid = |error: &dyn std::fmt::Display| {
        BuildError::checkpoint(&path, format!("it is not a valid tokenizer: {error}"))
    };
    let file: Value = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
    let settings = Settings::read(checkpoint, config, Some(&file))?;
    let class = Class::choose(&settings, model_type, text.contains("\"ByteLevel\""));

    let original = parse_tokenizer(&text).map_err(|error| invalid(&error))?;
    let mut assembled = class.assemble(file.clone(), &settings).map_err(|error| invalid(&error))?;
    remove_what_changes_texts(&mut assembled);
    let mut tokenizer = if assembled == file {
        original.clone()
    } else {
        parse(&assembled).map_err(|error| invalid(&error))?
    };
    let named = named_tokens(class, &settings, file["padding"]["pad_token"].as_str());
    add_tokens(&mut tokenizer, class, &settings, &named).map_err(|error| invalid(&error))?;

    let written = |tokenizer: &Tokenizer| tokenizer.to_string(false).map_err(|error| invalid(&error));
    let json = written(&tokenizer)?;
    let json = if json == written(&original)? { text } else { json };
    let special_tokens =
        named.iter().map(|(name, given)| (name.clone(), given.content().to_owned())).collect();
    Ok(CheckpointTokenizer { json, special_tokens, notes: notes(&original, &tokenizer) })
}

fn parse(json: &Value) -> tokenizers::Result<Tokenizer> {
    parse_tokenizer(&json.to_string())
}

/// Removes settings of `tokenizer.json` that cut, pad or randomly change texts: `dropout` is for training, and
/// transformers sets truncation and padding anew with each call.
fn remove_what_changes_texts(file: &mut Value) {
    for field in ["truncation", "padding"] {
        file[field] = Value::Null;
    }
    if let Some(dropout) = file["model"].get_mut("dropout") {
        *dropout = Value::Null;
    }
}

/// The named tokens: the class's own, over them the files', and those of other names. `padding` is the token that
/// the padding settings of `tokenizer.json` name.
fn named_tokens(class: Class, settings: &Settings, padding: Option<&str>) -> Vec<(String, Given)> {
    let mut tokens = Vec::new();
    for name in NAMED {
        let default = class.defaults().iter().find(|(other, _)| *other == name).map(|(_, text)| *text);
        let default = default.or(padding.filter(|_| name == "pad_token"));
        let given = match settings.named.get(name) {
            Some(given) => given.clone(),
            None => default.map(|text| Given::Text(text.to_owned())),
        };
        tokens.extend(given.map(|given| (name.to_owned(), given)));
    }
    tokens.extend(settings.specific.iter().cloned());
    tokens
}

/// Adds the tokens that the files name, as `TokenizersBackend.__init__` does. Tokens that the vocabulary has
/// keep their ids; others get the next ones, in order.
fn add_tokens(
    tokenizer: &mut Tokenizer,
    class: Class,
    settings: &Settings,
    named: &[(String, Given)],
) -> tokenizers::Result<()> {
    let mut to_add: Vec<Given> = settings.added.values().cloned().map(Given::Token).collect();
    let present = tokenizer.get_added_tokens_decoder().into_values();
    let known: HashSet<String> = (present.map(|token| token.content))
        .chain(to_add.iter().map(|given| given.content().to_owned()))
        .collect();
    for given in named.iter().map(|(_, given)| given).chain(&settings.extra) {
        if !known.contains(given.content()) && !to_add.contains(given) {
            to_add.push(given.clone());
        }
    }
    let is_named = |content: &str| named.iter().any(|(_, given)| given.content() == content);
    let added = to_add.into_iter().map(|given| match given {
        Given::Text(text) => TokenFields::special(&text).added_token(),
        Given::Token(token) => {
            TokenFields { special: token.special || is_named(&token.content), ..token }.added_token()
        }
    });
    let added: Vec<AddedToken> = added.collect();
    tokenizer.add_tokens(added)?;
    if class == Class::Qwen2 {
        // The class adds all special tokens once more, without other flags.
        let special = named.iter().map(|(_, given)| given).chain(&settings.extra);
        let special: Vec<_> =
            special.map(|given| TokenFields::special(given.content()).added_token()).collect();
        tokenizer.add_tokens(special)?;
    }
    Ok(())
}

/// Says which tokens are not those of `tokenizer.json` alone.
fn notes(original: &Tokenizer, tokenizer: &Tokenizer) -> Vec<String> {
    let before = original.get_added_tokens_decoder();
    let mut changed: Vec<(u32, AddedToken)> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    changed.retain(|(id, token)| before.get(id) != Some(token));
    changed.sort_by_key(|(id, _)| *id);
    if changed.is_empty() {
        return Vec::new();
    }
    let listed: Vec<String> =
        changed.iter().map(|(id, token)| format!("{:?} ({id})", token.content)).collect();
    vec![format!(
        "the tokenizer's configuration adds or changes tokens of {TOKENIZER_FILE}, as in transformers: {}",
        listed.join(", ")
    )]
}
