//! Which names attributes may have.

/// Most bytes of a name, which every answer repeats.
const MOST_BYTES: usize = 256;

/// Why a list of attribute names cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeNameError {
    /// A name has a character that separates names and scores in a score text.
    #[error(
        "label {0:?} cannot be part of a score text (name:score,name:score); rename it so that it has no comma, \
         colon or white space"
    )]
    Unusable(String),
    /// A name is too long.
    #[error("a label has {0} bytes; give names of at most {MOST_BYTES}")]
    TooLong(usize),
    /// Two names are equal.
    #[error("two labels are called {0} in lower case; rename one")]
    Duplicate(String),
}

/// Checks that names can be used for scores.
///
/// # Errors
/// See [`AttributeNameError`].
pub(crate) fn check_attribute_names(names: &[String]) -> Result<(), AttributeNameError> {
    for (index, name) in names.iter().enumerate() {
        let unusable = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == ':';
        if name.len() > MOST_BYTES {
            return Err(AttributeNameError::TooLong(name.len()));
        }
        if name.is_empty() || name.contains(unusable) {
            return Err(AttributeNameError::Unusable(name.clone()));
        }
        if names[..index].contains(name) {
            return Err(AttributeNameError::Duplicate(name.clone()));
        }
    }
    Ok(())
}
