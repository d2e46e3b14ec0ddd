//! A token as the files of a checkpoint give it.

use serde_json::Value;
use tokenizers::AddedToken;

/// A token as a file gives it: text alone, or text and how it is found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Text(String),
    Token(TokenFields),
}

impl Given {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Token(token) => &token.content,
        }
    }
}

/// The fields of transformers' `AddedToken`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TokenFields {
    pub(super) content: String,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    /// `None` for the default: normalized unless special.
    pub(super) normalized: Option<bool>,
    pub(super) special: bool,
}

/// Why an object is not a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("{name} of a token must be true or false, but it is {found}")]
    Flag { name: &'static str, found: Value },
    #[error("{0} is a token without content")]
    NoContent(Value),
}

impl TokenFields {
    /// A special token without other flags.
    pub(super) fn special(content: &str) -> Self {
        Self {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }

    pub(super) fn added_token(&self) -> AddedToken {
        AddedToken {
            content: self.content.clone(),
            single_word: self.single_word,
            lstrip: self.lstrip,
            rstrip: self.rstrip,
            normalized: self.normalized.unwrap_or(!self.special),
            special: self.special,
        }
    }

    /// Reads an object with `content` and flags; absent and null flags have transformers' defaults.
    pub(super) fn read(value: &Value) -> Result<Self, TokenError> {
        let flag = |name: &'static str| match value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(found) => Err(TokenError::Flag { name, found: found.clone() }),
        };
        let content = value.get("content").and_then(Value::as_str);
        Ok(Self {
            content: content.ok_or_else(|| TokenError::NoContent(value.clone()))?.to_owned(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or(false),
        })
    }
}
