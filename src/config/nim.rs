//! NIM's environment variables. The table says which option each one sets; this file translates their values.

use super::{ConfigError, InvalidValue};
use crate::telemetry::logs::level_name;

/// The value as it is.
pub(super) fn same(text: &str) -> Result<String, InvalidValue> {
    Ok(text.to_owned())
}

/// NIM's flags are 0 or 1.
pub(super) fn flag(text: &str) -> Result<String, InvalidValue> {
    zero_or_one(text, "false", "true")
}

/// `NIM_DISABLE_LOG_REQUESTS` switches off what the option switches on.
pub(super) fn inverted_flag(text: &str) -> Result<String, InvalidValue> {
    zero_or_one(text, "true", "false")
}

/// `NIM_JSONL_LOGGING`.
pub(super) fn log_format(text: &str) -> Result<String, InvalidValue> {
    zero_or_one(text, "human", "json")
}

/// `NIM_LOG_LEVEL`.
pub(super) fn log_level(text: &str) -> Result<String, InvalidValue> {
    let expected = "expected DEFAULT, TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL";
    level_name(text).map(str::to_owned).ok_or_else(|| InvalidValue(expected.to_owned()))
}

/// `NIM_MODEL_NAME`, which may also name what NIM would download.
pub(super) fn directory(text: &str) -> Result<String, InvalidValue> {
    if text.contains("://") {
        return Err(InvalidValue(
            "expected a directory: engines are not downloaded; build one with `build-engine` and name its directory"
                .to_owned(),
        ));
    }
    same(text)
}

fn zero_or_one(text: &str, zero: &str, one: &str) -> Result<String, InvalidValue> {
    match text.trim() {
        "0" => same(zero),
        "1" => same(one),
        _ => Err(InvalidValue("expected 0 or 1".to_owned())),
    }
}

/// Which of the files that NIM's variables name for TLS count, by `NIM_SSL_MODE`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disabled,
    Tls,
    Mutual,
}

impl TlsMode {
    /// Reads the mode, and checks that each file it needs is named.
    ///
    /// # Errors
    /// The mode is unknown, or a file that it needs is not named.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        const NAME: &str = "NIM_SSL_MODE";
        let value = variable(NAME).unwrap_or_default();
        let mode = match value.trim().to_ascii_lowercase().as_str() {
            "" | "disabled" => Self::Disabled,
            "tls" => Self::Tls,
            "mtls" => Self::Mutual,
            _ => {
                let source = InvalidValue("expected DISABLED, TLS or MTLS".to_owned());
                return Err(ConfigError::Variable { name: NAME.to_owned(), value, source });
            }
        };
        let files = ["NIM_SSL_KEY_PATH", "NIM_SSL_CERTS_PATH", "NIM_SSL_CA_CERTS_PATH"];
        match files.into_iter().find(|file| mode.needs(file) && variable(file).is_none()) {
            Some(file) => {
                let source = InvalidValue(format!("this mode needs a file; name it with {file}"));
                Err(ConfigError::Variable { name: NAME.to_owned(), value, source })
            }
            None => Ok(mode),
        }
    }

    fn needs(self, file: &str) -> bool {
        match file {
            "NIM_SSL_CA_CERTS_PATH" => self == Self::Mutual,
            _ => self != Self::Disabled,
        }
    }

    /// Whether the variable `name` is read.
    pub(super) fn reads(self, name: &str) -> bool {
        !name.starts_with("NIM_SSL_") || self.needs(name)
    }
}
