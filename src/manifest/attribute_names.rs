//! Which names attributes may have.

/// Maximum number of bytes of a name, which every answer repeats.
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
    find_unusable_name(names).map_or(Ok(()), |(_, error)| Err(error))
}

/// The index of the first name that cannot be used for scores, and why.
pub(crate) fn find_unusable_name(names: &[String]) -> Option<(usize, AttributeNameError)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let unusable = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == ':';
        let error = if name.len() > MOST_BYTES {
            AttributeNameError::TooLong(name.len())
        } else if name.is_empty() || name.contains(unusable) {
            AttributeNameError::Unusable(name.clone())
        } else if names[..index].contains(name) {
            AttributeNameError::Duplicate(name.clone())
        } else {
            return None;
        };
        Some((index, error))
    })
}
