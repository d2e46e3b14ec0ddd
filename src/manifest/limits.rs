//! The limits that an engine is built with, and how options lower them.

use serde::{Deserialize, Serialize};

/// Sizes fixed when an engine was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildLimits {
    /// Maximum length of a sequence in tokens.
    pub max_seq_len: usize,
    /// Maximum number of sequences in one iteration.
    pub max_batch_size: usize,
    /// Maximum number of tokens in one iteration.
    pub max_num_tokens: usize,
}

/// Lower limits that a user asks for; `None` keeps the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// Maximum length of a sequence in tokens.
    pub max_seq_len: Option<usize>,
    /// Maximum number of sequences in one iteration.
    pub max_batch_size: Option<usize>,
    /// Maximum number of tokens in one iteration.
    pub max_num_tokens: Option<usize>,
}

/// A limit was asked for that the engine cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The limit is above the one that the engine was built with.
    #[error(
        "{name} is {asked}, but the engine was built for {built}; lower it, leave it out, or build the engine again \
         with a larger limit"
    )]
    AboveBuilt {
        /// The limit's name, in the manifest and as an option.
        name: &'static str,
        /// What was asked for.
        asked: usize,
        /// What the engine was built with.
        built: usize,
    },
    /// The limit is zero.
    #[error("{name} is 0; it must be at least 1")]
    Zero {
        /// The limit's name, in the manifest and as an option.
        name: &'static str,
    },
}

impl BuildLimits {
    /// The limits that hold when a user asks for `overrides`. Every engine and the server follow this one rule: a
    /// limit can be lowered, and one above what was built is refused.
    ///
    /// # Errors
    /// [`LimitError`] for the first limit that is zero or above what was built.
    pub fn lowered(self, overrides: &LimitOverrides) -> Result<Self, LimitError> {
        Ok(Self {
            max_seq_len: lowered("max_seq_len", overrides.max_seq_len, self.max_seq_len)?,
            max_batch_size: lowered("max_batch_size", overrides.max_batch_size, self.max_batch_size)?,
            max_num_tokens: lowered("max_num_tokens", overrides.max_num_tokens, self.max_num_tokens)?,
        })
    }
}

fn lowered(name: &'static str, asked: Option<usize>, built: usize) -> Result<usize, LimitError> {
    match asked {
        None => Ok(built),
        Some(0) => Err(LimitError::Zero { name }),
        Some(asked) if asked > built => Err(LimitError::AboveBuilt { name, asked, built }),
        Some(asked) => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: BuildLimits = BuildLimits { max_seq_len: 1024, max_batch_size: 64, max_num_tokens: 2048 };

    #[test]
    fn limits_are_lowered_and_kept_where_nothing_is_asked() {
        assert_eq!(BUILT.lowered(&LimitOverrides::default()), Ok(BUILT));
        let overrides =
            LimitOverrides { max_seq_len: Some(1024), max_batch_size: Some(1), max_num_tokens: None };
        let expected = BuildLimits { max_seq_len: 1024, max_batch_size: 1, max_num_tokens: 2048 };
        assert_eq!(BUILT.lowered(&overrides), Ok(expected));
    }

    #[test]
    fn a_limit_above_the_built_one_is_refused_by_name() {
        let default = LimitOverrides::default();
        for (overrides, name, built) in [
            (LimitOverrides { max_seq_len: Some(1025), ..default }, "max_seq_len is 1025", "built for 1024"),
            (LimitOverrides { max_batch_size: Some(65), ..default }, "max_batch_size is 65", "built for 64"),
            (
                LimitOverrides { max_num_tokens: Some(4096), ..default },
                "max_num_tokens is 4096",
                "built for 2048",
            ),
        ] {
            let error = BUILT.lowered(&overrides).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(built) && error.contains("lower it"), "{error}");
        }
        let zero = BUILT.lowered(&LimitOverrides { max_batch_size: Some(0), ..default });
        assert_eq!(zero, Err(LimitError::Zero { name: "max_batch_size" }));
    }
}
