//! A response that was saved to files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::score::ScoreError;
use crate::signing::{Mismatch, PublicKey, ReceivedResponse, VerifiedResponse, verify_response};

/// Largest file of a request or a response.
const MAX_BYTES: u64 = 1 << 30;

/// A file of a response holds something else.
#[derive(Debug, thiserror::Error)]
pub(super) enum SavedFileError {
    #[error(
        "it does not start with a status line such as `HTTP/1.1 200 OK`; write it with `curl --dump-header`"
    )]
    NoStatus,
    #[error("line {0} is not a header; write the file with `curl --dump-header`")]
    NotAHeader(usize),
    #[error("it has more than {MAX_BYTES} bytes, and no request or response of a server is as large")]
    TooLarge,
}

/// Reads a file, which may be a pipe.
fn read(path: &Path) -> Result<Vec<u8>, ScoreError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content))
        .map_err(|error| ScoreError::read(path, error))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(ScoreError::read(path, SavedFileError::TooLarge));
    }
    Ok(content)
}

/// The files of a response, and the body of its request.
#[derive(Debug)]
pub(super) struct SavedResponse {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    request_body: Vec<u8>,
}

impl SavedResponse {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, or that of the headers holds something else.
    pub(super) fn read(response: &Path, request: &Path, headers: &Path) -> Result<Self, ScoreError> {
        let text = read(headers)?;
        let (status, found) = parse_headers(&String::from_utf8_lossy(&text))
            .map_err(|error| ScoreError::read(headers, error))?;
        Ok(Self { status, headers: found, body: read(response)?, request_body: read(request)? })
    }

    /// Checks the signature of the response, which was to a POST to `path`.
    ///
    /// # Errors
    /// What differs from what was signed.
    pub(super) fn verify(&self, key: &PublicKey, path: &str) -> Result<VerifiedResponse, Mismatch> {
        let Self { status, headers, body, request_body } = self;
        let received =
            ReceivedResponse { status: *status, headers, body, method: "POST", path, request_body };
        verify_response(key, received)
    }
}

/// The status and headers of the last response in a text: interim ones such as `100 Continue` come before it.
fn parse_headers(text: &str) -> Result<(u16, HeaderMap), SavedFileError> {
    let (mut status, mut headers) = (None, HeaderMap::new());
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("HTTP/") {
            let code = line.split_whitespace().nth(1).and_then(|code| code.parse().ok());
            (status, headers) = (code, HeaderMap::new());
        } else if !line.is_empty() {
            let (name, value) = parse_header(line).ok_or(SavedFileError::NotAHeader(index + 1))?;
            headers.append(name, value);
        }
    }
    Ok((status.ok_or(SavedFileError::NoStatus)?, headers))
}

fn parse_header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_that_curl_writes_are_those_of_the_last_response() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Assay-Engine: e1\r\nempty:\r\n\r\n";
        let (status, headers) = parse_headers(text).unwrap();
        assert_eq!((status, headers.len()), (200, 2));
        assert_eq!(headers["x-assay-engine"], "e1");
        assert!(matches!(parse_headers("x-assay-engine: e1\n"), Err(SavedFileError::NoStatus)));
        assert!(matches!(parse_headers("HTTP/1.1 200 OK\n{}\n"), Err(SavedFileError::NotAHeader(2))));
    }
}
