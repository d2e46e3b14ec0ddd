//! Request traces: JSONL, one request a line, in any order.
//!
//! ```json
//! {"arrival": 0.25, "prompt_tokens": 640, "prefix": "q17", "prefix_tokens": 512}
//! ```

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest trace time: a year. Beyond it a trace holds wall-clock times by mistake.
const LATEST: f64 = 366.0 * 24.0 * 3600.0;
/// Most tokens of one request.
const LONGEST: usize = 1 << 24;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Seconds since the trace began.
    pub arrival: f64,
    /// Tokens to read, the shared prefix included; at least 1.
    pub prompt_tokens: usize,
    /// Names a prefix: requests with the same name begin with the same tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Tokens of the prefix; at most `prompt_tokens`. Equal to it, the requests are identical.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prefix_tokens: usize,
    /// Tokens to generate; 0 asks for a score.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_tokens: usize,
    /// Priority class, lower first.
    #[serde(default, skip_serializing_if = "is_default_priority")]
    pub priority: i8,
    /// Seconds after arrival at which the answer is of no more use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The trace.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a request.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The trace.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing in it.
    #[error("{0} holds no requests; `assay bench --generate-trace` makes a trace")]
    Empty(PathBuf),
}

impl Request {
    /// A request to score `prompt_tokens` tokens.
    pub fn score(arrival: f64, prompt_tokens: usize) -> Self {
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

    /// Time of arrival.
    pub fn arrival(&self) -> Duration {
        Duration::from_secs_f64(self.arrival)
    }

    fn check(&self) -> Result<(), String> {
        if !(0.0..=LATEST).contains(&self.arrival) {
            return Err(format!("arrival is {}; it counts seconds from the trace's start", self.arrival));
        }
        if !(1..=LONGEST).contains(&self.prompt_tokens) {
            return Err(format!("prompt_tokens is {}; it must be from 1 to {LONGEST}", self.prompt_tokens));
        }
        if self.output_tokens > LONGEST {
            return Err(format!("output_tokens is {}; it must be at most {LONGEST}", self.output_tokens));
        }
        if self.prefix_tokens > self.prompt_tokens {
            let Self { prefix_tokens, prompt_tokens, .. } = self;
            return Err(format!(
                "prefix_tokens is {prefix_tokens}, more than prompt_tokens, {prompt_tokens}"
            ));
        }
        if self.prefix.is_some() != (self.prefix_tokens > 0) {
            return Err("prefix and prefix_tokens (at least 1) must be given together".to_owned());
        }
        match self.timeout {
            Some(timeout) if !(timeout > 0.0 && timeout <= LATEST) => {
                Err(format!("timeout is {timeout}; it must be above 0 and at most {LATEST} seconds"))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a trace and orders it by arrival; requests that arrive together keep their order.
///
/// # Errors
/// The file cannot be read, is empty, or a line of it is not a request: then the line is named.
pub fn read(path: &Path) -> Result<Vec<Request>, TraceError> {
    let file_error = |source| TraceError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(file_error)?;
    let mut requests = Vec::new();
    for (index, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(file_error)?;
        if line.trim().is_empty() {
            continue;
        }
        let request = parse(&line).map_err(|reason| TraceError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason,
        })?;
        requests.push(request);
    }
    if requests.is_empty() {
        return Err(TraceError::Empty(path.to_owned()));
    }
    requests.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    Ok(requests)
}

fn parse(line: &str) -> Result<Request, String> {
    let request: Request = serde_json::from_str(line).map_err(|error| {
        // Every line is its own document, so serde's line number would mislead.
        let text = error.to_string();
        text.replace(" at line 1 column ", ", at column ")
    })?;
    request.check()?;
    Ok(request)
}

/// Writes a trace.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, requests: &[Request]) -> Result<(), TraceError> {
    let file_error = |source| TraceError::File { path: path.to_owned(), source };
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(file_error)?);
    for request in requests {
        serde_json::to_writer(&mut file, request).map_err(|error| file_error(error.into()))?;
        file.write_all(b"\n").map_err(file_error)?;
    }
    file.flush().map_err(file_error)
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

    fn read_text(text: &str) -> Result<Vec<Request>, TraceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn a_trace_survives_writing_and_reading() {
        let mut full = Request::score(0.125, 640);
        full.prefix = Some("q".to_owned());
        full.prefix_tokens = 512;
        full.output_tokens = 7;
        full.priority = -3;
        full.timeout = Some(1.5);
        let requests = vec![Request::score(0.0, 10), full];
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &requests).unwrap();
        assert_eq!(read(file.path()).unwrap(), requests);
    }

    #[test]
    fn requests_are_put_in_the_order_of_arrival() {
        let requests = read_text(
            "{\"arrival\":2,\"prompt_tokens\":1}\n\n{\"arrival\":1,\"prompt_tokens\":2}\n{\"arrival\":1,\"prompt_tokens\":3}\n",
        );
        let tokens: Vec<usize> = requests.unwrap().iter().map(|request| request.prompt_tokens).collect();
        assert_eq!(tokens, [2, 3, 1]);
    }

    #[test]
    fn a_malformed_trace_is_refused_with_its_line() {
        let good = r#"{"arrival":0,"prompt_tokens":5}"#;
        for (bad, says) in [
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
            // `priority` out of range is told by serde with the type, not the name.
            assert!(message.contains(says) || says == "priority", "{message}");
        }
    }

    #[test]
    fn an_empty_trace_is_refused() {
        assert!(read_text("\n").unwrap_err().to_string().contains("holds no requests"));
    }
}
