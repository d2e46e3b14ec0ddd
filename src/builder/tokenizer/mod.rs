//! A checkpoint's tokenizer as transformers assembles it from several files: `tokenizer.json` (or
//! SentencePiece's `tokenizer.model`), which `tokenizer_config.json` or the older `special_tokens_map.json`
//! and `added_tokens.json` override.
//!
//! The result is written into the engine as one `tokenizer.json`, so that serving reads one file.

mod class;
mod encoder_class;
mod framing;
mod merges;
mod protobuf;
mod registered;
mod sentencepiece;
mod settings;
#[cfg(test)]
mod tests;
mod token;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

use self::class::TokenizerClass;
use self::registered::Choice;
use self::sentencepiece::{SentencePiece, SentencePieceError};
use self::settings::{NAMED, Settings};
use self::token::{Given, TokenFields};
use super::BuildError;
use super::json::{LARGEST_FILE, Object, read_text, unreadable};
use crate::manifest::{TOKENIZER_FILE, read_plain_file};
use crate::prompt::parse_tokenizer;

/// SentencePiece's model, which is read if there is no `tokenizer.json`.
const SENTENCEPIECE_FILE: &str = "tokenizer.model";

/// What `config.json` says about the tokenizer.
#[derive(Default)]
pub(super) struct ModelFields {
    pub(super) model_type: Option<String>,
    /// Used if `tokenizer_config.json` names no class.
    pub(super) tokenizer_class: Option<String>,
}

impl ModelFields {
    /// # Errors
    /// A field is malformed.
    pub(super) fn read(config: &Object) -> Result<Self, BuildError> {
        let tokenizer_class = config.optional("tokenizer_class")?;
        Ok(Self { model_type: config.optional("model_type")?, tokenizer_class })
    }
}

/// What a checkpoint's files say together.
pub(super) struct CheckpointTokenizer {
    /// Text of the `tokenizer.json` that serves.
    pub(super) json: String,
    /// Special tokens by the names that templates use: `bos_token`, ...
    pub(super) special_tokens: BTreeMap<String, String>,
    /// Whether its map of characters is SentencePiece's own; see [`crate::manifest::PromptSpec::longest_match`].
    pub(super) longest_match: bool,
    /// Whether the model gets the segments of a pair, unless `model_input_names` says otherwise.
    pub(super) gives_segments: bool,
    /// What the build should say about it, one line each.
    pub(super) notes: Vec<String>,
}

/// Reads the tokenizer of a checkpoint whose `config.json` has the fields `model`. `config` is its
/// `tokenizer_config.json`.
///
/// # Errors
/// A file is missing or malformed, or the tokenizer cannot be used.
pub(super) fn read(
    checkpoint: &Path,
    config: Option<&Object>,
    model: &ModelFields,
) -> Result<CheckpointTokenizer, BuildError> {
    let Source { path, text, file, mut settings, symbols, mut notes } = Source::read(checkpoint, config)?;
    let invalid = |error: &dyn std::fmt::Display| {
        BuildError::checkpoint(&path, format!("it is not a valid tokenizer: {error}"))
    };
    let is_named = settings.class.as_ref().is_some_and(|class| !class.is_empty());
    if !is_named {
        settings.class.clone_from(&model.tokenizer_class);
    }
    let choice = Choice::new(&settings, model.model_type.as_deref(), text.contains("\"ByteLevel\""));
    let class = choice.class;
    notes.extend(choice.note());

    if class != TokenizerClass::File && settings.extra.is_empty() {
        settings.extra = symbols;
    }
    let original = parse_tokenizer(&text).map_err(|error| invalid(&error))?;
    let mut assembled = class.assemble(file.clone(), &settings).map_err(|error| invalid(&error))?;
    assembled = encoder_class::assemble(class, assembled, config)?;
    remove_what_changes_texts(&mut assembled);
    let mut tokenizer = if assembled == file {
        original.clone()
    } else {
        parse(&assembled).map_err(|error| invalid(&error))?
    };
    let named = named_tokens(class, &settings, file["padding"]["pad_token"].as_str());
    add_tokens(&mut tokenizer, class, &settings, &named).map_err(|error| invalid(&error))?;
    let token = |name: &str| {
        let (_, given) = named.iter().find(|(other, _)| other == name)?;
        Some((given.content().to_owned(), tokenizer.token_to_id(given.content())?))
    };
    if let Some(processor) = encoder_class::post_processor(class, token) {
        let processor: PostProcessorWrapper =
            serde_json::from_value(processor).map_err(|error| invalid(&error))?;
        tokenizer.with_post_processor(Some(processor));
    }
    let is_converted = path.file_name().is_some_and(|name| name == SENTENCEPIECE_FILE);
    if is_converted {
        frame_texts(&mut tokenizer, &settings, &named).map_err(|error| invalid(&error))?;
    }

    let written = |tokenizer: &Tokenizer| tokenizer.to_string(false).map_err(|error| invalid(&error));
    let json = written(&tokenizer)?;
    let json = if json == written(&original)? { text } else { json };
    let special_tokens =
        named.iter().map(|(name, given)| (name.clone(), given.content().to_owned())).collect();
    notes.extend(added_note(&original, &tokenizer));
    let longest_match = is_converted && class == TokenizerClass::File;
    Ok(CheckpointTokenizer {
        json,
        special_tokens,
        longest_match,
        gives_segments: class.gives_segments(),
        notes,
    })
}

/// The file with the vocabulary, and the settings from the other files.
struct Source {
    path: PathBuf,
    /// Text of `tokenizer.json`, the checkpoint's or the converted one.
    text: String,
    /// The same, parsed.
    file: Value,
    settings: Settings,
    /// The control and user-defined symbols of a SentencePiece model. The classes that split text their own way
    /// add them as tokens.
    symbols: Vec<Given>,
    notes: Vec<String>,
}

impl Source {
    /// Reads `tokenizer.json`, or else converts `tokenizer.model`.
    fn read(checkpoint: &Path, config: Option<&Object>) -> Result<Self, BuildError> {
        let path = checkpoint.join(TOKENIZER_FILE);
        match read_text(&path) {
            Ok(text) => {
                let file = serde_json::from_str(&text).map_err(|error| {
                    BuildError::checkpoint(&path, format!("it is not a valid tokenizer: {error}"))
                })?;
                let settings = Settings::read(checkpoint, config, Some(&file))?;
                Ok(Self { path, text, file, settings, symbols: Vec::new(), notes: Vec::new() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::convert(checkpoint, config, path),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    fn convert(checkpoint: &Path, config: Option<&Object>, missing: PathBuf) -> Result<Self, BuildError> {
        let path = checkpoint.join(SENTENCEPIECE_FILE);
        let bytes = match read_plain_file(&path, LARGEST_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!(
                    "it is missing, and so is {SENTENCEPIECE_FILE}; load the tokenizer with transformers' \
                     AutoTokenizer and call `save_pretrained`"
                );
                return Err(BuildError::checkpoint(missing, reason));
            }
            result => result.map_err(|error| unreadable(&path, &error))?,
        };
        let wrong = |error: SentencePieceError| BuildError::checkpoint(&path, error.to_string());
        let mut settings = Settings::read(checkpoint, config, None)?;
        let mut model = SentencePiece::parse(&bytes).map_err(wrong)?;
        for (id, token) in &settings.added {
            if let Ok(id) = u32::try_from(*id) {
                model.rename(id, &token.content);
            }
        }
        for (name, text) in &model.named {
            settings.named.entry(name).or_insert_with(|| Some(Given::Text(text.clone())));
        }
        let file = model.convert().map_err(wrong)?;
        let notes = vec![format!("{SENTENCEPIECE_FILE} was converted: {} pieces", model.len())];
        Ok(Self { path, text: file.to_string(), file, settings, symbols: model.symbols(), notes })
    }
}

/// Puts the tokens that the configuration asks for around texts that are completed.
fn frame_texts(
    tokenizer: &mut Tokenizer,
    settings: &Settings,
    named: &[(String, Given)],
) -> tokenizers::Result<()> {
    let token = |name: &str, wanted: bool| {
        let (_, given) = named.iter().find(|(other, _)| wanted && other == name)?;
        Some((given.content().to_owned(), tokenizer.token_to_id(given.content())?))
    };
    let tokens = [token("bos_token", settings.add_bos_token), token("eos_token", settings.add_eos_token)];
    let special = |token: &Option<(String, u32)>| token.as_ref().map(|(text, _)| framing::special(text, 0));
    let framed = |name: &str| -> Vec<Value> {
        let text = [framing::text(name, 0)];
        special(&tokens[0]).into_iter().chain(text).chain(special(&tokens[1])).collect()
    };
    if tokens.iter().any(Option::is_some) {
        let (single, pair) = (framed("A"), [framed("A"), framed("B")].concat());
        let processor = framing::post_processor(&single, &pair, tokens.iter().flatten());
        tokenizer.with_post_processor(Some(serde_json::from_value::<PostProcessorWrapper>(processor)?));
    }
    Ok(())
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

/// The named tokens: the class's own, which the files' override, and those of other names. `padding` is the
/// token that the padding settings of `tokenizer.json` name.
fn named_tokens(class: TokenizerClass, settings: &Settings, padding: Option<&str>) -> Vec<(String, Given)> {
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
    class: TokenizerClass,
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
    if matches!(class, TokenizerClass::Qwen2 | TokenizerClass::Cohere) {
        // These classes add all special tokens once more, without other flags.
        let special = named.iter().map(|(_, given)| given).chain(&settings.extra);
        let special: Vec<_> =
            special.map(|given| TokenFields::special(given.content()).added_token()).collect();
        tokenizer.add_tokens(special)?;
    }
    Ok(())
}

/// Says which tokens are not those of `tokenizer.json` alone.
fn added_note(original: &Tokenizer, tokenizer: &Tokenizer) -> Option<String> {
    let before = original.get_added_tokens_decoder();
    let mut changed: Vec<(u32, AddedToken)> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    changed.retain(|(id, token)| before.get(id) != Some(token));
    changed.sort_by_key(|(id, _)| *id);
    if changed.is_empty() {
        return None;
    }
    let listed: Vec<String> =
        changed.iter().map(|(id, token)| format!("{:?} ({id})", token.content)).collect();
    Some(format!(
        "the tokenizer's configuration adds or changes tokens of the vocabulary, as in transformers: {}",
        listed.join(", ")
    ))
}
