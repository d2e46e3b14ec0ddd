use std::io;
use std::path::PathBuf;

/// Why the options were refused, with the source that is at fault.
///
/// Mistakes on the command line itself are reported by clap before they get here.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The options file cannot be read.
    #[error("cannot read the options file {}: {source}", path.display())]
    UnreadableFile {
        /// The options file.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// A line of the options file is wrong: an unknown option, a wrong value, or text that is not YAML.
    #[error("{}: {reason}", place(path, *line))]
    File {
        /// The options file.
        path: PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<u64>,
        /// What is wrong there.
        reason: String,
    },
    /// The value of an environment variable is wrong.
    #[error("{name}=`{value}`: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
        /// What the variable takes.
        reason: String,
    },
    /// No source names an engine.
    #[error("no engine is given: use --engine DIR, where DIR is the --output of `build-engine`")]
    NoEngine,
    /// Two options do not go together, or a value does not fit the engine. The text names the options.
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    /// Whether one of Assay's own variables is wrong, which counts as a mistake on the command line.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Variable { name, .. } if name.starts_with(super::row::PREFIX))
    }
}

fn place(path: &std::path::Path, line: Option<u64>) -> String {
    match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}
