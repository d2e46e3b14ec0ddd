//! Files that describe a judge: its attributes, each with a question; or a rubric, a list of items.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::described::{
    FieldError, RubricItem, check_names, read_choice, read_question, read_rubric, wrong_type,
};
use super::question::MAX_QUESTIONS;
use super::yaml::{Document, RUBRIC};
use super::{Judge, QuestionLayout};
use crate::manifest::{read_plain_text, wording};

/// Bytes of the largest file that is read.
const LARGEST: u64 = 1 << 20;
/// The field with the attributes.
const ATTRIBUTES: &str = "attributes";
/// What it holds.
const EXPECTED: &str = "a map from the names of scores to questions";
/// The field with the layout.
const LAYOUT: &str = "layout";

/// What a file says of a judge.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeFile {
    /// Names of the attributes.
    pub attributes: Vec<String>,
    /// What they weigh in a sum; empty without one.
    pub weights: BTreeMap<String, f64>,
    /// What the model is asked for each.
    pub judge: Judge,
}

/// Why a file does not describe a judge.
#[derive(Debug, thiserror::Error)]
pub enum JudgeFileError {
    /// It cannot be read.
    #[error("{}: it cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// Something is wrong with its text or with a field.
    #[error("{}{}: {reason}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<u64>,
        /// What is wrong, and with which field.
        reason: String,
    },
}

impl JudgeFile {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`JudgeFileError`].
    pub fn read(path: &Path) -> Result<Self, JudgeFileError> {
        Self::from_document(path, &read_document(path)?)
    }

    fn from_document(path: &Path, document: &Document) -> Result<Self, JudgeFileError> {
        let read = match document.value.clone() {
            list @ Value::Array(_) => read_rubric(RUBRIC, list).map(Self::from_rubric),
            Value::Object(map) => Self::from_attributes(map),
            Value::Null => return Err(empty(path, &format!("give `{ATTRIBUTES}`, {EXPECTED}"))),
            other => Err(wrong_type(ATTRIBUTES, EXPECTED, &other)),
        };
        read.map_err(|error| JudgeFileError::Content {
            path: path.to_owned(),
            line: document.line(error.path()),
            reason: error.to_string(),
        })
    }

    fn from_rubric(items: Vec<RubricItem>) -> Self {
        let (mut attributes, mut weights, mut questions) = (Vec::new(), BTreeMap::new(), Vec::new());
        for RubricItem { name, question, weight } in items {
            weights.insert(name.clone(), weight);
            attributes.push(name);
            questions.push(question);
        }
        Self { attributes, weights, judge: Judge { layout: QuestionLayout::default(), questions } }
    }

    fn from_attributes(mut map: Map<String, Value>) -> Result<Self, FieldError> {
        let described = match map.shift_remove(ATTRIBUTES) {
            Some(Value::Object(described)) => described,
            Some(other) => return Err(wrong_type(ATTRIBUTES, EXPECTED, &other)),
            None => {
                let reason = wording::missing(ATTRIBUTES, &format!("give {EXPECTED}"), &map);
                return Err(FieldError::Invalid { path: ATTRIBUTES.to_owned(), reason });
            }
        };
        let layout = map.shift_remove(LAYOUT).filter(|value| !value.is_null());
        let layout = layout.map(|value| read_choice(LAYOUT, &value)).transpose()?.unwrap_or_default();
        if let Some(name) = map.keys().next() {
            let to_do = || format!("a judge has `{ATTRIBUTES}` and `{LAYOUT}`; leave it out");
            let reason = wording::unknown(name, [ATTRIBUTES, LAYOUT], to_do);
            return Err(FieldError::Unknown { path: name.clone(), reason });
        }
        if !(1..=MAX_QUESTIONS).contains(&described.len()) {
            let reason = format!("has {} entries; give 1 to {MAX_QUESTIONS}", described.len());
            return Err(FieldError::Invalid { path: ATTRIBUTES.to_owned(), reason });
        }
        let (mut attributes, mut places, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in described {
            let place = format!("{ATTRIBUTES}.{name}");
            questions.push(read_question(place.clone(), value)?);
            attributes.push(name.to_lowercase());
            places.push(place);
        }
        check_names(&attributes, |index| places[index].clone())?;
        Ok(Self { attributes, weights: BTreeMap::new(), judge: Judge { layout, questions } })
    }
}

/// Reads the file of a rubric, as requests spell it.
///
/// # Errors
/// See [`JudgeFileError`]; or it describes a judge.
pub(crate) fn read_rubric_file(path: &Path) -> Result<Value, JudgeFileError> {
    let document = read_document(path)?;
    JudgeFile::from_document(path, &document)?;
    if document.value.is_array() {
        return Ok(document.value);
    }
    Err(JudgeFileError::Content {
        path: path.to_owned(),
        line: None,
        reason: "it describes a judge, and a server takes rubrics, which are lists of items; start the server with it"
            .to_owned(),
    })
}

fn read_document(path: &Path) -> Result<Document, JudgeFileError> {
    let text = read_plain_text(path, LARGEST)
        .map_err(|source| JudgeFileError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Parses the text of the file at `path`; `None` if it is YAML that describes something else than a judge.
///
/// # Errors
/// It is empty or not YAML, or something is wrong with the judge in it.
pub(crate) fn parse_text(path: &Path, text: &str) -> Result<Option<JudgeFile>, JudgeFileError> {
    let document = parse(path, text)?;
    if document.value.is_null() {
        return Err(empty(path, "describe a head, or a judge by its `attributes`"));
    }
    describes_judge(&document.value).then(|| JudgeFile::from_document(path, &document)).transpose()
}

fn parse(path: &Path, text: &str) -> Result<Document, JudgeFileError> {
    Document::parse(text).map_err(|error| JudgeFileError::Content {
        path: path.to_owned(),
        line: error.line,
        reason: error.reason,
    })
}

/// The error about a file without content.
fn empty(path: &Path, to_do: &str) -> JudgeFileError {
    JudgeFileError::Content { path: path.to_owned(), line: None, reason: format!("it is empty: {to_do}") }
}

/// Whether it is a rubric, or has attributes with more than names, perhaps in a field whose name is misspelt.
fn describes_judge(value: &Value) -> bool {
    let Value::Object(map) = value else { return value.is_array() };
    let name = wording::resembling(ATTRIBUTES, map);
    match name.and_then(|name| map.get(name)) {
        Some(Value::Object(_)) => true,
        Some(Value::Array(list)) => list.iter().any(Value::is_object),
        _ => map.contains_key(LAYOUT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::AnswerScore;

    fn parsed(text: &str) -> Result<Option<JudgeFile>, String> {
        parse_text(Path::new("judge.yaml"), text).map_err(|error| error.to_string())
    }

    fn judge(text: &str) -> Result<JudgeFile, String> {
        parsed(text)?.ok_or_else(|| format!("not a judge: {text}"))
    }

    #[test]
    fn questions_keep_their_order_and_take_yes_and_no_by_default() {
        let text = r#"
attributes:
  Helpfulness:
    ask: How helpful?
    answers: {"0": 0, "1": 1, "2": 2.5}
  safe: {ask: Safe?, score: log_odds}
layout: quote
"#;
        assert_eq!(parsed("attributes: [a, b]\nrows: [0, 1]"), Ok(None));
        assert_eq!(parsed("matrix: score.weight\nscore: {clamp: [0, 1]}"), Ok(None));
        let file = judge(text).unwrap();
        assert_eq!(file.attributes, ["helpfulness", "safe"]);
        assert_eq!(file.judge.layout, QuestionLayout::Quote);
        let worths = |index: usize| {
            let answers = &file.judge.questions[index].answers;
            answers.iter().map(|answer| (answer.text.as_str(), answer.worth)).collect::<Vec<_>>()
        };
        assert_eq!(worths(0), [("0", 0.0), ("1", 1.0), ("2", 2.5)]);
        assert_eq!(worths(1), [("Yes", 1.0), ("No", 0.0)]);
        assert_eq!(file.judge.questions[1].score, AnswerScore::LogOdds);
    }

    #[test]
    fn a_list_is_a_rubric_with_weights() {
        let text =
            r#"[{"name": "cites", "ask": "Does it cite?", "weight": 2}, {"name": "short", "ask": "Short?"}]"#;
        let rubric = judge(text).unwrap();
        assert_eq!(rubric.attributes, ["cites", "short"]);
        assert_eq!(rubric.weights, [("cites".to_owned(), 2.0), ("short".to_owned(), 1.0)].into());
    }

    #[test]
    fn an_error_in_a_file_names_the_line_and_the_field() {
        let one = |rest: &str| judge(&format!("attributes:\n  safe:\n    {rest}\n")).unwrap_err();
        for (rest, expected) in [
            ("ask: ' '", "judge.yaml:3: `attributes.safe.ask` is empty; write"),
            ("{ask: a?, answers: {Yes: 1}}", "`attributes.safe.answers` has 1 answer; give 2 to 64"),
            ("{ask: a?, answers: {'': 1, No: 0}}", "`attributes.safe.answers` has an answer without a text"),
            (
                "{ask: a?, answers: {Yes: .nan, No: 0}}",
                "`attributes.safe.answers.Yes` must be a number, what",
            ),
            ("{ask: a?, answers: {Yes: 1e39, No: 0}}", "gives \"Yes\" a worth that is not a number from"),
            ("{ask: a?, answers: {Yes: 1, No: 1}}", "has no answer that is worth more"),
            ("{ask: a?, answers: {Yes: 1, Yes: 0}}", "judge.yaml:3: the key `Yes` appears twice"),
            ("{ask: a?, answers: {a: 1, b: 1, c: 0}, score: logit}", "has no answer that is worth more"),
            (
                "{ask: a?, answers: {a: 2, b: 1, c: 0}, score: logit_difference}",
                "`attributes.safe.score` is `logit_difference`, which needs two answers, and there are 3",
            ),
            ("{answers: {a: 1, b: 0}}", "judge.yaml:3: `attributes.safe.ask` is missing"),
            (
                "{ask: a?, score: best}",
                "`attributes.safe.score` must be one of expectation, probability, logit,",
            ),
            (
                "{ask: a?, think: 512}",
                "`attributes.safe.think` is not supported: an attribute of a judge has ask",
            ),
            ("{ask: a?, sore: logit}", "`attributes.safe.sore` is not supported: did you mean `score`?"),
            ("{ask: [a?]}", "`attributes.safe.ask` must be a string, not a list"),
            ("{ask: a?, answers: {a: 1, b: 0}", "judge.yaml:"),
        ] {
            let error = one(rest);
            assert!(error.contains(expected), "{rest}: {error}");
        }
        for (text, expected) in [
            (
                "attributes: {Safe: {ask: a?},\n safe: {ask: b?}}",
                "judge.yaml:2: `attributes.safe` is the name of another score: names must differ by more than case",
            ),
            ("attributes: {}", "`attributes` has 0 entries; give 1 to 64"),
            ("attributes: {'a b': {ask: a?}}", "white space"),
            (
                "attributes: {a: {ask: b?}}\nlayuot: quote",
                "judge.yaml:2: `layuot` is not supported: did you mean `layout`?",
            ),
            (
                "attribute: {a: {ask: b?}}",
                "give a map from the names of scores to questions; `attribute` is there",
            ),
            (
                "attributes: {weighted: {ask: b?}}",
                "`attributes.weighted` is `weighted`, the name of the weighted",
            ),
            ("attributes: {'': {ask: b?}}", "is empty; give the score a name"),
            ("attributes: {a: {ask: b?, answers: {a: '1', b: 0}}}", "what the answer is worth, not a string"),
            ("- {name: a, ask: b?, weight: '2'}", "`rubric[0].weight` must be a number, not a string"),
            ("# nothing yet", "judge.yaml: it is empty: describe a head, or a judge by its `attributes`"),
            (
                "attributes: {a: {ask: b?}}\nlayout: quoted",
                "judge.yaml:2: `layout` must be one of append, quote",
            ),
            ("attributes:\n- {name: a, ask: b?}", "`attributes` must be a map from the names of scores"),
            ("layout: quote", "`attributes` is missing"),
            (
                "- {name: a, ask: b?}\n- {name: a, ask: c?}",
                "judge.yaml:2: `rubric[1].name` is the name of another score: names must differ by more than case",
            ),
            ("- {name: a, ask: b?}\n- {name: A, ask: c?}", "`rubric[1].name` is the name of another score"),
            ("attributes: {Error: {ask: b?}}", "`attributes.Error` is `error`, the name of a column that"),
            (
                "- {name: rank, ask: b?}",
                "`rubric[0].name` is `rank`, the name of a column that `assay score` adds",
            ),
            ("- {name: Weighted, ask: b?}", "`rubric[0].name` is `weighted`, the name of the weighted sum"),
            ("- {names: a, ask: b?}", "`rubric[0].name` is missing or null: give a string; `names` is there"),
            ("- {name: weighted, ask: b?}", "`rubric[0].name` is `weighted`, the name of the weighted sum"),
            (
                "- {name: a, ask: b?, weight: 1e308}",
                "`rubric[0].weight` is 1e308: give a number from -1e9 to 1e9",
            ),
        ] {
            let error = judge(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
