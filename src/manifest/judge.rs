//! The judge's part of a head: questions that a language model is asked about a conversation, and what its answers
//! are worth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::attribute_names::{AttributeNameError, check_attribute_names};

/// Most questions of a judge, or items of a rubric.
pub const MOST_QUESTIONS: usize = 64;
/// Most answers to a question.
const MOST_ANSWERS: usize = 64;

/// Largest worth of an answer and weight of an item, so that sums of them are numbers.
pub const LARGEST_WORTH: f64 = 1e9;

/// What a language model is asked. The questions are in the order of the head's attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// How a question is put.
    #[serde(default)]
    pub layout: Layout,
    /// The questions, one for each attribute.
    pub questions: Vec<Question>,
}

/// How a question is put to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// In a further user's turn after the conversation.
    #[default]
    Append,
    /// In one user's turn that quotes the conversation.
    Quote,
}

/// A question about a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its text.
    pub ask: String,
    /// The answers that count.
    pub answers: Vec<Answer>,
    /// How their logits become the score.
    #[serde(default)]
    pub score: AnswerScore,
}

/// An answer of one token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// What it is worth.
    pub worth: f64,
    /// Its token; found when the engine is built or loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u32>,
}

/// How the logits of the answers become a score. The best answer is the one that is worth the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerScore {
    /// The worth of the answers, weighted by their probabilities among each other.
    #[default]
    Expectation,
    /// The probability of the best answer among the answers.
    Probability,
    /// The logit of the best answer.
    Logit,
    /// The logit of the best of two answers minus that of the other.
    LogitDifference,
    /// The logarithm of the odds of the best answer against the others.
    LogOdds,
}

/// Why a question cannot be asked. Which question it is, the caller knows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuestionError {
    /// There is no text.
    #[error("`ask` is empty; write the question that the model is to answer")]
    EmptyAsk,
    /// Too few or too many answers.
    #[error("`answers` has {0} entries; give 2 to {MOST_ANSWERS}, each a token and what it is worth")]
    AnswerCount(usize),
    /// An answer has no text.
    #[error("one of `answers` is empty; give each the text of a token")]
    EmptyAnswer,
    /// Two answers have one text.
    #[error("two of `answers` are {0:?}; leave one out")]
    EqualAnswers(String),
    /// An answer's worth is too large, or not a number.
    #[error("the answer {0:?} must be worth a number from -1e9 to 1e9")]
    Worth(String),
    /// No answer is better than all others.
    #[error(
        "no answer is worth more than all others, so there is no best one to score; change what they are worth"
    )]
    NoBest,
    /// A difference of more or fewer than two logits.
    #[error("`logit_difference` needs two answers, and there are {0}; use `log_odds`")]
    NotTwo(usize),
    /// An answer has several tokens, or none of its own.
    #[error(
        "the answer {answer:?} is not one token where this model's chat template starts an answer, but {}: {}; choose \
         answers of one token, such as Yes and No or single digits",
        tokens.len(), tokens.iter().map(|token| format!("{token:?}")).collect::<Vec<_>>().join(", ")
    )]
    SeveralTokens {
        /// The answer.
        answer: String,
        /// The tokens that it makes.
        tokens: Vec<String>,
    },
    /// Two answers start with one token.
    #[error(
        "the answers {first:?} and {second:?} start with the same token, {token:?}, so the model's answer does not \
         tell them apart; change one"
    )]
    SharedToken {
        /// One answer.
        first: String,
        /// The other.
        second: String,
        /// Their first token.
        token: String,
    },
    /// The chat template cannot put the question.
    #[error("the model's chat template cannot put a question in this layout: {0}")]
    Template(String),
}

impl Question {
    /// A question whose answers are `Yes`, worth 1, and `No`, worth 0.
    pub fn yes_or_no(ask: impl Into<String>) -> Self {
        let answer = |text: &str, worth| Answer { text: text.to_owned(), worth, token: None };
        Self {
            ask: ask.into(),
            answers: vec![answer("Yes", 1.0), answer("No", 0.0)],
            score: AnswerScore::Expectation,
        }
    }

    /// Checks everything that does not depend on the model.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn check(&self) -> Result<(), QuestionError> {
        let Self { ask, answers, score } = self;
        if ask.trim().is_empty() {
            return Err(QuestionError::EmptyAsk);
        }
        if !(2..=MOST_ANSWERS).contains(&answers.len()) {
            return Err(QuestionError::AnswerCount(answers.len()));
        }
        let mut texts = BTreeSet::new();
        for Answer { text, worth, .. } in answers {
            if text.trim().is_empty() {
                return Err(QuestionError::EmptyAnswer);
            }
            if !texts.insert(text) {
                return Err(QuestionError::EqualAnswers(text.clone()));
            }
            if !(-LARGEST_WORTH..=LARGEST_WORTH).contains(worth) {
                return Err(QuestionError::Worth(text.clone()));
            }
        }
        if *score == AnswerScore::LogitDifference && answers.len() != 2 {
            return Err(QuestionError::NotTwo(answers.len()));
        }
        let most = self.answers[self.best()].worth;
        let best = answers.iter().filter(|answer| answer.worth >= most).count();
        let needs_best = *score != AnswerScore::Expectation;
        if best == answers.len() || needs_best && best > 1 {
            return Err(QuestionError::NoBest);
        }
        Ok(())
    }

    /// The index of the first answer that is worth the most.
    pub fn best(&self) -> usize {
        let mut best = 0;
        for (index, answer) in self.answers.iter().enumerate() {
            if answer.worth > self.answers[best].worth {
                best = index;
            }
        }
        best
    }
}

impl Judge {
    /// Tokens of all answers, each once, ascending; those that are known.
    pub fn tokens(&self) -> Vec<u32> {
        let answers = self.questions.iter().flat_map(|question| &question.answers);
        answers.filter_map(|answer| answer.token).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A file that describes a judge: its attributes, each with a question; or a rubric, a list of items.
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
    /// It is not YAML of the form expected.
    #[error("{}: {reason}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The number of attributes.
    #[error("{}: it has {count} attributes; give 1 to {MOST_QUESTIONS}", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// The name of an attribute cannot be used.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        source: AttributeNameError,
    },
    /// A question cannot be asked.
    #[error("{}: `attributes.{attribute}`: {source}", path.display())]
    Question {
        /// The file.
        path: PathBuf,
        /// The question's attribute.
        attribute: String,
        /// Why.
        source: QuestionError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    attributes: Ordered<Asked>,
    #[serde(default)]
    layout: Layout,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ask: String,
    #[serde(default)]
    answers: Option<Ordered<f64>>,
    #[serde(default)]
    score: AnswerScore,
}

impl Asked {
    fn question(self) -> Question {
        let mut question = Question { score: self.score, ..Question::yes_or_no(self.ask) };
        if let Some(Ordered(answers)) = self.answers {
            let answer = |(text, worth)| Answer { text, worth, token: None };
            question.answers = answers.into_iter().map(answer).collect();
        }
        question
    }
}

/// An item of a rubric.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    ask: String,
    #[serde(default)]
    answers: Option<Ordered<f64>>,
    #[serde(default)]
    score: AnswerScore,
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

/// Whether the text of a head file describes a judge: its attributes are a map, or it is a rubric.
pub(crate) fn describes_judge(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(default)]
        attributes: Option<serde_json::Value>,
    }
    is_list(text)
        || serde_saphyr::from_str::<Probe>(text)
            .is_ok_and(|probe| probe.attributes.is_some_and(|attributes| attributes.is_object()))
}

impl JudgeFile {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`JudgeFileError`].
    pub fn read(path: &Path) -> Result<Self, JudgeFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| JudgeFileError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    /// See [`JudgeFileError`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, JudgeFileError> {
        let yaml = |error: serde_saphyr::Error| JudgeFileError::Yaml {
            path: path.to_owned(),
            reason: error.without_snippet().to_string(),
        };
        if is_list(text) {
            let items: Vec<Item> = serde_saphyr::from_str(text).map_err(yaml)?;
            let mut weights = BTreeMap::new();
            let mut asked = Vec::with_capacity(items.len());
            for Item { name, ask, answers, score, weight } in items {
                weights.insert(name.clone(), weight);
                asked.push((name, Asked { ask, answers, score }));
            }
            return Self::new(path, asked, weights, Layout::default());
        }
        let Content { attributes: Ordered(asked), layout } = serde_saphyr::from_str(text).map_err(yaml)?;
        let asked = asked.into_iter().map(|(attribute, asked)| (attribute.to_lowercase(), asked)).collect();
        Self::new(path, asked, BTreeMap::new(), layout)
    }

    fn new(
        path: &Path,
        asked: Vec<(String, Asked)>,
        weights: BTreeMap<String, f64>,
        layout: Layout,
    ) -> Result<Self, JudgeFileError> {
        let path = path.to_owned();
        if !(1..=MOST_QUESTIONS).contains(&asked.len()) {
            return Err(JudgeFileError::Count { path, count: asked.len() });
        }
        let (mut attributes, mut questions) = (Vec::new(), Vec::new());
        for (attribute, asked) in asked {
            let question = asked.question();
            if let Err(source) = question.check() {
                return Err(JudgeFileError::Question { path, attribute, source });
            }
            attributes.push(attribute);
            questions.push(question);
        }
        match check_attribute_names(&attributes) {
            Ok(()) => Ok(Self { attributes, weights, judge: Judge { layout, questions } }),
            Err(source) => Err(JudgeFileError::Name { path, source }),
        }
    }
}

/// Whether a YAML text is a list, as rubrics are.
fn is_list(text: &str) -> bool {
    serde_saphyr::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_array())
}

/// The entries of a map in their order.
struct Ordered<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<JudgeFile, String> {
        JudgeFile::parse(Path::new("judge.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_read_in_its_order_with_yes_and_no_by_default() {
        let text = r#"
attributes:
  Helpfulness:
    ask: How helpful?
    answers: {"0": 0, "1": 1, "2": 2.5}
  safe: {ask: Safe?, score: log_odds}
layout: quote
"#;
        assert!(describes_judge(text));
        assert!(!describes_judge("attributes: [a, b]\nrows: [0, 1]"));
        let file = parse(text).unwrap();
        assert_eq!(file.attributes, ["helpfulness", "safe"]);
        assert_eq!(file.judge.layout, Layout::Quote);
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
        let rubric = parse(text).unwrap();
        assert!(describes_judge(text));
        assert_eq!(rubric.attributes, ["cites", "short"]);
        assert_eq!(rubric.weights, [("cites".to_owned(), 2.0), ("short".to_owned(), 1.0)].into());
        let equal = parse("[{name: a, ask: b?}, {name: a, ask: c?}]").unwrap_err();
        assert!(equal.contains("two labels are called a"), "{equal}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_place() {
        let one = |rest: &str| parse(&format!("attributes:\n  safe:\n    {rest}\n")).unwrap_err();
        for (rest, expected) in [
            ("ask: ' '", "judge.yaml: `attributes.safe`: `ask` is empty"),
            ("{ask: a?, answers: {Yes: 1}}", "`answers` has 1 entries"),
            ("{ask: a?, answers: {'': 1, No: 0}}", "one of `answers` is empty"),
            ("{ask: a?, answers: {Yes: .nan, No: 0}}", "the answer \"Yes\" must be worth a number from"),
            ("{ask: a?, answers: {Yes: 1e39, No: 0}}", "the answer \"Yes\" must be worth a number from"),
            ("{ask: a?, answers: {Yes: 1, No: 1}}", "no answer is worth more"),
            ("{ask: a?, answers: {a: 1, b: 1, c: 0}, score: logit}", "no answer is worth more"),
            ("{ask: a?, answers: {a: 2, b: 1, c: 0}, score: logit_difference}", "use `log_odds`"),
            ("{answers: {a: 1, b: 0}}", "missing field `ask`"),
            ("{ask: a?, score: best}", "unknown variant"),
            ("{ask: a?, think: 512}", "unknown field `think`"),
        ] {
            let error = one(rest);
            assert!(error.contains(expected), "{rest}: {error}");
        }
        let equal = parse("attributes: {Safe: {ask: a?}, safe: {ask: b?}}").unwrap_err();
        assert!(equal.contains("two labels are called safe"), "{equal}");
        assert!(parse("attributes: {}").unwrap_err().contains("0 attributes"));
        assert!(parse("attributes: {'a b': {ask: a?}}").unwrap_err().contains("white space"));
    }
}
