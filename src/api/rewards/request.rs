//! What `POST /v1/rewards` reads.

use serde_json::Value;
use utoipa::ToSchema;

use super::rubric::{
    Criteria, QUESTIONS, RubricItemSchema, are_same, check_takes_rubrics, layout_without_rubric, take_compare,
};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::messages::{self, PromptEndSchema, Turn};
use crate::api::middleware::limits::{check_and_reserve, check_count, check_questions, reserve_items};
use crate::api::request::{CommonSchema, ReceivedBody, SchedulingFields};
use crate::api::template_variables::{VARIABLES, VariablesSchema, first_set, not_rendered, take_variables};
use crate::api::truncation::{LengthSchema, take_length_policy};
use crate::config::ServerSettings;
use crate::manifest::judge::QuestionLayout;
use crate::prompt::{EncodeOptions, Message, TemplateVariables};
use crate::reward::Head;
use crate::serving::LengthPolicy;

/// A request without its candidates.
#[derive(Debug)]
pub(super) struct RewardsRequest {
    pub(super) model: Option<String>,
    /// The score by which candidates are ranked.
    pub(super) rank_by: Option<String>,
    /// Whether the response says where the time went.
    pub(super) timing: bool,
    /// What they are scored by, if not by the model's own scores.
    pub(super) criteria: Criteria,
    /// Whether they are compared in pairs instead.
    pub(super) compare: bool,
    /// How their prompts end.
    pub(super) encoding: EncodeOptions<'static>,
    /// What the chat template gets besides.
    pub(super) variables: TemplateVariables,
    /// What is done about candidates that are too long.
    pub(super) length: LengthPolicy,
    pub(super) scheduling: SchedulingFields,
}

/// `messages` and `responses` to them, or `conversations`, or `texts`.
#[derive(ToSchema)]
#[schema(as = RewardsRequest)]
#[expect(dead_code, reason = "the schema of what `RewardsRequest::parse` reads")]
pub(super) struct RewardsSchema {
    /// The prompt.
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// What the assistant might answer.
    #[schema(min_items = 1)]
    responses: Option<Vec<String>>,
    /// Whole conversations; or objects with `messages` and a `rubric` or `principle` of their own.
    #[schema(min_items = 1)]
    conversations: Option<Vec<Vec<Turn>>>,
    /// Whole conversations with the chat template applied, which are scored as they are.
    #[schema(min_items = 1)]
    texts: Option<Vec<String>>,
    /// Questions about each candidate, for a model that generates text.
    #[schema(min_items = 1, max_items = 64)]
    rubric: Option<Vec<RubricItemSchema>>,
    /// How the items of the rubric are asked: `append` (in a further user's turn) or `quote` (in one turn that quotes
    /// the conversation).
    layout: Option<String>,
    /// What a good response does, for a model that was trained with principles.
    principle: Option<String>,
    /// Whether a language model compares 2 to 16 `responses` in pairs, each in both orders, and ranks them.
    compare: Option<bool>,
    /// The score to rank by, such as `helpfulness`, `weighted` or `mean(step)`. By default the weighted sum or
    /// mixture if there is one, else the lowest step, else the first attribute.
    rank_by: Option<String>,
    /// Whether the response says where the time went.
    timing: Option<bool>,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    variables: VariablesSchema,
    #[serde(flatten)]
    length: LengthSchema,
    #[serde(flatten)]
    common: CommonSchema,
}

/// What to score.
#[derive(Debug)]
pub(super) enum Candidates {
    /// Responses to one prompt.
    Responses {
        /// The prompt.
        conversation: Vec<Message>,
        responses: Vec<String>,
    },
    /// Whole conversations, or what is wrong with one.
    Conversations(Vec<Result<(Vec<Message>, Criteria), ApiError>>),
    /// Texts with the chat template applied, or what is wrong with one.
    Texts(Vec<Result<String, ApiError>>),
}

impl RewardsRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// It is malformed, or a field is wrong or unknown; the error names it. What is wrong with one
    /// conversation is that conversation's error alone.
    pub(super) fn parse(body: &ReceivedBody, app: &App) -> Result<(Self, Candidates), ApiError> {
        let mut fields = Fields::parse(&body.bytes)?;
        let set = first_set(&fields, VARIABLES);
        let model = fields.take::<String>("model")?;
        app.model(model.as_deref())?;
        let scheduling = SchedulingFields::take(&mut fields)?;
        // The questions of a rubric are tokenized as they are read.
        body.check_room(app, &scheduling)?;
        let compare = take_compare(&mut fields, app)?;
        let request = Self {
            model,
            compare,
            rank_by: fields.take("rank_by")?,
            timing: fields.take("timing")?.unwrap_or(false),
            criteria: Criteria::take(&mut fields, app, None)?,
            encoding: messages::take_encode_options(&mut fields, false)?,
            variables: take_variables(&mut fields)?,
            length: take_length_policy(&mut fields, app)?,
            scheduling,
        };
        let candidates = Candidates::take(&mut fields, app, request.variables.size(), &request.criteria)?;
        let Criteria { layout, rubric, .. } = &request.criteria;
        if layout.is_some() && rubric.is_none() && candidates.bring_no_rubric() {
            return Err(layout_without_rubric());
        }
        if let Candidates::Texts(_) = candidates {
            request.check_texts(set)?;
        }
        fields.take_neutral()?;
        fields.end("this route knows no such field; leave it out")?;
        Ok((request, candidates))
    }

    /// Refuses what needs messages, in a request that has texts. `variable` is a field that sets a variable, if one does.
    fn check_texts(&self, variable: Option<&str>) -> Result<(), ApiError> {
        if let Some(name) = variable {
            return Err(not_rendered(name));
        }
        let EncodeOptions { add_generation_prompt, continue_final_message, .. } = self.encoding;
        let refused = [
            ("rubric", self.criteria.rubric.is_some()),
            ("principle", self.criteria.principle.is_some()),
            ("add_generation_prompt", add_generation_prompt),
            ("continue_final_message", continue_final_message),
        ];
        match refused.into_iter().find(|(_, there)| *there) {
            Some((name, _)) => {
                let reason = "is for messages, and `texts` are templated already: send `conversations`, or leave \
                              it out";
                Err(ApiError::invalid(name, reason))
            }
            None => Ok(()),
        }
    }
}

impl Candidates {
    /// Whether no conversation brings a rubric, not even one that cannot be asked.
    pub(super) fn bring_no_rubric(&self) -> bool {
        let Self::Conversations(conversations) = self else { return true };
        let has_none = |(_, criteria): &(_, Criteria)| criteria.rubric.is_none();
        conversations.iter().all(|conversation| conversation.as_ref().is_ok_and(has_none))
    }

    /// The head of the rubric that all candidates are scored by: their own, or else the one of the whole request.
    ///
    /// # Errors
    /// The index of the first conversation that another rubric scores.
    pub(super) fn shared_rubric<'a>(&'a self, request: &'a Criteria) -> Result<Option<&'a Head>, usize> {
        let Self::Conversations(conversations) = self else { return Ok(request.head()) };
        let mut first = None;
        for (index, conversation) in conversations.iter().enumerate() {
            let Ok((_, criteria)) = conversation else { continue };
            let head = criteria.or(request).head();
            if !are_same(head, *first.get_or_insert(head)) {
                return Err(index);
            }
        }
        Ok(first.unwrap_or(request.head()))
    }

    /// Takes the candidates, each of which is rendered with `repeated` bytes of variables in each prompt.
    fn take(fields: &mut Fields, app: &App, repeated: usize, criteria: &Criteria) -> Result<Self, ApiError> {
        if let Some(list) = fields.take::<Vec<Value>>("conversations")? {
            refuse_beside(fields, "conversations", &["messages", "responses", "texts"])?;
            return Self::conversations(list, app, (repeated, criteria.layout));
        }
        if let Some(list) = fields.take::<Vec<Value>>("texts")? {
            refuse_beside(fields, "texts", &["messages", "responses"])?;
            return Self::texts(list, criteria.prompts(app), &app.settings.server);
        }
        Self::responses(fields, repeated, app, criteria)
    }

    fn texts(list: Vec<Value>, prompts: usize, settings: &ServerSettings) -> Result<Self, ApiError> {
        check_count("texts", list.len(), settings)?;
        reserve_items(list.len() * prompts);
        let mut texts = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            texts.push(match value {
                Value::String(text) => Ok(text),
                other => Err(wrong_type(format!("texts[{index}]"), "a string", &other)),
            });
        }
        Ok(Self::Texts(texts))
    }

    fn conversations(
        list: Vec<Value>,
        app: &App,
        (repeated, layout): (usize, Option<QuestionLayout>),
    ) -> Result<Self, ApiError> {
        let settings = &app.settings.server;
        check_count("conversations", list.len(), settings)?;
        reserve_items(list.len());
        check_and_reserve("conversations", repeated, list.iter().map(|_| 0), settings)?;
        let mut conversations = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            let path = format!("conversations[{index}]");
            conversations.push(match value {
                Value::Array(list) => {
                    messages::read(&path, list).map(|messages| (messages, Criteria::default()))
                }
                Value::Object(message)
                    if message.contains_key("role") && !message.contains_key("messages") =>
                {
                    let reason =
                        "is a message: send a list of conversations, each of which is a list of messages";
                    Err(ApiError::invalid(path, reason))
                }
                Value::Object(_) => {
                    // The engine is at fault, and not this conversation.
                    if value.get("rubric").is_some_and(|rubric| !rubric.is_null()) {
                        check_takes_rubrics(app, &format!("{path}.rubric"))?;
                    }
                    with_criteria(path, value, app, layout)
                }
                other => Err(wrong_type(path, "a list of messages", &other)),
            });
        }
        Ok(Self::Conversations(conversations))
    }

    fn responses(
        fields: &mut Fields,
        repeated: usize,
        app: &App,
        criteria: &Criteria,
    ) -> Result<Self, ApiError> {
        let (settings, prompts) = (&app.settings.server, criteria.prompts(app));
        let Some(prompt) = fields.take("messages")? else {
            let expected = "a prompt in `messages` and a list of `responses`, or whole `conversations`, or templated \
                            `texts`";
            return Err(fields.none_of(&["messages", "conversations", "texts"], expected));
        };
        let conversation = messages::read("messages", prompt)?;
        let Some(list) = fields.take::<Vec<Value>>("responses")? else {
            let expected = "a list of responses to the prompt in `messages`, or whole conversations in \
                            `conversations`, which is a list of lists";
            return Err(fields.missing("responses", expected));
        };
        check_count("responses", list.len(), settings)?;
        check_questions("rubric", (list.len() * criteria.items(), QUESTIONS), settings)?;
        reserve_items(list.len() * prompts);
        let mut responses = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            match value {
                Value::String(text) => responses.push(text),
                other => return Err(wrong_type(format!("responses[{index}]"), "a string", &other)),
            }
        }
        let prompt = Message::total_bytes(&conversation);
        let sizes = responses.iter().map(|response| prompts * response.len());
        check_and_reserve("responses", prompts * (prompt + repeated), sizes, settings)?;
        Ok(Self::Responses { conversation, responses })
    }
}

/// Refuses fields of other forms beside the one that is `there`.
fn refuse_beside(fields: &mut Fields, there: &str, others: &[&'static str]) -> Result<(), ApiError> {
    for &other in others {
        if fields.take::<Value>(other)?.is_some() {
            let reason = format!(
                "cannot be combined with `{there}`: send either a prompt and its responses, or whole conversations, or \
                 templated texts"
            );
            return Err(ApiError::invalid(other, reason));
        }
    }
    Ok(())
}

/// Reads a conversation with criteria of its own.
fn with_criteria(
    path: String,
    value: Value,
    app: &App,
    layout: Option<QuestionLayout>,
) -> Result<(Vec<Message>, Criteria), ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    let criteria = Criteria::take(&mut fields, app, layout)?;
    if criteria.layout.is_some() && criteria.rubric.is_none() {
        let reason = "it says how the items of this conversation's own `rubric` are asked, and there is none; send it \
                      beside the `rubric` of the whole call, or leave it out";
        return Err(ApiError::unsupported(fields.path("layout"), reason));
    }
    let messages = messages::read(&fields.path("messages"), fields.require("messages")?)?;
    fields.end(
        "a conversation has `messages`, and may have a `rubric` with a `layout`, or a `principle`; leave it out",
    )?;
    Ok((messages, criteria))
}
