//! Python's string functions and Jinja filters, where minijinja's own differ from them.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat;

/// Name of the template variable that holds the injection guard's marks.
const MARKS: &str = "__marks";

/// Adds Python's filters, methods and functions to a template's environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("trim", |state: &State, text: &str, chars: Option<&str>| {
        strip_marked(state, text, chars, true, true)
    });
    environment.add_filter("tojson", to_json);
    environment
        .add_test("iterable", |value: &Value| is_sequence(value) || value.kind() == ValueKind::Iterable);
    environment.add_test("sequence", is_sequence);
}

/// Whether a value has a length and items in Python: strings and dictionaries do, and so does Jinja's
/// undefined.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

/// Whether Python considers a character white space: Unicode's, and the four separators of ASCII.
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
        "startswith" | "endswith" => {
            let text = value.as_str().map(|text| unmarked(state, text).into());
            return pycompat::unknown_method_callback(state, text.as_ref().unwrap_or(value), name, args);
        }
        _ => return pycompat::unknown_method_callback(state, value, name, args),
    };
    let Some(text) = value.as_str() else { return Err(Error::from(ErrorKind::UnknownMethod)) };
    let (chars,): (Option<&str>,) = from_args(args)?;
    Ok(strip_marked(state, text, chars, sides.0, sides.1).into())
}

/// Removes the injection guard's marks from a text.
fn unmarked(state: &State, text: &str) -> String {
    let marks = marks(state);
    text.chars().filter(|c| !marks.contains(*c)).collect()
}

/// The injection guard's marks; empty if there are none.
fn marks(state: &State) -> String {
    state.lookup(MARKS).as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `str.strip`, `lstrip` and `rstrip`. They strip as if the marks were not there, but keep them.
fn strip_marked(state: &State, text: &str, chars: Option<&str>, left: bool, right: bool) -> String {
    let marks = marks(state);
    let strips = |c: char| marks.contains(c) || chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let tail = if left { text.trim_start_matches(strips) } else { text };
    let core = if right { tail.trim_end_matches(strips) } else { tail };
    let (before, after) = (&text[..text.len() - tail.len()], &tail[core.len()..]);
    let marks_before = before.chars().filter(|c| marks.contains(*c));
    let marks_after = after.chars().filter(|c| marks.contains(*c));
    marks_before.chain(core.chars()).chain(marks_after).collect()
}

/// `json.dumps`, which transformers uses for the filter `tojson`: like minijinja's own filter, but
/// without its escapes for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson(ensure_ascii=true) is not supported"));
    }
    let json = filters::tojson(value, None, options)?.to_string();
    let mut text = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escapes = [("\\u003c", "<"), ("\\u003e", ">"), ("\\u0026", "&"), ("\\u0027", "'")];
        let escape = escapes.into_iter().find(|(escape, _)| rest[at..].starts_with(escape));
        // Any other escape keeps the character after its backslash, which may be a backslash too.
        let other = rest.get(at..at + 2).unwrap_or("\\");
        let (escape, meaning) = escape.unwrap_or((other, other));
        text.push_str(meaning);
        rest = &rest[at + escape.len()..];
    }
    Ok(text + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tojson_formats_like_pythons_json_dumps() {
        let mut environment = Environment::new();
        install(&mut environment);
        let render = |source| environment.render_str(source, ()).unwrap();
        assert_eq!(
            render(r#"{{ {"a": [1, "<b>'é\n"], "c": none}|tojson }}"#),
            r#"{"a": [1, "<b>'é\n"], "c": null}"#
        );
        assert_eq!(render(r#"{{ {"a": [1]}|tojson(indent=2) }}"#), "{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn strip_removes_what_python_considers_white_space() {
        assert_eq!(strip("\u{1c}\u{a0}\u{3000} a\u{200b}\u{85}\n", None), "a\u{200b}");
    }
}
