//! Connections: how many, how long, and over TLS or not.

mod pace;
pub(super) mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use self::pace::{Pace, Paced};
use self::tls::Tls;
use crate::config::ServerSettings;
use crate::telemetry::{ConnectionEnd, Metrics};

/// What a connection over the limit is told before it is closed.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
content-type: application/json\r\ncontent-length: 143\r\n\r\n\
{\"error\":{\"message\":\"too many connections to this server; try again shortly\",\
\"type\":\"server_error\",\"param\":null,\"code\":\"too_many_connections\"}}";
/// Wait after a failure to accept that says nothing of a single connection, such as no more descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Time for which connections are still taken once told to stop: what was on its way is told that the
/// server is ending, and not cut off without a word.
const LINGER: Duration = Duration::from_millis(300);
/// Smallest buffer of a connection; bodies pass through it too.
const LEAST_BUFFER: usize = 64 << 10;

/// How connections are treated.
#[derive(Clone)]
pub(super) struct Limits {
    connections: usize,
    header_bytes: usize,
    pace: Pace,
}

impl Limits {
    /// Those that the options set.
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

/// A port and what answers there.
pub(super) struct Port {
    /// Where.
    pub(super) listener: TcpListener,
    /// What.
    pub(super) router: Router,
    /// How.
    pub(super) limits: Limits,
    /// Over TLS, if so.
    pub(super) tls: Option<Arc<Tls>>,
    /// Where connections are counted.
    pub(super) metrics: Arc<Metrics>,
}

impl Port {
    /// Answers connections until told to stop, and then until the requests on them are answered.
    pub(super) async fn serve(self, mut stopping: watch::Receiver<bool>) {
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
                Err(error) if concerns_one(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            // Answers are small and complete: waiting to fill a packet only delays them.
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
                return converse(stream, router, &limits, &connection, watcher).await;
            };
            match tokio::time::timeout(limits.pace.head, tls.accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, router, &limits, &connection, watcher).await,
                Ok(Err(error)) => connection.cut(ConnectionEnd::Handshake, &error),
                Err(_) => connection.cut(ConnectionEnd::Handshake, &"the client took too long"),
            }
        }
    }

    /// Says that there is no room. Under TLS nothing can be said before a handshake, which is work.
    fn refuse(&self, mut stream: TcpStream) {
        self.metrics.connection_cut(ConnectionEnd::TooMany);
        tracing::debug!(limit = self.limits.connections, "a connection was refused: there are too many");
        if self.tls.is_none() {
            let (written, time) = (async move { stream.write_all(FULL).await }, self.limits.pace.head);
            tokio::spawn(tokio::time::timeout(time, written));
        }
    }
}

/// Whether a failure to accept is of the one connection that was to be accepted.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    limits: &Limits,
    connection: &Connection,
    watcher: Watcher,
) {
    let (stream, phase) = Paced::new(stream, limits.pace);
    let answering = phase.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        answering.request_came();
        let (router, answering) = (router.clone(), answering.clone());
        async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            answering.answer_went();
            answer
        }
    });
    let talk = http1::Builder::new()
        .timer(TokioTimer::new())
        // The pace cuts slow heads. This one only makes hyper look at the stream again after an answer,
        // which it otherwise does when bytes arrive.
        .header_read_timeout(limits.pace.idle + limits.pace.head)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(LEAST_BUFFER))
        .serve_connection(TokioIo::new(stream), service);
    let ended = watcher.watch(talk).await;
    match (phase.cut(), ended) {
        (Some(end), _) => connection.cut(end, &"the client is too slow"),
        (None, Err(error)) => tracing::debug!(%error, "a connection broke off"),
        (None, Ok(())) => {}
    }
}

/// Counts a connection for as long as it is there.
struct Connection {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn cut(&self, end: ConnectionEnd, why: &dyn std::fmt::Display) {
        self.metrics.connection_cut(end);
        tracing::info!(reason = end.label(), %why, "a connection was cut off");
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

    #[test]
    fn a_refused_connection_gets_an_answer_of_the_length_it_announces() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "too_many_connections");
    }
}
