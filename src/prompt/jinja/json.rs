//! `json.dumps`, which transformers uses for the filter `tojson`.

use std::fmt::Write;

use super::arguments::Given;
use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::print::float_repr;
use super::value::Value;

struct Style {
    ascii: bool,
    sort: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

impl Interpreter<'_> {
    pub(super) fn dump_json(&mut self, value: &Value, given: Given) -> Result<Value, Fault> {
        let parameters = ["ensure_ascii", "indent", "separators", "sort_keys"];
        let [ascii, indent, separators, sort] = given.bind("tojson", parameters, 0)?;
        let indent = match indent {
            None | Some(Value::None) => None,
            Some(Value::Str(text)) => Some(text.to_string()),
            Some(other) => match other.as_int() {
                Some(width) => {
                    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
                    self.budget.bytes(width)?;
                    Some(" ".repeat(width))
                }
                None => {
                    return fault!("`tojson` needs a number or text as `indent`, not {}", other.type_name());
                }
            },
        };
        let mut style = Style {
            ascii: ascii.is_some_and(|ascii| ascii.is_true()),
            sort: sort.is_some_and(|sort| sort.is_true()),
            item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
            key_separator: ": ".to_owned(),
            indent,
        };
        if let Some(separators) = separators.filter(|separators| !matches!(separators, Value::None)) {
            let separators = self.collect(&separators)?;
            let [Value::Str(item), Value::Str(key)] = separators.as_slice() else {
                return fault!("`tojson` needs two texts as `separators`");
            };
            (style.item_separator, style.key_separator) = (item.to_string(), key.to_string());
        }
        let mut text = String::new();
        self.write_json(&mut text, value, &style, 1)?;
        self.budget.bytes(text.len())?;
        Ok(Value::str(text))
    }

    fn write_json(
        &mut self,
        text: &mut String,
        value: &Value,
        style: &Style,
        depth: usize,
    ) -> Result<(), Fault> {
        self.budget.enter()?;
        match value {
            Value::None => text.push_str("null"),
            Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => *text += &value.to_string(),
            Value::Float(value) => *text += &float_json(*value),
            Value::Str(content) => {
                self.budget.bytes(content.len())?;
                self.quote_json(text, content, style.ascii);
            }
            Value::List(list) | Value::Tuple(list) => {
                text.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    self.start_item(text, style, index, depth)?;
                    self.write_json(text, item, style, depth + 1)?;
                }
                self.end_items(text, style, list.items.len(), depth)?;
                text.push(']');
            }
            Value::Dict(dict) => {
                let mut entries: Vec<_> = dict.entries().iter().collect();
                if style.sort {
                    self.sort_entries(&mut entries)?;
                }
                text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.start_item(text, style, index, depth)?;
                    let key = match key {
                        Value::Str(key) => key.to_string(),
                        Value::None => "null".to_owned(),
                        Value::Bool(key) => key.to_string(),
                        Value::Int(key) => key.to_string(),
                        Value::Float(key) => float_json(*key),
                        other => return fault!("a {} cannot be a key in JSON", other.type_name()),
                    };
                    self.quote_json(text, &key, style.ascii);
                    text.push_str(&style.key_separator);
                    self.write_json(text, value, style, depth + 1)?;
                }
                self.end_items(text, style, entries.len(), depth)?;
                text.push('}');
            }
            Value::Undefined(reason) => return fault!("{reason}, so it cannot become JSON"),
            other => return fault!("a {} cannot become JSON", other.type_name()),
        }
        self.budget.leave();
        Ok(())
    }

    fn sort_entries(&mut self, entries: &mut [&(Value, Value)]) -> Result<(), Fault> {
        let mut wrong = None;
        entries.sort_by(|left, right| {
            left.0
                .compare(&right.0, "<")
                .unwrap_or_else(|fault| {
                    wrong = Some(fault);
                    None
                })
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        wrong.map_or(Ok(()), Err)
    }

    fn start_item(
        &mut self,
        text: &mut String,
        style: &Style,
        index: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        if index > 0 {
            text.push_str(&style.item_separator);
        }
        self.line_end(text, style, depth)
    }

    fn end_items(
        &mut self,
        text: &mut String,
        style: &Style,
        count: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        if count > 0 { self.line_end(text, style, depth - 1) } else { Ok(()) }
    }

    fn line_end(&mut self, text: &mut String, style: &Style, depth: usize) -> Result<(), Fault> {
        if let Some(indent) = &style.indent {
            self.budget.bytes(indent.len().saturating_mul(depth))?;
            text.push('\n');
            text.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
        Ok(())
    }

    fn quote_json(&self, text: &mut String, content: &str, ascii: bool) {
        text.push('"');
        for c in content.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                // The injection guard's marks are taken out again, and must stay as they are.
                c if self.marks.contains(c) => text.push(c),
                c if c < ' ' || (ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }
}

fn float_json(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        float_repr(value)
    }
}
