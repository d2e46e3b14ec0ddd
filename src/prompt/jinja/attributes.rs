//! Attributes and items of values: `value.name`, `value[index]` and `value[start:stop:step]`.

use std::sync::Arc;

use super::ast::Operator;
use super::fault::{Fault, fault};
use super::interpreter::{Interpreter, Object};
use super::methods;
use super::value::{Range, Value, char_count};

impl Interpreter<'_> {
    /// `object.name`: an attribute or method, else the item of that name.
    ///
    /// # Errors
    /// The object is undefined.
    pub(super) fn attribute(&mut self, object: &Value, name: &Arc<str>) -> Result<Value, Fault> {
        if let Some(value) = self.own_attribute(object, name)? {
            return Ok(value);
        }
        Ok(match object {
            Value::Dict(dict) => dict.get_name(name).cloned().unwrap_or_else(|| missing(object, name)),
            _ => missing(object, name),
        })
    }

    /// `object[index]`: an item, else the attribute of that name.
    ///
    /// # Errors
    /// The object is undefined.
    pub(super) fn item(&mut self, object: &Value, index: &Value) -> Result<Value, Fault> {
        let found = match object {
            Value::Undefined(reason) => return fault!("{reason}"),
            Value::Dict(dict) => dict.get(index).cloned(),
            Value::List(list) | Value::Tuple(list) => {
                position(index, list.items.len()).map(|at| list.items[at].clone())
            }
            Value::Range(range) => position(index, range.length).and_then(|at| range.get(at)).map(Value::Int),
            Value::Str(text) => {
                self.budget.steps(text.len() / 64)?;
                let at = position(index, char_count(text));
                at.and_then(|at| nth_char(text, at))
                    .map(|c| Value::str(Arc::from(c.encode_utf8(&mut [0; 4]) as &str)))
            }
            _ => None,
        };
        match (found, index) {
            (Some(found), _) => Ok(found),
            (None, Value::Str(name)) => {
                Ok(self.own_attribute(object, name)?.unwrap_or_else(|| missing(object, name)))
            }
            (None, index) => {
                let shown = self.repr(index)?;
                Ok(Value::undefined(format!("a {} has no element {shown}", object.type_name())))
            }
        }
    }

    /// What Python's `getattr` gives; None if there is no such attribute.
    fn own_attribute(&mut self, object: &Value, name: &Arc<str>) -> Result<Option<Value>, Fault> {
        Ok(match object {
            Value::Undefined(reason) => return fault!("{reason}, so `.{name}` cannot be read"),
            Value::Loop(id) => self.loop_attribute(*id, name)?,
            Value::Object(id) => match &self.objects[*id] {
                Object::Namespace(attributes) => attributes.get_name(name).cloned(),
                Object::Cycler { items, at } => match &**name {
                    "current" => Some(items[*at].clone()),
                    "pos" => Some(Value::Int(*at as i128)),
                    "next" | "reset" => Some(Value::Method((object.clone(), name.clone()).into())),
                    _ => None,
                },
                Object::Joiner { separator, used } => match &**name {
                    "sep" => Some(separator.clone()),
                    "used" => Some(Value::Bool(*used)),
                    _ => None,
                },
                Object::Iterator(_) => None,
            },
            Value::Macro(called) => {
                let node = &self.program.macros[called.index];
                match &**name {
                    "name" => Some(called.name.clone().map_or(Value::None, Value::Str)),
                    "arguments" => {
                        let names = &self.program.names;
                        let names =
                            node.parameters.iter().map(|(name, _)| Value::Str(names[*name as usize].clone()));
                        Some(Value::tuple(names.collect())?)
                    }
                    "caller" => Some(Value::Bool(node.uses.caller)),
                    "catch_kwargs" => Some(Value::Bool(node.uses.kwargs)),
                    "catch_varargs" => Some(Value::Bool(node.uses.varargs)),
                    _ => None,
                }
            }
            Value::Tuple(list) if list.is_group && &**name == "grouper" => Some(list.items[0].clone()),
            Value::Tuple(list) if list.is_group && &**name == "list" => Some(list.items[1].clone()),
            Value::Int(_) | Value::Bool(_) | Value::Float(_)
                if methods::number_part(object, name).is_some() =>
            {
                methods::number_part(object, name)
            }
            _ if methods::changes_it(object, name) => Some(Value::undefined(format!(
                "`{name}` would change a {}, which a template cannot do",
                object.type_name()
            ))),
            _ if methods::has(object, name) => Some(Value::Method((object.clone(), name.clone()).into())),
            _ => None,
        })
    }

    /// `object[start:stop:step]`.
    ///
    /// # Errors
    /// The object has no slices.
    pub(super) fn slice(&mut self, object: &Value, bounds: [Option<i128>; 3]) -> Result<Value, Fault> {
        let Some(length) = object.len().filter(|_| !matches!(object, Value::Dict(_) | Value::View(..)))
        else {
            return fault!("a {} cannot be sliced", object.type_name());
        };
        let range = slice_range(length, bounds)?;
        let indices = (0..range.length).filter_map(|index| range.get(index)).map(|index| index as usize);
        match object {
            Value::Undefined(reason) => fault!("{reason}"),
            Value::Str(text) => {
                self.budget.bytes(text.len())?;
                if range.step == 1 {
                    return Ok(Value::str(char_range(text, range)));
                }
                let chars: Vec<char> = text.chars().collect();
                Ok(Value::str(indices.map(|index| chars[index]).collect::<String>()))
            }
            Value::List(list) | Value::Tuple(list) => {
                self.budget.items(range.length)?;
                let items = indices.map(|index| list.items[index].clone()).collect();
                if matches!(object, Value::List(_)) { Value::list(items) } else { Value::tuple(items) }
            }
            Value::Range(of) => Ok(Value::Range(Range {
                start: of.start + of.step * range.start,
                stop: of.start + of.step * range.stop,
                step: of.step * range.step,
                length: range.length,
            })),
            other => fault!("a {} cannot be sliced", other.type_name()),
        }
    }
}

/// What a missing attribute gives.
fn missing(object: &Value, name: &str) -> Value {
    Value::undefined(format!("a {} has no `{name}`", object.type_name()))
}

/// The position that an index means; a negative one counts from the end.
fn position(index: &Value, length: usize) -> Option<usize> {
    let index = index.as_int()?;
    let index = if index < 0 { index.checked_add(length as i128)? } else { index };
    usize::try_from(index).ok().filter(|at| *at < length)
}

fn nth_char(text: &str, at: usize) -> Option<char> {
    if text.is_ascii() { text.as_bytes().get(at).map(|byte| char::from(*byte)) } else { text.chars().nth(at) }
}

/// The positions that a slice selects.
fn slice_range(length: usize, [start, stop, step]: [Option<i128>; 3]) -> Result<Range, Fault> {
    let length = length as i128;
    let step = step.unwrap_or(1);
    if step == 0 {
        return fault!("the step of a slice cannot be 0");
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp =
        |bound: i128| if bound < 0 { (bound.saturating_add(length)).max(low) } else { bound.min(high) };
    let start = start.map_or(if step > 0 { low } else { high }, clamp);
    let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
    let distance = if step > 0 { stop - start } else { start - stop };
    let count = if distance > 0 { (distance - 1) / step.saturating_abs() + 1 } else { 0 };
    Ok(Range { start, stop, step, length: count as usize })
}

/// Characters of a text, as a slice whose step is 1.
fn char_range(text: &str, range: Range) -> &str {
    let start = range.start as usize;
    if text.is_ascii() {
        return text.get(start..start + range.length).unwrap_or_default();
    }
    let mut offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]).skip(start);
    let from = offsets.next().unwrap_or(text.len());
    let to = if range.length == 0 { from } else { offsets.nth(range.length - 1).unwrap_or(text.len()) };
    &text[from..to]
}

impl Operator {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Mod => "%",
            Self::Pow => "**",
        }
    }
}
