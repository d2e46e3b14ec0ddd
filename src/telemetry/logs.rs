//! Log lines. None ever holds the text of a conversation, unless `--log-requests` asks for that.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::LogFormat;

/// What decides which lines are written, once [`start`] has run.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts writing log lines to standard error.
///
/// # Errors
/// `level` is neither a level nor directives; the text says so.
pub fn start(level: &str, format: LogFormat) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // Where nobody reads them any more there is nobody to tell so either.
    let lines = lines.log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Human => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init(),
    };
    // Fails only where a process has started its log before; that one goes on then.
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// What is written now; nothing where [`start`] has not run.
pub fn level() -> String {
    FILTER.get().and_then(|filter| filter.with_current(ToString::to_string).ok()).unwrap_or_default()
}

/// Changes what is written from now on.
///
/// # Errors
/// As [`start`], or the log has not been started.
pub fn set_level(level: &str) -> Result<(), String> {
    let handle = FILTER.get().ok_or("cannot be set: this process writes no log")?;
    handle.reload(filter(level)?).map_err(|error| format!("cannot be set: {error}"))
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| {
        format!(
            "log_level `{level}` is refused ({error}): give error, warn, info, debug, trace or directives"
        )
    })
}
