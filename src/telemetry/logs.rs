//! Log lines. None ever holds the text of a conversation.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts writing log lines to standard error.
///
/// # Errors
/// `level` is neither a level nor directives; the text says so.
pub fn start(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!(
            "log_level `{level}` is refused ({error}): give error, warn, info, debug, trace or directives"
        )
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only where a process has started its log before; that one goes on then.
    let _ = match format {
        LogFormat::Human => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
