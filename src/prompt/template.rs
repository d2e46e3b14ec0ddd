//! The chat template of a model.

use serde_json::Map;

use super::jinja::unicode::is_space;
use super::jinja::{Jinja, RenderError, SyntaxError, Variables};
use super::strftime::strftime;
use super::{EncodeOptions, PromptError, TemplateVariables};
use crate::manifest::{PromptSpec, TemplateDate};

pub(super) use super::jinja::{literals, normalize_line_ends};

pub(super) struct Template {
    jinja: Jinja,
    /// The variables that are the same for every conversation.
    variables: Map<String, serde_json::Value>,
    /// What `strftime_now` gives; without it, templates print a date of their own.
    date: Option<TemplateDate>,
}

impl Template {
    /// Parses a template; the special tokens of `spec` are variables in it.
    ///
    /// # Errors
    /// The template has a syntax error.
    pub(super) fn parse(source: &str, spec: &PromptSpec) -> Result<Self, SyntaxError> {
        let jinja = Jinja::parse(source)?;
        let date_use = DateUse::from_jinja(&jinja);
        let mut date = spec.template_date.or(date_use.default_date());
        let mut variables = Map::new();
        for (name, text) in &spec.special_tokens {
            variables.insert(name.clone(), text.as_str().into());
        }
        if date_use == DateUse::Variable {
            // Llama 3.1 takes the date as a variable, in this form.
            if let Some(date) = date.take() {
                variables.insert("date_string".into(), strftime("%d %b %Y", date).into());
            }
        }
        for name in ["tools", "documents"] {
            variables.insert(name.into(), serde_json::Value::Null);
        }
        Ok(Self { jinja, variables, date })
    }

    /// Whether the template may read a field of a message.
    pub(super) fn reads_key(&self, name: &str) -> bool {
        self.jinja.reads_key(name)
    }

    /// Whether the template reads a variable.
    pub(super) fn reads(&self, name: &str) -> bool {
        self.jinja.reads(name)
    }

    /// Renders messages with `variables` instead of those of the options. `marks` are characters in both that
    /// the template's string functions skip.
    ///
    /// # Errors
    /// The template refuses the conversation or fails.
    pub(super) fn render(
        &self,
        mut messages: Vec<serde_json::Value>,
        variables: TemplateVariables,
        marks: &str,
        options: EncodeOptions<'_>,
    ) -> Result<String, PromptError> {
        let continued = if options.continue_final_message { Some(add_end_tag(&mut messages)?) } else { None };
        let input = variables.size() + messages.iter().map(size).sum::<usize>();
        let mut given = self.variables.clone();
        given.extend(variables.given);
        given.insert("messages".into(), messages.into());
        given.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        let date = variables.date.or(self.date);
        let rendered = self.jinja.render(&Variables { given, date, marks, input });
        let rendered = rendered.map_err(|error| match error {
            RenderError::Raised(message) => PromptError::Refused(message),
            error => PromptError::Unrenderable(error.to_string()),
        })?;
        let Some(continued) = continued else { return Ok(rendered) };
        // With marks it is the rendering of a conversation that was rendered without them before.
        if marks.is_empty() && !rendered.contains(continued.trim_matches(is_space)) {
            return Err(PromptError::NotContinued);
        }
        before_end_tag(rendered)
    }
}

/// A tag after the last message's text, so that its end is found in the rendering. The space shows whether
/// the template keeps white space there.
const END_TAG: &str = "THE_LAST_MESSAGE_ENDS_HERE ";

/// Adds the tag, and returns the text that it ends.
fn add_end_tag(messages: &mut [serde_json::Value]) -> Result<String, PromptError> {
    match messages.last_mut().and_then(|message| message.get_mut("content")) {
        Some(serde_json::Value::String(content)) => {
            let text = content.clone();
            content.push_str(END_TAG);
            Ok(text)
        }
        _ => Err(PromptError::NotContinued),
    }
}

/// What a rendering has before the tag. If the template trimmed the message, white space goes too, as in
/// transformers.
fn before_end_tag(mut rendered: String) -> Result<String, PromptError> {
    let end = rendered.rfind(END_TAG.trim_end()).ok_or(PromptError::NotContinued)?;
    let kept = rendered[end..].starts_with(END_TAG);
    let before = &rendered[..end];
    let length = if kept { end } else { before.trim_end_matches(is_space).len() };
    rendered.truncate(length);
    Ok(rendered)
}

/// Bytes that count for every value besides its text. One without any still takes memory, and templates print it.
const VALUE_BYTES: usize = 8;

/// Bytes of the texts in a value, and of the values themselves.
pub(super) fn size(value: &serde_json::Value) -> usize {
    let text = match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(size).sum(),
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + size(value)).sum()
        }
        _ => 0,
    };
    VALUE_BYTES + text
}

/// How a template prints the date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateUse {
    /// It prints none.
    None,
    /// It takes it as the variable `date_string`, or prints a date of its own.
    Variable,
    /// It asks `strftime_now`, or prints a date of its own if there is no such function.
    Fallback,
    /// It asks `strftime_now`.
    Today,
}

impl DateUse {
    /// # Errors
    /// The template has a syntax error.
    pub(crate) fn detect(source: &str) -> Result<Self, SyntaxError> {
        Ok(Self::from_jinja(&Jinja::parse(source)?))
    }

    fn from_jinja(jinja: &Jinja) -> Self {
        if jinja.asks_for("strftime_now") {
            Self::Fallback
        } else if jinja.reads("strftime_now") {
            Self::Today
        } else if jinja.reads("date_string") {
            Self::Variable
        } else {
            Self::None
        }
    }

    /// The date for a template that has none of its own.
    pub(crate) fn default_date(self) -> Option<TemplateDate> {
        (self == Self::Today).then_some(TemplateDate::DEFAULT)
    }
}
