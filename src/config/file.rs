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
        /// The file, with the line where known.
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
            Some(line) => format!("{}:{line}", path.display()),
            None => path.display().to_string(),
        };
        FileError::Invalid { place, reason }
    })
}

/// The line, where known, and what is wrong there.
type Complaint = (Option<u64>, String);

fn parse(text: &str) -> Result<Options, Complaint> {
    // An empty document is YAML's null, which is no map; here it says nothing and is right.
    let options: Option<Options> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| at.line());
        let reason = error.without_snippet().to_string();
        match line.and_then(|line| text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)) {
            Some(source) => (line, format!("{reason}, in `{}`", source.trim())),
            None => (line, reason),
        }
    })?;
    Ok(options.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        error.replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = complaint("port: 80\nprot: 81\n");
        assert!(
            error.contains("FILE:2 is refused: unknown field `prot`, expected one of engine,"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_line_and_text() {
        for wrong in [
            "port: nine",
            "port: 70000",
            "port: [1]",
            "shutdown_grace: -1",
            "overload_status: 200",
            "log_format: xml",
            "prefix_sharing: 3",
            "port: null-ish",
        ] {
            let error = complaint(&format!("host: a\n\n{wrong}\n"));
            assert!(error.starts_with("the options file FILE:3 is refused: "), "{error}");
            assert!(error.ends_with(&format!(", in `{wrong}`")), "{error}");
        }
    }

    #[test]
    fn a_key_given_twice_and_text_that_is_no_map_are_refused() {
        assert!(complaint("port: 1\nport: 2\n").contains("FILE:2"));
        assert!(complaint("- port\n").contains("FILE"));
    }

    #[test]
    fn a_file_that_says_nothing_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.path()).unwrap(), Options::default());
        std::fs::write(&file, "# nothing yet\n").unwrap();
        assert_eq!(read(file.path()).unwrap(), Options::default());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("no/such/file.yaml")).unwrap_err().to_string();
        assert!(error.contains("no/such/file.yaml"), "{error}");
    }
}
