use std::io;
use std::path::PathBuf;

use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

use super::InvalidValue;
use crate::manifest::JudgeFileError;
use crate::reward::HeadError;

/// Why the options were refused, with the source that is at fault.
///
/// Mistakes on the command line itself are reported by clap before they get here.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ConfigError {
    /// The options file cannot be read.
    #[error("cannot read the options file {}: {source}", path.display())]
    UnreadableFile {
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// A line of the options file is wrong: an unknown option, a wrong value, or text that is not YAML.
    #[error("{}: {source}{}", place(path, *line), in_line(quoted.as_deref()))]
    File {
        path: PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<u64>,
        quoted: Option<String>,
        /// What is wrong there.
        source: FileError,
    },
    /// The value of an environment variable is wrong.
    #[error("{name}=`{value}`: {source}")]
    Variable {
        name: String,
        value: String,
        /// What the variable takes.
        source: InvalidValue,
    },
    /// No source names a model.
    #[error(
        "no model is given: name an engine or checkpoint directory, or a model of the Hugging Face cache, as in `assay \
         serve MODEL`"
    )]
    NoModel,
    /// There is a private key and no certificate.
    #[error("tls_key needs tls_cert: name the server's certificates too")]
    NoCertificate,
    /// There is a certificate and no private key.
    #[error("tls_cert needs tls_key: name the server's private key too")]
    NoPrivateKey,
    /// Client certificates are required, but the server has no TLS.
    #[error("tls_client_ca needs TLS: set tls_key and tls_cert too")]
    NoTls,
    /// An option gives one name two values.
    #[error("{option} names {name} twice")]
    NamedTwice { option: &'static str, name: String },
    /// The buckets of the histogram of scores do not increase.
    #[error("score_buckets must increase, and {before} comes before {after}")]
    BucketOrder {
        before: f64,
        /// The next one, which is not above it.
        after: f64,
    },
    /// The file of a judge cannot be used.
    #[error("judge: {0}")]
    Judge(#[from] JudgeFileError),
    /// A judge on a reward model.
    #[error(
        "judge: this engine is a reward model and has only the logits of its own scores, and a judge or a rubric needs \
         those of the whole vocabulary; leave it out, or name an engine that generates text"
    )]
    NotALanguageModel,
    /// A judge on an engine that has one.
    #[error(
        "judge: this engine was built with a judge of its own and has only the logits of its answers, and another judge \
         or a rubric needs those of the whole vocabulary; leave it out, or build the engine without --head"
    )]
    HasAJudge,
    /// An option does not fit the engine's head.
    #[error("{option}: {source}")]
    Head {
        option: String,
        /// Why it does not fit.
        source: HeadError,
    },
}

/// What is wrong with a line of the options file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum FileError {
    /// The text is not YAML, or is not a map of options.
    #[error("{}", reason(.0.without_snippet()))]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// There is no such option.
    #[error("unknown option `{key}`; {}", match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => "`assay serve --help` lists the options".to_owned(),
    })]
    Unknown {
        /// What is written there.
        key: String,
        /// The option with the most similar name, if one is similar.
        nearest: Option<&'static str>,
    },
    /// The option has a value already.
    #[error("the option `{0}` is given twice")]
    Twice(&'static str),
    /// The option does not take the value.
    #[error("{name}: {source}")]
    Value {
        name: &'static str,
        /// What it takes.
        source: InvalidValue,
    },
}

impl ConfigError {
    /// Whether one of Assay's own variables is wrong, which counts as a mistake on the command line.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Variable { name, .. } if name.starts_with(super::row::PREFIX))
    }
}

/// What the parser says, in words of an options file.
fn reason(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("the option `{key}` is given twice");
        }
        Error::MultipleDocuments { .. } => return "there are several documents; keep one".to_owned(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            return "lists and maps are nested too deeply; is it the right file?".to_owned();
        }
        Error::Budget { .. } => {
            return "there are too many values, or aliases repeat too many; write them out".to_owned();
        }
        Error::AliasError { error, .. } => return reason(error),
        Error::Unexpected { expected: "string scalar", .. } => return "expected a single value".to_owned(),
        _ => {}
    }
    let text = error.to_string();
    // The line is said with the name of the file.
    let text = text.split(" at line ").next().unwrap_or_default();
    if ["expected mapping start", "cannot deserialize null into string"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return "expected the name of an option and its value, as in `port: 8000`".to_owned();
    }
    text.to_owned()
}

/// The rest of a sentence about a line.
fn in_line(quoted: Option<&str>) -> String {
    quoted.map_or_else(String::new, |line| format!(", in `{line}`"))
}

fn place(path: &std::path::Path, line: Option<u64>) -> String {
    match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}
