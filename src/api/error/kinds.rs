//! Every kind of error that a client may meet: status, OpenAI's `type`, and the `code` under which it is counted.
//!
//! One table, so that [docs/errors.md](../../../docs/errors.md) can be compared with it: a test does.

use axum::http::StatusCode;

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct ErrorKind {
    /// Status of the response.
    pub(in crate::api) status: StatusCode,
    /// OpenAI's `type`: who is at fault.
    pub(in crate::api) error_type: &'static str,
    /// OpenAI's `code`, which is also the label of the metric.
    pub(in crate::api) code: &'static str,
}

const REQUEST: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const OVERLOAD: &str = "rate_limit_error";
const TIMEOUT: &str = "timeout_error";

/// Declares kinds, and the list of all of them.
macro_rules! kinds {
    ($($name:ident: $status:ident, $error_type:expr, $code:literal;)*) => {
        $(
            pub(in crate::api) const $name: ErrorKind =
                ErrorKind { status: StatusCode::$status, error_type: $error_type, code: $code };
        )*
        #[cfg(test)]
        const ALL: &[ErrorKind] = &[$($name),*];
    };
}

kinds! {
    MALFORMED_JSON: BAD_REQUEST, REQUEST, "malformed_json";
    INVALID_VALUE: BAD_REQUEST, REQUEST, "invalid_value";
    UNSUPPORTED_PARAMETER: BAD_REQUEST, REQUEST, "unsupported_parameter";
    UNREADABLE_BODY: BAD_REQUEST, REQUEST, "unreadable_body";
    INVALID_HOST: BAD_REQUEST, REQUEST, "invalid_host";
    INVALID_MESSAGES: BAD_REQUEST, REQUEST, "invalid_messages";
    CONTEXT_LENGTH_EXCEEDED: BAD_REQUEST, REQUEST, "context_length_exceeded";
    WRONG_TASK: BAD_REQUEST, REQUEST, "wrong_task";
    MISSING_API_KEY: UNAUTHORIZED, REQUEST, "missing_api_key";
    INVALID_API_KEY: UNAUTHORIZED, REQUEST, "invalid_api_key";
    ORIGIN_NOT_ALLOWED: FORBIDDEN, REQUEST, "origin_not_allowed";
    MODEL_NOT_FOUND: NOT_FOUND, REQUEST, "model_not_found";
    UNKNOWN_URL: NOT_FOUND, REQUEST, "unknown_url";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed";
    SLOW_BODY: REQUEST_TIMEOUT, TIMEOUT, "slow_body";
    REQUEST_TOO_LARGE: PAYLOAD_TOO_LARGE, REQUEST, "request_too_large";
    // The operator may have chosen 503 instead: see `apply_overload_status`.
    OVERLOADED: TOO_MANY_REQUESTS, OVERLOAD, "overloaded";
    TOO_MANY_CONNECTIONS: SERVICE_UNAVAILABLE, SERVER, "too_many_connections";
    STARTING: SERVICE_UNAVAILABLE, SERVER, "starting";
    ENGINE_STALLED: SERVICE_UNAVAILABLE, SERVER, "engine_stalled";
    SHUTTING_DOWN: SERVICE_UNAVAILABLE, SERVER, "shutting_down";
    DEADLINE_UNMEETABLE: GATEWAY_TIMEOUT, TIMEOUT, "deadline_unmeetable";
    DEADLINE_EXCEEDED: GATEWAY_TIMEOUT, TIMEOUT, "deadline_exceeded";
    ENGINE_FAILED: INTERNAL_SERVER_ERROR, SERVER, "engine_failed";
    NON_FINITE_SCORE: INTERNAL_SERVER_ERROR, SERVER, "non_finite_score";
    INTERNAL_ERROR: INTERNAL_SERVER_ERROR, SERVER, "internal_error";
}

#[cfg(test)]
mod tests {
    use super::*;

    // Read when the test runs: images are built without docs.
    fn page() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md")).unwrap()
    }

    /// Code and status of each row of the page's tables.
    fn documented(page: &str) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        for line in page.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let ["", code, status, _, ""] = cells.as_slice()
                && let Some(code) = code.strip_prefix('`').and_then(|code| code.strip_suffix('`'))
            {
                rows.push((code.to_owned(), (*status).to_owned()));
            }
        }
        rows
    }

    #[test]
    fn the_page_of_errors_lists_every_kind_with_its_status() {
        let documented = documented(&page());
        let mut missing: Vec<ErrorKind> = ALL.to_vec();
        for (code, status) in &documented {
            let kind = ALL.iter().find(|kind| kind.code == code);
            let kind = kind.unwrap_or_else(|| panic!("docs/errors.md lists `{code}`, which does not exist"));
            assert!(
                status.starts_with(kind.status.as_str()),
                "docs/errors.md gives `{code}` the status {status}"
            );
            missing.retain(|other| other.code != code);
        }
        assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
        assert_eq!(documented.len(), ALL.len(), "docs/errors.md lists a code twice");
    }

    #[test]
    fn the_page_of_errors_names_metrics_that_exist() {
        let page = page();
        let names = include_str!("../../telemetry/names.rs");
        let metrics: Vec<&str> = page.split('`').filter(|word| word.ends_with("_total")).collect();
        assert!(metrics.contains(&"request_errors_total") && metrics.contains(&"http_connections_cut_total"));
        for metric in metrics {
            assert!(names.contains(&format!("\"{metric}\"")), "docs/errors.md names `{metric}`");
        }
    }
}
