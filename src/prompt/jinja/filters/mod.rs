//! Jinja's filters.

mod html;
mod number;
mod path;
mod select;
mod sequence;
mod text;
mod wrap;

use super::arguments::Given;
use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::value::Value;

/// A filter: the value that it is applied to, and its arguments.
type Filter = fn(&mut Interpreter<'_>, &Value, Given) -> Result<Value, Fault>;

/// Every filter, by name.
const FILTERS: [(&str, Filter); 54] = [
    ("abs", number::abs),
    ("attr", select::attr),
    ("batch", sequence::batch),
    ("capitalize", text::capitalize),
    ("center", text::center),
    ("count", sequence::length),
    ("d", default),
    ("default", default),
    ("dictsort", sequence::dictsort),
    ("e", html::escape),
    ("escape", html::escape),
    ("filesizeformat", number::filesizeformat),
    ("first", sequence::first),
    ("float", number::float),
    ("forceescape", html::escape),
    ("format", text::format),
    ("groupby", select::groupby),
    ("indent", text::indent),
    ("int", number::int),
    ("items", sequence::items),
    ("join", text::join),
    ("last", sequence::last),
    ("length", sequence::length),
    ("list", sequence::list),
    ("lower", text::lower),
    ("map", select::map),
    ("max", sequence::max),
    ("min", sequence::min),
    ("pprint", unsupported_pprint),
    ("random", unsupported_random),
    ("reject", select::reject),
    ("rejectattr", select::rejectattr),
    ("replace", text::replace),
    ("reverse", sequence::reverse),
    ("round", number::round),
    ("safe", text::string),
    ("select", select::select),
    ("selectattr", select::selectattr),
    ("slice", sequence::slice),
    ("sort", sequence::sort),
    ("string", text::string),
    ("striptags", html::striptags),
    ("sum", sequence::sum),
    ("title", text::title),
    ("tojson", tojson),
    ("trim", text::trim),
    ("truncate", text::truncate),
    ("unique", sequence::unique),
    ("upper", text::upper),
    ("urlencode", html::urlencode),
    ("urlize", unsupported_urlize),
    ("wordcount", text::wordcount),
    ("wordwrap", wrap::wordwrap),
    ("xmlattr", html::xmlattr),
];

pub(super) fn exists(name: &str) -> bool {
    FILTERS.iter().any(|(known, _)| *known == name)
}

impl Interpreter<'_> {
    /// Applies a filter.
    ///
    /// # Errors
    /// There is no such filter, or the value or the arguments do not fit it.
    pub(super) fn apply_filter(&mut self, name: &str, value: &Value, given: Given) -> Result<Value, Fault> {
        self.budget.steps(1)?;
        match FILTERS.iter().find(|(known, _)| *known == name) {
            Some((_, filter)) => filter(self, value, given),
            None => fault!("there is no filter `{name}`"),
        }
    }
}

fn default(_: &mut Interpreter<'_>, value: &Value, given: Given) -> Result<Value, Fault> {
    let [default, boolean] = given.bind("default", ["default_value", "boolean"], 0)?;
    let replace =
        value.is_undefined() || (boolean.is_some_and(|boolean| boolean.is_true()) && !value.is_true());
    Ok(if replace { default.unwrap_or(Value::str("")) } else { value.clone() })
}

fn tojson(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result<Value, Fault> {
    run.dump_json(value, given)
}

fn unsupported_pprint(_: &mut Interpreter<'_>, _: &Value, _: Given) -> Result<Value, Fault> {
    fault!("the filter `pprint`, which is for debugging, is not supported; use `tojson(indent=2)`")
}

fn unsupported_random(_: &mut Interpreter<'_>, _: &Value, _: Given) -> Result<Value, Fault> {
    fault!("the filter `random` would make another prompt each time")
}

fn unsupported_urlize(_: &mut Interpreter<'_>, _: &Value, _: Given) -> Result<Value, Fault> {
    fault!("the filter `urlize`, which makes HTML links, is not supported")
}
