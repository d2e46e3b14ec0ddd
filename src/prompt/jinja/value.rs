//! The values of a template: Python's, as far as templates can tell.

mod dict;

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use super::fault::{Fault, fault};
use super::function::Function;
pub(super) use dict::{Dict, Key};

/// Lists inside lists: a deeper one could not be printed or freed without much stack.
const MAX_DEPTH: u32 = 100;

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// With what to say when it is used.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    List(Rc<List>),
    Tuple(Rc<List>),
    Dict(Rc<Dict>),
    /// `dict.keys()` and its like.
    View(View, Rc<Dict>),
    Range(Range),
    /// Something with a state, which the interpreter keeps under this number.
    Object(usize),
    /// A loop that runs, by its number.
    Loop(u64),
    Macro(Rc<MacroValue>),
    Function(Function),
    /// A method that is not called yet: of what, and its name.
    Method(Rc<(Value, Arc<str>)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

impl View {
    /// The items of a dictionary's view.
    pub(super) fn items(self, dict: &Dict) -> Result<Vec<Value>, Fault> {
        let mut items = Vec::with_capacity(dict.len());
        for (key, value) in dict.entries() {
            items.push(match self {
                Self::Keys => key.clone(),
                Self::Values => value.clone(),
                Self::Items => Value::tuple(vec![key.clone(), value.clone()])?,
            });
        }
        Ok(items)
    }
}

/// `range(start, stop, step)`; the step is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i128,
    /// As it was given: it may be beyond the last item.
    pub(super) stop: i128,
    pub(super) step: i128,
    pub(super) length: usize,
}

impl Range {
    pub(super) fn get(self, index: usize) -> Option<i128> {
        (index < self.length).then(|| self.start + self.step * index as i128)
    }
}

/// Items of a list or tuple.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    depth: u32,
    /// Whether it is a group of `groupby`, whose items have names.
    pub(super) is_group: bool,
}

/// A macro, and the variables that it sees.
#[derive(Debug)]
pub(super) struct MacroValue {
    /// Index among the program's macros.
    pub(super) index: usize,
    /// Number of the scope that it was defined in.
    pub(super) scope: usize,
    pub(super) name: Option<Arc<str>>,
}

impl Value {
    pub(super) fn str(text: impl Into<Arc<str>>) -> Self {
        Self::Str(text.into())
    }

    pub(super) fn undefined(reason: impl Into<Rc<str>>) -> Self {
        Self::Undefined(reason.into())
    }

    /// # Errors
    /// The items are nested too deeply.
    pub(super) fn list(items: Vec<Self>) -> Result<Self, Fault> {
        Ok(Self::List(Rc::new(List::new(items)?)))
    }

    /// # Errors
    /// As for [`Value::list`].
    pub(super) fn tuple(items: Vec<Self>) -> Result<Self, Fault> {
        Ok(Self::Tuple(Rc::new(List::new(items)?)))
    }

    pub(super) fn dict(dict: Dict) -> Self {
        Self::Dict(Rc::new(dict))
    }

    /// How many lists are inside each other.
    pub(super) fn depth(&self) -> u32 {
        match self {
            Self::List(list) | Self::Tuple(list) => list.depth,
            Self::Dict(dict) | Self::View(_, dict) => dict.depth(),
            Self::Method(method) => method.0.depth(),
            _ => 0,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// A whole number, or a bool, which Python counts among them.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            other => other.as_int().map(|value| value as f64),
        }
    }

    /// Name of its type, as Python's messages have it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Range(_) => "range",
            Self::Object(_) => "object",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Function(_) => "function",
            Self::Method(_) => "method",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            other => other.len().is_none_or(|length| length > 0),
        }
    }

    /// `len` of what has a length without the interpreter.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Undefined(_) => Some(0),
            Self::Str(text) => Some(char_count(text)),
            Self::List(list) | Self::Tuple(list) => Some(list.items.len()),
            Self::Dict(dict) | Self::View(_, dict) => Some(dict.len()),
            Self::Range(range) => Some(range.length),
            _ => None,
        }
    }

    /// `==`.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(left), Self::Str(right)) => left == right,
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => {
                left.items.len() == right.items.len()
                    && left.items.iter().zip(&right.items).all(|(left, right)| left.equals(right))
            }
            (Self::Dict(left), Self::Dict(right)) => left.equals(right),
            (Self::View(View::Keys, left), Self::View(View::Keys, right)) => {
                left.len() == right.len() && left.keys().all(|key| right.get(key).is_some())
            }
            (Self::View(View::Items, left), Self::View(View::Items, right)) => left.equals(right),
            (Self::Range(left), Self::Range(right)) => {
                left.length == right.length
                    && (left.length == 0 || left.start == right.start)
                    && (left.length < 2 || left.step == right.step)
            }
            (Self::Object(left), Self::Object(right)) => left == right,
            (Self::Loop(left), Self::Loop(right)) => left == right,
            (Self::Macro(left), Self::Macro(right)) => Rc::ptr_eq(left, right),
            (Self::Function(left), Self::Function(right)) => left == right,
            (Self::Method(left), Self::Method(right)) => left.1 == right.1 && left.0.equals(&right.0),
            _ => self.compare_numbers(other) == Some(Ordering::Equal),
        }
    }

    fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self.as_int(), other.as_int()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => self.as_float()?.partial_cmp(&other.as_float()?),
        }
    }

    /// `<` and its like. None if they have no order, as with NaN.
    ///
    /// # Errors
    /// The types have no order.
    pub(super) fn compare(&self, other: &Self, sign: &str) -> Result<Option<Ordering>, Fault> {
        match (self, other) {
            (Self::Undefined(reason), _) | (_, Self::Undefined(reason)) => fault!("{reason}"),
            (Self::Str(left), Self::Str(right)) => Ok(Some(left.cmp(right))),
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => {
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !left.equals(right) {
                        return left.compare(right, sign);
                    }
                }
                Ok(Some(left.items.len().cmp(&right.items.len())))
            }
            _ if self.as_float().is_some() && other.as_float().is_some() => Ok(self.compare_numbers(other)),
            _ => fault!("`{sign}` cannot compare {} with {}", self.type_name(), other.type_name()),
        }
    }

    /// What it is in a dictionary.
    ///
    /// # Errors
    /// It cannot be a key.
    pub(super) fn key(&self) -> Result<Key, Fault> {
        match self {
            Self::None => Ok(Key::None),
            Self::Str(text) => Ok(Key::Str(text.clone())),
            Self::Float(value) if value.fract() != 0.0 || value.abs() >= 1e38 => {
                Ok(Key::Float(value.to_bits()))
            }
            Self::Float(value) => Ok(Key::Int(*value as i128)),
            Self::Tuple(list) => Ok(Key::Tuple(list.items.iter().map(Self::key).collect::<Result<_, _>>()?)),
            other => match other.as_int() {
                Some(value) => Ok(Key::Int(value)),
                None => fault!("a {} cannot be a key of a dictionary", other.type_name()),
            },
        }
    }

    /// A JSON value of a request or a file.
    ///
    /// # Errors
    /// It is nested too deeply.
    pub(super) fn from_json(json: &serde_json::Value) -> Result<Self, Fault> {
        Ok(match json {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value.into()),
                (_, Some(value)) => Self::Int(value.into()),
                _ => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::str(text.as_str()),
            serde_json::Value::Array(items) => {
                Self::list(items.iter().map(Self::from_json).collect::<Result<_, _>>()?)?
            }
            serde_json::Value::Object(fields) => {
                let mut dict = Dict::default();
                for (name, value) in fields {
                    dict.insert(Self::str(name.as_str()), Self::from_json(value)?)?;
                }
                Self::dict(dict)
            }
        })
    }
}

impl List {
    fn new(items: Vec<Value>) -> Result<Self, Fault> {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        check_depth(depth)?;
        Ok(Self { items, depth, is_group: false })
    }

    /// A group of `groupby`.
    pub(super) fn group(grouper: Value, list: Value) -> Result<Self, Fault> {
        Ok(Self { is_group: true, ..Self::new(vec![grouper, list])? })
    }
}

/// # Errors
/// There are too many lists inside each other.
pub(super) fn check_depth(depth: u32) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        fault!("lists and dictionaries are nested more than {MAX_DEPTH} deep")
    } else {
        Ok(())
    }
}

/// Number of characters.
pub(super) fn char_count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}
