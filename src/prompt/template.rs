//! The chat template: Jinja as transformers runs it.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};

use super::strftime::strftime;
use super::{EncodeOptions, PromptError, python};
use crate::manifest::{PromptSpec, TemplateDate};

/// Name of the one template in its environment.
const NAME: &str = "chat_template";

/// What one rendering may cost, in steps or in pieces of 64 bytes: far more than any real template
/// needs, yet an endless one is stopped within a second or so.
const FUEL: u64 = 10_000_000;

pub(super) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// Parses a template; the special tokens of `spec` are variables in it.
    ///
    /// # Errors
    /// The template has a syntax error.
    pub(super) fn parse(source: &str, spec: &PromptSpec) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", raise);
        python::install(&mut environment);
        for (name, text) in &spec.special_tokens {
            environment.add_global(name.clone(), text.clone());
        }
        let date_use = DateUse::detect(source);
        let date = spec.template_date.or(date_use.default_date());
        match date {
            // Llama 3.1 takes the date as a variable, in this form.
            Some(date) if date_use == DateUse::Variable => {
                environment.add_global("date_string", strftime("%d %b %Y", date));
            }
            Some(date) => {
                environment.add_function("strftime_now", move |format: &str| strftime(format, date))
            }
            None => {}
        }
        environment.add_template_owned(NAME, translate(source))?;
        Ok(Self { environment })
    }

    /// Renders `turns`, pairs of role and content. `marks` are characters in them that the template's
    /// string functions skip (see [`python`]).
    ///
    /// # Errors
    /// The template refuses the conversation or fails.
    pub(super) fn render(
        &self,
        turns: &[(&str, Cow<str>)],
        marks: &str,
        options: EncodeOptions,
    ) -> Result<String, PromptError> {
        let messages: Vec<Value> = (turns.iter())
            .map(|(role, content)| context! { role => *role, content => content.as_ref() })
            .collect();
        let variables = context! {
            messages,
            add_generation_prompt => options.add_generation_prompt,
            tools => (),
            documents => (),
            __marks => marks,
        };
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(variables));
        rendered.map_err(|error| refusal(&error))
    }
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
    pub(crate) fn detect(source: &str) -> Self {
        let words: Vec<_> = source.split_whitespace().collect();
        let words = words.join(" ");
        if ["strftime_now is defined", "strftime_now is not ", "strftime_now is undefined"]
            .iter()
            .any(|test| words.contains(test))
        {
            Self::Fallback
        } else if words.contains("strftime_now") {
            Self::Today
        } else if words.contains("date_string") {
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

/// Line ends as Jinja reads them: each of `\r\n` and `\r` is `\n`.
pub(super) fn normalize_line_ends(source: &str) -> Cow<'_, str> {
    if source.contains('\r') {
        source.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        source.into()
    }
}

/// The message that a template passed to `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// `raise_exception`, which a template calls to refuse a conversation.
fn raise(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
}

/// Distinguishes a template's refusal of a conversation from its failure.
fn refusal(error: &Error) -> PromptError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return PromptError::Refused(message.clone());
        }
        cause = error.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => {
            PromptError::Unrenderable("it ran for too long; send fewer or shorter messages".into())
        }
        _ => PromptError::Unrenderable(error.to_string()),
    }
}

/// Rewrites what transformers' Jinja supports and minijinja does not: `{% generation %}` blocks, which
/// mark the model's own turns for training code, become an `if` that is always true, and a string that
/// a backslash continues on the next line is joined.
fn translate(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = tag_start(rest) {
        text.push_str(&rest[..at]);
        let (tag, after) = rest[at..].split_at(tag_length(&rest[at..]));
        let word = tag.trim_start_matches(['{', '%', '-', '+']).split_whitespace().next();
        text += &match word {
            _ if tag.starts_with("{#") => Cow::Borrowed(tag),
            Some("generation") => Cow::Owned(tag.replacen("generation", "if true", 1)),
            Some("endgeneration") => Cow::Owned(tag.replacen("endgeneration", "endif", 1)),
            _ => Cow::Owned(tag.replace("\\\n", "")),
        };
        rest = after;
    }
    text + rest
}

/// The string literals in a template's tags and expressions, which it may search for in a turn.
pub(super) fn literals(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = source;
    while let Some(at) = tag_start(rest) {
        let (tag, after) = rest[at..].split_at(tag_length(&rest[at..]));
        rest = after;
        let mut tag = if tag.starts_with("{#") { "" } else { tag };
        while let Some(open) = tag.find(['"', '\'']) {
            let (quote, text) = tag[open..].split_at(1);
            let Some(end) = text.find(quote) else { break };
            literals.push(text[..end].replace("\\n", "\n"));
            tag = &text[end + 1..];
        }
    }
    literals
}

/// Where the first tag, expression or comment starts.
fn tag_start(text: &str) -> Option<usize> {
    ["{{", "{%", "{#"].iter().filter_map(|open| text.find(open)).min()
}

/// Length in bytes of the tag, expression or comment that `text` starts with; all of `text` if it is not
/// closed.
fn tag_length(text: &str) -> usize {
    let end = match text.get(..2) {
        Some("{{") => "}}",
        Some("{%") => "%}",
        _ => return text.find("#}").map_or(text.len(), |at| at + 2),
    };
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            None if text[at..].starts_with(end) => return at + 2,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open && !escaped => quote = None,
            _ => {}
        }
        escaped = quote.is_some() && c == '\\' && !escaped;
    }
    text.len()
}
