//! Filters of lists and other sequences.

use std::cmp::Ordering;

use super::super::arguments::{Given, int};
use super::super::ast::Operator;
use super::super::fault::{Fault, fault};
use super::super::interpreter::Interpreter;
use super::super::value::{Value, View};
use super::path::path;

type Result<T = Value> = std::result::Result<T, Fault>;

pub(super) fn length(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("length", [], 0)?;
    let length = match (value, value.len()) {
        (Value::Loop(id), _) => Some(run.loop_progress(*id)?.1),
        (_, length) => length,
    };
    match length {
        Some(length) => Ok(Value::Int(length as i128)),
        None => fault!("a {} has no length", shown_type(run, value)),
    }
}

fn shown_type(run: &Interpreter<'_>, value: &Value) -> &'static str {
    match value {
        Value::Object(id) if matches!(run.objects[*id], super::super::interpreter::Object::Iterator(_)) => {
            "generator"
        }
        other => other.type_name(),
    }
}

pub(super) fn first(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("first", [], 0)?;
    if let Value::Object(id) = value
        && let super::super::interpreter::Object::Iterator(items) = &mut run.objects[*id]
    {
        return Ok(items
            .pop()
            .unwrap_or_else(|| Value::undefined("the sequence is empty, so it has no first item")));
    }
    let items = run.collect(value)?;
    Ok(items
        .into_iter()
        .next()
        .unwrap_or_else(|| Value::undefined("the sequence is empty, so it has no first item")))
}

pub(super) fn last(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("last", [], 0)?;
    if matches!(value, Value::Object(_)) {
        return fault!("a generator has no last item; make a list of it with `|list`");
    }
    let items = run.collect(value)?;
    Ok(items
        .into_iter()
        .next_back()
        .unwrap_or_else(|| Value::undefined("the sequence is empty, so it has no last item")))
}

pub(super) fn list(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("list", [], 0)?;
    Value::list(run.collect(value)?)
}

pub(super) fn items(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("items", [], 0)?;
    match value {
        Value::Undefined(_) => run.iterator(Vec::new()),
        Value::Dict(dict) => {
            let items = View::Items.items(dict)?;
            run.iterator(items)
        }
        other => fault!("`items` needs a dictionary, not {}", other.type_name()),
    }
}

pub(super) fn reverse(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("reverse", [], 0)?;
    if let Value::Str(text) = value {
        run.budget.bytes(text.len())?;
        return Ok(Value::str(text.chars().rev().collect::<String>()));
    }
    let is_generator = matches!(value, Value::Object(_));
    let mut items = run.collect(value)?;
    items.reverse();
    if is_generator { Value::list(items) } else { run.iterator(items) }
}

pub(super) fn batch(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [count, fill] = given.bind("batch", ["linecount", "fill_with"], 1)?;
    let count = int(&count.unwrap_or(Value::None), "batch", "linecount")?;
    let mut batches: Vec<Vec<Value>> = Vec::new();
    for item in run.collect(value)? {
        match batches.last_mut() {
            Some(last) if last.len() as i128 != count => last.push(item),
            _ => batches.push(vec![item]),
        }
    }
    if let (Some(fill), Some(last)) = (fill.filter(|fill| !matches!(fill, Value::None)), batches.last_mut()) {
        let missing = usize::try_from(count - last.len() as i128).unwrap_or(0);
        run.budget.items(missing)?;
        last.extend(std::iter::repeat_n(fill, missing));
    }
    let batches = batches.into_iter().map(Value::list).collect::<Result<_>>()?;
    run.iterator(batches)
}

pub(super) fn slice(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [slices, fill] = given.bind("slice", ["slices", "fill_with"], 1)?;
    let slices = int(&slices.unwrap_or(Value::None), "slice", "slices")?;
    if slices == 0 {
        return fault!("`slice` cannot make 0 slices");
    }
    let slices = usize::try_from(slices).unwrap_or(0);
    run.budget.items(slices)?;
    let items = run.collect(value)?;
    let (each, more) = (items.len() / slices.max(1), items.len() % slices.max(1));
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let mut rest = items.into_iter();
    let mut result = Vec::with_capacity(slices);
    for number in 0..slices {
        let mut slice: Vec<_> = rest.by_ref().take(each + usize::from(number < more)).collect();
        if number >= more {
            slice.extend(fill.clone());
        }
        result.push(Value::list(slice)?);
    }
    run.iterator(result)
}

/// A text in lower case; anything else as it is.
pub(super) fn lowered(value: Value) -> Value {
    if let Value::Str(text) = &value { Value::str(text.to_lowercase()) } else { value }
}

/// Sorts items by their keys, and keeps the order of those with equal keys.
pub(super) fn sort_by(
    run: &mut Interpreter<'_>,
    keyed: &mut [(Vec<Value>, Value)],
    reverse: bool,
) -> Result<()> {
    let comparisons = keyed.len().saturating_mul(usize::BITS as usize - keyed.len().leading_zeros() as usize);
    run.budget.steps(comparisons)?;
    let mut wrong = None;
    keyed.sort_by(|left, right| {
        for (left, right) in left.0.iter().zip(&right.0) {
            match left.compare(right, "<") {
                Ok(Some(Ordering::Equal) | None) => {}
                Ok(Some(order)) => return if reverse { order.reverse() } else { order },
                Err(fault) => {
                    wrong = Some(fault);
                    return Ordering::Equal;
                }
            }
        }
        Ordering::Equal
    });
    wrong.map_or(Ok(()), Err)
}

pub(super) fn sort(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [reverse, case_sensitive, attribute] =
        given.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let is_set = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let case_sensitive = is_set(case_sensitive);
    let paths: Vec<_> = match &attribute {
        Some(Value::Str(names)) => names.split(',').map(|name| path(Some(&Value::str(name)))).collect(),
        other => vec![path(other.as_ref())],
    };
    let mut keyed = Vec::new();
    for item in run.collect(value)? {
        let mut keys = Vec::with_capacity(paths.len());
        for path in &paths {
            let key = run.follow(item.clone(), path, None)?;
            keys.push(if case_sensitive { key } else { lowered(key) });
        }
        keyed.push((keys, item));
    }
    sort_by(run, &mut keyed, is_set(reverse))?;
    Value::list(keyed.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn dictsort(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [case_sensitive, by, reverse] = given.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let is_set = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let case_sensitive = is_set(case_sensitive);
    let by_value = match by.as_ref().map(|by| by.as_str()) {
        None | Some(Some("key")) => false,
        Some(Some("value")) => true,
        _ => return fault!("`dictsort` sorts by key or by value"),
    };
    let Value::Dict(dict) = value else {
        return fault!("`dictsort` needs a dictionary, not {}", value.type_name());
    };
    let mut keyed = Vec::new();
    for (key, value) in dict.entries() {
        let by = if by_value { value.clone() } else { key.clone() };
        let item = Value::tuple(vec![key.clone(), value.clone()])?;
        keyed.push((vec![if case_sensitive { by } else { lowered(by) }], item));
    }
    sort_by(run, &mut keyed, is_set(reverse))?;
    Value::list(keyed.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn unique(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [case_sensitive, attribute] = given.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let case_sensitive = case_sensitive.is_some_and(|flag| flag.is_true());
    let path = path(attribute.as_ref());
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for item in run.collect(value)? {
        let key = run.follow(item.clone(), &path, None)?;
        let key = if case_sensitive { key } else { lowered(key) };
        if seen.insert(key.key()?) {
            kept.push(item);
        }
    }
    run.iterator(kept)
}

fn extreme(run: &mut Interpreter<'_>, value: &Value, given: Given, name: &str, wanted: Ordering) -> Result {
    let [case_sensitive, attribute] = given.bind(name, ["case_sensitive", "attribute"], 0)?;
    let case_sensitive = case_sensitive.is_some_and(|flag| flag.is_true());
    let path = path(attribute.as_ref());
    let mut best: Option<(Value, Value)> = None;
    for item in run.collect(value)? {
        let key = run.follow(item.clone(), &path, None)?;
        let key = if case_sensitive { key } else { lowered(key) };
        let better = match &best {
            None => true,
            Some((best, _)) => key.compare(best, "<")? == Some(wanted),
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best
        .map_or_else(|| Value::undefined("the sequence is empty, so it has no such item"), |(_, item)| item))
}

pub(super) fn min(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    extreme(run, value, given, "min", Ordering::Less)
}

pub(super) fn max(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    extreme(run, value, given, "max", Ordering::Greater)
}

pub(super) fn sum(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [attribute, start] = given.bind("sum", ["attribute", "start"], 0)?;
    let path = path(attribute.as_ref());
    let mut sum = start.unwrap_or(Value::Int(0));
    if matches!(sum, Value::Str(_)) {
        return fault!("`sum` cannot join texts; use `join`");
    }
    for item in run.collect(value)? {
        let item = run.follow(item, &path, None)?;
        sum = run.binary(Operator::Add, &sum, &item)?;
    }
    Ok(sum)
}
