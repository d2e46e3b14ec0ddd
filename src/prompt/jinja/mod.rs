//! Jinja2, as transformers runs it: a parser and an interpreter for chat templates.
//!
//! Prompts must equal those that a model was trained on, to the last character. So values, operators, methods and
//! filters are Python's, not those of a template language for another one; and every text, list and step is paid for
//! from a budget, so that a template can neither hang the server nor exhaust its memory.

mod arguments;
mod ast;
mod attributes;
mod brace;
mod budget;
mod builtin_tests;
mod escapes;
mod eval;
mod expressions;
mod fault;
mod filters;
mod function;
mod functions;
mod interpreter;
mod json;
mod letter_case;
mod lexer;
mod loop_state;
mod loops;
mod macros;
mod methods;
mod numbers;
mod operators;
mod parser;
mod percent;
mod postfix;
mod print;
mod scopes;
mod split;
mod statements;
mod strings;
#[cfg(test)]
mod tests;
pub(super) mod unicode;
mod value;
mod visit;

use std::borrow::Cow;
use std::collections::HashMap;

use ast::{Expr, Program};
use budget::Budget;
pub(super) use fault::{RenderError, SyntaxError};
use function::Function;
use interpreter::Interpreter;
use value::Value;

use crate::manifest::TemplateDate;

/// A template, parsed.
pub(super) struct Jinja {
    program: Program,
}

/// What a template is rendered with.
pub(super) struct Variables<'v> {
    /// Variables by name.
    pub(super) given: serde_json::Map<String, serde_json::Value>,
    /// The date for `strftime_now`, which is undefined without it.
    pub(super) date: Option<TemplateDate>,
    /// Characters in the variables that the injection guard put there.
    pub(super) marks: &'v str,
    /// Bytes of the conversation, by which the budget grows.
    pub(super) input: usize,
}

impl Jinja {
    /// # Errors
    /// The template is malformed.
    pub(super) fn parse(source: &str) -> Result<Self, SyntaxError> {
        Ok(Self { program: parser::parse(&normalize_line_ends(source))? })
    }

    /// # Errors
    /// The template refuses the conversation, fails, or costs too much.
    pub(super) fn render(&self, variables: &Variables<'_>) -> Result<String, RenderError> {
        let mut values = HashMap::new();
        for (name, json) in &variables.given {
            values.insert(name.as_str(), Value::from_json(json).map_err(|fault| fault.at(1))?);
        }
        let given =
            |name: &str| values.get(name).cloned().or_else(|| function(name, variables.date.is_some()));
        let budget = Budget::new(variables.input);
        let mut run = Interpreter::new(&self.program, budget, given, variables.marks, variables.date);
        let rendered = run.run();
        let line = run.line;
        rendered.map_err(|fault| fault.at(line))
    }

    /// Whether the template reads a variable.
    pub(super) fn reads(&self, name: &str) -> bool {
        self.any(|expr| self.is_variable(expr, name))
    }

    /// Whether the template asks whether a variable is defined.
    pub(super) fn asks_for(&self, name: &str) -> bool {
        self.any(|expr| match expr {
            Expr::Test(of, test, _) => {
                ["defined", "undefined"].contains(&&**test) && self.is_variable(of, name)
            }
            _ => false,
        })
    }

    /// Whether the template asks for a key of some dictionary by this name, or may ask for any.
    pub(super) fn reads_key(&self, name: &str) -> bool {
        self.any(|expr| match expr {
            Expr::Attribute(_, attribute) => {
                &**attribute == name || ["items", "values"].contains(&&**attribute)
            }
            Expr::Str(text) => &**text == name,
            Expr::Item(_, index) => !matches!(**index, Expr::Str(_) | Expr::Int(_) | Expr::Negative(_)),
            Expr::Filter(_, filter, _) => ["items", "tojson", "string", "dictsort"].contains(&&**filter),
            _ => false,
        })
    }

    fn is_variable(&self, expr: &Expr, name: &str) -> bool {
        matches!(expr, Expr::Name(variable) if &*self.program.names[*variable as usize] == name)
    }

    fn any(&self, mut found: impl FnMut(&Expr) -> bool) -> bool {
        let mut any = false;
        self.program.visit(&mut |expr| any |= found(expr));
        any
    }
}

/// The function that a name means if no variable has it.
fn function(name: &str, has_date: bool) -> Option<Value> {
    let (_, function) = Function::ALL.into_iter().find(|(known, _)| *known == name)?;
    if function == Function::StrftimeNow && !has_date { None } else { Some(Value::Function(function)) }
}

/// Line ends as Jinja reads them: each of `\r\n` and `\r` is `\n`.
pub(super) fn normalize_line_ends(source: &str) -> Cow<'_, str> {
    if source.contains('\r') {
        source.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        source.into()
    }
}

/// The string literals in a template's tags, which it may search for in a text.
pub(super) fn literals(source: &str) -> Vec<String> {
    let Ok(tokens) = lexer::tokenize(&normalize_line_ends(source)) else { return Vec::new() };
    tokens
        .into_iter()
        .filter_map(|(token, _)| match token {
            lexer::Token::Str(text) => Some(text),
            _ => None,
        })
        .collect()
}
