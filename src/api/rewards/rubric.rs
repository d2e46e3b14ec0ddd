//! What a request asks about its candidates in words: a rubric, a principle, or which of two is better.

use serde_json::Value;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::items::Rubric;
use crate::manifest::judge::{FieldError, QuestionLayout, read_choice, read_rubric};
use crate::prompt::Message;
use crate::reward::Head;
use crate::serving::RubricError;

/// A question about each candidate.
#[derive(ToSchema)]
#[schema(as = RubricItem)]
#[expect(dead_code, reason = "the schema of what `read_rubric` reads")]
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
    pub(super) layout: Option<QuestionLayout>,
    pub(super) rubric: Option<Rubric>,
    /// A further message with the principle.
    pub(super) principle: Option<Message>,
}

impl Criteria {
    /// Takes the fields `rubric`, `layout` and `principle`. Without a `layout` there, items are asked in the layout
    /// `inherited`.
    ///
    /// # Errors
    /// One of them is malformed, or does not fit the model.
    pub(super) fn take(
        fields: &mut Fields,
        app: &App,
        inherited: Option<QuestionLayout>,
    ) -> Result<Self, ApiError> {
        refuse_others(fields)?;
        let layout = fields.take::<Value>("layout")?;
        let layout = layout.map(|value| read_choice(&fields.path("layout"), &value)).transpose()?;
        let rubric = match fields.take::<Value>("rubric")? {
            Some(value) => Some(rubric(fields, app, value, layout.or(inherited).unwrap_or_default())?),
            None => None,
        };
        let principle = fields.take::<String>("principle")?;
        let principle = principle.map(|text| principle_turn(fields, app, text)).transpose()?;
        Ok(Self { layout, rubric, principle })
    }

    /// These criteria, or where they say nothing, those of the whole request.
    pub(super) fn or<'a>(&'a self, request: &'a Self) -> &'a Self {
        if self.rubric.is_none() && self.principle.is_none() { request } else { self }
    }

    /// The head of the rubric, if there is one.
    pub(super) fn head(&self) -> Option<&Head> {
        self.rubric.as_ref().map(|rubric| &*rubric.head)
    }

    /// How many items the rubric has; 0 without one.
    pub(super) fn items(&self) -> usize {
        self.head().and_then(Head::judge).map_or(0, |judge| judge.questions.len())
    }

    /// How many prompts there are for each candidate.
    pub(super) fn prompts(&self, app: &App) -> usize {
        let own = || app.scorer().ok().map(crate::serving::Scorer::head);
        let head = self.head().or_else(own);
        head.and_then(Head::judge).map_or(1, |judge| judge.questions.len())
    }
}

/// The field that asks for a comparison.
pub(super) const COMPARE: &str = "compare";
/// Fields that say how candidates are scored one by one.
const EXCLUDED: [&str; 6] = ["rubric", "layout", "principle", "rank_by", "conversations", "texts"];
/// The questions of rubrics, to say how many are too many.
pub(super) const QUESTIONS: &str = "questions, one for each candidate and item of its rubric";

/// Whether two candidates are scored by the same questions, or both by the model's own head.
pub(super) fn are_same(one: Option<&Head>, other: Option<&Head>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => std::ptr::eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

pub(super) fn layout_without_rubric() -> ApiError {
    let reason = "it says how the items of a `rubric` are asked, and there is none; leave it out";
    ApiError::unsupported("layout", reason)
}

/// Refuses what judges may be asked elsewhere, and not here. What asks for nothing is taken.
fn refuse_others(fields: &mut Fields) -> Result<(), ApiError> {
    const OTHERS: [(&str, &str); 2] = [
        (
            COMPARE,
            "the whole call compares the `responses` to its `messages`; leave it out of a conversation",
        ),
        ("think", "scores are read at once, and nothing is generated before that; leave it out"),
    ];
    for (name, reason) in OTHERS {
        let value = fields.take::<Value>(name)?;
        if value.is_some_and(|value| value != false && value.as_f64() != Some(0.0)) {
            return Err(ApiError::unsupported(fields.path(name), reason));
        }
    }
    Ok(())
}

/// Takes `compare`: whether pairs are compared.
///
/// # Errors
/// It is not a boolean, or true beside a field that it excludes, or the engine cannot be asked.
pub(super) fn take_compare(fields: &mut Fields, app: &App) -> Result<bool, ApiError> {
    if !fields.take::<bool>(COMPARE)?.unwrap_or(false) {
        return Ok(false);
    }
    app.rubric_scorer()?.check_takes_rubrics().map_err(|_| {
        let reason = "it asks a language model which of two responses is better, and this engine has only the logits of \
                      its own scores; leave it out, or serve an engine that generates text";
        ApiError::unsupported(COMPARE, reason)
    })?;
    match EXCLUDED.into_iter().find(|name| fields.has(name)) {
        Some(name) => {
            let reason = "does not go with `compare`, which ranks the `responses` to `messages` by pairs; leave one out";
            Err(ApiError::invalid(name, reason))
        }
        None => Ok(true),
    }
}

fn principle_turn(fields: &Fields, app: &App, text: String) -> Result<Message, ApiError> {
    let param = fields.path("principle");
    if text.trim().is_empty() {
        return Err(ApiError::invalid(param, "is empty: write what a good response does"));
    }
    // A language model has no score of its own, neither for a principle nor if a judge asks it.
    if app.rubric_scorer()?.head().judge().is_some() {
        let reason = "it is for reward models that were trained with principles, and the model served here answers \
                      questions; ask for what you value in a `rubric`, and leave it out";
        return Err(ApiError::unsupported(param, reason));
    }
    if !app.encoder()?.takes_principles() {
        let reason = "it is for reward models that were trained with principles, and this model's chat template has no \
                      place for one; leave it out";
        return Err(ApiError::unsupported(param, reason));
    }
    Ok(Message::principle(text))
}

/// Refuses the rubric at `path` on an engine that can be asked none.
pub(super) fn check_takes_rubrics(app: &App, path: &str) -> Result<(), ApiError> {
    let checked = app.rubric_scorer()?.check_takes_rubrics();
    checked.map_err(|error| ApiError::unsupported(path, error.to_string()))
}

fn rubric(fields: &Fields, app: &App, value: Value, layout: QuestionLayout) -> Result<Rubric, ApiError> {
    let path = fields.path("rubric");
    check_takes_rubrics(app, &path)?;
    let items = read_rubric(&path, value)?;
    let head = app.rubric_scorer()?.rubric(items, layout).map_err(|error| match error {
        RubricError::NoVocabulary(error) => ApiError::unsupported(&path, error.to_string()),
        RubricError::Layout(source) => ApiError::invalid(fields.path("layout"), source.to_string()),
        RubricError::Item { index, source } => {
            FieldError::from_question(&format!("{path}[{index}]"), &source).into()
        }
    })?;
    Ok(Rubric { path, head })
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Invalid { path, reason } => Self::invalid(path, reason),
            FieldError::Unknown { path, reason } => Self::unsupported(path, reason),
        }
    }
}
