//! Calls the functions that templates can call without an object.

use super::arguments::Given;
use super::fault::{Fault, fault};
use super::function::Function;
use super::interpreter::{Interpreter, Object};
use super::scopes::check_attribute;
use super::value::{Dict, Range, Value};
use crate::prompt::strftime::strftime;

/// Maximum number of items of a range, as in Jinja's sandbox.
const MAX_RANGE: i128 = 100_000;

impl Interpreter<'_> {
    pub(super) fn call_function(&mut self, function: Function, given: Given) -> Result<Value, Fault> {
        match function {
            Function::Range => range(&given),
            Function::Dict => Ok(Value::dict(self.build_dict(given)?)),
            Function::Namespace => {
                let attributes = self.build_dict(given)?;
                for key in attributes.keys() {
                    check_attribute(key.as_str().unwrap_or_default())?;
                }
                Ok(self.new_object(Object::Namespace(attributes)))
            }
            Function::Cycler => {
                let items = given.bind_all_positional("cycler")?;
                if items.is_empty() {
                    return fault!("cycler needs at least one item");
                }
                Ok(self.new_object(Object::Cycler { items, at: 0 }))
            }
            Function::Joiner => {
                let [separator] = given.bind("joiner", ["sep"], 0)?;
                let separator = separator.unwrap_or(Value::str(", "));
                Ok(self.new_object(Object::Joiner { separator, used: false }))
            }
            Function::RaiseException => {
                let [message] = given.bind("raise_exception", ["message"], 1)?;
                let message = self.text(&message.unwrap_or(Value::None))?;
                Err(Fault::Raised(message))
            }
            Function::StrftimeNow => {
                let [format] = given.bind("strftime_now", ["format"], 1)?;
                match (format.as_ref().and_then(Value::as_str), self.date) {
                    (Some(format), Some(date)) => {
                        let text = strftime(format, date);
                        self.budget.bytes(text.len())?;
                        Ok(Value::str(text))
                    }
                    _ => fault!("strftime_now needs a format, such as '%d %B %Y'"),
                }
            }
            Function::Lipsum => {
                fault!("lipsum makes random text, so that a prompt would not be the same twice")
            }
        }
    }

    /// `dict(mapping or pairs, name=value, ...)`.
    fn build_dict(&mut self, given: Given) -> Result<Dict, Fault> {
        let mut dict = Dict::default();
        if given.positional.len() > 1 {
            return fault!("at most one argument without a name is possible");
        }
        match given.positional.into_iter().next() {
            None => {}
            Some(Value::Dict(from)) => dict = (*from).clone(),
            Some(pairs) => {
                for pair in self.collect(&pairs)? {
                    let pair = self.collect(&pair)?;
                    let [key, value] = pair.as_slice() else {
                        return fault!("a dictionary is made of pairs");
                    };
                    dict.insert(key.clone(), value.clone())?;
                }
            }
        }
        for (name, value) in given.named {
            dict.insert(Value::Str(name), value)?;
        }
        self.budget.items(dict.len())?;
        Ok(dict)
    }
}

fn range(given: &Given) -> Result<Value, Fault> {
    let mut numbers = Vec::new();
    for value in &given.positional {
        match value.as_int() {
            Some(number) if number.abs() < 1 << 100 => numbers.push(number),
            _ => return fault!("range needs whole numbers, not {}", value.type_name()),
        }
    }
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        [_, _, _] => return fault!("the step of a range cannot be 0"),
        _ => return fault!("range takes 1 to 3 numbers"),
    };
    let length = if step > 0 { (stop - start + step - 1) / step } else { (start - stop - step - 1) / -step };
    if length > MAX_RANGE {
        return fault!("a range of {length} items is too long; at most {MAX_RANGE} are possible");
    }
    Ok(Value::Range(Range { start, stop, step, length: length.max(0) as usize }))
}
