//! [`Alias`]: another name for a model.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Another name for the model, `NAME`, or for some of its attributes in the given order,
/// `NAME=ATTRIBUTE,ATTRIBUTE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name that requests use.
    pub name: String,
    /// The attributes; empty for all.
    pub attributes: Vec<String>,
}

/// A text that is not an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME, or NAME=ATTRIBUTE,ATTRIBUTE")]
pub struct NotAnAlias;

impl FromStr for Alias {
    type Err = NotAnAlias;

    fn from_str(text: &str) -> Result<Self, NotAnAlias> {
        let (name, attributes) = match text.split_once('=') {
            Some((name, list)) => (name, list.split(',').map(|name| name.trim().to_owned()).collect()),
            None => (text, Vec::new()),
        };
        if name.trim().is_empty() || attributes.iter().any(String::is_empty) {
            return Err(NotAnAlias);
        }
        Ok(Self { name: name.trim().to_owned(), attributes })
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.attributes.is_empty() { Ok(()) } else { write!(f, "={}", self.attributes.join(",")) }
    }
}

impl Serialize for Alias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_parses_to_what_it_displays() {
        for text in ["judge", "nvidia/judge=help,safety"] {
            assert_eq!(text.parse::<Alias>().unwrap().to_string(), text);
        }
        for text in ["", "=help", "judge=", "judge=help,,safety"] {
            assert!(text.parse::<Alias>().is_err(), "{text}");
        }
    }
}
