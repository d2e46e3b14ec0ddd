//! Questions as people write them: the items of a rubric in a request, in a column of data or in a file, and the
//! attributes of a judge's file. All are read here, from JSON values.

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::question::{JudgeAnswer, LARGEST_WORTH, MAX_QUESTIONS, Question, QuestionError};
use crate::manifest::attribute_names::{AttributeNameError, find_unusable_name};
use crate::manifest::score_options::WEIGHTED;
use crate::manifest::wording;

/// Fields of a question.
const QUESTION: [&str; 3] = ["ask", "answers", "score"];
/// Fields of an item.
const ITEM: [&str; 5] = ["name", "ask", "weight", "answers", "score"];

/// An item of a rubric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RubricItem {
    /// The name of its score.
    pub(crate) name: String,
    pub(crate) question: Question,
    /// What its score weighs in the sum.
    pub(crate) weight: f64,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// It is missing, or its value cannot be.
    #[error("`{path}` {reason}")]
    Invalid {
        /// The field.
        path: String,
        /// The rest of the sentence.
        reason: String,
    },
    /// There is no such field.
    #[error("`{path}` is not supported: {reason}")]
    Unknown {
        /// The field.
        path: String,
        /// What to do.
        reason: String,
    },
}

impl FieldError {
    fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }

    /// What is wrong with the question at `path`.
    pub(crate) fn from_question(path: &str, error: &QuestionError) -> Self {
        Self::invalid(format!("{path}.{}", error.field()), error.to_string())
    }

    /// The field.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Invalid { path, .. } | Self::Unknown { path, .. } => path,
        }
    }
}

/// Reads the rubric at `path`, and checks everything that does not depend on the model.
///
/// # Errors
/// It is malformed, or an item cannot be asked; the error names the field.
pub(crate) fn read_rubric(path: &str, value: Value) -> Result<Vec<RubricItem>, FieldError> {
    let Value::Array(list) = value else {
        return Err(wrong_type(path, "a list of items", &value));
    };
    if !(1..=MAX_QUESTIONS).contains(&list.len()) {
        let reason = format!("has {} items; send 1 to {MAX_QUESTIONS}", list.len());
        return Err(FieldError::invalid(path, reason));
    }
    let mut items = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        items.push(read_item(format!("{path}[{index}]"), value)?);
    }
    let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
    check_names(&names, |index| format!("{path}[{index}].name"))?;
    Ok(items)
}

fn read_item(path: String, value: Value) -> Result<RubricItem, FieldError> {
    let mut fields = Described::new(path, value)?;
    let name = fields.text("name")?;
    let weight = fields.weight()?;
    let question = fields.question()?;
    fields.end(&ITEM, "an item of a rubric")?;
    Ok(RubricItem { name, question, weight })
}

/// Reads the question of an attribute.
///
/// # Errors
/// As [`read_rubric`].
pub(super) fn read_question(path: String, value: Value) -> Result<Question, FieldError> {
    let mut fields = Described::new(path, value)?;
    let question = fields.question()?;
    fields.end(&QUESTION, "an attribute of a judge")?;
    Ok(question)
}

/// Checks the names of scores; `path` returns the place of each.
pub(super) fn check_names(names: &[String], path: impl Fn(usize) -> String) -> Result<(), FieldError> {
    if let Some(index) = names.iter().position(|name| name.to_lowercase() == WEIGHTED) {
        let reason = format!("is `{WEIGHTED}`, the name of the weighted sum of all scores; rename it");
        return Err(FieldError::invalid(path(index), reason));
    }
    match find_unusable_name(names) {
        None => Ok(()),
        Some((index, AttributeNameError::Duplicate(_))) => {
            let reason = "is the name of another score: names must differ by more than case; rename one";
            Err(FieldError::invalid(path(index), reason))
        }
        Some((index, AttributeNameError::Column(name))) => {
            let reason = format!(
                "is `{name}`, the name of a column that `assay score` adds for other purposes; rename it"
            );
            Err(FieldError::invalid(path(index), reason))
        }
        Some((index, _)) if names[index].is_empty() => {
            Err(FieldError::invalid(path(index), "is empty; give the score a name"))
        }
        Some((index, error)) => Err(FieldError::invalid(path(index), format!("cannot be used: {error}"))),
    }
}

/// Reads a word that is the name of one of several values.
///
/// # Errors
/// It is another, or not a text.
pub(crate) fn read_choice<T: ValueEnum>(path: &str, value: &Value) -> Result<T, FieldError> {
    let Value::String(word) = value else { return Err(wrong_type(path, "a string", value)) };
    let found = T::from_str(word, false);
    found.map_err(|_| {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        FieldError::invalid(path, format!("must be one of {}", names.join(", ")))
    })
}

/// The fields of an item or attribute, each of which is taken out as it is read.
struct Described {
    path: String,
    map: Map<String, Value>,
}

impl Described {
    fn new(path: String, value: Value) -> Result<Self, FieldError> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            other => Err(wrong_type(&path, "an object", &other)),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Takes a field. One that is null counts as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<String, FieldError> {
        let path = self.path(name);
        match self.take(name) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong_type(&path, "a string", &other)),
            None => Err(FieldError::invalid(path, wording::missing(name, "give a string", &self.map))),
        }
    }

    fn weight(&mut self) -> Result<f64, FieldError> {
        let path = self.path("weight");
        let Some(value) = self.take("weight") else { return Ok(1.0) };
        let weight = value.as_f64().ok_or_else(|| wrong_type(&path, "a number", &value))?;
        if !(-LARGEST_WORTH..=LARGEST_WORTH).contains(&weight) {
            return Err(FieldError::invalid(path, format!("is {weight:e}: give a number from -1e9 to 1e9")));
        }
        Ok(weight)
    }

    fn question(&mut self) -> Result<Question, FieldError> {
        let mut question = Question::yes_or_no(self.text("ask")?);
        if let Some(value) = self.take("answers") {
            question.answers = answers(&self.path("answers"), value)?;
        }
        if let Some(value) = self.take("score") {
            question.score = read_choice(&self.path("score"), &value)?;
        }
        question.check().map_err(|error| FieldError::from_question(&self.path, &error))?;
        Ok(question)
    }

    /// Refuses fields that were not taken.
    fn end(&self, known: &[&'static str], what: &str) -> Result<(), FieldError> {
        let Some((name, _)) = self.map.iter().find(|(_, value)| !value.is_null()) else { return Ok(()) };
        let to_do = || format!("{what} has {}; leave it out", known.join(", "));
        let reason = wording::unknown(name, known.iter().copied(), to_do);
        Err(FieldError::Unknown { path: self.path(name), reason })
    }
}

fn answers(path: &str, value: Value) -> Result<Vec<JudgeAnswer>, FieldError> {
    let Value::Object(map) = value else {
        return Err(wrong_type(path, "an object of answers and what they are worth", &value));
    };
    let mut answers = Vec::with_capacity(map.len());
    for (text, value) in map {
        let Some(worth) = value.as_f64() else {
            let path = format!("{path}.{text}");
            return Err(wrong_type(&path, "a number, what the answer is worth", &value));
        };
        answers.push(JudgeAnswer { text, worth, token: None });
    }
    Ok(answers)
}

/// The error about a value of the wrong type.
pub(super) fn wrong_type(path: &str, expected: &str, found: &Value) -> FieldError {
    FieldError::invalid(path, wording::wrong_type(expected, found))
}
