//! A load test of a running server: one request, sent again and again over keep-alive connections, each
//! of which sends the next request when the last one is answered.
//!
//! It writes HTTP/1.1 itself, so that it takes little of the machine that it may share with the server.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::percentiles::Percentiles;

/// Maximum size of the head of a response in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What to send, and how.
#[derive(Clone, Debug)]
pub(super) struct LoadTest {
    pub(super) address: Address,
    /// JSON body of every request.
    pub(super) body: Vec<u8>,
    /// Number of connections, each with one request in flight.
    pub(super) connections: usize,
    pub(super) duration: Duration,
}

/// An `http://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `host:port`.
    authority: String,
    /// Path, with a leading `/`.
    path: String,
}

/// The responses to a load test.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadResult {
    /// Number of responses by status.
    statuses: BTreeMap<u16, usize>,
    /// For each request, the time until its response was complete.
    latencies: Vec<Duration>,
    /// Duration of the whole test.
    elapsed: Duration,
}

/// Why a load test cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The address is not valid.
    #[error("{0:?} is not an address like http://127.0.0.1:8000 (without TLS)")]
    Address(String),
    /// The server could not be reached, or closed a connection.
    #[error("{authority}: {source}; is the server running?")]
    Connection {
        /// `host:port` of the server.
        authority: String,
        source: io::Error,
    },
}

/// Why a response cannot be read.
#[derive(Debug, thiserror::Error)]
enum ResponseError {
    #[error("the head of its response is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    #[error("it closed the connection")]
    Closed,
    #[error("its response is not HTTP/1.1: {0}")]
    NotHttp(&'static str),
    #[error("/v1/models lists no model")]
    NoModel,
}

impl From<ResponseError> for io::Error {
    fn from(error: ResponseError) -> Self {
        Self::other(error)
    }
}

impl Address {
    /// Parses `http://host[:port][/path]`. The default path is that of chat completions.
    ///
    /// # Errors
    /// [`LoadError::Address`].
    pub(super) fn parse(text: &str) -> Result<Self, LoadError> {
        let invalid = || LoadError::Address(text.to_owned());
        let rest = text.strip_prefix("http://").ok_or_else(invalid)?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '@') || path.contains(' ') {
            return Err(invalid());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
        let path = if path == "/" { "/v1/chat/completions" } else { path };
        Ok(Self { authority, path: path.to_owned() })
    }

    /// The first model that the server lists.
    ///
    /// # Errors
    /// [`LoadError::Connection`].
    pub(super) async fn first_model(&self) -> Result<String, LoadError> {
        self.try_first_model().await.map_err(|source| self.failed(source))
    }

    async fn try_first_model(&self) -> io::Result<String> {
        let request = format!("GET /v1/models HTTP/1.1\r\nhost: {}\r\n\r\n", self.authority);
        let mut connection = Connection::open(&self.authority).await?;
        let response = connection.exchange(request.as_bytes()).await?;
        let models: serde_json::Value = serde_json::from_slice(&response.body)?;
        let model = models.pointer("/data/0/id").and_then(|id| id.as_str()).map(str::to_owned);
        Ok(model.ok_or(ResponseError::NoModel)?)
    }

    fn failed(&self, source: io::Error) -> LoadError {
        LoadError::Connection { authority: self.authority.clone(), source }
    }
}

/// The body of a request to score a short conversation.
pub(super) fn default_body(model: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "model": model,
        "messages": [
            {"role": "user", "content": "I am going to Paris, what should I see?"},
            {"role": "assistant", "content": "Begin with the Louvre, then walk along the Seine to Notre-Dame."},
        ],
    });
    body.to_string().into_bytes()
}

impl LoadTest {
    /// # Errors
    /// [`LoadError::Connection`].
    pub(super) async fn run(&self) -> Result<LoadResult, LoadError> {
        let Address { authority, path } = &self.address;
        let length = self.body.len();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(&self.body);
        let request: Arc<[u8]> = request.into();
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            tasks.spawn(send_until(authority.clone(), request.clone(), started + self.duration));
        }
        let mut total = LoadResult::default();
        while let Some(joined) = tasks.join_next().await {
            let result = joined.unwrap_or_else(|error| Err(io::Error::other(error)));
            let result = result.map_err(|source| self.address.failed(source))?;
            total.latencies.extend(result.latencies);
            for (status, count) in result.statuses {
                *total.statuses.entry(status).or_default() += count;
            }
        }
        total.elapsed = started.elapsed();
        Ok(total)
    }
}

/// Sends `request` over one connection again and again until `end`.
async fn send_until(authority: String, request: Arc<[u8]>, end: Instant) -> io::Result<LoadResult> {
    let mut connection = Connection::open(&authority).await?;
    let mut result = LoadResult::default();
    let mut sent = Instant::now();
    while sent < end {
        let status = connection.exchange(&request).await?.status;
        let now = Instant::now();
        result.latencies.push(now - sent);
        *result.statuses.entry(status).or_default() += 1;
        sent = now;
    }
    Ok(result)
}

struct Connection {
    stream: TcpStream,
    /// Bytes that have been read, but are not part of a response yet.
    buffer: Vec<u8>,
}

struct Response {
    status: u16,
    body: Vec<u8>,
}

impl Connection {
    async fn open(authority: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads the response.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(ResponseError::HeadTooLong.into());
            }
            self.read().await?;
        };
        let (status, length) = parse_head(&self.buffer[..head])?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        let body = self.buffer[head..head + length].to_vec();
        self.buffer.drain(..head + length);
        Ok(Response { status, body })
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ResponseError::Closed.into()),
            _ => Ok(()),
        }
    }
}

/// Status and content length of a response.
fn parse_head(head: &[u8]) -> Result<(u16, usize), ResponseError> {
    let text = std::str::from_utf8(head).map_err(|_| ResponseError::NotHttp("its head is not text"))?;
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or(ResponseError::NotHttp("it has no status"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or(ResponseError::NotHttp("it has no content-length"))?;
    Ok((status, length))
}

impl fmt::Display for LoadResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (responses, seconds) = (self.latencies.len(), self.elapsed.as_secs_f64());
        writeln!(out, "responses       {responses} in {seconds:.1} s")?;
        for (status, count) in &self.statuses {
            writeln!(out, "status {status}      {count}")?;
        }
        writeln!(out, "throughput      {:.0} requests/s", responses as f64 / seconds)?;
        write!(out, "latency         {}", Percentiles::from_times(self.latencies.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_path_is_chat_completions() {
        let address = Address::parse("http://127.0.0.1:8000").unwrap();
        assert_eq!((&*address.authority, &*address.path), ("127.0.0.1:8000", "/v1/chat/completions"));
        let address = Address::parse("http://reward/v1/classify").unwrap();
        assert_eq!((&*address.authority, &*address.path), ("reward:80", "/v1/classify"));
        for wrong in ["https://reward", "reward:8000", "http://", "http://a b", "http://user@host"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn status_and_length_are_read_from_the_head() {
        let head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 12\r\nretry-after: 1\r\n\r\n";
        assert_eq!(parse_head(head).unwrap(), (429, 12));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse_head(b"hello\r\n\r\n").is_err());
    }

    /// A server that answers every request with `status`, and splits the body over two writes.
    async fn server(status: &'static str) -> Address {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nab");
                        stream.write_all(head.as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                        stream.write_all(b"cd").await.unwrap();
                    }
                });
            }
        });
        Address { authority, path: "/".to_owned() }
    }

    #[tokio::test]
    async fn every_response_is_counted_under_its_status() {
        let address = server("503 Service Unavailable").await;
        let test =
            LoadTest { address, body: b"{}".to_vec(), connections: 3, duration: Duration::from_millis(50) };
        let result = test.run().await.unwrap();
        assert!(result.latencies.len() >= 3);
        assert_eq!(result.statuses, BTreeMap::from([(503, result.latencies.len())]));
    }

    #[tokio::test]
    async fn an_unreachable_server_is_reported_with_its_address() {
        let address = Address { authority: "127.0.0.1:1".to_owned(), path: "/".to_owned() };
        let error = address.first_model().await.unwrap_err().to_string();
        assert!(error.starts_with("127.0.0.1:1: ") && error.contains("is the server running?"), "{error}");
    }
}
