//! Filters that apply tests, filters or attribute names to every item.

use std::rc::Rc;
use std::sync::Arc;

use super::super::arguments::Given;
use super::super::fault::{Fault, fault};
use super::super::interpreter::Interpreter;
use super::super::methods;
use super::super::value::{List, Value};
use super::path::path;
use super::sequence::{lowered, sort_by};

type Result<T = Value> = std::result::Result<T, Fault>;

impl Interpreter<'_> {
    /// The item that a path leads to. Where a part is missing, `default` takes its place.
    pub(super) fn follow(&mut self, mut item: Value, path: &[Value], default: Option<&Value>) -> Result {
        for part in path {
            item = self.item(&item, part)?;
            if item.is_undefined()
                && let Some(default) = default
            {
                item = default.clone();
            }
        }
        Ok(item)
    }
}

pub(super) fn attr(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [name] = given.bind("attr", ["name"], 1)?;
    let name: Arc<str> = run.text(&name.unwrap_or(Value::None))?.into();
    if matches!(value, Value::Dict(_)) && !methods::has(value, &name) {
        return Ok(Value::undefined(format!("a dict has no attribute `{name}`")));
    }
    run.attribute(value, &name)
}

pub(super) fn map(run: &mut Interpreter<'_>, value: &Value, mut given: Given) -> Result {
    if !value.is_true() {
        return run.iterator(Vec::new());
    }
    let mut mapped = Vec::new();
    if given.positional.is_empty() {
        let [attribute, default] = given.bind("map", ["attribute", "default"], 1)?;
        let path = path(attribute.as_ref());
        for item in run.collect(value)? {
            mapped.push(run.follow(
                item,
                &path,
                default.as_ref().filter(|value| !matches!(value, Value::None)),
            )?);
        }
    } else {
        let Value::Str(filter) = given.positional.remove(0) else {
            return fault!("`map` needs the name of a filter");
        };
        for item in run.collect(value)? {
            run.budget.enter()?;
            mapped.push(run.apply_filter(&filter, &item, given.clone())?);
            run.budget.leave();
        }
    }
    run.iterator(mapped)
}

/// Keeps the items that pass a test, or fail it.
fn keep(
    run: &mut Interpreter<'_>,
    value: &Value,
    mut given: Given,
    by_attribute: bool,
    passing: bool,
) -> Result {
    if !value.is_true() {
        return run.iterator(Vec::new());
    }
    let mut attribute_path = Vec::new();
    if by_attribute {
        if given.positional.is_empty() {
            return fault!("the name of an attribute is missing");
        }
        attribute_path = path(Some(&given.positional.remove(0)));
    }
    let test = if given.positional.is_empty() { None } else { Some(given.positional.remove(0)) };
    let mut kept = Vec::new();
    for item in run.collect(value)? {
        let subject = run.follow(item.clone(), &attribute_path, None)?;
        let passes = match &test {
            None => subject.is_true(),
            Some(Value::Str(test)) => run.passes(test, &subject, given.clone())?,
            Some(other) => return fault!("a test is named by a text, not {}", other.type_name()),
        };
        if passes == passing {
            kept.push(item);
        }
    }
    run.iterator(kept)
}

pub(super) fn select(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    keep(run, value, given, false, true)
}

pub(super) fn reject(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    keep(run, value, given, false, false)
}

pub(super) fn selectattr(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    keep(run, value, given, true, true)
}

pub(super) fn rejectattr(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    keep(run, value, given, true, false)
}

pub(super) fn groupby(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let parameters = ["attribute", "default", "case_sensitive"];
    let [attribute, default, case_sensitive] = given.bind("groupby", parameters, 1)?;
    let path = path(attribute.as_ref());
    let default = default.filter(|default| !matches!(default, Value::None));
    let case_sensitive = case_sensitive.is_some_and(|flag| flag.is_true());
    let mut keyed = Vec::new();
    for item in run.collect(value)? {
        let key = run.follow(item.clone(), &path, default.as_ref())?;
        keyed.push((vec![if case_sensitive { key } else { lowered(key) }], item));
    }
    sort_by(run, &mut keyed, false)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (mut key, item) in keyed {
        let key = key.pop().unwrap_or(Value::None);
        match groups.last_mut() {
            Some((last, items)) if last.equals(&key) => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut result = Vec::new();
    for (key, items) in groups {
        // Letters are compared without case, but shown as the first item has them.
        let shown = match items.first() {
            Some(first) if !case_sensitive => run.follow(first.clone(), &path, default.as_ref())?,
            _ => key,
        };
        result.push(Value::Tuple(Rc::new(List::group(shown, Value::list(items)?)?)));
    }
    Value::list(result)
}
