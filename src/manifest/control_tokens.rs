//! Which added tokens the text of messages may spell.

use serde::{Deserialize, Serialize};

/// Which of the tokenizer's added tokens structure a conversation, if the tokenizer itself does not say so.
///
/// Text of a message never becomes a token that structures a conversation, such as the end of a turn. Every
/// other token is recognised wherever a text spells it. Special tokens are of the first kind and all others
/// of the second, except those listed here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlTokens {
    /// Tokens that structure a conversation, although they are not special.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub structure: Vec<String>,
    /// Tokens that a text may spell, special or not, because models write them themselves: `<think>`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
}

impl ControlTokens {
    /// Whether a token structures conversations.
    pub fn is_structure(&self, token: &str, is_special: bool) -> bool {
        let listed = |list: &[String]| list.iter().any(|listed| listed == token);
        if is_special { !listed(&self.words) } else { listed(&self.structure) }
    }
}
