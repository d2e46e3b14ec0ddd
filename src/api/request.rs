//! What every route with a body does first: read it, tokenize it, and find out how urgent it is.

use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::app::App;
use super::body_bytes::BodyBytes;
use super::budget::ByteShare;
use super::deadline;
use super::error::ApiError;
use super::expanded::{INLINE_TEXT, prepare_within};
use super::fields::Fields;
use super::held::hold;
use super::middleware::limits::read_body;
use super::response_id::{self, LONGEST_ID};
use crate::prompt::cancellable;
use crate::scheduler::Priority;
use crate::serving::Scheduling;
use crate::serving::timings::{Stage, Timings};
use utoipa::ToSchema;

/// Minimum number of bytes that such a body counts for: this bounds how many are worked on at once.
const LEAST_PREPARING: usize = 1 << 20;
/// Longest time for which a response may be of use.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(1_000_000_000);
/// What some editors and languages put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const PRIORITY_HEADER: &str = "X-Priority";
const TIMEOUT: &str = "timeout";
const TIMEOUT_HEADER: &str = "X-Request-Timeout";

/// A body that is still to be parsed.
pub(super) struct ReceivedBody {
    pub(super) bytes: Vec<u8>,
    arrived: Instant,
    header: HeaderFields,
}

/// What the headers of a request say of how urgent it is.
#[derive(Clone, Copy, Default)]
struct HeaderFields {
    priority: Option<Priority>,
    timeout: Option<Duration>,
}

impl ReceivedBody {
    fn new(body: BodyBytes, arrived: Instant, header: HeaderFields) -> Self {
        let mut bytes = body.join();
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Self { bytes, arrived, header }
    }

    /// Refuses the request if the queue has no room for its class, or no time before its deadline: before its text is
    /// rendered and tokenized, which takes far longer than the refusal.
    ///
    /// # Errors
    /// The queue is full, or the deadline cannot be met.
    pub(super) fn check_room(&self, app: &App, fields: &SchedulingFields) -> Result<(), ApiError> {
        app.check_room(fields.scheduling(app, self.arrived, self.header))
    }
}

/// A request whose body has arrived in full.
pub(super) struct ReceivedRequest {
    arrived: Instant,
    headers: HeaderMap,
    /// Empty once it is being prepared.
    body: BodyBytes,
    /// The body's share of the memory for bodies, held until the request is answered.
    _share: ByteShare,
    /// Its texts' share of the memory for prompts that are repeated.
    _expanded: Option<ByteShare>,
}

/// Sets its flag when it is dropped.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The JSON of a list, and its share of the budget for lists.
fn list_json(app: &App, field: &str, list: &impl Serialize) -> Result<(Vec<u8>, ByteShare), ApiError> {
    /// Counts what is written.
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    serde_json::to_writer(&mut length, list).map_err(ApiError::internal)?;
    app.check_list(field, length.0)?;
    let mut share = app.lists.share();
    if !share.grow_to(length.0) {
        return Err(ApiError::TooManyBytes(app.lists.size()));
    }
    let mut json = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut json, list).map_err(ApiError::internal)?;
    Ok((json, share))
}

/// Whether a body expands to little text. Each text is between two quotes, and token ids are between brackets; any of
/// them may be a prompt that is repeated before all others.
fn is_small(body: &[u8]) -> bool {
    if body.len() > INLINE_TEXT {
        return false;
    }
    let (mut quotes, mut lists) = (0, 0);
    for byte in body {
        quotes += usize::from(*byte == b'"');
        lists += usize::from(*byte == b'[');
    }
    body.len() * (quotes / 2 + lists).max(1) <= INLINE_TEXT
}

/// The fields that every route has which scores or generates.
#[derive(ToSchema)]
#[schema(as = Common)]
#[expect(dead_code, reason = "the schema of `model` and of what `SchedulingFields::take` reads")]
pub(super) struct CommonSchema {
    /// The server's own if absent.
    model: Option<String>,
    /// Lower goes first.
    #[schema(minimum = -128, maximum = 127)]
    priority: Option<i64>,
    /// Seconds for which the response is of use.
    #[schema(exclusive_minimum = 0, maximum = 1e9)]
    timeout: Option<f64>,
}

/// The fields of a request that say how urgent it is, and what its client calls it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SchedulingFields {
    request_id: Option<String>,
    priority: Option<Priority>,
    timeout: Option<Duration>,
}

/// A request that was read before it was given to the handler of its route.
#[derive(Clone)]
struct ReadBefore(Arc<Mutex<Option<ReceivedRequest>>>);

impl ReceivedRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// Its body is too large or too slow, or breaks off.
    pub(super) async fn read(app: &App, mut request: Request) -> Result<Self, ApiError> {
        if let Some(ReadBefore(shared)) = request.extensions_mut().remove()
            && let Some(read) = shared.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Ok(read);
        }
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let (mut body, share) = read_body(&parts.headers, body, &app.settings.server, &app.bodies).await?;
        if app.settings.logging.log_requests {
            let whole = body.join();
            tracing::info!(body = %String::from_utf8_lossy(&whole), "request");
            body = whole.into();
        }
        Ok(Self { arrived, headers: parts.headers, body, _share: share, _expanded: None })
    }

    /// What `inspect` finds in the body, and the request as it was, for the handler of another route.
    ///
    /// # Errors
    /// Those of `inspect`.
    pub(super) async fn inspect<T: Send + 'static>(
        mut self,
        app: &Arc<App>,
        inspect: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<(T, Request), ApiError> {
        let inspect = move |_: &App, body: ReceivedBody| Ok((inspect(&body.bytes)?, body.bytes));
        let (found, bytes) = self.prepare_owned(app, inspect).await?;
        self.body = bytes.into();
        let mut request = Request::new(Body::empty());
        request.headers_mut().clone_from(&self.headers);
        request.extensions_mut().insert(ReadBefore(Arc::new(Mutex::new(Some(self)))));
        Ok((found, request))
    }

    /// Parses and tokenizes the body with `prepare`. A body that may expand to much text is prepared on a worker
    /// thread, once few enough others are in progress. If the client disconnects, the work is not started, or stops at
    /// the next text.
    ///
    /// # Errors
    /// Those of `prepare`.
    pub(super) async fn prepare<T: Send + 'static>(
        &mut self,
        app: &Arc<App>,
        prepare: impl FnOnce(&App, &ReceivedBody) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.prepare_owned(app, move |app, body| prepare(app, &body)).await
    }

    /// The response with what `prepare` makes of the body, as JSON that may be many times as large: a list of tokens. All
    /// such responses together take no more than their budget, until they are sent. `prepare` also says which field is
    /// listed.
    ///
    /// # Errors
    /// Those of `prepare`, or the budget has no room for the response.
    pub(super) async fn respond_with_list<T: Serialize>(
        mut self,
        app: &Arc<App>,
        prepare: impl FnOnce(&App, &ReceivedBody) -> Result<(&'static str, T), ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let prepare = move |app: &App, body: ReceivedBody| {
            let (field, list) = prepare(app, &body)?;
            drop(body);
            list_json(app, field, &list)
        };
        let (json, share) = self.prepare_owned(app, prepare).await?;
        Ok(hold(([(CONTENT_TYPE, "application/json")], json).into_response(), share))
    }

    async fn prepare_owned<T: Send + 'static>(
        &mut self,
        app: &Arc<App>,
        prepare: impl FnOnce(&App, ReceivedBody) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (body, arrived) = (std::mem::take(&mut self.body), self.arrived);
        // What is wrong with a header is said once it is needed.
        let header = HeaderFields {
            priority: self.header_priority().ok().flatten(),
            timeout: self.header_timeout().ok().flatten(),
        };
        let start = Instant::now();
        let prepared = if body.in_one_piece().is_some_and(is_small) {
            prepare(app, ReceivedBody::new(body, arrived, header))
        } else {
            let share = app.preparing.wait_for(body.len().max(LEAST_PREPARING)).await;
            let guard = SetOnDrop(Arc::default());
            let (background, app, left) = (&app.background, app.clone(), guard.0.clone());
            let prepare = move || {
                let budget = app.expanded.clone();
                let prepare = || prepare(&app, ReceivedBody::new(body, arrived, header));
                let prepare = || cancellable(left, prepare);
                let prepared = deadline::with_its_source(|| prepare_within(budget, prepare));
                drop(share);
                prepared
            };
            let ((prepared, expanded), source) =
                background.spawn(prepare).await.map_err(ApiError::internal)?;
            deadline::set_source(source);
            self._expanded = expanded;
            prepared
        };
        Timings::current().add(Stage::Prompt, start);
        prepared
    }

    /// How urgent the request is: what its fields say, else a header, else the server's default. Errors and answers made
    /// afterwards know these fields.
    ///
    /// # Errors
    /// A header is not a number, or is out of range.
    pub(super) fn scheduling(&self, app: &App, fields: &SchedulingFields) -> Result<Scheduling, ApiError> {
        // A header that a field replaces may be anything.
        let header = HeaderFields {
            priority: if fields.priority.is_none() { self.header_priority()? } else { None },
            timeout: if fields.timeout.is_none() { self.header_timeout()? } else { None },
        };
        if let Some(id) = &fields.request_id {
            response_id::set_field(id.clone());
        }
        Ok(fields.scheduling(app, self.arrived, header))
    }

    fn header_priority(&self) -> Result<Option<Priority>, ApiError> {
        self.header(PRIORITY_HEADER)?.map(|class| priority(PRIORITY_HEADER, class)).transpose()
    }

    fn header_timeout(&self) -> Result<Option<Duration>, ApiError> {
        self.header(TIMEOUT_HEADER)?.map(|time| timeout(TIMEOUT_HEADER, time)).transpose()
    }

    /// The number in a header.
    fn header<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(ApiError::invalid(name, "appears twice; leave one out"));
        }
        let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        number.map(Some).ok_or_else(|| ApiError::invalid(name, "must be a number"))
    }
}

impl SchedulingFields {
    /// Takes `priority`, `timeout` and `request_id` out of a request.
    ///
    /// # Errors
    /// One of them is out of range.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let class = fields.take::<i64>("priority")?;
        let seconds = fields.take::<f64>(TIMEOUT)?;
        Ok(Self {
            priority: class.map(|class| priority("priority", class)).transpose()?,
            timeout: seconds.map(|seconds| timeout(TIMEOUT, seconds)).transpose()?,
            request_id: request_id(fields)?,
        })
    }

    /// How urgent a request with these fields is. Errors about its deadline then name what set that.
    fn scheduling(&self, app: &App, arrived: Instant, header: HeaderFields) -> Scheduling {
        let (time, source) = match self.timeout {
            Some(time) => (Some(time), TIMEOUT),
            None => (header.timeout, TIMEOUT_HEADER),
        };
        deadline::set_source(time.map(|_| source));
        Scheduling {
            arrived,
            priority: self.priority.or(header.priority).unwrap_or_default(),
            timeout: time.or(app.settings.server.timeout.map(|time| time.0)),
        }
    }
}

/// Takes `request_id`. On the routes of trainers it may be a field of their users' own, so one that cannot be
/// used is ignored.
fn request_id(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let id = fields.take::<Value>("request_id")?;
    let id = id.and_then(|id| id.as_str().map(str::to_owned));
    Ok(id.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID))
}

/// A priority class, from the field or header `name`.
fn priority(name: &str, class: i64) -> Result<Priority, ApiError> {
    match i8::try_from(class) {
        Ok(class) => Ok(Priority(class)),
        Err(_) => Err(ApiError::invalid(name, "must be from -128 to 127; lower goes first")),
    }
}

/// How long the response is of use, from the field or header `name`.
fn timeout(name: &str, seconds: f64) -> Result<Duration, ApiError> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && duration <= LONGEST_TIMEOUT => Ok(duration),
        _ => Err(ApiError::invalid(name, "must be a number of seconds above 0 and at most 1e9")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::budget::ByteBudget;
    use crate::api::expanded::reserve_expanded;

    #[test]
    fn bodies_that_expand_to_much_text_are_prepared_on_a_worker_thread() {
        let chat = format!(r#"{{"messages": [{{"role": "user", "content": "{}"}}]}}"#, "a".repeat(2_000));
        assert!(is_small(chat.as_bytes()));
        let responses = vec![r#""a""#; 1024].join(",");
        let many = format!(
            r#"{{"messages": [{{"content": "{}"}}], "responses": [{responses}]}}"#,
            "a".repeat(11_000)
        );
        assert!(!is_small(many.as_bytes()));
        let ids = vec!["100"; 8_000].join(",");
        assert!(is_small(format!("{{\"input\": [{ids}]}}").as_bytes()));
        let items = vec!["[1]"; 1000].join(",");
        assert!(!is_small(format!("{{\"query\": [{ids}], \"items\": [{items}]}}").as_bytes()));
        assert!(!is_small("a".repeat(100_000).as_bytes()));
    }

    #[tokio::test]
    async fn expanded_requests_share_one_budget_until_they_are_answered() {
        let budget = ByteBudget::new(1 << 20);
        let prepare = |parts: &'static [usize]| {
            let budget = budget.clone();
            let reserve = || parts.iter().copied().for_each(reserve_expanded);
            tokio::task::spawn_blocking(move || prepare_within(budget, reserve).1)
        };
        let small = prepare(&[1000]).await.unwrap();
        let large = prepare(&[500 << 10, 400 << 10]).await.unwrap();
        let mut waiting = prepare(&[200 << 10]);
        let waits = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(waits.is_err(), "the first takes nothing and the second nearly all");
        drop(large);
        assert!(waiting.await.is_ok());
        drop(small);
    }
}
