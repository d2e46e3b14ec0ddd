//! The text side of a checkpoint: tokenizer, chat template, special tokens.

use std::path::Path;

use super::BuildError;
use super::chat_template::{self, TOKENIZER_CONFIG};
use super::config::Config;
use super::json::Object;
use super::options::BuildOptions;
use super::pair_template;
use super::template_trials;
use super::tokenizer::{self, CheckpointTokenizer, ModelFields};
use crate::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE, TemplateDate};
use crate::prompt::{DateUse, Encoder, PairFrame, control_tokens, parse_tokenizer};

/// What an engine needs to turn a conversation into token ids.
pub(super) struct CheckpointText {
    /// Text of the `tokenizer.json` that serves.
    pub(super) tokenizer: String,
    /// The chat template; if the checkpoint has none, one that refuses every conversation.
    pub(super) template: String,
    /// Whether the checkpoint has a chat template.
    pub(super) has_template: bool,
    /// The special tokens that the template may use.
    pub(super) prompt: PromptSpec,
    /// The encoder that tokenizer and template make.
    pub(super) encoder: Encoder,
    /// Token ids that follow every conversation.
    pub(super) suffix: Vec<u32>,
    /// The token after which the second segment of a pair starts.
    pub(super) separator: Option<u32>,
    /// What the user should know about it, in lines.
    pub(super) notes: Vec<String>,
}

impl CheckpointText {
    /// The files that go into an engine, and their contents.
    pub(super) fn files(&self) -> [(&'static str, &str); 2] {
        [(TOKENIZER_FILE, self.tokenizer.as_str()), (TEMPLATE_FILE, self.template.as_str())]
    }
}

impl CheckpointText {
    /// Replaces the checkpoint's chat template, for an embedding of `vocab_size` rows.
    ///
    /// # Errors
    /// No encoder can be made from the tokenizer and the template.
    pub(super) fn replace_template(&mut self, template: &str, vocab_size: usize) -> Result<(), BuildError> {
        let encoder = Encoder::new(&self.tokenizer, template, &self.prompt)
            .map_err(|error| BuildError::Option(format!("the model's own prompt cannot be used: {error}")))?;
        self.encoder = encoder.with_embedding_rows(vocab_size);
        self.template = template.to_owned();
        self.has_template = true;
        self.notes
            .push("this head has a prompt of its own; the checkpoint's chat template is not used".to_owned());
        Ok(())
    }
}

/// Takes the place of a missing chat template.
const NO_TEMPLATE: &str =
    "{{ raise_exception('this model has no chat template: it completes texts, at /v1/completions') }}";

/// Reads and checks the text side, in the directory `checkpoint`, of a checkpoint with this `config`.
///
/// # Errors
/// A file is missing or malformed, a required chat template is missing, or the template cannot be compiled.
pub(super) fn read(
    checkpoint: &Path,
    options: &BuildOptions,
    config: &Config,
    must_chat: bool,
) -> Result<CheckpointText, BuildError> {
    let model = ModelFields::read(&config.object)?;
    let vocab_size = config.model.vocab_size;
    let is_encoder = config.model.variant.bidirectional.is_some();
    let config = Object::read_if_present(&checkpoint.join(TOKENIZER_CONFIG))?;
    let CheckpointTokenizer { json: tokenizer, special_tokens, longest_match, gives_segments, mut notes } =
        tokenizer::read(checkpoint, config.as_ref(), &model)?;
    let found =
        chat_template::find(checkpoint, config.as_ref(), options.checkpoint.chat_template.as_deref())?;
    let frame = if is_encoder {
        Some(pair_frame(&tokenizer, gives_segments, config.as_ref(), checkpoint)?)
    } else {
        None
    };
    let must_chat = must_chat && !is_encoder;
    if must_chat && found.is_none() {
        return Err(no_template(checkpoint));
    }
    let has_template = found.is_some() || is_encoder;
    let mut pair = None;
    let (template, template_path) = match (found, &frame) {
        (Some(found), _) => {
            notes.extend(others_note(&found.others));
            (found.text, found.path)
        }
        (None, Some(frame)) => {
            notes.push(
                "prompt and response are the two texts of a pair, as the tokenizer frames them".to_owned(),
            );
            pair = Some(frame);
            (pair_template(&tokenizer, frame, checkpoint)?, checkpoint.join(TOKENIZER_FILE))
        }
        (None, None) => (NO_TEMPLATE.to_owned(), checkpoint.join(TEMPLATE_FILE)),
    };
    let date_use = DateUse::detect(&template).map_err(|error| {
        BuildError::checkpoint(template_path.clone(), format!("the chat template is malformed: {error}"))
    })?;
    let template_date =
        options.checkpoint.template_date.or(date_use.default_date()).filter(|_| date_use != DateUse::None);
    notes.extend(date_note(date_use, options.checkpoint.template_date));
    let named = special_tokens.values().map(String::as_str);
    let (control_tokens, structure) =
        control_tokens(&tokenizer, &template, named, options.checkpoint.control_tokens)
            .map_err(|error| BuildError::checkpoint(checkpoint.join(TOKENIZER_FILE), error.to_string()))?;
    notes.push(control_note(&structure, &control_tokens.words));
    let control_tokens = Some(control_tokens);
    let prompt =
        PromptSpec { special_tokens, template_date, control_tokens, longest_match, ..PromptSpec::default() };
    // The server would refuse these at its start; it is better to do so here.
    let encoder = Encoder::new(&tokenizer, &template, &prompt).map_err(|error| {
        let path = if error.file() == TOKENIZER_FILE {
            checkpoint.join(TOKENIZER_FILE)
        } else {
            template_path.clone()
        };
        BuildError::checkpoint(path, error.to_string())
    })?;
    let encoder = encoder.with_embedding_rows(vocab_size).without_warnings();
    if let Some(frame) = pair {
        pair_template::check(&tokenizer, &encoder, frame, checkpoint)?;
    }
    let suffix = pair.map_or_else(Vec::new, |frame| frame.after.clone());
    if has_template {
        notes.extend(template_trials::run(&encoder, &template_path)?);
    }
    let separator = frame.filter(|frame| frame.has_segments).and_then(|frame| frame.between.first().copied());
    Ok(CheckpointText { tokenizer, template, has_template, prompt, encoder, suffix, separator, notes })
}

/// How the tokenizer frames a pair. A model gets segments if `model_input_names` lists them, else if the tokenizer's
/// class does.
fn pair_frame(
    tokenizer: &str,
    gives_segments: bool,
    config: Option<&Object>,
    checkpoint: &Path,
) -> Result<PairFrame, BuildError> {
    let mut frame = PairFrame::read(tokenizer)
        .map_err(|error| BuildError::checkpoint(checkpoint.join(TOKENIZER_FILE), error.to_string()))?;
    let inputs =
        config.map(|config| config.optional::<Vec<String>>("model_input_names")).transpose()?.flatten();
    let given = inputs.map_or(gives_segments, |names| names.iter().any(|name| name == "token_type_ids"));
    frame.has_segments &= given;
    Ok(frame)
}

fn pair_template(tokenizer: &str, frame: &PairFrame, checkpoint: &Path) -> Result<String, BuildError> {
    let wrong = |reason: String| BuildError::checkpoint(checkpoint.join(TOKENIZER_FILE), reason);
    let vocabulary = parse_tokenizer(tokenizer).map_err(|error| wrong(error.to_string()))?;
    pair_template::write(frame, |id| vocabulary.id_to_token(id))
        .ok_or_else(|| wrong("its post-processor adds a token that is not in the vocabulary".to_owned()))
}

/// What a build says about further chat templates.
fn others_note(others: &[String]) -> Option<String> {
    if others.is_empty() {
        return None;
    }
    let listed = others.join(", ");
    Some(format!("the checkpoint has other chat templates, too; choose one with --chat-template: {listed}"))
}

/// What a build says about the tokens that messages may and may not spell.
fn control_note(structure: &[String], words: &[String]) -> String {
    const LISTED: usize = 8;
    let listed = |tokens: &[String]| {
        let more = if tokens.len() > LISTED { ", ..." } else { "" };
        tokens.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ") + more
    };
    let count = structure.len();
    let guarded = match structure {
        [] => "no token is kept out of the text of messages".to_owned(),
        _ => format!("tokens that the text of messages cannot spell: {} ({count} in all)", listed(structure)),
    };
    if words.is_empty() { guarded } else { format!("{guarded}; tokens that it can spell: {}", listed(words)) }
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

pub(super) fn no_template(checkpoint: &Path) -> BuildError {
    let reason = format!(
        "there is no chat template, neither {TEMPLATE_FILE} nor chat_template in {TOKENIZER_CONFIG}; \
         put the one that the model was trained with into {TEMPLATE_FILE}"
    );
    BuildError::checkpoint(checkpoint, reason)
}
