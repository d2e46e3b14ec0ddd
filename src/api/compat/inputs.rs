//! What the compatibility routes score: conversations, texts with the chat template applied, and token ids.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::query_item::QueryItem;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::items::Item;
use crate::api::messages;
use crate::api::middleware::limits::check_count;
use crate::api::token_ids;
use crate::config::ServerSettings;
use crate::prompt::{EncodeOptions, Message, TemplateVariables};
use crate::serving::{LengthPolicy, Scorer};

/// A text to score, and where it is in the request.
pub(super) struct Input {
    pub(super) text: InputText,
    pub(super) path: ItemPath,
}

pub(super) enum InputText {
    /// Messages, which the model's chat template renders.
    Conversation(Vec<Message>, EncodeOptions<'static>),
    /// A prompt and its response, each truncated to its first tokens if there are limits.
    Answer(String, String, PartLimits),
    /// What a chat template rendered; control tokens in it are recognised.
    Templated(String),
    /// A text that is tokenized as it is, without control tokens around it.
    Raw(String),
    /// Token ids, which are checked once the model's vocabulary is known.
    Tokens(Vec<Value>),
    /// Token ids of a query, and of an item that comes before or after it.
    QueryItem(QueryItem),
    /// A prompt and its response: messages, or, if the prompt spells control tokens, the two parts of what a
    /// chat template rendered.
    Pair(String, String),
}

/// The number of tokens to keep of a prompt and of its response, counted from the start; `None` keeps all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartLimits {
    prompt: Option<usize>,
    response: Option<usize>,
}

impl PartLimits {
    /// Takes `max_tokens_per_query` and `max_tokens_per_doc`; 0 keeps all tokens.
    ///
    /// # Errors
    /// One of them is negative, or not a whole number.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let mut most = |name| match fields.take::<i64>(name)? {
            None | Some(0) => Ok(None),
            Some(tokens) => usize::try_from(tokens).map(Some).map_err(|_| {
                ApiError::invalid(name, format!("is {tokens}: send a number of tokens, or 0 to keep all"))
            }),
        };
        Ok(Self { prompt: most("max_tokens_per_query")?, response: most("max_tokens_per_doc")? })
    }
}

/// A text with the chat template applied, token ids, or a list of either.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Input)]
#[expect(dead_code, reason = "the schema of what `messages_or_input` reads")]
pub(super) enum InputSchema {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

/// A text with the chat template applied, or a list of them. In a list, two texts in a list are a prompt and its
/// response.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = InputText)]
#[expect(dead_code, reason = "the schema of what `sglang_classify::read` reads")]
pub(super) enum TextSchema {
    Text(String),
    Texts(Vec<String>),
    Pairs(Vec<Vec<String>>),
}

/// Token ids, or a list of lists of them.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = InputTokens)]
#[expect(dead_code, reason = "the schema of what `sglang_classify::read` reads")]
pub(super) enum TokensSchema {
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

impl Input {
    /// A text in one field, or the two texts of a list.
    pub(super) fn at(path: impl Into<String>, text: InputText) -> Self {
        let path = path.into();
        let path = match &text {
            InputText::Pair(..) => ItemPath::pair(format!("{path}[0]"), format!("{path}[1]")),
            _ => ItemPath::field(path),
        };
        Self { text, path }
    }
}

impl InputText {
    /// Whether the chat template renders it.
    pub(super) fn is_rendered(&self, scorer: &Scorer) -> bool {
        match self {
            Self::Conversation(..) | Self::Answer(..) => true,
            Self::Pair(prompt, _) => !scorer.is_templated(prompt),
            Self::Templated(_) | Self::Raw(_) | Self::Tokens(_) | Self::QueryItem(_) => false,
        }
    }

    /// Bytes of its messages or of the text itself; none of token ids, of which nothing is asked.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Conversation(messages, _) => Message::total_bytes(messages),
            Self::Answer(prompt, response, _) | Self::Pair(prompt, response) => prompt.len() + response.len(),
            Self::Templated(text) | Self::Raw(text) => text.len(),
            Self::Tokens(_) | Self::QueryItem(_) => 0,
        }
    }

    pub(super) fn encode(
        self,
        app: &App,
        variables: &TemplateVariables,
        path: ItemPath,
        length: LengthPolicy,
    ) -> Result<Item, ApiError> {
        let (scorer, settings) = (app.scorer()?, &app.settings.server);
        let plain = EncodeOptions { variables: Some(variables), ..EncodeOptions::default() };
        match self {
            Self::Conversation(messages, options) => {
                let options = EncodeOptions { variables: Some(variables), ..options };
                Item::conversation(scorer, &messages, path, (options, length), settings)
            }
            Self::Answer(prompt, response, limits) => {
                let first = |text, most| match most {
                    Some(most) => scorer.first_tokens(text, most),
                    None => Ok((text, 0)),
                };
                let cut =
                    first(prompt, limits.prompt).and_then(|cut| Ok((cut, first(response, limits.response)?)));
                let ((prompt, before), (response, after)) =
                    cut.map_err(|error| ApiError::on_item(error, &path))?;
                let messages = [turn("user", prompt), turn("assistant", response)];
                Ok(Item::conversation(scorer, &messages, path, (plain, length), settings)?
                    .after_cut(before + after))
            }
            Self::Templated(text) => Item::new(path, scorer.encode_templated(&text, length)),
            Self::Raw(text) => Item::new(path, scorer.encode_text(&text, length)),
            Self::Tokens(list) => {
                let tokens = token_ids::read(path.whole(), &list, app.manifest.model.vocab_size)?;
                Item::new(path, scorer.cut(tokens, length))
            }
            Self::QueryItem(joined) => {
                let tokens = joined.read(path.whole(), app.manifest.model.vocab_size)?;
                Item::new(path, scorer.cut(tokens, length))
            }
            Self::Pair(prompt, response) if scorer.is_templated(&prompt) => {
                let path = path.with_bytes(prompt.len(), response.len());
                Item::new(path, scorer.encode_templated(&(prompt + &response), length))
            }
            Self::Pair(prompt, response) => {
                let path = path.with_bytes(prompt.len(), response.len());
                let messages = [turn("user", prompt), turn("assistant", response)];
                Item::new(path, scorer.encode_with(&messages, plain, length))
            }
        }
    }
}

pub(super) fn turn(role: &str, content: impl Into<String>) -> Message {
    Message::new(role, content)
}

/// Takes `messages`, which is one conversation, or else `input`: a text, token ids, or a list of either. With
/// `add_special_tokens` false, nothing is added to texts; to a conversation the chat template adds what it needs.
///
/// # Errors
/// Neither is there, or it is something else.
pub(super) fn messages_or_input(
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<Vec<Input>, ApiError> {
    let expected = "texts or token ids in `input`, or a conversation in `messages`";
    let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
    match fields.take("messages")? {
        Some(list) => {
            let messages = messages::read("messages", list)?;
            let options = messages::take_encode_options(fields, false)?;
            Ok(vec![Input::at("messages", InputText::Conversation(messages, options))])
        }
        None => match fields.take("input")? {
            Some(value) => input(value, add_special_tokens, settings),
            None => Err(fields.none_of(&["input", "messages"], expected)),
        },
    }
}

fn input(value: Value, add_special_tokens: bool, settings: &ServerSettings) -> Result<Vec<Input>, ApiError> {
    const EXPECTED: &str = "a text, a list of texts, token ids or a list of lists of them";
    let text = |text| if add_special_tokens { InputText::Templated(text) } else { InputText::Raw(text) };
    match value {
        Value::String(one) => Ok(vec![Input::at("input", text(one))]),
        Value::Array(list) if list.first().is_some_and(Value::is_number) => {
            Ok(vec![Input::at("input", InputText::Tokens(list))])
        }
        Value::Array(list) => {
            check_count("input", list.len(), settings)?;
            let mut inputs = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                let path = format!("input[{index}]");
                let text = match value {
                    Value::String(one) => text(one),
                    Value::Array(ids) => InputText::Tokens(ids),
                    other => return Err(wrong_type(path, "a text or a list of token ids", &other)),
                };
                inputs.push(Input::at(path, text));
            }
            Ok(inputs)
        }
        other => Err(wrong_type("input", EXPECTED, &other)),
    }
}

/// The error about a list at `path` that should be `expected`: it names the item that is not a text, if there is one.
pub(super) fn not_texts(path: &str, expected: &str, list: &[Value]) -> ApiError {
    match list.iter().enumerate().find(|(_, item)| !item.is_string()) {
        Some((index, item)) => wrong_type(format!("{path}[{index}]"), "a string", item),
        None => ApiError::invalid(path, format!("must be {expected}")),
    }
}

/// Takes a list of strings out of a request.
///
/// # Errors
/// It is missing, empty or too long, or holds something else.
pub(super) fn strings(
    fields: &mut Fields,
    name: &'static str,
    settings: &ServerSettings,
) -> Result<Vec<String>, ApiError> {
    let list = texts(fields, name, settings)?;
    check_count(name, list.len(), settings)?;
    Ok(list)
}

/// Takes a list of strings that may be empty out of a request.
///
/// # Errors
/// It is missing or too long, or holds something else.
pub(super) fn texts(
    fields: &mut Fields,
    name: &'static str,
    settings: &ServerSettings,
) -> Result<Vec<String>, ApiError> {
    let list: Vec<Value> = fields.require(name)?;
    if !list.is_empty() {
        check_count(name, list.len(), settings)?;
    }
    let mut strings = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        match value {
            Value::String(text) => strings.push(text),
            other => return Err(wrong_type(format!("{name}[{index}]"), "a string", &other)),
        }
    }
    Ok(strings)
}
