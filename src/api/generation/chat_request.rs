//! What the two routes of chats read.

use serde_json::Value;
use utoipa::ToSchema;

use super::options::{self, Options, SamplingSchema};
use super::prompts::MAX_PROMPTS;
use super::wanted_logprobs::{WantedLogprobs, prompt_logprobs, top_logprobs};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::messages::{self, PromptEndSchema, Turn};
use crate::api::middleware::limits::{check_and_reserve, check_count};
use crate::api::request::{CommonSchema, ReceivedBody};
use crate::api::stream_options::StreamOptionsSchema;
use crate::api::template_variables::{EffortSchema, VariablesSchema, take_variables_of_chat};
use crate::api::truncation::PromptTokensSchema;
use crate::manifest::Task;
use crate::prompt::{EncodeOptions, Fit, Message, Truncation, is_cancelled};

/// How many conversations a request has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversations {
    /// One, in `messages`.
    Single,
    /// A list of them, in `messages`.
    Batch,
}

/// A request whose conversations are encoded.
pub(super) struct ChatCall {
    pub(super) model: String,
    pub(super) conversations: Vec<Conversation>,
    pub(super) options: Options,
    pub(super) logprobs: WantedLogprobs,
    /// Whether the token ids of the prompt and of its choices are wanted.
    pub(super) token_ids: bool,
}

/// A conversation to continue.
pub(super) struct Conversation {
    /// Where it is in the request.
    pub(super) path: ItemPath,
    pub(super) prompt: Vec<u32>,
    /// The text that choices start with: the assistant's turn that they continue, if the request asks for it.
    pub(super) echo: String,
}

/// What a choice of a chat has, on both routes. A reward model ignores it.
#[derive(ToSchema)]
#[schema(as = ChatChoiceFields)]
#[expect(dead_code, reason = "the schema of what `prepare` reads")]
pub(in crate::api) struct ChatChoiceSchema {
    /// Whether log-probabilities of the choice's tokens are returned.
    logprobs: Option<bool>,
    /// With `logprobs`, the number of likeliest tokens to report in addition to the chosen one.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<i64>,
    /// Whether the choice starts with the assistant's turn that it continues.
    echo: Option<bool>,
    /// An older name of `max_completion_tokens`.
    #[schema(minimum = 1)]
    max_tokens: Option<i64>,
    reasoning_effort: Option<EffortSchema>,
}

/// Conversations to continue, each by itself and once.
#[derive(ToSchema)]
#[schema(as = ChatBatchRequest)]
#[expect(dead_code, reason = "the schema of what `prepare` reads")]
pub(super) struct BatchSchema {
    #[schema(min_items = 1, max_items = 1024)]
    messages: Vec<Vec<Turn>>,
    #[serde(flatten)]
    choice: ChatChoiceSchema,
    /// Must be 1.
    #[schema(minimum = 1, maximum = 1)]
    n: Option<i64>,
    /// Must be 1.
    best_of: Option<i64>,
    /// Must be false.
    stream: Option<bool>,
    /// Must be absent, since no response is streamed.
    stream_options: Option<StreamOptionsSchema>,
    #[serde(flatten)]
    sampling: SamplingSchema,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    variables: VariablesSchema,
    #[serde(flatten)]
    length: PromptTokensSchema,
    #[serde(flatten)]
    common: CommonSchema,
}

pub(super) fn prepare(app: &App, body: &ReceivedBody, given: Conversations) -> Result<ChatCall, ApiError> {
    let generator = app.generator()?;
    if generator.task() != Task::Chat {
        return Err(ApiError::WrongTask(
            "the model served here completes texts and has no chat template; use POST /v1/completions",
        ));
    }
    let mut fields = Fields::parse(&body.bytes)?;
    let model: Option<String> = fields.take("model")?;
    let model = app.model(model.as_deref())?.name.to_owned();
    let conversations = conversations(&mut fields, given, app)?;
    let mut options = Options::take(&mut fields, generator)?;
    let max_tokens = options::max_tokens(&mut fields, "max_tokens")?;
    options.generate.max_tokens = options::max_tokens(&mut fields, "max_completion_tokens")?.or(max_tokens);
    options::check_min_tokens(&options.generate)?;
    let prompt_logprobs = match given {
        Conversations::Single => prompt_logprobs(&mut fields, options.stream)?,
        Conversations::Batch => None,
    };
    let logprobs = logprobs(&mut fields, prompt_logprobs, generator.vocab_size())?;
    logprobs.apply(&mut options.generate.sampling);
    if given == Conversations::Batch {
        check_batch(&options)?;
    }
    let token_ids = fields.take("return_token_ids")?.unwrap_or(false);
    let fit = options::prompt_fit(&mut fields, app, options.generate.max_tokens.unwrap_or(1))?;
    let variables = take_variables_of_chat(&mut fields)?;
    let encoding = messages::take_encode_options(&mut fields, true)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    fields.take_neutral()?;
    fields.end("this server does not do that; leave it out")?;
    body.check_room(app, &options.scheduling)?;
    // The first rendering of the variables is counted with the body.
    let repeated = conversations.iter().skip(1).map(|_| 0);
    check_and_reserve("chat_template_kwargs", variables.size(), repeated, &app.settings.server)?;
    // Nothing is cut unless the request says so.
    let whole = Fit { limit: generator.limits().longest(), truncation: Truncation::Error };
    let encoding = EncodeOptions { variables: Some(&variables), ..encoding };
    let mut encoded = Vec::with_capacity(conversations.len());
    for (path, messages) in conversations {
        if is_cancelled() {
            break;
        }
        let prompt = generator.encoder().encode_within(&messages, encoding, fit.unwrap_or(whole));
        let prompt = prompt.map_err(|error| ApiError::on_item(error, &path))?.tokens;
        let echo = if echo { continued_turn(&messages) } else { String::new() };
        encoded.push(Conversation { path, prompt, echo });
    }
    Ok(ChatCall { model, conversations: encoded, options, logprobs, token_ids })
}

/// Takes `messages`: a conversation, or a list of them.
fn conversations(
    fields: &mut Fields,
    given: Conversations,
    app: &App,
) -> Result<Vec<(ItemPath, Vec<Message>)>, ApiError> {
    let list: Vec<Value> = fields.require("messages")?;
    if given == Conversations::Single {
        return Ok(vec![(ItemPath::field("messages"), messages::read("messages", list)?)]);
    }
    check_count("messages", list.len(), &app.settings.server)?;
    if list.len() > MAX_PROMPTS {
        let reason = format!("has {} conversations: send up to {MAX_PROMPTS}", list.len());
        return Err(ApiError::invalid("messages", reason));
    }
    let mut conversations = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let path = format!("messages[{index}]");
        match value {
            Value::Array(list) => {
                let messages = messages::read(&path, list)?;
                conversations.push((ItemPath::field(path), messages));
            }
            other => return Err(wrong_type(path, "a list of messages", &other)),
        }
    }
    Ok(conversations)
}

/// Refuses what has no place in a response to several conversations.
fn check_batch(options: &Options) -> Result<(), ApiError> {
    let one_conversation = "send the conversations one by one to /v1/chat/completions, or leave it out";
    let refused = [("stream", options.stream), ("n", options.generate.n > 1)];
    match refused.into_iter().find(|(_, wanted)| *wanted) {
        Some((name, _)) => Err(ApiError::unsupported(name, one_conversation)),
        None => Ok(()),
    }
}

/// The text of the last message, if that is the assistant's.
fn continued_turn(messages: &[Message]) -> String {
    let last = messages.last().filter(|message| message.role == "assistant");
    last.map(|message| message.content.clone()).unwrap_or_default()
}

/// Takes `logprobs` and `top_logprobs`: the number of likeliest tokens to report in addition to the chosen one.
fn logprobs(
    fields: &mut Fields,
    prompt: Option<usize>,
    vocab_size: usize,
) -> Result<WantedLogprobs, ApiError> {
    let logprobs = fields.take("logprobs")?.unwrap_or(false);
    let top = top_logprobs(fields, "top_logprobs")?;
    if top.is_some_and(|top| top > 0) && !logprobs {
        let reason = "is for log-probabilities: send it with `logprobs` true, or leave it out";
        return Err(ApiError::invalid("top_logprobs", reason));
    }
    WantedLogprobs::take(fields, (logprobs.then_some(top.unwrap_or(0)), prompt), vocab_size)
}
