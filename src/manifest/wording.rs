//! Words of the errors about what people write: requests, data and files.

use serde_json::{Map, Value};

/// Longer names are not compared with the known ones.
pub(crate) const LONGEST_NAME: usize = 64;

/// Names that other servers and libraries have for a field, each with a name that it may have here.
const OTHER_NAMES: [(&str, &str); 13] = [
    ("max_new_tokens", "max_tokens"),
    ("num_return_sequences", "n"),
    ("stop_sequences", "stop"),
    ("candidates", "responses"),
    ("completions", "responses"),
    ("answers", "responses"),
    ("docs", "documents"),
    ("passages", "documents"),
    ("q", "query"),
    ("question", "query"),
    ("msgs", "messages"),
    ("text", "prompt"),
    ("ids", "tokens"),
];

/// A count with its noun: `1 answer`, `2 answers`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What is wrong with a value that should be `expected`. It quotes numbers, which are short, but no text.
pub(crate) fn wrong_type(expected: &str, found: &Value) -> String {
    match found {
        Value::Number(number) => format!("must be {expected}, not {number}"),
        other => format!("must be {expected}, not {}", kind(other)),
    }
}

/// What is wrong if the field `name` is missing, and what to do. It mentions a field that is there under another name, or
/// that looks like a misspelling.
pub(crate) fn missing(name: &str, to_do: &str, fields: &Map<String, Value>) -> String {
    let mut reason = format!("is missing or null: {to_do}");
    match resembling(name, fields) {
        Some(other) if are_names_of_one(name, other) => {
            reason += &format!("; `{other}` is there: send it as `{name}`");
        }
        Some(meant) => reason += &format!("; `{meant}` is there: is it a misspelling?"),
        None => {}
    }
    reason
}

/// The field that is there, and not null, and may have been meant as `name`.
pub(crate) fn resembling<'a>(name: &str, fields: &'a Map<String, Value>) -> Option<&'a str> {
    let there = fields.iter().filter(|(_, value)| !value.is_null());
    nearest(name, there.map(|(name, _)| name.as_str()))
}

/// What to do about a field that is not one of `known`: use the name that may have been meant, or else `to_do`.
pub(crate) fn unknown<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    to_do: impl FnOnce() -> String,
) -> String {
    match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => to_do(),
    }
}

/// The name among `known` that other servers have for `name`, or that is closest to it, if one is close enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let wanted = plain(name);
    let mut best = None;
    for candidate in known {
        let other = plain(candidate);
        let distance =
            if are_names_of_one(name, candidate) { 0 } else { strsim::damerau_levenshtein(&wanted, &other) };
        // One letter in three may differ; `queries` and `query` are close too.
        let is_close = distance * 3 <= wanted.len().max(other.len()) || singular(&wanted) == singular(&other);
        if is_close && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Whether one of two names is what the field with the other name is called elsewhere.
fn are_names_of_one(one: &str, other: &str) -> bool {
    OTHER_NAMES.contains(&(one, other)) || OTHER_NAMES.contains(&(other, one))
}

/// A name without differences of style: `maxTokens` and `max_tokens` are the same.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// A name without the ending of several.
fn singular(name: &str) -> String {
    match name.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => name.strip_suffix('s').unwrap_or(name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_server_is_answered_with_the_name_here() {
        let known = ["max_tokens", "min_new_tokens", "n", "stop", "prompt"];
        for (name, meant) in [
            ("max_new_tokens", Some("max_tokens")),
            ("stop_sequences", Some("stop")),
            ("num_return_sequences", Some("n")),
            ("text", Some("prompt")),
            ("min_new_token", Some("min_new_tokens")),
            ("beams", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        let fields = Map::from_iter([("docs".to_owned(), Value::from("a"))]);
        assert_eq!(
            missing("documents", "send a list", &fields),
            "is missing or null: send a list; `docs` is there: send it as `documents`"
        );
    }
}
