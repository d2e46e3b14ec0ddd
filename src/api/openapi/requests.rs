//! The requests' schemas. Requests are read field by field, so that every complaint names its field;
//! these types say which fields there are, and hold nothing.
#![expect(dead_code, reason = "only their schemas are used")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::prompt::Truncation;

/// One turn of a conversation.
#[derive(Deserialize, ToSchema)]
struct Turn {
    role: Role,
    content: Content,
}

/// Who speaks. Which of them a model knows, and in which order, its template says.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// What was said; may be empty.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize, ToSchema)]
struct Part {
    r#type: PartType,
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PartType {
    Text,
}

/// A conversation whose last turn is scored. Other fields of OpenAI's that cannot change a reward are
/// accepted; what asks for something else is refused by name.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct ChatRequest {
    model: String,
    #[schema(min_items = 1)]
    messages: Vec<Turn>,
    stream: Option<bool>,
    truncation: Option<Truncation>,
    /// Lower goes first.
    #[schema(minimum = -128, maximum = 127)]
    priority: Option<i64>,
    /// Seconds for which the answer is of use.
    #[schema(exclusive_minimum = 0, maximum = 1e9)]
    timeout: Option<f64>,
}

/// Either `messages` and `responses` to them, or `conversations`.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct RewardsRequest {
    /// The server's own if absent.
    model: Option<String>,
    /// The prompt.
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// What the assistant might answer.
    #[schema(min_items = 1)]
    responses: Option<Vec<String>>,
    /// Whole conversations.
    #[schema(min_items = 1)]
    conversations: Option<Vec<Vec<Turn>>>,
    /// The attribute to rank by; the weighted sum or mixture if there is one, else the first.
    rank_by: Option<String>,
    /// Whether the answer tells where the time went.
    timing: Option<bool>,
    truncation: Option<Truncation>,
    /// Lower goes first.
    #[schema(minimum = -128, maximum = 127)]
    priority: Option<i64>,
    /// Seconds for which the answer is of use.
    #[schema(exclusive_minimum = 0, maximum = 1e9)]
    timeout: Option<f64>,
}

/// Texts that the trainer has templated. Other fields are ignored.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct GetRewardRequest {
    #[schema(min_items = 1)]
    query: Vec<String>,
    prompts: Option<Value>,
    labels: Option<Value>,
}

/// A prompt and its response. Other fields are ignored.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct SlimeRewardRequest {
    prompt: SlimePrompt,
    response: String,
    label: Option<Value>,
}

/// Turns, or a text: if it spells control tokens, the beginning of a templated text that the response
/// continues, else the user's turn.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum SlimePrompt {
    Text(String),
    Messages(Vec<Turn>),
}

/// `messages`, or `input`.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct PoolingRequest {
    model: Option<String>,
    input: Option<Input>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// Whether probabilities are wanted instead of logits.
    use_activation: Option<bool>,
    /// Tokens to keep of a text's end; -1 for as many as the engine takes.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    truncation: Option<Truncation>,
}

/// A text as it goes to the model (templated, for rewards), token ids, or a list of either.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

/// `messages`, or `input`.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct EmbeddingsRequest {
    model: Option<String>,
    input: Option<Input>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    encoding_format: Option<EncodingFormat>,
    /// Tokens to keep of a text's end; -1 for as many as the engine takes.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    truncation: Option<Truncation>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    Float,
    Base64,
}

/// Templated texts, or pairs of a prompt and its response.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct PredictRequest {
    inputs: PredictInputs,
    /// `false` asks for probabilities.
    raw_scores: Option<bool>,
    /// Whether texts that are too long are cut.
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
}

/// One text, or, in a list, one text, a pair, or lists of these.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum PredictInputs {
    Text(String),
    Pair(Vec<String>),
    Batch(Vec<Vec<String>>),
}

#[derive(Deserialize, ToSchema)]
enum Direction {
    Left,
    Right,
}

/// A prompt and the responses to order: as `documents`, or as `texts`, each with the fields of those who
/// call them so.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct RerankRequest {
    model: Option<String>,
    query: String,
    #[schema(min_items = 1)]
    documents: Option<Vec<Document>>,
    #[schema(min_items = 1)]
    texts: Option<Vec<String>>,
    /// Most results; 0 for all.
    #[schema(minimum = 0)]
    top_n: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object(BTreeMap<String, String>),
}

/// A conversation.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct RewardRequest {
    model: Option<String>,
    #[schema(min_items = 1)]
    messages: Vec<Turn>,
    truncation: Option<Truncation>,
}

/// A text to continue, by a model that generates. docs/generation.md has the fields that change how; what
/// is not supported is refused by name.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct CompletionRequest {
    model: String,
    prompt: Input,
    /// 16 if absent; 0 only with `echo`.
    max_tokens: Option<u64>,
    /// Of how many of the likeliest tokens besides; with `echo` the prompt's too.
    #[schema(minimum = 0, maximum = 20)]
    logprobs: Option<u64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    seed: Option<i64>,
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    stream: Option<bool>,
    echo: Option<bool>,
}

/// Either `prompt` or `messages`.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct TokenizeRequest {
    /// The server's own if absent.
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Turn>>,
    add_special_tokens: Option<bool>,
    add_generation_prompt: Option<bool>,
    /// Whether the answer spells the tokens.
    return_token_strs: Option<bool>,
}

/// Token ids of the model.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct DetokenizeRequest {
    /// The server's own if absent.
    model: Option<String>,
    tokens: Vec<u32>,
}
