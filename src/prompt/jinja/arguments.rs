//! Arguments of calls, as they are given and as they are taken.

use std::sync::Arc;

use super::fault::{Fault, fault};
use super::value::Value;

/// The values that a call gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Given {
    /// Gives each parameter its value. The first `required` must have one.
    ///
    /// # Errors
    /// There are too many arguments, too few, or one that `function` does not know.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        parameters: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N], Fault> {
        if self.positional.len() > N {
            return fault!("`{function}` takes at most {N} arguments, not {}", self.positional.len());
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            match parameters.iter().position(|parameter| *parameter == &*name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => return fault!("`{function}` is given `{name}` twice"),
                None => return fault!("`{function}` has no argument `{name}`"),
            }
        }
        match bound[..required].iter().position(Option::is_none) {
            Some(missing) => fault!("`{function}` needs the argument `{}`", parameters[missing]),
            None => Ok(bound),
        }
    }

    /// Refuses arguments with names, which many of Python's own methods do not take.
    ///
    /// # Errors
    /// One has a name.
    pub(super) fn no_names(&self, function: &str) -> Result<(), Fault> {
        match self.named.first() {
            Some((name, _)) => fault!("`{function}` has no argument `{name}`"),
            None => Ok(()),
        }
    }

    /// Any number of arguments without names.
    ///
    /// # Errors
    /// One has a name.
    pub(super) fn bind_all_positional(self, function: &str) -> Result<Vec<Value>, Fault> {
        self.no_names(function)?;
        Ok(self.positional)
    }
}

/// A whole number that was given as `name` of `function`.
///
/// # Errors
/// It is something else.
pub(super) fn int(value: &Value, function: &str, name: &str) -> Result<i128, Fault> {
    value.as_int().ok_or_else(|| {
        Fault::new(format!("`{function}` needs a whole number as `{name}`, not {}", value.type_name()))
    })
}

/// A text that was given as `name` of `function`.
///
/// # Errors
/// It is something else.
pub(super) fn text<'v>(value: &'v Value, function: &str, name: &str) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| {
        Fault::new(format!("`{function}` needs a text as `{name}`, not {}", value.type_name()))
    })
}
