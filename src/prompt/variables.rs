//! Variables that a request or an option sets for the chat template.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::template::size;
use crate::manifest::{NotADate, TemplateDate};

/// Maximum number of bytes of the variables: they are rendered again with every conversation of a request.
const LARGEST: usize = 1 << 20;
/// The function that gives templates the date. As a variable it is the date to give.
const DATE: &str = "strftime_now";
/// Names that transformers' `apply_chat_template` takes for itself, and the special tokens, which the checkpoint names.
const RESERVED: [&str; 23] = [
    "messages",
    "conversation",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "tokenizer_kwargs",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
    "extra_special_tokens",
    "raise_exception",
];

/// Variables for the chat template: the `chat_template_kwargs` of a request or an option, with any JSON as values.
///
/// Like messages, they cannot spell a token that structures turns. `strftime_now` is the one name with a meaning of
/// its own: the day, `YYYY-MM-DD`, that this function of templates gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateVariables {
    pub(super) given: Map<String, Value>,
    pub(super) date: Option<TemplateDate>,
}

/// Why a variable cannot be given to a chat template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// The name means something else already.
    #[error("is not a variable that can be set: the server gives it its value; leave it out")]
    Reserved,
    /// The day for `strftime_now` is not one.
    #[error("sets the date that templates print: {0}")]
    Date(NotADate),
    /// It has too many bytes, together with those before it.
    #[error("makes the variables {0} bytes long: send at most {LARGEST}")]
    TooLarge(usize),
}

impl TemplateVariables {
    /// Checks variables. What is null stays, as `none` in the template.
    ///
    /// # Errors
    /// One of them, whose name comes with the error, cannot be given.
    pub fn new(mut given: Map<String, Value>) -> Result<Self, (String, VariableError)> {
        let date = match given.swap_remove(DATE) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some(text.parse().map_err(|error| (DATE.to_owned(), VariableError::Date(error)))?)
            }
        };
        let mut bytes = 0;
        for (name, value) in &given {
            bytes += name.len() + size(value);
            if RESERVED.contains(&name.as_str()) {
                return Err((name.clone(), VariableError::Reserved));
            }
            if bytes > LARGEST {
                return Err((name.clone(), VariableError::TooLarge(bytes)));
            }
        }
        Ok(Self { given, date })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.date.is_none()
    }

    /// Whether this variable is among them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str).chain(self.date.map(|_| DATE))
    }

    /// Bytes of their values, of which each counts for a few besides its text.
    pub(crate) fn size(&self) -> usize {
        self.given.iter().map(|(name, value)| name.len() + size(value)).sum()
    }

    /// These variables, and those of `defaults` that they do not set.
    pub(crate) fn over<'a>(&'a self, defaults: &'a Self) -> Cow<'a, Self> {
        if defaults.is_empty() {
            return Cow::Borrowed(self);
        }
        if self.is_empty() {
            return Cow::Borrowed(defaults);
        }
        let mut merged = defaults.clone();
        merged.given.extend(self.given.clone());
        merged.date = self.date.or(merged.date);
        Cow::Owned(merged)
    }

    /// The JSON that they were read from.
    pub fn to_json(&self) -> Value {
        let mut json = self.given.clone();
        if let Some(date) = self.date {
            json.insert(DATE.to_owned(), date.to_string().into());
        }
        json.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables(json: &Value) -> Result<TemplateVariables, (String, VariableError)> {
        TemplateVariables::new(json.as_object().unwrap().clone())
    }

    #[test]
    fn any_json_is_a_variable_but_reserved_names_are_refused() {
        let json = json!({"enable_thinking": false, "x": {"a": [1, null]}, "none": null, "strftime_now": "2025-01-31"});
        let read = variables(&json).unwrap();
        assert_eq!(read.to_json(), json);
        assert_eq!(read.date, Some("2025-01-31".parse().unwrap()));
        for name in RESERVED {
            let (named, error) = variables(&json!({"a": 1, name: true})).unwrap_err();
            assert_eq!((named.as_str(), error), (name, VariableError::Reserved));
        }
        for date in [json!("yesterday"), json!(2025), json!("2025-02-30")] {
            let (name, error) = variables(&json!({"strftime_now": date})).unwrap_err();
            assert_eq!(name, "strftime_now");
            assert!(error.to_string().contains("YYYY-MM-DD"), "{error}");
        }
        let long = json!("x".repeat(LARGEST));
        let empty = ["", "[]", "{}"].map(|value| json!(vec![value; LARGEST / 8]));
        for many in empty.into_iter().chain([long]) {
            let (name, error) = variables(&json!({"a": 1, "many": many})).unwrap_err();
            assert_eq!(name, "many");
            assert!(error.to_string().contains("send at most 1048576"), "{error}");
        }
    }

    #[test]
    fn a_requests_variables_go_before_the_servers() {
        let server = variables(&json!({"a": 1, "b": 1, "strftime_now": "2025-01-31"})).unwrap();
        let request = variables(&json!({"b": null, "c": 3})).unwrap();
        let merged = json!({"a": 1, "b": null, "c": 3, "strftime_now": "2025-01-31"});
        assert_eq!(request.over(&server).to_json(), merged);
        assert_eq!(*TemplateVariables::default().over(&server), server);
    }
}
