//! Filters that make HTML or URLs. Their results are plain texts.

use super::super::arguments::Given;
use super::super::fault::{Fault, fault};
use super::super::interpreter::Interpreter;
use super::super::unicode::is_space;
use super::super::value::Value;

type Result<T = Value> = std::result::Result<T, Fault>;

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

pub(super) fn escape(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("escape", [], 0)?;
    let text = escaped(&run.text(value)?);
    run.budget.bytes(text.len())?;
    Ok(Value::str(text))
}

/// Removes comments and tags, and joins words with single spaces.
pub(super) fn striptags(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("striptags", [], 0)?;
    let mut text = run.text(value)?;
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        let mut kept = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(open) {
            let Some((_, after)) = after.split_once(close) else { break };
            kept.push_str(before);
            rest = after;
        }
        kept.push_str(rest);
        text = kept;
    }
    let words: Vec<_> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&quot;", "\"");
    Ok(Value::str(text.replace("&#39;", "'").replace("&amp;", "&")))
}

pub(super) fn xmlattr(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [autospace] = given.bind("xmlattr", ["autospace"], 0)?;
    let Value::Dict(dict) = value else {
        return fault!("`xmlattr` needs a dictionary, not {}", value.type_name());
    };
    let mut attributes = Vec::new();
    for (key, value) in dict.entries() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let Value::Str(key) = key else { return fault!("`xmlattr` needs texts as names") };
        if key.contains([' ', '\t', '\n', '\r', '\u{b}', '\u{c}', '/', '>', '=']) {
            return fault!("`{key}` is not the name of an attribute");
        }
        let value = run.text(value)?;
        attributes.push(format!("{}=\"{}\"", escaped(key), escaped(&value)));
    }
    let text = attributes.join(" ");
    let spaced = autospace.is_none_or(|autospace| autospace.is_true()) && !text.is_empty();
    run.budget.bytes(text.len())?;
    Ok(Value::str(if spaced { format!(" {text}") } else { text }))
}

/// Percent-encodes a text; as part of a query, also slashes, and spaces as `+`.
fn quoted(text: &str, in_query: bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                quoted.push(char::from(byte))
            }
            b'/' if !in_query => quoted.push('/'),
            b' ' if in_query => quoted.push('+'),
            byte => quoted += &format!("%{byte:02X}"),
        }
    }
    quoted
}

pub(super) fn urlencode(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("urlencode", [], 0)?;
    let pairs = match value {
        Value::Dict(dict) => super::super::value::View::Items.items(dict)?,
        Value::List(_) | Value::Tuple(_) | Value::View(..) => run.collect(value)?,
        other => {
            let text = run.text(other)?;
            run.budget.bytes(text.len().saturating_mul(3))?;
            return Ok(Value::str(quoted(&text, false)));
        }
    };
    let mut parts = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let pair = run.collect(&pair)?;
        let [key, value] = pair.as_slice() else { return fault!("`urlencode` needs pairs") };
        let (key, value) = (run.text(key)?, run.text(value)?);
        run.budget.bytes((key.len() + value.len()).saturating_mul(3))?;
        parts.push(format!("{}={}", quoted(&key, true), quoted(&value, true)));
    }
    Ok(Value::str(parts.join("&")))
}
