//! Log lines. None contains text of a conversation, unless `--log-requests` asks for that.

use std::io::{IsTerminal, Stderr, Write};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text for people
    Human,
    /// One JSON object per line
    Json,
}

/// The filter that decides which lines are written, once [`start`] has run.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Why the log level cannot be set.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum LogError {
    /// The text is neither a level nor a list of directives.
    #[error("log_level `{level}` is not valid ({source}); use error, warn, info, debug, trace or directives")]
    Directives {
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The text is one word, and no level. As a directive, it would switch off all lines but those of a module of that
    /// name.
    #[error(
        "log_level `{0}` is not a level: use off, error, warn, info, debug, trace or directives such as `hyper=debug`"
    )]
    Level(String),
    /// This process writes no log.
    #[error("cannot be set: this process writes no log")]
    NotStarted,
    /// The filter cannot be replaced.
    #[error("cannot be set: {0}")]
    Reload(#[from] reload::Error),
}

/// Starts writing log lines to standard error.
///
/// # Errors
/// [`LogError::Level`] or [`LogError::Directives`].
pub fn start(level: &str, format: LogFormat) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // If standard error is closed, there is nowhere to report that to.
    let lines = lines.log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Human => registry.with(lines.with_target(false).with_writer(EscapedLines::new)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init(),
    };
    // Fails only if the process has started its log before; then that one stays in use.
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// The current log level; empty before [`start`].
pub fn level() -> String {
    FILTER.get().and_then(|filter| filter.with_current(ToString::to_string).ok()).unwrap_or_default()
}

/// Changes the log level.
///
/// # Errors
/// See [`LogError`].
pub fn set_level(level: &str) -> Result<(), LogError> {
    let handle = FILTER.get().ok_or(LogError::NotStarted)?;
    Ok(handle.reload(filter(level)?)?)
}

/// Standard error, to which each event is written as one line: texts of clients in it, such as a request's body,
/// cannot add lines of their own or steer a terminal.
struct EscapedLines(Stderr);

impl EscapedLines {
    fn new() -> Self {
        Self(std::io::stderr())
    }
}

impl Write for EscapedLines {
    /// Writes an event, which the subscriber hands over in one piece.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(escaped(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// An event with escapes for what would end its line or steer a terminal. The colours of the subscriber stay: it
/// escapes such sequences in what it is given.
fn escaped(event: &str) -> String {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    let mut text = String::with_capacity(event.len());
    for letter in line.chars() {
        let is_line_end = matches!(letter, '\u{2028}' | '\u{2029}');
        if is_line_end || (letter.is_control() && !matches!(letter, '\t' | '\u{1b}')) {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text + end
}

/// The level that this program, Python or NIM calls `name`, in upper or lower case.
pub(crate) fn level_name(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "off" => "off",
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" | "default" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => return None,
    })
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let directives = match level_name(level) {
        Some(name) => name,
        None if level.contains(['=', ',', ':', '[']) => level,
        None => return Err(LogError::Level(level.to_owned())),
    };
    EnvFilter::try_new(directives).map_err(|source| LogError::Directives { level: level.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::{escaped, filter};

    #[test]
    fn a_level_goes_by_any_of_its_names_and_a_misspelt_one_is_refused() {
        for (level, read) in [
            ("WARNING", "warn"),
            ("critical", "error"),
            ("Default", "info"),
            ("debug", "debug"),
            ("assay::scheduler=debug,warn", "assay::scheduler=debug,warn"),
        ] {
            assert_eq!(filter(level).unwrap().to_string(), read);
        }
        for level in ["warnning", "", "hyper=loud"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }

    #[test]
    fn a_text_in_an_event_cannot_forge_a_line() {
        let event = "INFO request body=a\nERROR forged\r\u{7}\u{9b}2J\u{2028}é\tz\n";
        assert_eq!(escaped(event), "INFO request body=a\\nERROR forged\\r\\u{7}\\u{9b}2J\\u{2028}é\tz\n");
        assert_eq!(escaped("\u{1b}[32m INFO\u{1b}[0m ready\n"), "\u{1b}[32m INFO\u{1b}[0m ready\n");
    }
}
