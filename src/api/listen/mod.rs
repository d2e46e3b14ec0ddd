//! Connections: how many, for how long, over TLS or not.

mod pace;
pub(super) mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Request, Version, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::unconstrained;
use tower::ServiceExt;

use self::pace::{Pace, PacedStream};
use self::tls::Tls;
use super::error::{ApiError, INVALID_HOST};
use crate::config::ServerSettings;
use crate::telemetry::{ConnectionEnd, Metrics};

/// Wait after a failure to accept that is not about one connection, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long connections are still accepted after the server stops, so that clients get an error and not a
/// reset.
const LINGER: Duration = Duration::from_millis(300);
/// Smallest buffer of a connection, through which bodies pass too.
const LEAST_BUFFER: usize = 64 << 10;

#[derive(Clone)]
pub(super) struct Limits {
    connections: usize,
    header_bytes: usize,
    pace: Pace,
}

impl Limits {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self {
            connections: settings.max_connections,
            header_bytes: settings.max_header_bytes,
            pace: Pace {
                head: settings.header_timeout.0,
                idle: settings.keep_alive.0,
                write: settings.write_timeout.0,
            },
        }
    }
}

/// A port, and what answers its connections.
pub(super) struct Port {
    pub(super) listener: TcpListener,
    pub(super) router: Router,
    pub(super) limits: Limits,
    /// `None` serves without TLS.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Port {
    /// Answers connections until `stopping` is true, and then until the requests on them are answered.
    pub(super) async fn serve(self, stopping: watch::Receiver<bool>) {
        // Tokio would let the tasks of connections go first after 128 of them, and the backlog could overflow meanwhile.
        unconstrained(self.accept(stopping)).await;
    }

    async fn accept(self, mut stopping: watch::Receiver<bool>) {
        let stopped = async {
            let _ = stopping.wait_for(|stop| *stop).await;
            tokio::time::sleep(LINGER).await;
        };
        let mut stop = std::pin::pin!(stopped);
        let room = Arc::new(Semaphore::new(self.limits.connections.min(Semaphore::MAX_PERMITS)));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            // Responses are small and complete: waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            match room.clone().try_acquire_owned() {
                Ok(permit) => {
                    let connection = Connection { metrics: self.metrics.clone(), _permit: permit };
                    self.metrics.connection_opened();
                    tokio::spawn(self.connect(stream, connection, graceful.watcher()));
                }
                Err(_) => self.refuse(stream),
            }
        }
        drop(self.listener);
        graceful.shutdown().await;
    }

    fn connect(
        &self,
        stream: TcpStream,
        connection: Connection,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + use<> {
        let (router, limits) = (self.router.clone(), self.limits.clone());
        let tls = self.tls.as_ref().map(|tls| tls.acceptor());
        async move {
            let Some(tls) = tls else {
                return serve_connection(stream, router, &limits, &connection, watcher).await;
            };
            match tokio::time::timeout(limits.pace.head, tls.accept(stream)).await {
                Ok(Ok(stream)) => serve_connection(stream, router, &limits, &connection, watcher).await,
                Ok(Err(error)) => connection.cut(ConnectionEnd::Handshake, &error),
                Err(_) => connection.cut(ConnectionEnd::Handshake, &"the client took too long"),
            }
        }
    }

    /// Answers a connection over the limit and closes it. Under TLS it is closed without a response, which would
    /// take a handshake, and a handshake is work.
    fn refuse(&self, mut stream: TcpStream) {
        self.metrics.connection_cut(ConnectionEnd::TooMany);
        tracing::debug!(limit = self.limits.connections, "connection refused: too many are open");
        if self.tls.is_none() {
            let write =
                async move { stream.write_all(&written_out(ApiError::TooManyConnections).await).await };
            tokio::spawn(tokio::time::timeout(self.limits.pace.head, write));
        }
    }
}

/// An error as bytes of HTTP, for a connection that hyper does not serve.
async fn written_out(error: ApiError) -> Vec<u8> {
    let (parts, body) = error.into_response().into_parts();
    // The body of an error is in memory: reading it cannot fail.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\nconnection: close\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Whether a failure to accept concerns only the connection being accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection.
async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    limits: &Limits,
    connection: &Connection,
    watcher: Watcher,
) {
    let (stream, phase) = PacedStream::new(stream, limits.pace);
    let answering = phase.clone();
    let metrics = connection.metrics.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        answering.request_arrived();
        let (router, answering) = (router.clone(), answering.clone());
        let refused = wrong_host(&request);
        if refused.is_some() {
            metrics.failed(INVALID_HOST.code);
        }
        async move {
            let answer = match refused {
                Some(error) => Ok(error.into_response()),
                None => router.oneshot(request.map(Body::new)).await,
            };
            answering.answered();
            answer
        }
    });
    let talk = http1::Builder::new()
        .timer(TokioTimer::new())
        // The pace cuts slow heads. This timeout only makes hyper read the stream again after a response, which
        // it otherwise does when bytes arrive.
        .header_read_timeout(limits.pace.idle + limits.pace.head)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(LEAST_BUFFER))
        .serve_connection(TokioIo::new(stream), service);
    let ended = watcher.watch(talk).await;
    match (phase.cut(), ended) {
        (Some(end), _) => connection.cut(end, &"the client is too slow"),
        (None, Err(error)) => tracing::debug!(%error, "connection broke off"),
        (None, Ok(())) => {}
    }
}

/// The error of a request that does not name its host once, as HTTP/1.1 requires: if two servers read different ones of
/// several `Host` headers, an attacker can exploit the difference.
fn wrong_host(request: &Request<Incoming>) -> Option<ApiError> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.count()) {
        (Some(host), 0) if is_host(host) => None,
        (Some(_), 0) => Some(ApiError::MalformedHost),
        (first, others) => Some(ApiError::InvalidHost(others + usize::from(first.is_some()))),
    }
}

/// Whether a `Host` header is a host with or without a port, or empty, as it may be if the address has no host.
fn is_host(value: &HeaderValue) -> bool {
    let value = value.as_bytes().trim_ascii();
    value.is_empty() || !value.contains(&b'@') && Authority::try_from(value).is_ok()
}

/// Counts a connection as long as it is open.
struct Connection {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Notes why the server ended the connection.
    fn cut(&self, end: ConnectionEnd, why: &dyn std::fmt::Display) {
        self.metrics.connection_cut(end);
        tracing::info!(reason = end.label(), %why, "connection cut off");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_connection_gets_an_error_of_the_length_it_announces() {
        let text = String::from_utf8(written_out(ApiError::TooManyConnections).await).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "too_many_connections");
    }
}
