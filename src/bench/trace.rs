//! Request traces: JSONL files with one request in each line, in any order.
//!
//! ```json
//! {"arrival": 0.25, "prompt_tokens": 640, "prefix": "q17", "prefix_tokens": 512}
//! ```

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Latest arrival, in seconds: a year. A trace with later ones has wall-clock times by mistake.
const MAX_SECONDS: f64 = 366.0 * 24.0 * 3600.0;
/// Maximum number of tokens of one request.
const MAX_TOKENS: usize = 1 << 24;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceRequest {
    /// Seconds since the start of the trace.
    pub(super) arrival: f64,
    /// Tokens of the prompt, including the shared prefix; at least 1.
    pub(super) prompt_tokens: usize,
    /// Name of a prefix: requests with the same name start with the same tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
    /// Tokens of the prefix; at most `prompt_tokens`. If they are equal, the requests are identical.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) prefix_tokens: usize,
    /// Tokens to generate; 0 for a score.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) output_tokens: usize,
    /// Priority class; lower ones first.
    #[serde(default, skip_serializing_if = "is_default_priority")]
    pub(super) priority: i8,
    /// Seconds after arrival at which the response is no longer useful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<f64>,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A line is not a valid request.
    #[error("{path}, line {line}: {source}")]
    Line {
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        source: InvalidRequest,
    },
    /// The file has no requests.
    #[error("{0} has no requests; `assay bench --generate-trace` makes a trace")]
    Empty(PathBuf),
}

/// Why a line of a trace is not a valid request.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// It is not JSON, or has a wrong or unknown field.
    #[error("{}", json_message(.0))]
    Json(#[from] serde_json::Error),
    /// The arrival is negative, or too late.
    #[error("arrival is {0}; it must be in seconds from the trace's start")]
    Arrival(f64),
    /// There are no prompt tokens, or too many.
    #[error("prompt_tokens is {0}; it must be from 1 to {MAX_TOKENS}")]
    PromptTokens(usize),
    /// There are too many output tokens.
    #[error("output_tokens is {0}; it must be at most {MAX_TOKENS}")]
    OutputTokens(usize),
    /// The prefix is longer than the prompt.
    #[error("prefix_tokens is {prefix_tokens}, more than prompt_tokens, {prompt_tokens}")]
    PrefixTokens {
        /// Tokens of the prefix.
        prefix_tokens: usize,
        /// Tokens of the prompt.
        prompt_tokens: usize,
    },
    /// A prefix has a name but no tokens, or the other way round.
    #[error("prefix and prefix_tokens (at least 1) must be given together")]
    Prefix,
    /// The timeout is not positive, or too long.
    #[error("timeout is {0}; it must be above 0 and at most {MAX_SECONDS} seconds")]
    Timeout(f64),
}

/// Every line is a document of its own, so serde's line number would mislead.
fn json_message(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", ", at column ")
}

impl TraceRequest {
    /// A request to score `prompt_tokens` tokens.
    pub(super) fn score(arrival: f64, prompt_tokens: usize) -> Self {
        Self {
            arrival,
            prompt_tokens,
            prefix: None,
            prefix_tokens: 0,
            output_tokens: 0,
            priority: 0,
            timeout: None,
        }
    }

    /// Time of arrival since the start of the trace.
    pub(super) fn arrival(&self) -> Duration {
        Duration::from_secs_f64(self.arrival)
    }

    fn parse(line: &str) -> Result<Self, InvalidRequest> {
        let request: Self = serde_json::from_str(line)?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        let &Self { arrival, prompt_tokens, prefix_tokens, output_tokens, timeout, .. } = self;
        if !(0.0..=MAX_SECONDS).contains(&arrival) {
            return Err(InvalidRequest::Arrival(arrival));
        }
        if !(1..=MAX_TOKENS).contains(&prompt_tokens) {
            return Err(InvalidRequest::PromptTokens(prompt_tokens));
        }
        if output_tokens > MAX_TOKENS {
            return Err(InvalidRequest::OutputTokens(output_tokens));
        }
        if prefix_tokens > prompt_tokens {
            return Err(InvalidRequest::PrefixTokens { prefix_tokens, prompt_tokens });
        }
        if self.prefix.is_some() != (prefix_tokens > 0) {
            return Err(InvalidRequest::Prefix);
        }
        match timeout {
            Some(timeout) if !(timeout > 0.0 && timeout <= MAX_SECONDS) => {
                Err(InvalidRequest::Timeout(timeout))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a trace and sorts it by arrival. Requests that arrive together keep their order.
///
/// # Errors
/// See [`TraceError`].
pub(super) fn read(path: &Path) -> Result<Vec<TraceRequest>, TraceError> {
    let file_error = |source| TraceError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(file_error)?;
    let mut requests = Vec::new();
    for (index, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(file_error)?;
        if line.trim().is_empty() {
            continue;
        }
        let request = TraceRequest::parse(&line).map_err(|source| TraceError::Line {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        requests.push(request);
    }
    if requests.is_empty() {
        return Err(TraceError::Empty(path.to_owned()));
    }
    requests.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    Ok(requests)
}

/// Writes a trace.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, requests: &[TraceRequest]) -> Result<(), TraceError> {
    try_write(path, requests).map_err(|source| TraceError::File { path: path.to_owned(), source })
}

fn try_write(path: &Path, requests: &[TraceRequest]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for request in requests {
        serde_json::to_writer(&mut file, request)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

fn is_default_priority(value: &i8) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<TraceRequest>, TraceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn a_written_trace_reads_back() {
        let mut full = TraceRequest::score(0.125, 640);
        full.prefix = Some("q".to_owned());
        full.prefix_tokens = 512;
        full.output_tokens = 7;
        full.priority = -3;
        full.timeout = Some(1.5);
        let requests = vec![TraceRequest::score(0.0, 10), full];
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &requests).unwrap();
        assert_eq!(read(file.path()).unwrap(), requests);
    }

    #[test]
    fn requests_are_sorted_by_arrival() {
        let requests = read_text(
            "{\"arrival\":2,\"prompt_tokens\":1}\n\n{\"arrival\":1,\"prompt_tokens\":2}\n{\"arrival\":1,\"prompt_tokens\":3}\n",
        );
        let tokens: Vec<usize> = requests.unwrap().iter().map(|request| request.prompt_tokens).collect();
        assert_eq!(tokens, [2, 3, 1]);
    }

    #[test]
    fn a_malformed_trace_is_refused_with_its_line() {
        let good = r#"{"arrival":0,"prompt_tokens":5}"#;
        for (bad, reason) in [
            (r#"{"arrival":0"#, "EOF"),
            (r#"{"arrival":0,"prompt_tokens":5,"tokens":1}"#, "unknown field `tokens`"),
            (r#"{"arrival":-1,"prompt_tokens":5}"#, "arrival is -1"),
            (r#"{"arrival":1e12,"prompt_tokens":5}"#, "seconds from the trace's start"),
            (r#"{"arrival":0,"prompt_tokens":0}"#, "prompt_tokens is 0"),
            (
                r#"{"arrival":0,"prompt_tokens":5,"prefix":"a","prefix_tokens":6}"#,
                "more than prompt_tokens, 5",
            ),
            (r#"{"arrival":0,"prompt_tokens":5,"prefix":"a"}"#, "given together"),
            (r#"{"arrival":0,"prompt_tokens":5,"prefix_tokens":2}"#, "given together"),
            (r#"{"arrival":0,"prompt_tokens":5,"timeout":0}"#, "timeout is 0"),
            (r#"{"arrival":0,"prompt_tokens":5,"priority":400}"#, "priority"),
        ] {
            let message = read_text(&format!("{good}\n{bad}\n")).unwrap_err().to_string();
            assert!(message.contains("line 2: "), "{message}");
            // For a `priority` out of range, serde names the type, not the field.
            assert!(message.contains(reason) || reason == "priority", "{message}");
        }
    }

    #[test]
    fn an_empty_trace_is_refused() {
        assert!(read_text("\n").unwrap_err().to_string().contains("has no requests"));
    }
}
