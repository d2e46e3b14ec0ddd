//! Options from environment variables: our own, and NIM's.

use super::nim::{self, TlsMode};
use super::row::{Described, variable};
use super::table::table;
use super::{ConfigError, InvalidValue, ServeOptions};

impl ServeOptions {
    /// The options from the `ASSAY_*` variables; `read` reads a variable. An empty variable counts as unset, because
    /// compose files pass all of them on.
    ///
    /// # Errors
    /// [`ConfigError::Variable`] if a value is not what its option takes.
    pub fn from_environment(read: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let mut options = Self::default();
        for row in table() {
            let set = row.names().map(variable).find_map(|name| read(&name).map(|value| (name, value)));
            if let Some((name, value)) = set {
                options.set_from(&row, &value).map_err(|source| fault(&name, &value, source))?;
            }
        }
        Ok(options)
    }

    /// The options from NIM's variables; `read` reads a variable.
    ///
    /// # Errors
    /// [`ConfigError::Variable`] if a value is not what its option takes, or if `NIM_SSL_MODE` needs a file that
    /// no variable names.
    pub fn from_nim(read: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        if let Some(value) = read("NIM_REWARD_MODEL")
            && nim::flag(&value).map_err(|source| fault("NIM_REWARD_MODEL", &value, source))? == "false"
        {
            tracing::warn!("NIM_REWARD_MODEL=0 has no effect: the engine says whether it is a reward model");
        }
        let tls = TlsMode::read(read)?;
        let mut options = Self::default();
        for row in table() {
            let variables = row.nim.iter().filter(|(name, _)| tls.reads(name));
            let set = variables.copied().find_map(|(name, translate)| Some((name, translate, read(name)?)));
            if let Some((name, translate, value)) = set {
                let read = translate(&value).and_then(|text| options.set_from(&row, &text));
                read.map_err(|source| fault(name, &value, source))?;
            }
        }
        Ok(options)
    }

    fn set_from(&mut self, row: &Described, text: &str) -> Result<(), InvalidValue> {
        let texts: Vec<String> = match row.delimiter {
            Some(delimiter) => text.split(delimiter).map(|part| part.trim().to_owned()).collect(),
            None => vec![text.trim().to_owned()],
        };
        self.set(row.name, &texts)
    }
}

fn fault(name: &str, value: &str, source: InvalidValue) -> ConfigError {
    ConfigError::Variable { name: name.to_owned(), value: value.to_owned(), source }
}
