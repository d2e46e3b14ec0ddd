//! `str` and `repr` of values.

use std::fmt::Write;

use super::fault::Fault;
use super::interpreter::{Interpreter, Object};
use super::unicode::is_printable;
use super::value::{Value, View};

impl Interpreter<'_> {
    /// `str(value)`: what a template prints.
    ///
    /// # Errors
    /// The text is too large.
    pub(super) fn text(&mut self, value: &Value) -> Result<String, Fault> {
        let mut text = String::new();
        match value {
            Value::Undefined(_) => {}
            Value::Str(content) => text.push_str(content),
            other => self.write_repr(&mut text, other)?,
        }
        self.budget.bytes(text.len())?;
        Ok(text)
    }

    /// `repr(value)`.
    ///
    /// # Errors
    /// As for [`Interpreter::text`].
    pub(super) fn repr(&mut self, value: &Value) -> Result<String, Fault> {
        let mut text = String::new();
        self.write_repr(&mut text, value)?;
        self.budget.bytes(text.len())?;
        Ok(text)
    }

    fn write_repr(&mut self, text: &mut String, value: &Value) -> Result<(), Fault> {
        self.budget.enter()?;
        // A list may hold one text many times, so that its own size says little.
        self.budget.bytes(match value {
            Value::Str(content) => content.len(),
            _ => 8,
        })?;
        match value {
            Value::Undefined(_) => text.push_str("Undefined"),
            Value::None => text.push_str("None"),
            Value::Bool(true) => text.push_str("True"),
            Value::Bool(false) => text.push_str("False"),
            Value::Int(value) => text.push_str(&value.to_string()),
            Value::Float(value) => text.push_str(&float_repr(*value)),
            Value::Str(content) => quote(text, content, &self.marks, false),
            Value::List(list) => self.write_items(text, ["[", "]"], &list.items)?,
            Value::Tuple(list) => {
                let end = if list.items.len() == 1 { ",)" } else { ")" };
                self.write_items(text, ["(", end], &list.items)?;
            }
            Value::Dict(dict) => self.write_pairs(text, dict.entries())?,
            Value::View(view, dict) => {
                text.push_str(value.type_name());
                let items = dict.entries().iter().map(|(key, value)| match view {
                    View::Keys => Ok(key.clone()),
                    View::Values => Ok(value.clone()),
                    View::Items => Value::tuple(vec![key.clone(), value.clone()]),
                });
                let items: Vec<_> = items.collect::<Result<_, _>>()?;
                self.write_items(text, ["([", "])"], &items)?;
            }
            Value::Range(range) => {
                *text += &if range.step == 1 {
                    format!("range({}, {})", range.start, range.stop)
                } else {
                    format!("range({}, {}, {})", range.start, range.stop, range.step)
                };
            }
            Value::Object(id) => match &self.objects[*id] {
                Object::Namespace(attributes) => {
                    let entries = attributes.entries().to_vec();
                    text.push_str("<Namespace ");
                    self.write_pairs(text, &entries)?;
                    text.push('>');
                }
                _ => text.push_str("<object>"),
            },
            Value::Loop(id) => {
                let (index, length) = self.loop_progress(*id)?;
                *text += &format!("<LoopContext {index}/{length}>");
            }
            Value::Macro(called) => {
                *text += &called
                    .name
                    .as_ref()
                    .map_or("<Macro anonymous>".into(), |name| format!("<Macro '{name}'>"));
            }
            Value::Function(function) => *text += &format!("<function {function:?}>"),
            Value::Method(method) => {
                *text += &format!("<built-in method {} of {} object>", method.1, method.0.type_name());
            }
        }
        self.budget.leave();
        Ok(())
    }

    fn write_items(&mut self, text: &mut String, ends: [&str; 2], items: &[Value]) -> Result<(), Fault> {
        text.push_str(ends[0]);
        for (index, item) in items.iter().enumerate() {
            text.push_str(if index > 0 { ", " } else { "" });
            self.write_repr(text, item)?;
        }
        text.push_str(ends[1]);
        Ok(())
    }

    fn write_pairs(&mut self, text: &mut String, pairs: &[(Value, Value)]) -> Result<(), Fault> {
        text.push('{');
        for (index, (key, value)) in pairs.iter().enumerate() {
            text.push_str(if index > 0 { ", " } else { "" });
            self.write_repr(text, key)?;
            text.push_str(": ");
            self.write_repr(text, value)?;
        }
        text.push('}');
        Ok(())
    }
}

/// `repr` of a text. Characters of `marks` are the injection guard's and stay.
pub(super) fn quote(text: &mut String, content: &str, marks: &str, ascii: bool) {
    let quote = if content.contains('\'') && !content.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for c in content.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c == quote => text.extend(['\\', c]),
            c if marks.contains(c) => text.push(c),
            c if (ascii && !c.is_ascii()) || !is_printable(c) => escape(text, c),
            c => text.push(c),
        }
    }
    text.push(quote);
}

fn escape(text: &mut String, c: char) {
    let code = c as u32;
    // Writing to a string cannot fail.
    let _ = match code {
        0..=0xff => write!(text, "\\x{code:02x}"),
        0x100..=0xffff => write!(text, "\\u{code:04x}"),
        _ => write!(text, "\\U{code:08x}"),
    };
}

/// `repr` of a float: the shortest text that reads as the same number.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
