//! The options file.

use std::path::{Path, PathBuf};

use super::Options;

/// Why an options file was refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the options file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its text is no set of options: an unknown key, a wrong type, or no YAML at all.
    #[error("the options file {place} is refused: {reason}")]
    Invalid {
        /// The file, with line and column where known.
        place: String,
        /// What is wrong there.
        reason: String,
    },
}

/// Reads the YAML file at `path`: a map from option names, as on the command line but with `_` for
/// `-`, to values.
///
/// # Errors
/// It cannot be read, or holds anything but known options of the right type.
pub fn read(path: &Path) -> Result<Options, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    parse(&text).map_err(|(line, reason)| {
        let place = match line {
            Some((line, column)) => format!("{}:{line}:{column}", path.display()),
            None => path.display().to_string(),
        };
        FileError::Invalid { place, reason }
    })
}

type Complaint = (Option<(u64, u64)>, String);

fn parse(text: &str) -> Result<Options, Complaint> {
    // An empty document is YAML's null, which is no map; here it says nothing and is right.
    let options: Option<Options> = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| (at.line(), at.column()));
        (place, error.without_snippet().to_string())
    })?;
    Ok(options.unwrap_or_default())
}
