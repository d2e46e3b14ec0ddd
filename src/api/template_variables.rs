//! Variables that a request sets for the chat template.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::fields::{Fields, wrong_type};
use crate::prompt::TemplateVariables;
use utoipa::ToSchema;

/// What the chat template gets besides the messages.
#[derive(ToSchema)]
#[schema(as = TemplateVariables)]
#[expect(dead_code, reason = "the schema of what `take_variables` reads")]
pub(super) struct VariablesSchema {
    /// Variables for the chat template, the same for all texts.
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Value>,
    /// Tools that the assistant could call, for the chat template.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// Documents that the assistant could read, for the chat template.
    #[schema(value_type = Option<Vec<Object>>)]
    documents: Option<Vec<Value>>,
}

/// How much a model that reasons should do so, for its chat template.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReasoningEffort)]
#[expect(dead_code, reason = "the schema of `reasoning_effort`")]
pub(super) enum EffortSchema {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

const KWARGS: &str = "chat_template_kwargs";
const TOOLS: &str = "tools";
const EFFORT: &str = "reasoning_effort";
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
const DOCUMENTS: &str = "documents";
/// The fields that [`take_kwargs`] reads.
pub(super) const KWARGS_ONLY: &[&str] = &[KWARGS];
/// The fields that [`take_variables`] reads.
pub(super) const VARIABLES: &[&str] = &[KWARGS, TOOLS, DOCUMENTS];

/// Takes `chat_template_kwargs`.
///
/// # Errors
/// It is not an object, or one of its names cannot be set.
pub(super) fn take_kwargs(fields: &mut Fields) -> Result<TemplateVariables, ApiError> {
    let given = take_object(fields)?;
    check(fields, given)
}

/// Takes `chat_template_kwargs`, and `tools` and `documents`, which templates know by these names and which
/// take precedence over those of the same name in the first.
///
/// # Errors
/// As [`take_kwargs`], or one of the two is not a list of objects.
pub(super) fn take_variables(fields: &mut Fields) -> Result<TemplateVariables, ApiError> {
    let given = take_given(fields)?;
    check(fields, given)
}

fn take_given(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let mut given = take_object(fields)?;
    for name in [TOOLS, DOCUMENTS] {
        let list = fields.take::<Vec<Value>>(name)?.unwrap_or_default();
        for (index, value) in list.iter().enumerate() {
            let path = format!("{}[{index}]", fields.path(name));
            if !value.is_object() {
                return Err(wrong_type(path, "an object", value));
            }
            if name == TOOLS && value.get("function").is_some_and(|function| !function.is_object()) {
                return Err(ApiError::invalid(format!("{path}.function"), "must be an object"));
            }
        }
        if !list.is_empty() {
            given.insert(name.to_owned(), list.into());
        }
    }
    Ok(given)
}

/// The same for a text that is generated: `reasoning_effort` is a variable too, and, as in vLLM, says whether the
/// model thinks at all unless `enable_thinking` does.
///
/// # Errors
/// As [`take_variables`], or `reasoning_effort` is another word.
pub(super) fn take_variables_of_chat(fields: &mut Fields) -> Result<TemplateVariables, ApiError> {
    let mut given = take_given(fields)?;
    if let Some(effort) = fields.take_one_of(EFFORT, &EFFORTS)? {
        given.entry("enable_thinking").or_insert(Value::Bool(effort != "none"));
        given.insert(EFFORT.to_owned(), effort.into());
    }
    check(fields, given)
}

fn take_object(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    match fields.take::<Value>(KWARGS)? {
        None => Ok(Map::new()),
        Some(Value::Object(given)) => Ok(given),
        Some(other) => Err(wrong_type(fields.path(KWARGS), "an object", &other)),
    }
}

fn check(fields: &Fields, given: Map<String, Value>) -> Result<TemplateVariables, ApiError> {
    TemplateVariables::new(given).map_err(|(name, error)| {
        ApiError::invalid(format!("{}.{name}", fields.path(KWARGS)), error.to_string())
    })
}

/// The first field of `names` that sets a variable.
pub(super) fn first_set(fields: &Fields, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| match fields.get(name) {
        Some(Value::Object(given)) => !given.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        other => other.is_some(),
    })
}

/// The error about a field that sets variables in a request whose texts no chat template renders.
pub(super) fn not_rendered(name: &str) -> ApiError {
    let reason = "the request's texts do not go through the chat template: send `messages`, or leave it out";
    ApiError::unsupported(name, reason)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_effort_says_whether_the_model_thinks_unless_the_request_does() {
        let variables = |body: Value| {
            let mut fields = Fields::parse(body.to_string().as_bytes()).unwrap();
            take_variables_of_chat(&mut fields).unwrap().to_json()
        };
        assert_eq!(
            variables(json!({"reasoning_effort": "none"})),
            json!({"reasoning_effort": "none", "enable_thinking": false})
        );
        assert_eq!(
            variables(json!({"reasoning_effort": "low"})),
            json!({"reasoning_effort": "low", "enable_thinking": true})
        );
        let own = json!({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": true}});
        assert_eq!(variables(own), json!({"reasoning_effort": "none", "enable_thinking": true}));
        assert_eq!(variables(json!({})), json!({}));
        let mut wrong = Fields::parse(br#"{"reasoning_effort": "lots"}"#).unwrap();
        let error = take_variables_of_chat(&mut wrong).unwrap_err().to_string();
        assert!(error.starts_with("`reasoning_effort` must be one of none, minimal"), "{error}");
    }
}
