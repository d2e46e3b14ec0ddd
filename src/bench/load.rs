//! A load generator for a running server: a fixed request over keep-alive connections, each sending
//! the next when the last is answered. HTTP/1.1 by hand, so that it takes little of the machine it
//! shares with the server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::report::Percentiles;

/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub address: Address,
    /// JSON body of every request.
    pub body: Vec<u8>,
    /// Connections, one request in flight on each.
    pub connections: usize,
    /// How long.
    pub time: Duration,
}

/// An `http://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`.
    pub authority: String,
    /// Path, beginning with `/`.
    pub path: String,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Of every request, the time until its whole answer was there.
    pub latencies: Vec<Duration>,
    /// Time that it all took.
    pub elapsed: Duration,
}

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The address is not one.
    #[error("{0:?} is not an address like http://127.0.0.1:8000 (without TLS)")]
    Address(String),
    /// The server could not be reached, or went away.
    #[error("{authority}: {source}; is the server running?")]
    Connection {
        /// Which server.
        authority: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Address {
    /// Parses `http://host[:port][/path]`; without a path it is that of chat completions.
    ///
    /// # Errors
    /// [`LoadError::Address`].
    pub fn parse(text: &str) -> Result<Self, LoadError> {
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
    /// The server cannot be reached or lists none.
    pub async fn first_model(&self) -> Result<String, LoadError> {
        let request = format!("GET /v1/models HTTP/1.1\r\nhost: {}\r\n\r\n", self.authority);
        let list = async {
            let mut connection = Connection::open(&self.authority).await?;
            let answer = connection.exchange(request.as_bytes()).await?;
            let list: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let model = list.pointer("/data/0/id").and_then(|id| id.as_str()).map(str::to_owned);
            model.ok_or_else(|| std::io::Error::other("/v1/models lists no model"))
        };
        list.await.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> LoadError {
        LoadError::Connection { authority: self.authority.clone(), source }
    }
}

/// A short conversation to score.
pub fn conversation(model: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "model": model,
        "messages": [
            {"role": "user", "content": "I am going to Paris, what should I see?"},
            {"role": "assistant", "content": "Begin with the Louvre, then walk along the Seine to Notre-Dame."},
        ],
    });
    body.to_string().into_bytes()
}

impl Load {
    /// Runs the load.
    ///
    /// # Errors
    /// The server cannot be reached, or closes a connection.
    pub async fn run(&self) -> Result<Answers, LoadError> {
        let Address { authority, path } = &self.address;
        let length = self.body.len();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(&self.body);
        let request: std::sync::Arc<[u8]> = request.into();
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (authority, request) = (authority.clone(), request.clone());
            tasks.spawn(repeat(authority, request, started + self.time));
        }
        let mut all = Answers::default();
        while let Some(joined) = tasks.join_next().await {
            let answers = joined.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let answers = answers.map_err(|source| self.address.failed(source))?;
            all.latencies.extend(answers.latencies);
            for (status, count) in answers.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
        }
        all.elapsed = started.elapsed();
        Ok(all)
    }
}

/// Sends `request` over one connection again and again until `end`.
async fn repeat(authority: String, request: std::sync::Arc<[u8]>, end: Instant) -> std::io::Result<Answers> {
    let mut connection = Connection::open(&authority).await?;
    let mut answers = Answers::default();
    let mut sent = Instant::now();
    while sent < end {
        let status = connection.exchange(&request).await?.status;
        let now = Instant::now();
        answers.latencies.push(now - sent);
        *answers.statuses.entry(status).or_default() += 1;
        sent = now;
    }
    Ok(answers)
}

struct Connection {
    stream: TcpStream,
    /// Read, but not yet part of an answer.
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Connection {
    async fn open(authority: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(std::io::Error::other("the answer's head does not end"));
            }
            self.read().await?;
        };
        let (status, length) = parse_head(&self.buffer[..head])?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        let body = self.buffer[head..head + length].to_vec();
        self.buffer.drain(..head + length);
        Ok(Answer { status, body })
    }

    async fn read(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(std::io::Error::other("the server closed the connection")),
            _ => Ok(()),
        }
    }
}

/// Status and content length of an answer.
fn parse_head(head: &[u8]) -> std::io::Result<(u16, usize)> {
    let invalid = |reason: &str| std::io::Error::other(format!("not an HTTP/1.1 answer: {reason}"));
    let text = std::str::from_utf8(head).map_err(|_| invalid("its head is not text"))?;
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid("it has no status"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| invalid("it has no content-length"))?;
    Ok((status, length))
}

impl fmt::Display for Answers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.latencies.len() as f64 / self.elapsed.as_secs_f64();
        writeln!(out, "answers         {} in {:.1} s", self.latencies.len(), self.elapsed.as_secs_f64())?;
        for (status, count) in &self.statuses {
            writeln!(out, "status {status}      {count}")?;
        }
        writeln!(out, "throughput      {per_second:.0} requests/s")?;
        write!(out, "latency         {}", Percentiles::of(self.latencies.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_means_chat_completions() {
        let address = Address::parse("http://127.0.0.1:8000").unwrap();
        assert_eq!((&*address.authority, &*address.path), ("127.0.0.1:8000", "/v1/chat/completions"));
        let address = Address::parse("http://reward/v1/classify").unwrap();
        assert_eq!((&*address.authority, &*address.path), ("reward:80", "/v1/classify"));
        for wrong in ["https://reward", "reward:8000", "http://", "http://a b", "http://user@host"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answers_head_gives_status_and_length() {
        let head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 12\r\nretry-after: 1\r\n\r\n";
        assert_eq!(parse_head(head).unwrap(), (429, 12));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse_head(b"hello\r\n\r\n").is_err());
    }

    /// Answers every request with `status`, its body split over two writes.
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
    async fn every_answer_is_counted_under_its_status() {
        let address = server("503 Service Unavailable").await;
        let load = Load { address, body: b"{}".to_vec(), connections: 3, time: Duration::from_millis(50) };
        let answers = load.run().await.unwrap();
        assert!(answers.latencies.len() >= 3);
        assert_eq!(answers.statuses, BTreeMap::from([(503, answers.latencies.len())]));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_by_its_address() {
        let address = Address { authority: "127.0.0.1:1".to_owned(), path: "/".to_owned() };
        let error = address.first_model().await.unwrap_err().to_string();
        assert!(error.starts_with("127.0.0.1:1: ") && error.contains("is the server running?"), "{error}");
    }
}
