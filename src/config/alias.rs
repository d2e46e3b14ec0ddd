//! Another name for the model, or for a part of its head.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An alias: `NAME`, or `NAME=ATTRIBUTE,ATTRIBUTE` of some attributes in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// The attributes; empty for all.
    pub attributes: Vec<String>,
}

impl FromStr for Alias {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, attributes) = match text.split_once('=') {
            Some((name, list)) => (name, list.split(',').map(|name| name.trim().to_owned()).collect()),
            None => (text, Vec::new()),
        };
        if name.trim().is_empty() || attributes.iter().any(String::is_empty) {
            return Err(format!("`{text}` is no alias: give NAME, or NAME=ATTRIBUTE,ATTRIBUTE"));
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

impl<'de> Deserialize<'de> for Alias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_reads_back_as_it_is_written() {
        for text in ["judge", "nvidia/judge=help,safety"] {
            assert_eq!(text.parse::<Alias>().unwrap().to_string(), text);
        }
        for text in ["", "=help", "judge=", "judge=help,,safety"] {
            assert!(text.parse::<Alias>().unwrap_err().contains("is no alias"), "{text}");
        }
    }
}
