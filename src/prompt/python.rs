//! What chat templates take from Python, where minijinja's own differs from it.

use minijinja::value::from_args;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Name of the variable that holds the guard's two marks.
pub(super) const MARKS: &str = "__marks";

/// Adds Python's filters, methods and functions.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("trim", |state: &State, text: &str, chars: Option<&str>| {
        strip_marked(state, text, chars, true, true)
    });
}

/// Python's white space: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip`.
pub(super) fn strip<'t>(text: &'t str, chars: Option<&str>) -> &'t str {
    text.trim_matches(|c| chars.map_or_else(|| is_space(c), |chars| chars.contains(c)))
}

/// Methods of Python's strings, lists and dictionaries.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let sides = match name {
        "strip" => (true, true),
        "lstrip" => (true, false),
        "rstrip" => (false, true),
        _ => return pycompat::unknown_method_callback(state, value, name, args),
    };
    let Some(text) = value.as_str() else { return Err(Error::from(ErrorKind::UnknownMethod)) };
    let (chars,): (Option<&str>,) = from_args(args)?;
    Ok(strip_marked(state, text, chars, sides.0, sides.1).into())
}

/// `str.strip` and its kin. Marks are as if they were not there, but stay.
fn strip_marked(state: &State, text: &str, chars: Option<&str>, left: bool, right: bool) -> String {
    let marks = state.lookup(MARKS);
    let marks = marks.as_ref().and_then(Value::as_str).unwrap_or_default();
    let goes = |c: char| marks.contains(c) || chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let kept = |part: &str| part.chars().filter(|c| marks.contains(*c)).collect::<String>();
    let tail = if left { text.trim_start_matches(goes) } else { text };
    let core = if right { tail.trim_end_matches(goes) } else { tail };
    let head = kept(&text[..text.len() - tail.len()]);
    if marks.is_empty() { core.to_string() } else { head + core + &kept(&tail[core.len()..]) }
}
