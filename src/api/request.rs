//! What every route that scores does first: read the body, make tokens of it, learn how urgent it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::HeaderMap;

use super::fields::Fields;
use super::{ApiError, App, body};
use crate::config::ServerSettings;
use crate::prompt::Truncation;
use crate::scheduler::Priority;
use crate::serving::timings::{Stage, Timings};
use crate::serving::{LengthPolicy, Scheduling};

/// Bodies larger than this are parsed and tokenized off the threads that serve connections.
const LARGE_BODY: usize = 16 << 10;

/// How many times its largest body a request may come to once the prompt stands before each
/// response: what it costs to encode is bounded with it.
const LARGEST_EXPANSION: usize = 4;

/// A request that was read to its end.
pub(super) struct RequestReader {
    arrived: Instant,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What a request's fields say of its scheduling.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SchedulingFields {
    /// Its class.
    pub priority: Option<Priority>,
    /// How long the answer is of use.
    pub timeout: Option<Duration>,
}

impl RequestReader {
    /// Reads a request.
    ///
    /// # Errors
    /// Its body is too large or breaks off.
    pub(super) async fn read(app: &App, request: Request) -> Result<Self, ApiError> {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let (limit, time) = (app.settings.server.max_body_bytes, app.settings.server.body_timeout.0);
        let body = body::read(&parts.headers, body, limit, time).await?;
        if app.settings.logging.log_requests {
            tracing::info!(body = %String::from_utf8_lossy(&body), "request");
        }
        Ok(Self { arrived, headers: parts.headers, body })
    }

    /// Parses and tokenizes the body, off the threads that serve connections where that takes long.
    ///
    /// # Errors
    /// Those of `prepare`.
    pub(super) async fn prepare<T: Send + 'static>(
        &mut self,
        app: &Arc<App>,
        prepare: impl FnOnce(&App, &[u8]) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let body = std::mem::take(&mut self.body);
        let start = Instant::now();
        let prepared = if body.len() <= LARGE_BODY {
            prepare(app, &body)
        } else {
            let app = app.clone();
            tokio::task::spawn_blocking(move || prepare(&app, &body))
                .await
                .map_err(|error| ApiError::Internal(error.to_string()))?
        };
        Timings::current().add(Stage::Prompt, start);
        prepared
    }

    /// How urgent it is: what its fields say, else a header, else the server's default.
    ///
    /// # Errors
    /// A header makes no sense.
    pub(super) fn scheduling(&self, app: &App, scheduling: SchedulingFields) -> Result<Scheduling, ApiError> {
        let class = match scheduling.priority {
            Some(class) => Some(class),
            None => self.number("X-Priority")?.map(|class| priority("X-Priority", class)).transpose()?,
        };
        let time = match scheduling.timeout {
            Some(time) => Some(time),
            None => self
                .number("X-Request-Timeout")?
                .map(|time| timeout("X-Request-Timeout", time))
                .transpose()?,
        };
        Ok(Scheduling {
            arrived: self.arrived,
            priority: class.unwrap_or_default(),
            timeout: time.or(app.settings.server.timeout.map(|time| time.0)),
        })
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map(Some)
            .ok_or_else(|| ApiError::Invalid(name.to_owned(), "must be a number".into()))
    }
}

impl SchedulingFields {
    /// Takes `priority` and `timeout` out of a request.
    ///
    /// # Errors
    /// One of them is out of range.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let class = fields.take::<i64>("priority")?;
        let seconds = fields.take::<f64>("timeout")?;
        Ok(Self {
            priority: class.map(|class| priority("priority", class)).transpose()?,
            timeout: seconds.map(|seconds| timeout("timeout", seconds)).transpose()?,
        })
    }
}

/// Takes `truncation` out of a request; where it does not say, the server's options do.
///
/// # Errors
/// There is no such truncation.
pub(super) fn take_length_policy(
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<LengthPolicy, ApiError> {
    let Some(name) = fields.take::<String>("truncation")? else {
        return Ok(LengthPolicy { truncation: settings.truncation, tokens: None });
    };
    let truncation = Truncation::from_name(&name).ok_or_else(|| {
        let known = Truncation::ALL.map(Truncation::name).join(", ");
        ApiError::Invalid(fields.path("truncation"), format!("must be one of {known}"))
    })?;
    Ok(LengthPolicy { truncation, tokens: None })
}

/// A priority class, from the field or header `name`.
fn priority(name: &str, class: i64) -> Result<Priority, ApiError> {
    i8::try_from(class).map(Priority).map_err(|_| {
        ApiError::Invalid(name.to_owned(), "must be from -128 to 127; lower goes first".to_owned())
    })
}

/// How long the answer is of use, from the field or header `name`.
fn timeout(name: &str, seconds: f64) -> Result<Duration, ApiError> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| ApiError::Invalid(name.to_owned(), "must be a number of seconds above 0".to_owned()))
}

/// Refuses a list, which stands in the field `field`, of no items or of more than a call may have.
///
/// # Errors
/// It is one of them.
pub(super) fn check_count(field: &str, count: usize, settings: &ServerSettings) -> Result<(), ApiError> {
    let most = settings.max_request_items;
    match count {
        0 => Err(ApiError::Invalid(field.into(), "is empty: send at least one".into())),
        count if count > most => {
            let reason =
                format!("has {count} items and this server takes {most} in a call: send them in several");
            Err(ApiError::Invalid(field.into(), reason))
        }
        _ => Ok(()),
    }
}

/// Refuses responses, which stand in the field `field`, that are too much text once a prompt of
/// `prompt` bytes stands before each.
///
/// # Errors
/// They are.
pub(super) fn check_size(
    field: &str,
    prompt: usize,
    responses: &[String],
    settings: &ServerSettings,
) -> Result<(), ApiError> {
    let size = prompt * responses.len() + responses.iter().map(String::len).sum::<usize>();
    let most = LARGEST_EXPANSION * settings.max_body_bytes;
    if size <= most {
        return Ok(());
    }
    let reason = format!(
        "come to {size} bytes with the prompt before each, more than the {most} this server takes: send fewer in \
         a call"
    );
    Err(ApiError::Invalid(field.into(), reason))
}
