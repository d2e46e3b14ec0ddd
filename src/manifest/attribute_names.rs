//! Which names attributes may have.

use std::collections::HashSet;

/// Maximum number of bytes of a name, which every answer repeats.
const MAX_BYTES: usize = 256;
/// The columns that `assay score` adds beside those of the attributes, without their prefix. An attribute of such a name
/// would have the same column.
pub(crate) const OTHER_COLUMNS: [&str; 6] = ["rank", "margin", "ranked_by", "error", "line", "signature"];

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
    #[error("a label has {0} bytes; give names of at most {MAX_BYTES}")]
    TooLong(usize),
    /// A name is that of another column of scored files.
    #[error("label {0:?} is the name of a column that `assay score` adds for other purposes; rename it")]
    Column(String),
    /// Two names are equal, or differ only in case.
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
    let mut earlier = HashSet::new();
    names.iter().enumerate().find_map(|(index, name)| {
        let lower = name.to_lowercase();
        let unusable = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == ':';
        let error = if name.len() > MAX_BYTES {
            AttributeNameError::TooLong(name.len())
        } else if name.is_empty() || name.contains(unusable) {
            AttributeNameError::Unusable(name.clone())
        } else if OTHER_COLUMNS.contains(&&*lower) {
            AttributeNameError::Column(name.clone())
        } else if earlier.contains(&lower) {
            AttributeNameError::Duplicate(lower)
        } else {
            earlier.insert(lower);
            return None;
        };
        Some((index, error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_has_a_column_of_its_own_in_files() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for column in OTHER_COLUMNS {
            let error = AttributeNameError::Column(column.to_owned());
            assert_eq!(find_unusable_name(&names(&["a", column])), Some((1, error)));
        }
        assert_eq!(check_attribute_names(&names(&["Rank"])), Err(AttributeNameError::Column("Rank".into())));
        let error = AttributeNameError::Duplicate("a".into());
        assert_eq!(find_unusable_name(&names(&["a", "A"])), Some((1, error)));
        assert_eq!(check_attribute_names(&names(&["ranks", "margins", "a"])), Ok(()));
    }
}
