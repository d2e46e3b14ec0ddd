//! Filters of texts. Each takes any value and uses its text.

use super::super::arguments::{Given, int, text};
use super::super::fault::{Fault, fault};
use super::super::interpreter::Interpreter;
use super::super::letter_case;
use super::super::split::split_lines;
use super::super::unicode::{is_space, is_word};
use super::super::value::{Value, char_count};

type Result<T = Value> = std::result::Result<T, Fault>;

pub(super) fn string(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("string", [], 0)?;
    if matches!(value, Value::Str(_)) { Ok(value.clone()) } else { run.text(value).map(Value::str) }
}

pub(super) fn upper(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("upper", [], 0)?;
    Ok(Value::str(run.text(value)?.to_uppercase()))
}

pub(super) fn lower(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("lower", [], 0)?;
    Ok(Value::str(run.text(value)?.to_lowercase()))
}

pub(super) fn capitalize(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("capitalize", [], 0)?;
    Ok(Value::str(letter_case::capitalize(&run.text(value)?)))
}

/// A word starts at the start, and after white space, `-` and opening brackets.
pub(super) fn title(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("title", [], 0)?;
    let text = run.text(value)?;
    let mut titled = String::with_capacity(text.len());
    let is_break = |c: char| is_space(c) || "-({[<".contains(c);
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_break(c) != is_break(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        titled.extend(first.to_uppercase());
        titled += &word[first.len_utf8()..].to_lowercase();
        rest = after;
    }
    Ok(Value::str(titled))
}

pub(super) fn trim(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [chars] = given.bind("trim", ["chars"], 0)?;
    let chars = chars.filter(|chars| !matches!(chars, Value::None));
    let chars = chars.as_ref().map(|chars| text(chars, "trim", "chars")).transpose()?;
    let text = run.text(value)?;
    Ok(Value::str(run.strip_marked(&text, chars, (true, true))))
}

pub(super) fn replace(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [old, new, count] = given.bind("replace", ["old", "new", "count"], 2)?;
    let count = match count {
        None | Some(Value::None) => -1,
        Some(count) => int(&count, "replace", "count")?,
    };
    let text = run.text(value)?;
    let old = run.text(&old.unwrap_or(Value::None))?;
    let new = run.text(&new.unwrap_or(Value::None))?;
    run.replace(&text, &old, &new, count)
}

pub(super) fn join(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [separator, attribute] = given.bind("join", ["d", "attribute"], 0)?;
    let separator = run.text(&separator.unwrap_or(Value::str("")))?;
    let path = super::path::path(attribute.as_ref());
    let mut text = String::new();
    for (index, item) in run.collect(value)?.into_iter().enumerate() {
        if index > 0 {
            run.budget.bytes(separator.len())?;
            text.push_str(&separator);
        }
        let item = run.follow(item, &path, None)?;
        text += &run.text(&item)?;
    }
    Ok(Value::str(text))
}

pub(super) fn center(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [width] = given.bind("center", ["width"], 0)?;
    let width = width.map_or(Ok(80), |width| int(&width, "center", "width"))?;
    let text = run.text(value)?;
    run.justify(&text, "center", width, ' ')
}

pub(super) fn format(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    if !given.positional.is_empty() && !given.named.is_empty() {
        return fault!("`format` takes arguments with names or without, not both");
    }
    let values = if given.named.is_empty() {
        Value::tuple(given.positional)?
    } else {
        let mut dict = super::super::value::Dict::default();
        for (name, value) in given.named {
            dict.insert(Value::Str(name), value)?;
        }
        Value::dict(dict)
    };
    let format = run.text(value)?;
    run.percent_format(&format, &values).map(Value::str)
}

pub(super) fn indent(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [width, first, blank] = given.bind("indent", ["width", "first", "blank"], 0)?;
    let indent = match width {
        None => "    ".to_owned(),
        Some(Value::Str(text)) => text.to_string(),
        Some(width) => {
            let width = usize::try_from(int(&width, "indent", "width")?.max(0)).unwrap_or(usize::MAX);
            run.budget.bytes(width)?;
            " ".repeat(width)
        }
    };
    let is_set = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (is_set(first), is_set(blank));
    let Value::Str(content) = value else {
        return fault!("`indent` needs a text, not {}", value.type_name());
    };
    // The line end makes a last line of what follows the text's own last one.
    let content = format!("{content}\n");
    let mut indented = String::with_capacity(content.len());
    for (index, line) in split_lines(&content, false).into_iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            run.budget.bytes(indent.len())?;
            indented.push_str(&indent);
        }
        indented.push_str(line);
    }
    run.budget.bytes(indented.len())?;
    Ok(Value::str(indented))
}

pub(super) fn truncate(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [length, killwords, end, leeway] =
        given.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let length = length.map_or(Ok(255), |length| int(&length, "truncate", "length"))?;
    let leeway = match leeway {
        None | Some(Value::None) => 5,
        Some(leeway) => int(&leeway, "truncate", "leeway")?,
    };
    let end = run.text(&end.unwrap_or(Value::str("...")))?;
    // Jinja2 compares only the length first, so a short list stays as it is.
    if !matches!(value, Value::Str(_))
        && value.len().is_some_and(|len| len as i128 <= length.saturating_add(leeway))
    {
        return Ok(value.clone());
    }
    let text = text(value, "truncate", "the value")?.to_owned();
    let shortest = char_count(&end) as i128;
    if length < shortest || leeway < 0 {
        return fault!("`truncate` needs a length of at least {shortest}, and a leeway of at least 0");
    }
    run.budget.bytes(text.len())?;
    if char_count(&text) as i128 <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let kept: String = text.chars().take((length - shortest) as usize).collect();
    if killwords.is_some_and(|killwords| killwords.is_true()) {
        return Ok(Value::str(kept + &end));
    }
    let kept = kept.rsplit_once(' ').map_or(kept.as_str(), |(kept, _)| kept);
    Ok(Value::str(format!("{kept}{end}")))
}

pub(super) fn wordcount(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("wordcount", [], 0)?;
    let text = run.text(value)?;
    let words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count();
    Ok(Value::Int(words as i128))
}
