//! What a request asks about its candidates in words: a rubric, or a principle.

use std::sync::Arc;

use serde_json::Value;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::manifest::judge::{Answer, AnswerScore, Layout, Question, QuestionError};
use crate::prompt::Message;
use crate::reward::Head;
use crate::serving::{RubricError, RubricItem};

/// How scores are made of answers, by the names in requests.
const SCORES: [(&str, AnswerScore); 5] = [
    ("expectation", AnswerScore::Expectation),
    ("probability", AnswerScore::Probability),
    ("logit", AnswerScore::Logit),
    ("logit_difference", AnswerScore::LogitDifference),
    ("log_odds", AnswerScore::LogOdds),
];
const LAYOUTS: [(&str, Layout); 2] = [("append", Layout::Append), ("quote", Layout::Quote)];

/// A question about each candidate.
#[derive(ToSchema)]
#[schema(as = RubricItem)]
#[expect(dead_code, reason = "the schema of what `item` reads")]
pub(super) struct RubricItemSchema {
    /// The name of its score.
    name: String,
    /// The question.
    ask: String,
    /// What its score weighs in the sum; 1 if absent.
    weight: Option<f64>,
    /// The answers that count, each a token, and what they are worth; `Yes` 1 and `No` 0 if absent.
    #[schema(value_type = Option<std::collections::BTreeMap<String, f64>>)]
    answers: Option<Value>,
    /// `expectation` if absent; or `probability`, `logit`, `logit_difference`, `log_odds`.
    score: Option<String>,
}

/// What candidates are scored by, if not by the model's own scores.
#[derive(Clone, Debug, Default)]
pub(super) struct Criteria {
    /// How the items are asked, if that is given.
    pub(super) layout: Option<Layout>,
    pub(super) rubric: Option<Arc<Head>>,
    /// A further message with the principle.
    pub(super) principle: Option<Message>,
}

impl Criteria {
    /// Takes the fields `rubric`, `layout` and `principle`. Without a `layout` there, items are asked in the layout
    /// `inherited`.
    ///
    /// # Errors
    /// One of them is malformed, or does not fit the model.
    pub(super) fn take(fields: &mut Fields, app: &App, inherited: Option<Layout>) -> Result<Self, ApiError> {
        refuse_others(fields)?;
        let layout = take_named(fields, "layout", &LAYOUTS)?;
        let rubric = match fields.take::<Vec<Value>>("rubric")? {
            Some(list) => Some(rubric(fields, app, list, layout.or(inherited).unwrap_or_default())?),
            // Conversations may bring rubrics of their own.
            None if layout.is_some() && !fields.has("conversations") => {
                return Err(layout_without_rubric(fields.path("layout")));
            }
            None => None,
        };
        let principle = fields.take::<String>("principle")?;
        let principle = principle.map(|text| principle_turn(fields, app, text)).transpose()?;
        if rubric.is_some() && principle.is_some() {
            let reason = "excludes `rubric`: a model that is trained with principles has one score for them";
            return Err(ApiError::invalid(fields.path("principle"), reason));
        }
        Ok(Self { layout, rubric, principle })
    }

    /// These criteria, or where they say nothing, those of the whole request.
    pub(super) fn or<'a>(&'a self, request: &'a Self) -> &'a Self {
        if self.rubric.is_none() && self.principle.is_none() { request } else { self }
    }

    /// How many prompts there are for each candidate.
    pub(super) fn prompts(&self, app: &App) -> usize {
        let own = || app.scorer().ok().map(crate::serving::Scorer::head);
        let head = self.rubric.as_deref().or_else(own);
        head.and_then(Head::judge).map_or(1, |judge| judge.questions.len())
    }
}

pub(super) fn layout_without_rubric(param: String) -> ApiError {
    ApiError::unsupported(
        param,
        "says how the items of a `rubric` are asked, and there is none; leave it out",
    )
}

/// Refuses what judges may be asked elsewhere, and not here.
fn refuse_others(fields: &mut Fields) -> Result<(), ApiError> {
    const OTHERS: [(&str, &str); 2] = [
        (
            "compare",
            "responses are not compared in pairs here: each is scored by itself and ranked; leave it out",
        ),
        ("think", "the answer to a question is read at once, without thinking before it; leave it out"),
    ];
    for (name, reason) in OTHERS {
        if fields.take::<Value>(name)?.is_some() {
            return Err(ApiError::unsupported(fields.path(name), reason));
        }
    }
    Ok(())
}

fn principle_turn(fields: &Fields, app: &App, text: String) -> Result<Message, ApiError> {
    let param = fields.path("principle");
    if text.trim().is_empty() {
        return Err(ApiError::invalid(param, "is empty: write what a good response does"));
    }
    if !app.encoder()?.template_source().contains("principle") {
        let reason = "needs a model that was trained with principles, and this model's chat template has none; ask a \
                      language model by `rubric`";
        return Err(ApiError::unsupported(param, reason));
    }
    app.scorer()?;
    Ok(Message::new("principle", text))
}

fn rubric(fields: &Fields, app: &App, list: Vec<Value>, layout: Layout) -> Result<Arc<Head>, ApiError> {
    let path = fields.path("rubric");
    let mut items = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        items.push(item(format!("{path}[{index}]"), value)?);
    }
    app.rubric_scorer()?.rubric(items, layout).map_err(|error| match error {
        RubricError::NoVocabulary => ApiError::unsupported(path, error.to_string()),
        RubricError::Item { index, source } => {
            let field = match source {
                QuestionError::EmptyAsk => "ask",
                _ => "answers",
            };
            ApiError::invalid(format!("{path}[{index}].{field}"), source.to_string())
        }
        _ => ApiError::invalid(path, error.to_string()),
    })
}

fn item(path: String, value: Value) -> Result<RubricItem, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    let name: String = fields.require("name")?;
    let mut question = Question::yes_or_no(fields.require::<String>("ask")?);
    let weight = fields.take("weight")?.unwrap_or(1.0);
    if let Some(value) = fields.take::<Value>("answers")? {
        question.answers = answers(fields.path("answers"), value)?;
    }
    question.score = take_named(&mut fields, "score", &SCORES)?.unwrap_or_default();
    fields.end("an item of a rubric has `name`, `ask`, `weight`, `answers` and `score`; leave it out")?;
    Ok(RubricItem { name, question, weight })
}

fn answers(path: String, value: Value) -> Result<Vec<Answer>, ApiError> {
    let Value::Object(map) = value else {
        return Err(wrong_type(path, "an object of answers and what they are worth", &value));
    };
    let mut answers = Vec::with_capacity(map.len());
    for (text, worth) in map {
        let Some(worth) = worth.as_f64() else {
            return Err(wrong_type(format!("{path}.{text}"), "a number, what the answer is worth", &worth));
        };
        answers.push(Answer { text, worth, token: None });
    }
    Ok(answers)
}

/// Takes a word that stands for one of several values.
fn take_named<T: Copy>(
    fields: &mut Fields,
    name: &'static str,
    known: &[(&'static str, T)],
) -> Result<Option<T>, ApiError> {
    let names: Vec<&'static str> = known.iter().map(|(name, _)| *name).collect();
    let word = fields.take_one_of(name, &names)?;
    Ok(word.and_then(|word| known.iter().find(|(name, _)| *name == word)).map(|(_, value)| *value))
}
